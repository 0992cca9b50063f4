"""`swiftreplies dead`: what could not be processed, why, and again.

Four kinds in one list: what arrived and was nobody's or not understood ('17', parked_items),
replies that did not reach their customer ('send-17', with the message's id), statuses that no
message of ours came for ('status-17'), and what could not be written and is tried again by itself
('stuck-17').
"""

import argparse
import asyncio
import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from cli.command import Refused, show, verb, verbs
from cli.operating import as_owner, check, log_problem
from db.conversations import forget_threads
from db.dead import (
    DeadSend,
    OrphanStatus,
    list_dead,
    lock_dead_conversation,
    lock_dead_message,
    owner_of_dead,
    owners_of_dead,
    read_dead_send,
    requeue_dead_send,
    show_dead_send,
    show_orphan,
)
from db.ids import MessageId, UserId
from db.orphans import take_orphans
from db.parked import Shown, list_parked, parked_of_other_apps, show_parked, take_parked
from db.pool import CONFLICT, Conn, tenant_transaction
from db.stuck import ShownStuck, retry_stuck_now, show_stuck
from db.usage import could_reserve, spend_on_message
from handlers.ingest.parking import entry_of, readable
from handlers.ingest_log.factory import adapter
from handlers.process.configuration import Environment

PAGE = 500
TRIES = 20  # while the conversation is being answered; a turn takes seconds as a rule
TRY_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class DeadId:
    kind: str  # 'item', 'send', 'status' or 'stuck'
    number: int

    def __str__(self) -> str:
        return str(self.number) if self.kind == "item" else f"{self.kind}-{self.number}"


def dead_id(text: str) -> DeadId:
    """As `dead list` shows it."""
    kind, _, number = text.rpartition("-")
    if kind in ("", "send", "status", "stuck") and number.isascii() and number.isdigit():
        return DeadId(kind or "item", min(int(number), 2**63 - 1))
    raise argparse.ArgumentTypeError(
        f"{text!r} is no id: `swiftreplies dead list` shows 17, send-17, status-17 or stuck-17"
    )


def declare(noun: argparse.ArgumentParser) -> None:
    dead = verbs(noun)
    listing = verb(dead, "list", "every dead item with its reason, without its content")
    listing.set_defaults(run=_list)
    show = verb(dead, "show", "one dead item, whole")
    show.add_argument("id", type=dead_id, metavar="ID")
    show.set_defaults(run=_show)
    again = verb(dead, "replay", "lets dead items be processed again; safe to repeat")
    which = again.add_mutually_exclusive_group(required=True)
    which.add_argument("ids", type=dead_id, nargs="*", metavar="ID", default=[])
    which.add_argument("--all", action="store_true")
    again.set_defaults(run=_replay)


def _list(args: argparse.Namespace) -> None:
    found = asyncio.run(dead_list(Environment(os.environ)))
    show(args, found, described(found["items"]) or "nothing is dead")


def _show(args: argparse.Namespace) -> None:
    shown = asyncio.run(dead_show(Environment(os.environ), args.id))
    show(args, shown, json.dumps(shown, indent=2))


def _replay(args: argparse.Namespace) -> None:
    done = asyncio.run(dead_replay(Environment(os.environ), None if args.all else args.ids))
    missing = f"; not there: {', '.join(done['missing'])}" if done["missing"] else ""
    refused = "".join(f"\n{one['id']}: {one['why']}" for one in done["refused"])
    show(args, done, f"{done['replayed']} replayed{missing}{refused}")


async def dead_list(env: Environment) -> dict[str, Any]:
    async with as_owner(env) as conn:
        return {"items": await _listed(conn)}


async def _listed(conn: Conn) -> list[dict[str, Any]]:
    """Oldest first."""
    items: list[dict[str, Any]] = []
    last = 0
    while page := await list_parked(conn, last, PAGE):
        items += [asdict(item) | {"id": str(item.id)} for item in page]
        last = page[-1].id
    for user_id in await owners_of_dead(conn):
        async with tenant_transaction(conn, user_id):
            dead = await list_dead(conn, user_id)
        items += [asdict(item) | {"user_id": user_id} for item in dead]
    items.sort(key=lambda item: item["parked_at"])
    return [item | {"parked_at": item["parked_at"].isoformat()} for item in items]


async def dead_show(env: Environment, wanted: DeadId) -> dict[str, Any]:
    async with as_owner(env) as conn:
        shown = await _shown(conn, wanted)
    if shown is None:
        raise Refused(f"there is no dead item {wanted}: see `swiftreplies dead list`")
    return shown


async def _shown(conn: Conn, wanted: DeadId) -> dict[str, Any] | None:
    if wanted.kind == "item":
        item = await show_parked(conn, wanted.number)
        return _shown_item(item) if item else None
    user_id = await owner_of_dead(conn, wanted.kind, wanted.number)
    if user_id is None:
        return None
    async with tenant_transaction(conn, user_id):
        if wanted.kind == "status":
            orphan = await show_orphan(conn, user_id, wanted.number)
            return _shown_orphan(orphan) if orphan else None
        if wanted.kind == "stuck":
            stuck = await show_stuck(conn, user_id, wanted.number)
            return _shown_stuck(user_id, stuck) if stuck else None
        send = await show_dead_send(conn, user_id, MessageId(wanted.number))
        return _shown_send(send) if send else None


def _shown_item(item: Shown) -> dict[str, Any]:
    return asdict(item) | {
        "id": str(item.id),
        "parked_at": item.parked_at.isoformat(),
        "raw": readable(item.raw),
    }


def _shown_orphan(orphan: OrphanStatus) -> dict[str, Any]:
    return {
        "id": f"status-{orphan.id}",
        "kind": "status",
        "reason": "orphan_status",
        "detail": orphan.status,
        "user_id": orphan.user_id,
        "phone_number_id": orphan.phone_number_id,
        "display_number": orphan.display_number,
        "trace_id": orphan.trace_id,
        "parked_at": orphan.parked_at.isoformat(),
        "raw": readable(orphan.raw),
    }


def _shown_stuck(user_id: UserId, item: ShownStuck) -> dict[str, Any]:
    return asdict(item) | {
        "id": f"stuck-{item.id}",
        "reason": "retrying" if item.told_at is None else "stuck",
        "detail": item.error,
        "user_id": user_id,
        "parked_at": item.failed_at.isoformat(),
        "failed_at": item.failed_at.isoformat(),
        "retry_at": item.retry_at.isoformat(),
        "told_at": item.told_at.isoformat() if item.told_at else None,
        "raw": readable(item.raw),
    }


def _shown_send(send: DeadSend) -> dict[str, Any]:
    return {
        "id": f"send-{send.message_id}",
        "kind": "send",
        "reason": send.reason,
        "detail": send.detail,
        "user_id": send.user_id,
        "chatbot_id": send.chatbot_id,
        "contact_id": send.contact_id,
        "conversation_id": send.conversation_id,
        "phone_number_id": send.phone_number_id,
        "display_number": send.display_number,
        "trace_id": send.trace_id,
        "parked_at": send.died_at.isoformat(),
        "raw": {
            "text": send.content_text,
            "to": send.recipient,
            "answers": send.answers,
            "status": send.status,
            "send_attempts": send.send_attempts,
            "written_at": send.created_at.isoformat(),
            "metadata": send.metadata,
        },
    }


async def dead_replay(env: Environment, ids: list[DeadId] | None) -> dict[str, Any]:
    """None: all of them. What is still not understood, or not taken, comes back."""
    async with as_owner(env) as conn:
        wanted = ids
        if wanted is None:
            wanted = [dead_id(item["id"]) for item in await _listed(conn)]
        items = [one.number for one in wanted if one.kind == "item"]
        foreign = {DeadId("item", id_) for id_ in await parked_of_other_apps(conn, items)}
        in_log = [one for one in wanted if one.kind not in ("send", "stuck") and one not in foreign]
        replayed: list[DeadId] = []
        refused = [{"id": str(one), "why": FOREIGN} for one in wanted if one in foreign]
        if in_log:
            log_url = env.log_url()
            check(env)
            replayed += await replay(conn, log_url, in_log)
        for one in wanted:
            if one.kind == "stuck" and await _try_now(conn, one.number):
                replayed.append(one)
            if one.kind == "send":
                why = await send_again(conn, MessageId(one.number))
                if why is None:
                    replayed.append(one)
                elif why:
                    refused.append({"id": str(one), "why": why})
    named = {str(one) for one in replayed} | {one["id"] for one in refused}
    missing = [str(one) for one in dict.fromkeys(wanted) if str(one) not in named]
    if ids is not None and not replayed:
        problems = [f"{one['id']}: {one['why']}" for one in refused]
        if missing:
            problems.append(f"there is no dead item {', '.join(missing)}")
        raise Refused("; ".join(problems))
    return {"replayed": len(replayed), "missing": missing, "refused": refused}


async def replay(conn: Conn, log_url: str, ids: Iterable[DeadId]) -> list[DeadId]:
    """Each item leaves the list in a transaction that commits when it is durable in the log, so
    that a crash in between replays it twice (harmless: a wamid is recorded once, a status merges
    upwards) and never loses it."""
    replayed: list[DeadId] = []
    ingest_log = adapter(log_url)
    try:
        async with ingest_log.publishing(log_url) as publish:
            for one in ids:
                if one.kind == "item":
                    async with conn.transaction():
                        item = await take_parked(conn, one.number)
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
                    replayed.append(one)
                    continue
                user_id = await owner_of_dead(conn, "status", one.number)
                if user_id is None:
                    continue
                async with tenant_transaction(conn, user_id):
                    taken = await take_orphans(conn, user_id, [one.number])
                    for orphan in taken:
                        await publish(
                            entry_of(
                                kind="status",
                                phone_number_id=orphan.phone_number_id,
                                display_number=orphan.display_number,
                                trace_id=orphan.trace_id,
                                raw=orphan.raw,
                                now=datetime.now(UTC),
                            )
                        )
                if taken:
                    replayed.append(one)
    except ingest_log.UNREACHABLE as error:
        raise Refused(f"{len(replayed)} replayed; then {log_problem(log_url, error)}") from error
    return replayed


async def _try_now(conn: Conn, stuck_id: int) -> bool:
    """By the next worker that looks: False when there is none."""
    user_id = await owner_of_dead(conn, "stuck", stuck_id)
    if user_id is None:
        return False
    async with tenant_transaction(conn, user_id):
        return bool(await retry_stuck_now(conn, user_id, stuck_id))


async def send_again(conn: Conn, message_id: MessageId) -> str | None:
    """Why not; '' when there is no such dead send. It costs a unit again, within the limits."""
    user_id = await owner_of_dead(conn, "send", message_id)
    if user_id is None:
        return ""
    for _ in range(TRIES):
        with contextlib.suppress(*CONFLICT):
            async with tenant_transaction(conn, user_id):
                why = await _queue_again(conn, user_id, message_id)
            if why != BUSY:
                return why
        await asyncio.sleep(TRY_AFTER_S)
    return BUSY


FOREIGN = "an app may not speak for a number of another app"
BUSY = "its conversation is being answered at this moment: try again"


async def _queue_again(conn: Conn, user_id: UserId, message_id: MessageId) -> str | None:
    # One after the other, and only then looked at: of eight replays at once, one finds it dead.
    await lock_dead_message(conn, user_id, message_id)
    await lock_dead_conversation(conn, user_id, message_id)
    locked = await read_dead_send(conn, user_id, message_id)
    if locked is None:
        return ""
    if locked.being_answered:  # its turn may hold the unit that we would take
        return BUSY
    if not locked.is_notice:
        outcome = await could_reserve(conn, user_id, locked.conversation_id)
        if outcome != "granted":
            return f"{outcome}: nothing more may be sent"
        spend_on_message(conn, user_id, locked.conversation_id, message_id)
    await requeue_dead_send(conn, user_id, message_id)
    await forget_threads(conn, user_id, [locked.conversation_id])
    return None


def described(items: Sequence[dict[str, Any]]) -> str:
    """For a terminal, a line each."""
    return "\n".join(
        f"{i['id']:>14}  {i['parked_at'][:19]}  {i['kind']:<8} {i['reason']:<20}"
        f" {i['detail'] or ''}  number {i['display_number'] or '-'}  trace {i['trace_id'] or '-'}"
        for i in items
    )
