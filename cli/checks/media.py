"""MEDIA_STORE: whatever ingress and workers reach must be one."""

from cli.checks.check import Check, failed, ok, warning
from db.connecting import CannotConnect
from db.media_stores import sightings
from db.pool import UNAVAILABLE, connect_runtime
from handlers.media_store.sighting import FRESH

WHAT = "media store"


async def media(url: str) -> list[Check]:
    """By what each process said of the store that it reaches, once a minute."""
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
    by_store: dict[str, list[str]] = {}
    for one in seen:
        by_store.setdefault(one.store, []).append(one.process)
    kinds = {one.process.partition("@")[0] for one in seen}
    if len(by_store) > 1:
        groups = "; ".join(", ".join(processes) for processes in by_store.values())
        return [
            failed(
                WHAT,
                f"MEDIA_STORE leads to {len(by_store)} different places: {groups}. Exports that one"
                " makes the other cannot give out: let all of them reach the same directory",
            )
        ]
    if missing := sorted({"ingress", "worker"} - kinds):
        return [
            warning(
                WHAT,
                f"no {' and no '.join(missing)} has reached a MEDIA_STORE in the last"
                f" {FRESH.seconds // 60} minutes: is it running, and may it write there?",
            )
        ]
    return [ok(WHAT, f"one, reached by {len(seen)} processes")]
