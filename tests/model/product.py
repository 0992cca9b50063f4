"""Every call of the model into the product, and the outsiders that it is given.

Only here are signatures of the product named, so only this module follows when they change. The
model and the Graph API are played by objects that stop the job and ask the test what to answer;
everything else is the product itself, with its own SQL.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import asyncpg

from cli.dead_items import BUSY, _queue_again
from db import conversations, sends, status_fence, workers
from db.conversations import Claim, Debounce
from db.ids import ActionId, ConversationId, MessageId, UserId, Wamid, WorkerId
from db.pool import CONFLICT, Conn, connect_owner, create_pool, tenant
from db.sends import Pace, SendClaim
from handlers import actions
from handlers.actions import Similar, expire_overdue, raise_passed_events
from handlers.agent.graph import Agent
from handlers.handovers import end_overdue_handovers
from handlers.ingest import batch
from handlers.ingest.envelope import Envelope, encode
from handlers.ingest.recording import record_batch
from handlers.ingest.retry import PATIENCE
from handlers.ingest.statuses import merge_batch
from handlers.process.secrets import Vault
from handlers.process.sweeps import Sweep
from handlers.sends.rules import MAX_AGE, PAIR_BURST, PAIR_EVERY
from handlers.sends.sending import MAX_UNKNOWN, Sender
from handlers.sends.tokens import Tokens
from handlers.takeover import (
    NotDone,
    hand_back_conversation,
    queue_message_of_person,
    take_over_conversation,
)
from handlers.turns.run import run_turn
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from handlers.whatsapp.cloud_api.wire import OUR_ID, callback_data, split
from handlers.whatsapp.port import Accepted, Outcome, RefusalKind, Refused, Unknown
from ingress.api.door import TRIES_ON_CONFLICT
from tests.factories import Tenant
from tests.model.stepping import CALL, Job
from tests.model.thinking import Model, ModelBroke, event_name
from tests.unit.payloads import FAILURE, change, value, webhook

__all__ = ["BUSY", "MAX_UNKNOWN", "event_name"]

# How far a decision approves more by itself.
SIMILAR = {
    "approve similar": Similar(max_amount=Decimal(20), max_per_day=Decimal(45)),
    "approve anybody's": Similar(max_amount=Decimal(20), max_per_day=Decimal(45), any_contact=True),
}

# Real time must not matter: what lies ahead lies hours ahead, and time is made to pass by a day.
AT_ONCE = Debounce(quiet=timedelta(0), longest=timedelta(0))
LATER = Debounce(quiet=timedelta(hours=1), longest=timedelta(hours=5))
TERM = timedelta(hours=1)
UNKNOWN_WAIT = timedelta(hours=1)
PAIR = Pace(every=PAIR_EVERY, burst=PAIR_BURST)
# What is old is not answered, and an echo silences the bot for an hour from when it was written.
SENT_AT = int(time.time()) - 1_800
NAMES = re.compile(r"wamid\.[A-Z]*\d+|event:\d+")
# What customers write besides: that they want a person, and no advertising.
WISH, STOP = "I want to talk to a human", "STOP"


def answered_by(text: str) -> set[str]:
    """Of a model's own reply; what code says beside it names none."""
    return set(NAMES.findall(text))


@dataclass(frozen=True, slots=True)
class Request:
    """What the Graph API was asked."""

    message_id: MessageId
    attempt: int
    callback: str


class Graph:
    """In the place of handlers.whatsapp.graph_api.GraphApi."""

    def __init__(self, job: Job) -> None:
        self._job = job

    async def send(
        self, phone_number_id: str, token: str, body: dict[str, Any], *, marketing: bool = False
    ) -> Outcome:
        ours = OUR_ID.fullmatch(body["biz_opaque_callback_data"])
        assert ours is not None
        request = Request(MessageId(int(ours[1])), int(ours[2]), ours[0])
        assert request.callback == callback_data(request.message_id, request.attempt)
        verdict: Outcome = await self._job.stop(CALL, request)
        return verdict


def _refused(kind: RefusalKind, code: int) -> Refused:
    return Refused(kind, {"code": code, "title": None, "details": None})


REFUSALS = {
    "later": _refused("transient", 131016),
    "too fast": _refused("pair", 131056),
    "no token": _refused("account", 190),
    "never": _refused("refused", 131026),
}


def accepted(wamid: str) -> Outcome:
    return Accepted(Wamid(wamid))


def no_answer() -> Outcome:
    return Unknown("TimeoutError")


# ---- what workers do ----------------------------------------------------------------------------


async def record(job: Job, batch: bytes, debounce: Debounce) -> None:
    await record_batch(job.pool, [batch], debounce)


async def merge(job: Job, batch: bytes) -> None:
    await merge_batch(job.pool, [batch])


async def turn(job: Job, worker_id: WorkerId, claim: Claim) -> None:
    await run_turn(job.pool, cast("Agent", Model(job, claim.epoch)), worker_id, claim)


async def send(job: Job, worker_id: WorkerId, claim: SendClaim) -> None:
    await _sender(job).send(worker_id, claim)


async def settle_unknown(job: Job, claim: SendClaim) -> None:
    await _sender(job).settle_unknown(claim, UNKNOWN_WAIT)


def _sender(job: Job) -> Sender:
    tokens = Tokens(Vault(("a key of the tests",)), "a token")
    return Sender(job.pool, cast("GraphApi", Graph(job)), tokens)


async def claim_turns(job: Job, worker_id: WorkerId, limit: int) -> list[Claim]:
    async with job.pool.acquire() as conn:
        return await conversations.claim_conversations(conn, worker_id, limit, limit)


async def claim_sends(job: Job, worker_id: WorkerId, limit: int) -> list[SendClaim]:
    async with job.pool.acquire() as conn:
        return await sends.claim_sends(conn, worker_id, limit, limit, PAIR, MAX_AGE)


async def overdue_sends(job: Job) -> list[SendClaim]:
    async with job.pool.acquire() as conn:
        return await status_fence.overdue_sends(conn, UNKNOWN_WAIT, 100)


async def mark_wanted(job: Job) -> datetime | None:
    async with job.pool.acquire() as conn:
        return await status_fence.fence_wanted(conn, UNKNOWN_WAIT)


async def mark_handled(job: Job, at: datetime) -> None:
    async with job.pool.acquire() as conn:
        await status_fence.move_fence(conn, at, PATIENCE)


async def release_replayed(job: Job) -> int:
    async with job.pool.acquire() as conn:
        return len(await status_fence.release_replayed(conn))


async def raise_passed(job: Job) -> None:
    await raise_passed_events(job.pool, Sweep("passed_event"))


async def expire(job: Job) -> None:
    await expire_overdue(job.pool, Sweep("overdue_action"))


async def end_handovers(job: Job) -> None:
    await end_overdue_handovers(job.pool, Sweep("overdue_handover"))


async def sweep_dead(job: Job) -> list[workers.Freed]:
    async with job.pool.acquire() as conn:
        return await workers.sweep_dead_workers(conn, TERM)


async def sweep_unheld(
    job: Job, worker_id: WorkerId, talks: Sequence[ConversationId], sends: Sequence[MessageId]
) -> list[workers.Freed]:
    async with job.pool.acquire() as conn:
        return await workers.sweep_unheld(conn, worker_id, talks, sends)


async def beat(job: Job, worker_id: WorkerId) -> WorkerId:
    """As Liveness does it: who was struck off registers anew."""
    async with job.pool.acquire() as conn:
        if await workers.beat(conn, worker_id) is not None:
            return worker_id
        return await workers.register_worker(conn, "a model's worker")


async def register(conn: Conn) -> WorkerId:
    return await workers.register_worker(conn, "a model's worker")


# ---- what people of the business and the operator do ---------------------------------------------


async def take_over(job: Job, of: Tenant, talk: int, hours: int | None) -> None:
    """Through the API: for a while, or until it is handed back."""
    until = None if hours is None else datetime.now(UTC) + timedelta(hours=hours)
    async with tenant(job.pool, of.user_id) as conn:
        await take_over_conversation(conn, of.user_id, ConversationId(talk), until, "by hand")


async def hand_back(job: Job, of: Tenant, talk: int) -> None:
    async with tenant(job.pool, of.user_id) as conn:
        await hand_back_conversation(conn, of.user_id, ConversationId(talk))


async def person_writes(job: Job, of: Tenant, talk: int) -> str | None:
    """Through the API. Why not."""
    text = (ConversationId(talk), "said by a person", {"kind": "human"})

    async def call() -> None:
        async with tenant(job.pool, of.user_id) as conn:
            await queue_message_of_person(conn, of.user_id, *text)

    try:
        await _as_the_door_does(call)
    except NotDone as why:
        return why.reason
    return None


async def _as_the_door_does(call: Callable[[], Awaitable[None]]) -> None:
    """Again after a conflict: that the last unit went meanwhile is one."""
    for _ in range(TRIES_ON_CONFLICT - 1):
        with suppress(*CONFLICT):
            await call()
            return
    await call()


async def decide(job: Job, of: Tenant, action: Mapping[str, Any], verdict: str) -> str:
    """Through the API. What came of it."""
    action_id, approves = ActionId(action["id"]), verdict.startswith("approve")
    similar = SIMILAR.get(verdict)
    if similar is not None and action["amount"] is None:
        similar = Similar(any_contact=similar.any_contact)  # only equal ones
    async with tenant(job.pool, of.user_id) as conn:
        if verdict == "withdraw":
            outcome = await actions.withdraw(conn, of.user_id, action_id)
        else:
            becomes: actions.Verdict = "approved" if approves else "denied"
            outcome = await actions.decide(
                conn, of.user_id, action_id, becomes, "as you like", similar=similar
            )
    return "gone" if outcome is None else verdict if outcome.won else "decided before"


async def replay(job: Job, user_id: UserId, message_id: MessageId) -> str | None:
    """As `swiftreplies dead replay` does it, once. Why not; '' when it is not dead."""
    async with tenant(job.pool, user_id) as conn:
        return await _queue_again(conn, user_id, message_id)


# ---- what comes from outside --------------------------------------------------------------------


def wrote(of: Tenant, phone: str, items: Sequence[tuple[str, int, str]]) -> bytes:
    """An entry of the log with texts of one customer: (wamid, WhatsApp's time, text)."""
    texts = [
        {
            "from": phone,
            "id": wamid,
            "timestamp": str(SENT_AT + at),
            "type": "text",
            "text": {"body": text},
        }
        for wamid, at, text in items
    ]
    return _entry(of, messages=texts)


def changed(of: Tenant, phone: str, wamid: str, at: int, target: str, kind: str) -> bytes:
    """An entry with an edit or a revocation of what a customer wrote."""
    told: dict[str, Any] = {"original_message_id": target}
    if kind == "edit":
        told["message"] = {"type": "text", "text": {"body": f"edit {wamid}"}}
    change_ = {"from": phone, "id": wamid, "timestamp": str(SENT_AT + at), "type": kind, kind: told}
    return _entry(of, messages=[change_])


def echoed(of: Tenant, phone: str, wamid: str, at: int) -> bytes:
    """An entry of the log with what a person wrote to a customer in the WhatsApp Business app."""
    echo = {
        "from": of.number.lstrip("+"),
        "to": phone,
        "id": wamid,
        "timestamp": str(SENT_AT + at),
        "type": "text",
        "text": {"body": "said on the phone"},
    }
    return _entry(of, "smb_message_echoes", message_echoes=[echo])


def told(of: Tenant, items: Sequence[tuple[str, str, str | None]]) -> bytes:
    """An entry with statuses: (wamid, status, what we sent along)."""
    statuses = [
        {
            "id": wamid,
            "status": status,
            "timestamp": str(SENT_AT),
            **({"biz_opaque_callback_data": callback} if callback else {}),
            **({"errors": [FAILURE]} if status == "failed" else {}),
        }
        for wamid, status, callback in items
    ]
    return _entry(of, statuses=statuses)


def _entry(of: Tenant, field: str = "messages", **parts: Any) -> bytes:
    content = change(value(of.phone_number_id, of.number, **parts), field)
    return encode(Envelope("a trace", "2026-11-22T10:00:00+00:00", tuple(split(webhook(content)))))


class Connections:
    """Real ones, as the product's processes have them."""

    def __init__(self, runtime_url: str, owner_url: str) -> None:
        self._runtime_url = runtime_url
        self._owner_url = owner_url
        self._pool: Any = None

    async def open(self) -> None:
        # Who waits for a lock waits for the test, however slow the machine is.
        self._lock_wait_s, batch.LOCK_WAIT_S = batch.LOCK_WAIT_S, 0
        self._pool = await create_pool(
            self._runtime_url,
            size=40,
            name="model",
            statement_timeout="0",
            idle_in_transaction_session_timeout="0",
        )

    async def runtime(self) -> Conn:
        conn: Conn = await self._pool.acquire()
        return conn

    async def owner(self) -> Conn:
        return await connect_owner(self._owner_url)

    def close(self) -> None:
        batch.LOCK_WAIT_S = self._lock_wait_s
        self._pool.terminate()


# What a job may fail with, because the test made it fail.
INJECTED = (ModelBroke.__name__, asyncpg.ConnectionDoesNotExistError.__name__)
