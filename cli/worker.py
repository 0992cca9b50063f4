"""`swiftreplies worker`"""

import argparse
import asyncio

from cli.command import Refused
from worker.roles import ROLES


def declare(noun: argparse.ArgumentParser) -> None:
    noun.add_argument(
        "--only",
        type=_roles,
        default=tuple(ROLES),
        metavar="ROLE,...",
        help=f"some of: {', '.join(ROLES)} (default: all)",
    )
    noun.set_defaults(run=_run)


def _roles(text: str) -> tuple[str, ...]:
    roles = tuple(r.strip() for r in text.split(",") if r.strip())
    unknown = [r for r in roles if r not in ROLES]
    if unknown or not roles:
        raise argparse.ArgumentTypeError(
            f"no such role: {', '.join(unknown) or '(none given)'}; there are {', '.join(ROLES)}"
        )
    return roles


def _run(args: argparse.Namespace) -> None:
    from cli.serving import configured, serve
    from worker.settings import Settings, read

    settings = configured(read, "worker")  # before the libraries, which take a while to load
    from handlers.process.starting import CannotStart
    from worker import app

    async def run(settings: Settings, stop: asyncio.Event) -> None:
        try:
            await app.run(settings, args.only, stop)
        except* CannotStart as errors:
            raise Refused(f"worker cannot start:\n{errors.exceptions[0]}") from None

    serve(run, settings)
