"""`swiftreplies dead`: what could not be processed, why, and again."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from cli.operating import Refused, as_owner, broker_problem, check
from db.parked import list_parked, show_parked, take_parked
from db.pool import Conn
from handlers.configuration import Environment
from handlers.ingest_log import rabbitmq
from handlers.parking import entry_of, readable

PAGE = 500


async def dead_list(env: Environment) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    async with as_owner(env) as conn:
        last = 0
        while page := await list_parked(conn, last, PAGE):
            items += [asdict(item) | {"parked_at": item.parked_at.isoformat()} for item in page]
            last = page[-1].id
    return {"items": items}


async def dead_show(env: Environment, parked_id: int) -> dict[str, Any]:
    async with as_owner(env) as conn:
        item = await show_parked(conn, parked_id)
    if item is None:
        raise Refused(f"there is no dead item {parked_id}: see `swiftreplies dead list`")
    return asdict(item) | {
        "parked_at": item.parked_at.isoformat(),
        "raw": readable(item.raw),
    }


async def dead_replay(env: Environment, ids: list[int] | None) -> dict[str, Any]:
    """None: all of them. What is still not understood is parked again."""
    amqp = env.amqp_url()
    check(env)
    async with as_owner(env) as conn:
        wanted = ids
        if wanted is None:
            wanted = []
            while page := await list_parked(conn, wanted[-1] if wanted else 0, PAGE):
                wanted += [item.id for item in page]
        replayed = await replay(conn, amqp, wanted)
    missing = sorted(set(wanted) - set(replayed))
    if ids is not None and missing and not replayed:
        raise Refused(f"there is no dead item {', '.join(map(str, missing))}")
    return {"replayed": len(replayed), "missing": missing}


async def replay(conn: Conn, amqp: str, ids: Iterable[int]) -> list[int]:
    """Each item leaves the list in a transaction that commits when it is durable in the log, so
    that a crash in between replays it twice (harmless: a wamid is recorded once) and never loses
    it."""
    replayed: list[int] = []
    try:
        async with rabbitmq.publishing(amqp) as publish:
            for parked_id in ids:
                async with conn.transaction():
                    item = await take_parked(conn, parked_id)
                    if item is None:
                        continue
                    await publish(
                        entry_of(
                            kind=item.kind,
                            phone_number_id=item.phone_number_id,
                            display_number=item.display_number,
                            trace_id=item.trace_id,
                            raw=item.raw,
                            now=datetime.now(UTC),
                        )
                    )
                replayed.append(parked_id)
    except rabbitmq.UNREACHABLE as error:
        raise Refused(f"{len(replayed)} replayed; then {broker_problem(error)}") from error
    return replayed
