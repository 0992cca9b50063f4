"""Sends: queued -> sending (committed) -> Graph API -> accepted | failed | unknown.

An unknown outcome waits for a status that carries our id; with none after SEND_UNKNOWN_MS the
message goes out once more, marked, and unknown again it fails. Nothing later of its conversation
leaves before.
"""

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import timedelta

import structlog

from db.conversations import forget_thread
from db.ids import MessageId, UserId, WorkerId
from db.messages import (
    Send,
    SendClaim,
    end_send,
    lock_unknown,
    mark_accepted,
    mark_sending,
    mark_unknown,
    read_send,
    requeue_send,
)
from db.pool import UNAVAILABLE, Conn, Pool, tenant
from db.usage import give_back_messages
from handlers import telemetry
from handlers.rules.backoff import backoff
from handlers.secrets import Undecryptable, Vault, access_token_of
from handlers.whatsapp.graph_api import Accepted, GraphApi, Outcome, Refused, Unknown, text_message
from handlers.whatsapp.wire import callback_data, normalised

log: structlog.stdlib.BoundLogger = structlog.get_logger()

MAX_ATTEMPTS = 6  # of a send that Meta refused for a passing reason: one to two minutes
MAX_UNKNOWN = 2
RETRY_BASE_S = 4.0
RETRY_CAP_S = 120.0
SETTLE_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Sender:
    pool: Pool
    graph_api: GraphApi
    vault: Vault
    shared_token: str | None  # for chatbots without their own

    async def send(self, worker_id: WorkerId, claim: SendClaim) -> None:
        """One claimed message. Raises one of UNAVAILABLE when the database is away: the row then
        says how far it came."""
        started = time.monotonic()
        user_id, message_id = claim.user_id, claim.message_id
        async with tenant(self.pool, user_id) as conn:
            send = await read_send(conn, user_id, message_id, worker_id)
            if send is None:
                return
            token = self._token(send)
            obstacle = why_not(send, token)
            if obstacle is not None:
                await self._end(conn, user_id, message_id, *obstacle)
            else:
                await mark_sending(conn, user_id, message_id)
        if obstacle is not None or token is None or send.phone_number_id is None:
            self._tell(claim, "not_sent", obstacle[1] if obstacle else None, started)
            return
        outcome = await self.graph_api.send(
            send.phone_number_id,
            token,
            text_message(
                to=recipient(send),
                bsuid=send.bsuid,
                text=send.content_text,
                in_reply_to=send.in_reply_to,
                callback_data=callback_data(message_id, send.send_attempts + 1),
            ),
        )
        result = await self._settle_patiently(user_id, message_id, send, outcome)
        reason = outcome.reason if isinstance(outcome, Unknown) else None
        code = outcome.error["code"] if isinstance(outcome, Refused) else None
        self._tell(claim, result, reason or code, started)

    async def settle_unknown(self, claim: SendClaim) -> None:
        """No status came in time: once more, marked; and when that was unknown too, the end."""
        started = time.monotonic()
        user_id, message_id = claim.user_id, claim.message_id
        async with tenant(self.pool, user_id) as conn:
            times = await lock_unknown(conn, user_id, message_id)
            if times is None:
                return
            if times < MAX_UNKNOWN:
                mark = {"resent_after_unknown": True}
                await requeue_send(conn, user_id, message_id, timedelta(0), mark)
                result = "resent"
            else:
                await self._end(conn, user_id, message_id, "failed", "send_outcome_unknown")
                result = "failed"
        self._tell(claim, result, "send_outcome_unknown", started)

    async def _settle_patiently(
        self, user_id: UserId, message_id: MessageId, send: Send, outcome: Outcome
    ) -> str:
        """What Meta answered is known here alone: keep it while the database restarts. Settling
        twice changes nothing."""
        deadline = time.monotonic() + SETTLE_PATIENCE_S
        for failures in range(1_000):
            try:
                return await self._settle(user_id, message_id, send, outcome)
            except UNAVAILABLE:
                if time.monotonic() > deadline:
                    raise
                wait = backoff(failures, base_s=0.1, cap_s=2.0, dice=random.random())
                await asyncio.sleep(wait.total_seconds())
        raise AssertionError("unreachable: the deadline comes first")

    async def _settle(
        self, user_id: UserId, message_id: MessageId, send: Send, outcome: Outcome
    ) -> str:
        async with tenant(self.pool, user_id) as conn:
            match outcome:
                case Accepted(wamid):
                    await mark_accepted(conn, user_id, message_id, wamid)
                    return "accepted"
                case Unknown():
                    await mark_unknown(conn, user_id, message_id)
                    return "unknown"
                case Refused(kind, error):
                    attempts = send.send_attempts + 1
                    if kind in ("transient", "throttled") and attempts < MAX_ATTEMPTS:
                        wait = backoff(
                            attempts - 1,
                            base_s=RETRY_BASE_S,
                            cap_s=RETRY_CAP_S,
                            dice=random.random(),
                        )
                        mark = {"last_error": error}
                        await requeue_send(conn, user_id, message_id, wait, mark)
                        return "retry"
                    await self._end(conn, user_id, message_id, "failed", kind, error)
                    return "failed"

    async def _end(
        self,
        conn: Conn,
        user_id: UserId,
        message_id: MessageId,
        status: str,
        reason: str,
        error: dict[str, object] | None = None,
    ) -> None:
        """It will not be sent any more: the unit goes back, and the bot is told what it did not
        say. Counters last."""
        why = {"reason": reason, **({"errors": [error]} if error else {})}
        ended = await end_send(conn, user_id, message_id, status, why)
        if ended is None:
            return
        if ended.conversation_id is not None:
            await forget_thread(conn, user_id, ended.conversation_id)
        if ended.usage_day is not None:
            await give_back_messages(conn, user_id, [ended.usage_day])

    def _token(self, send: Send) -> str | None:
        if send.access_token is None:
            return self.shared_token
        try:
            return self.vault.decrypt(send.access_token, access_token_of(send.chatbot_id))
        except Undecryptable as error:
            log.error("credential.undecryptable", chatbot_id=send.chatbot_id, reason=str(error))
            return None

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


def recipient(send: Send) -> str | None:
    """In Meta's own spelling, with a plus: without one Meta may put a country code before it."""
    return normalised(send.wa_id) or send.phone_number


def why_not(send: Send, token: str | None) -> tuple[str, str] | None:
    """The status that a message gets instead of being sent, and the reason; None: send it."""
    if send.silenced:
        return "cancelled", "taken_over"
    if not send.tenant_active:
        return "cancelled", "tenant_inactive"
    if not send.chatbot_active:
        return "cancelled", "chatbot_inactive"
    if send.phone_number_id is None:
        return "failed", "no_phone_number_id"
    if token is None:
        return "failed", "no_access_token"
    return None
