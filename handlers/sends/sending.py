"""Sends: queued -> sending (committed) -> Graph API -> accepted | failed | unknown. A file that the
message brings is uploaded before it is marked (uploading.py).

An unknown outcome waits for a status that carries our id; with none after SEND_UNKNOWN_MS the
message goes out once more, marked, and unknown again it fails. Nothing later of its conversation
leaves before. What follows from a refusal is decided in rules.py.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog

from db.given_media import forget_handles
from db.ids import MessageId, UserId, WorkerId
from db.pool import UNAVAILABLE, Conn, Pool, tenant
from db.sends import (
    Send,
    SendClaim,
    drain_pair,
    hold_number,
    let_go,
    lock_attempt,
    lock_send,
    lock_unknown,
    mark_accepted,
    mark_sending,
    mark_unknown,
    put_off_send,
    read_send,
    requeue_send,
    resume_number,
    slow_number,
)
from db.telling import tell_messages
from handlers.campaigns.refused import pause_for_template
from handlers.deliveries.catalogue import MESSAGE_SENT, SendingPaused, SendingResumed
from handlers.deliveries.outbox import tell
from handlers.process import telemetry
from handlers.rules.backoff import backoff
from handlers.rules.numbers import normalised
from handlers.sends.ending import end_message
from handlers.sends.rules import (
    ERASED,
    MAX_AGE,
    PAIR_EVERY,
    TEMPLATE_CODES,
    Again,
    End,
    Pause,
    after_refusal_of,
    after_upload,
    before_sending,
)
from handlers.sends.tokens import Tokens
from handlers.sends.uploading import Problem, Uploader, is_to_be_uploaded
from handlers.whatsapp.cloud_api.graph_api import GraphApi, template_message, text_message
from handlers.whatsapp.cloud_api.interactive import interactive_message, media_message
from handlers.whatsapp.cloud_api.wire import callback_data
from handlers.whatsapp.port import Accepted, Outcome, Refused, Unknown

log: structlog.stdlib.BoundLogger = structlog.get_logger()

MAX_UNKNOWN = 2
SETTLE_PATIENCE_S = 20.0
UNKNOWN_TWICE = End("failed", "send_outcome_unknown")


@dataclass(frozen=True, slots=True)
class _Begun:
    """What is to be sent, and as whom."""

    send: Send
    phone_number_id: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sender:
    pool: Pool
    graph_api: GraphApi
    tokens: Tokens
    uploader: Uploader | None = None  # None: here nothing is sent that brings a file

    async def send(self, worker_id: WorkerId, claim: SendClaim) -> None:
        """One claimed message. Raises one of UNAVAILABLE when the database is away: the row then
        says how far it came."""
        started = time.monotonic()
        begun = await self._begun(worker_id, claim, started)
        if begun is not None and is_to_be_uploaded(begun.send):
            # Nothing is marked: whoever dies here has told nobody anything.
            if not await self._uploaded(worker_id, claim, begun, started):
                return
            begun = await self._begun(worker_id, claim, started)
        if begun is not None and not is_to_be_uploaded(begun.send):
            await self._call(claim, begun, started)
        elif begun is not None:  # the file was uploaded, and is unknown again: another time
            async with tenant(self.pool, claim.user_id) as conn:
                await let_go(conn, claim.user_id, claim.message_id)

    async def _begun(
        self, worker_id: WorkerId, claim: SendClaim, started: float
    ) -> "_Begun | None":
        """Marked, if nothing has to be uploaded before. None: it is not to be sent now."""
        user_id, message_id = claim.user_id, claim.message_id
        async with tenant(self.pool, user_id) as conn:
            if not await lock_send(conn, user_id, message_id, worker_id):
                return None
            send = await read_send(conn, user_id, message_id, MAX_AGE)
            if send is None:  # its row is locked, and its contact was erased while we waited
                await end_message(conn, user_id, message_id, ERASED)
                return None
            token = self.tokens.of(send.chatbot_id, send.access_token)
            obstacle = before_sending(send, has_token=token is not None)
            match obstacle:
                case None if not is_to_be_uploaded(send):
                    await mark_sending(conn, user_id, message_id, PAIR_EVERY)
                case None:
                    pass
                case End():
                    await end_message(conn, user_id, message_id, obstacle)
                case Pause():
                    await let_go(conn, user_id, message_id)
                    await _pause(conn, user_id, send, obstacle)
        if obstacle is not None or token is None or send.phone_number_id is None:
            result = "waits" if isinstance(obstacle, Pause) else "not_sent"
            self._tell(claim, result, obstacle.reason if obstacle else None, started)
            return None
        return _Begun(send, send.phone_number_id, token)

    async def _uploaded(
        self, worker_id: WorkerId, claim: SendClaim, begun: "_Begun", started: float
    ) -> bool:
        """False: something else became of the message."""
        assert self.uploader is not None, "a worker's has one"
        user_id, message_id, send = claim.user_id, claim.message_id, begun.send
        with telemetry.UPLOAD_SECONDS.time():
            problem = await self.uploader.upload(user_id, send, begun.phone_number_id, begun.token)
        telemetry.UPLOADS.labels("uploaded" if problem is None else problem.kind).inc()
        if problem is None:
            return True
        async with tenant(self.pool, user_id) as conn:
            if not await lock_send(conn, user_id, message_id, worker_id):
                return False
            result = await _not_uploaded(conn, user_id, message_id, send, problem)
        self._tell(claim, result, f"upload:{problem.kind}", started)
        return False

    async def _call(self, claim: SendClaim, begun: "_Begun", started: float) -> None:
        user_id, message_id, send = claim.user_id, claim.message_id, begun.send
        if send.send_attempts == 0 and send.waited is not None:
            telemetry.SEND_WAIT_SECONDS.observe(send.waited.total_seconds())
        with telemetry.GRAPH_API_SECONDS.time():
            outcome = await self.graph_api.send(
                begun.phone_number_id,
                begun.token,
                _body(send, callback_data(message_id, send.send_attempts + 1)),
                marketing=send.by_marketing_api,
            )
        result = await self._settle_patiently(user_id, message_id, send, outcome)
        reason = outcome.reason if isinstance(outcome, Unknown) else None
        code = outcome.error["code"] if isinstance(outcome, Refused) else None
        if send.campaign_id is not None and code in TEMPLATE_CODES:
            await pause_for_template(self.pool, user_id, send.campaign_id)
        self._tell(claim, result, reason or code, started)

    async def settle_unknown(self, claim: SendClaim, wait: timedelta) -> None:
        """No status came in time: once more, marked; and when that was unknown too, the end."""
        started = time.monotonic()
        user_id, message_id = claim.user_id, claim.message_id
        async with tenant(self.pool, user_id) as conn:
            lost = await lock_unknown(conn, user_id, message_id, wait)
            if lost is None:
                return
            # A promotion that comes twice is worse than one that does not come.
            if lost.unknown_count < (1 if lost.bulk else MAX_UNKNOWN):
                mark = {"resent_after_unknown": True}
                await requeue_send(conn, user_id, message_id, timedelta(0), mark)
                result = "resent"
            else:
                await end_message(conn, user_id, message_id, UNKNOWN_TWICE)
                result = "failed"
        self._tell(claim, result, UNKNOWN_TWICE.reason, started)

    async def _settle_patiently(
        self, user_id: UserId, message_id: MessageId, send: Send, outcome: Outcome
    ) -> str:
        """What Meta answered is known here alone: keep it while the database restarts. Settling
        twice changes nothing."""
        deadline = time.monotonic() + SETTLE_PATIENCE_S
        for failures in range(1_000):
            try:
                async with tenant(self.pool, user_id) as conn:
                    return await _settle(conn, user_id, message_id, send, outcome)
            except UNAVAILABLE:
                if time.monotonic() > deadline:
                    raise
                wait = backoff(failures, base_s=0.1, cap_s=2.0, dice=random.random())
                await asyncio.sleep(wait.total_seconds())
        raise AssertionError("unreachable: the deadline comes first")

    def _tell(self, claim: SendClaim, outcome: str, reason: object, started: float) -> None:
        telemetry.SENDS.labels(outcome).inc()
        log.info(
            "send.finished",
            user_id=claim.user_id,
            message_id=claim.message_id,
            outcome=outcome,
            reason=reason,
            duration_ms=round((time.monotonic() - started) * 1000),
        )


def _body(send: Send, ours: str) -> dict[str, Any]:
    to, bsuid = recipient(send), send.bsuid
    if send.template is not None:
        return template_message(to=to, bsuid=bsuid, template=send.template, callback_data=ours)
    text = text_message(
        to=to,
        bsuid=bsuid,
        text=send.content_text,
        in_reply_to=send.in_reply_to,
        callback_data=ours,
    )
    if send.medium is not None:
        return media_message(text, send.medium)
    return text if send.interactive is None else interactive_message(text, send.interactive)


def recipient(send: Send) -> str | None:
    """In Meta's own spelling, with a plus: without one Meta may put a country code before it."""
    return normalised(send.wa_id) or send.phone_number


async def _settle(
    conn: Conn, user_id: UserId, message_id: MessageId, send: Send, outcome: Outcome
) -> str:
    # An acceptance counts whichever send it is of. Anything else tells of this one alone.
    attempt = send.send_attempts + 1
    if not isinstance(outcome, Accepted) and not await lock_attempt(
        conn, user_id, message_id, attempt
    ):
        return "late"
    match outcome:
        case Accepted(wamid):
            acceptance = await mark_accepted(conn, user_id, message_id, wamid)
            if acceptance is not None and acceptance.told:
                await tell_messages(conn, user_id, [MESSAGE_SENT], [message_id])
            if send.trying and await resume_number(conn, user_id, send.chatbot_id):
                await tell(conn, user_id, SendingResumed(chatbot_id=send.chatbot_id))
                log.info("number.resumed", user_id=user_id, chatbot_id=send.chatbot_id)
            return "accepted"
        case Unknown():
            await mark_unknown(conn, user_id, message_id)
            return "unknown"
        case Refused(kind, error):
            times = send.refused.get(kind, 0)
            consequence = after_refusal_of(send, kind, error["code"], random.random())
            mark = {"last_error": error, "refused": send.refused | {kind: times + 1}}
            match consequence:
                case Again():
                    if consequence.anew:
                        await forget_handles(conn, user_id, [message_id])
                    await requeue_send(conn, user_id, message_id, consequence.after, mark)
                    await _slow_down(conn, user_id, send, consequence)
                    return "retry"
                case Pause():
                    await requeue_send(conn, user_id, message_id, timedelta(0), mark)
                    await _pause(conn, user_id, send, consequence)
                    return "waits"
                case End():
                    await end_message(conn, user_id, message_id, consequence, error)
                    return "failed"


async def _not_uploaded(
    conn: Conn, user_id: UserId, message_id: MessageId, send: Send, problem: Problem
) -> str:
    """Its row is locked, and still to be sent."""
    noted, error = f"upload_{problem.kind}", problem.error
    times = send.refused.get(noted, 0)
    code = None if error is None else error["code"]
    consequence = after_upload(problem.kind, code, times, random.random())
    mark = {"refused": send.refused | {noted: times + 1}} | ({"last_error": error} if error else {})
    match consequence:
        case Again():
            await put_off_send(conn, user_id, message_id, consequence.after, mark)
            await _slow_down(conn, user_id, send, consequence)
            return "retry"
        case Pause():
            await put_off_send(conn, user_id, message_id, timedelta(0), mark)
            await _pause(conn, user_id, send, consequence)
            return "waits"
        case End():
            await end_message(conn, user_id, message_id, consequence, error)
            return "failed"


async def _slow_down(conn: Conn, user_id: UserId, send: Send, again: Again) -> None:
    if again.slow == "pair" and send.conversation_id is not None:
        await drain_pair(conn, user_id, send.conversation_id, again.pause)
    elif again.slow == "number":
        await slow_number(conn, user_id, send.chatbot_id, again.pause)


async def _pause(conn: Conn, user_id: UserId, send: Send, pause: Pause) -> None:
    held = await hold_number(
        conn, user_id, send.chatbot_id, pause.first, pause.longest, pause.reason
    )
    if held is None:
        return
    log.error(
        "number.paused",
        user_id=user_id,
        chatbot_id=send.chatbot_id,
        reason=pause.reason,
        until=held.held_until.isoformat(),
        times=held.holds,
    )
    telemetry.PAUSES.labels(pause.reason.partition(":")[0]).inc()
    if held.holds == 1:
        paused = SendingPaused(
            chatbot_id=send.chatbot_id, reason=pause.reason, until=held.held_until
        )
        await tell(conn, user_id, paused)
