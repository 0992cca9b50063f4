"""MEDIA_STORE: whatever ingress and workers reach must be one."""

from collections.abc import Sequence

from cli.checks.check import Check, failed, ok, warning
from db.connecting import CannotConnect
from db.media_stores import Sighting, sightings
from db.pool import UNAVAILABLE, connect_runtime
from handlers.media_store.sighting import EVERY_S, FRESH, apart, proven

WHAT = "media store"


async def media(url: str) -> list[Check]:
    """By what each process says of its store, and of what another has written there."""
    try:
        conn = await connect_runtime(url, "swiftreplies doctor")
    except CannotConnect:
        return []  # told elsewhere
    try:
        seen = await sightings(conn, FRESH)
    except UNAVAILABLE:
        return []
    finally:
        await conn.close()
    return judged(seen)


def judged(seen: Sequence[Sighting]) -> list[Check]:
    problems = [failed(WHAT, f"{one.process}: {one.problem}") for one in seen if one.problem]
    reached = [one for one in seen if not one.problem]
    kinds = {one.process.partition("@")[0] for one in reached}
    stores = {one.store for one in reached}
    groups = proven(reached)
    named = "; ".join(", ".join(processes) for processes in groups)
    missed = [f"{one} does not find what {other} has written" for one, other in apart(reached)]
    if len(stores) > 1 or missed:
        return [
            *problems,
            failed(
                WHAT,
                f"MEDIA_STORE leads to different places ({'; '.join(missed) or named}). Files that"
                " one makes the other cannot give out: let all of them reach the same directory or"
                " bucket",
            ),
        ]
    if problems:
        return problems
    if missing := sorted({"ingress", "worker"} - kinds):
        return [
            warning(
                WHAT,
                f"no {' and no '.join(missing)} has reached a MEDIA_STORE in the last"
                f" {FRESH.seconds // 60} minutes: is it running, and may it write there?",
            )
        ]
    if len(groups) > 1:
        return [
            warning(
                WHAT,
                f"not proven yet to be one for {named}: look again in {2 * int(EVERY_S)} s, or end"
                " those of a release before",
            )
        ]
    return [ok(WHAT, f"one: {len(reached)} processes find there what another has written")]
