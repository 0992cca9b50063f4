"""Statuses: how far each of our messages got, whatever order Meta tells it in."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import structlog

from db.conversations import forget_thread
from db.ids import ChatbotId, ConversationId, MessageId, UserId
from db.messages import merge_statuses
from db.parked import ParkedItem
from db.pool import Pool, tenant
from db.usage import give_back_messages
from handlers import telemetry
from handlers.recording import Arrived, Item, by_tenant, each_or_park, opened, park
from handlers.whatsapp.wire import Status, Unknown, parse_status

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Upwards only. 'failed' stands above 'sent' (Meta gave up) and below 'delivered' (it arrived all
# the same); merge_statuses in db/messages.sql has the same order.
RANK = {"sent": 1, "failed": 2, "delivered": 3, "read": 4, "played": 5}


async def merge_batch(pool: Pool, bodies: Sequence[bytes]) -> None:
    """Raises one of db.pool.UNAVAILABLE when the database is away."""
    arrived, parked = opened(bodies)
    statuses: list[tuple[Arrived, Status]] = []
    for one in arrived:
        parsed = parse_status(one.update)
        if isinstance(parsed, Unknown):
            parked.append(one.parked("not_understood", parsed.reason))
        else:
            statuses.append((one, parsed))
    merged = 0
    if statuses:
        async with pool.acquire() as conn:
            # A status binds no number: it speaks of a message that we sent from a bound one.
            tenants, nobodys = await by_tenant(conn, statuses, bind=False)
        parked += nobodys
        orphans: list[ParkedItem] = []

        async def write(user_id: UserId, items: Sequence[Item[Status]]) -> int:
            found, lost = await _merge_tenant(pool, user_id, items)
            orphans.extend(lost)
            return found

        for user_id, items in tenants.items():
            found, poison = await each_or_park(user_id, items, write)
            merged += found
            parked += poison
        parked += orphans
    await park(pool, parked)
    telemetry.STATUSES.labels("merged").inc(merged)
    telemetry.STATUSES.labels("parked").inc(len(parked))
    log.info("statuses.merged", statuses=len(statuses), merged=merged, parked=len(parked))


async def park_batch(pool: Pool, bodies: Sequence[bytes]) -> None:
    """What is neither a message nor a status: kept whole, and counted."""
    arrived, parked = opened(bodies)
    parked += [one.parked("not_understood", f"field:{one.update.field[:40]}") for one in arrived]
    await park(pool, parked)
    log.info("items.parked", parked=len(parked))


def furthest(items: Iterable[Item[Status]]) -> dict[tuple[ChatbotId, str], list[Item[Status]]]:
    """By chatbot and wamid, the highest-ranked status first."""
    by_message: dict[tuple[ChatbotId, str], list[Item[Status]]] = {}
    for item in items:
        by_message.setdefault((item.chatbot_id, item.value.wamid), []).append(item)
    for group in by_message.values():
        group.sort(key=lambda i: -RANK[i.value.status])
    return by_message


def report(group: Sequence[Item[Status]]) -> dict[str, Any]:
    """What a message's row keeps: each status's first time, and Meta's errors."""
    times: dict[str, str] = {}
    for item in sorted(group, key=lambda i: i.value.at):
        times.setdefault(item.value.status, item.value.at.isoformat())
    kept: dict[str, Any] = {"statuses": times}
    errors = [error for item in group for error in item.value.errors]
    if errors:
        kept["errors"] = errors[:5]
    return kept


async def _merge_tenant(
    pool: Pool, user_id: UserId, items: Sequence[Item[Status]]
) -> tuple[int, list[ParkedItem]]:
    found = 0
    orphans: list[ParkedItem] = []
    messages = furthest(items)
    async with tenant(pool, user_id) as conn:
        give_back: list[date] = []
        unheard: set[ConversationId] = set()
        for chatbot_id in sorted({bot for bot, _ in messages}):
            groups = [group for (bot, _), group in messages.items() if bot == chatbot_id]
            merged = await merge_statuses(
                conn,
                user_id,
                chatbot_id,
                [g[0].value.wamid for g in groups],
                [_our_id(g) for g in groups],
                [g[0].value.status for g in groups],
                [report(g) for g in groups],
            )
            hit = {row.place for row in merged}
            for place, group in enumerate(groups, start=1):
                if place in hit:
                    found += len(group)
                else:
                    orphans += [item.arrived.parked("orphan_status") for item in group]
            unheard |= {
                row.conversation_id
                for row in merged
                if row.failed_now and row.conversation_id is not None
            }
            give_back += [row.give_back_day for row in merged if row.give_back_day is not None]
        for conversation_id in sorted(unheard):
            # The bot believes it said this; the customer never saw it.
            await forget_thread(conn, user_id, conversation_id)
        if give_back:
            await give_back_messages(conn, user_id, give_back)
    return found, orphans


def _our_id(group: Sequence[Item[Status]]) -> MessageId | None:
    return next((MessageId(i.value.our_id) for i in group if i.value.our_id is not None), None)
