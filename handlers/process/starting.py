"""Before a process works: its databases are what they have to be, or it says all that is wrong.

Away is not wrong: that is waited for. What was wrong from the start does not mend itself, so the
process ends; once it works, the same is an outage like any other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from db.connecting import CannotConnect, Unfit
from db.pool import REFUSED, UNAVAILABLE
from handlers.process import telemetry

log: structlog.stdlib.BoundLogger = structlog.get_logger()

PATIENCE_S = 10.0  # a deploy starts processes and `migrate` at the same moment
WAIT_S = 1.0

# Says what is wrong, or raises what the database does.
Look = Callable[[], Awaitable[Sequence[str]]]


class CannotStart(Exception):
    """The message says everything that is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Seen:
    wrong: tuple[str, ...] = ()
    passes: bool = True  # what is wrong, perhaps: `migrate` may be at it
    away: Exception | None = None


async def seen(name: str, look: Look, *, refusals_end: bool) -> Seen:
    """`name`: the variable that says where to look."""
    try:
        return Seen(tuple(f"{name}: {one}" for one in await look()))
    except Unfit as unfit:
        return Seen(tuple(f"{name}: {one}" for one in unfit.problems), unfit.by_migrate)
    except CannotConnect as error:
        if error.refused and refusals_end:
            return Seen((f"{name}: {error}",))
        return Seen(away=error)
    except UNAVAILABLE as error:
        return Seen(away=error)
    except REFUSED as error:
        return Seen((f"{name}: {type(error).__name__}: was `swiftreplies migrate` run for it?",))


async def proved(looks: Mapping[str, Look], stop: asyncio.Event, *, refusals_end: bool) -> None:
    """Returns when nothing is wrong, or at `stop`. Raises CannotStart. A login that is refused is
    away for who can work without, and else the end too: a typing mistake is told, not waited out.
    """
    loop = asyncio.get_running_loop()
    deadline: float | None = None  # from the first answer on, however long none came
    while not stop.is_set():
        found = await asyncio.gather(
            *(seen(name, look, refusals_end=refusals_end) for name, look in looks.items())
        )
        wrong = [problem for one in found for problem in one.wrong]
        away = [(name, one.away) for name, one in zip(looks, found, strict=True) if one.away]
        if not wrong and not away:
            return
        if wrong and deadline is None:
            deadline = loop.time() + PATIENCE_S
        is_over = deadline is not None and loop.time() >= deadline
        if wrong and (is_over or not all(one.passes for one in found)):
            raise CannotStart("\n".join(f"  - {problem}" for problem in wrong))
        for name, error in away:
            log.warning("process.waits_for_database", url=name, **telemetry.named(error))
        if wrong:
            log.warning("process.waits_for_migration", lacks=wrong)
        await asyncio.sleep(WAIT_S / 4 if wrong else WAIT_S)
