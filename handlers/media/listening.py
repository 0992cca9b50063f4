"""A stored voice message is heard, by whoever has claimed it.

    begin    what it is, and where
    hear     no transaction: the operator's model
    settle   one transaction, fenced by the claim: the words stand in the message; a turn that waits
             for them is woken, and a message that was answered without them is an input once more

The conversation is held when it is decided which: a turn that runs has read the message as it was,
so for that one it counts as answered.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import structlog

from db.ids import MessageId
from db.media import (
    Held,
    MediumClaim,
    ToRead,
    Transcribed,
    ask_again,
    begin_reading,
    count_transcription,
    end_reading,
    heard_message,
    hold_conversation,
    put_off_medium,
    raise_input,
    wake_turn,
    write_heard,
)
from db.pool import UNAVAILABLE, Conn, Pool, tenant
from handlers.media.duration import duration
from handlers.media.hearing import Heard, NotHeard, Transcriber
from handlers.media.kinds import BYTES
from handlers.media.rules import DEATHS_MAX, DIED, Again, after_hearing
from handlers.media.words import heard, not_understood
from handlers.media_store.port import Store, StoreProblem
from handlers.process import telemetry
from handlers.rules import opaque
from handlers.rules.window import is_stale

log: structlog.stdlib.BoundLogger = structlog.get_logger()

HEARD, NOTHING = "heard", "nothing"  # media.heard; else a problem


@dataclass(frozen=True, slots=True)
class Listener:
    pool: Pool
    store: Store
    transcriber: Transcriber

    async def listen(self, claim: MediumClaim) -> None:
        """Raises nothing but cancellation; whatever happens is in the row and in one log line."""
        try:
            outcome = await self._listen(claim)
        except UNAVAILABLE as error:
            outcome = "interrupted"
            log.warning("medium.interrupted", medium_id=claim.id, exc_info=error)
        except Exception as error:  # a mistake of ours with one medium must not end the role
            outcome = "failed"
            log.error("medium.failed", medium_id=claim.id, exc_info=error)
        telemetry.HEARD.labels(outcome).inc()
        log.info("medium.heard", user_id=claim.user_id, medium_id=claim.id, outcome=outcome)

    async def _listen(self, claim: MediumClaim) -> str:
        async with tenant(self.pool, claim.user_id) as conn:
            medium = await begin_reading(conn, claim)
        if medium is None or medium.file is None or medium.content_type is None:
            return "lost"
        if medium.attempts >= DEATHS_MAX:
            return await self._settle(claim, medium, DIED, None)
        age = datetime.now(UTC) - medium.sent_at
        try:
            data = await self._data(medium.file)
            found = await self.transcriber.hear(data, medium.content_type, medium.language)
        except (NotHeard, StoreProblem, FileNotFoundError) as error:
            problem = str(error) if isinstance(error, NotHeard) else "store"
            then = after_hearing(problem, medium.failures, age)
            if not isinstance(then, Again):
                log.warning("medium.not_heard", medium_id=claim.id, problem=problem)
                return await self._settle(claim, medium, then.reason, None)
            async with tenant(self.pool, claim.user_id) as conn:
                await put_off_medium(conn, claim, problem, then.wait)
            return "put_off"
        seconds = found.seconds or duration(data, medium.content_type)
        return await self._settle(claim, medium, HEARD if found.text else NOTHING, found, seconds)

    async def _data(self, file: str) -> bytes:
        data = bytearray()
        async for piece in self.store.read(file):
            data += piece
            assert len(data) <= BYTES["audio"], "no more was written"
        return bytes(data)

    async def _settle(
        self,
        claim: MediumClaim,
        medium: ToRead,
        how: str,
        found: Heard | None,
        seconds: Decimal | None = None,
    ) -> str:
        user_id = claim.user_id
        async with tenant(self.pool, user_id) as conn:
            held = await hold_conversation(conn, user_id, medium.conversation_id)
            message_id = await end_reading(conn, claim, how, seconds)
            if held is None or message_id is None:
                return "lost"
            text = found.text if found is not None else ""
            await _tell(conn, claim, medium, held, text)
            if found is not None:
                spent = Transcribed(
                    seconds=seconds or Decimal(0),
                    input_tokens=found.input_tokens,
                    output_tokens=found.output_tokens,
                )
                model = self.transcriber.model
                count_transcription(conn, claim, medium.chatbot_id, model, spent)
        return how if how in (HEARD, NOTHING) else "refused"


async def _tell(
    conn: Conn, claim: MediumClaim, medium: ToRead, held: Held, transcript: str
) -> None:
    """The words, or that there are none, into the message; and whoever has to know of it."""
    user_id, conversation_id = claim.user_id, medium.conversation_id
    message_id: MessageId = medium.message_id
    message = await heard_message(conn, user_id, message_id)
    if message is None or message.content_text is None:
        return
    text = message.content_text
    text = heard(text, transcript) if transcript else not_understood(text)
    await write_heard(conn, user_id, message_id, text, bool(transcript))
    if message.input_seq is None:
        return
    is_read = message.input_seq <= held.answered_seq or held.running
    # That there are no words is news only to who was told that they would come.
    is_news = bool(transcript) or message.reason == opaque.LATER or held.running
    if is_read and is_news and not is_stale(datetime.now(UTC) - message.sent_at):
        await ask_again(conn, user_id, message_id, held.input_seq + 1)
        await raise_input(conn, user_id, conversation_id, held.input_seq + 1)
    else:
        await wake_turn(conn, user_id, conversation_id)
