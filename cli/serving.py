"""What the commands that are processes have in common: they read all their configuration, or name
what it lacks, and run until they are told to stop."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

import structlog
import uvloop

from cli.command import Refused
from handlers.process import telemetry
from handlers.process.configuration import BadConfiguration, left_out

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Settings(Protocol):
    @property
    def log_level(self) -> str: ...

    @property
    def log_format(self) -> str: ...


S = TypeVar("S", bound=Settings)


def configured(read: Callable[[Mapping[str, str]], S], process: str) -> S:
    try:
        settings = read(os.environ)
    except BadConfiguration as bad:
        problems = "\n".join(f"  - {p}" for p in bad.problems)
        raise Refused(f"{process} cannot start:\n{problems}") from None
    telemetry.configure(settings.log_level, settings.log_format, process)
    for told in left_out(os.environ):
        log.warning("configuration.left_out", what=told)
    return settings


def serve(run: Callable[[S, asyncio.Event], Coroutine[Any, Any, None]], settings: S) -> None:
    async def until_signalled() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def signalled() -> None:
            if stop.is_set():  # asked twice: at once
                os._exit(1)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled)
        # asyncio's own lines would quote the error's text, which may be a customer's.
        loop.set_exception_handler(
            lambda _, context: log.error(
                "loop.error", what=context.get("message"), exc_info=context.get("exception")
            )
        )
        await run(settings, stop)

    try:
        uvloop.run(until_signalled())
    except OSError as error:
        raise Refused(f"cannot listen: {error.strerror or error}") from error
    except Refused:
        raise
    except Exception as error:
        # Not as a traceback: that would print what the error choked on.
        log.error("process.crashed", exc_info=error)
        raise Refused("crashed; the log says where") from error
