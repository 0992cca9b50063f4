"""`swiftreplies ingress`"""

import argparse
import asyncio

from cli.command import Refused


def declare(noun: argparse.ArgumentParser) -> None:
    noun.set_defaults(run=_run)


def _run(_: argparse.Namespace) -> None:
    from cli.serving import configured, serve
    from handlers.process.starting import CannotStart
    from ingress import app, settings

    async def run(settings: settings.Settings, stop: asyncio.Event) -> None:
        try:
            await app.serve(settings, stop)
        except CannotStart as error:
            raise Refused(f"ingress cannot start:\n{error}") from None

    serve(run, configured(settings.read, "ingress"))
