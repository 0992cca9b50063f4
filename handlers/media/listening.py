"""A stored voice message is heard, or a document read, by whoever has claimed it.

    begin    what it is, and where
    read     no transaction: by the operator's model, or a process that may take so much and no more
    settle   one transaction, fenced by the claim: the words stand in the message; a turn that waits
             for them is woken, and a message that was answered without them is an input once more

The conversation is held when it is decided which: a turn that runs has read the message as it was,
so for that one it counts as answered.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import structlog

from db.ids import MessageId
from db.media import (
    Held,
    MediumClaim,
    ToRead,
    Transcribed,
    begin_reading,
    count_transcription,
    end_reading,
    heard_message,
    hold_conversation,
    put_off_medium,
    write_heard,
)
from db.pool import UNAVAILABLE, Conn, Pool, tenant
from handlers.documents.blocks import BEGINNING_CHARS, Refused
from handlers.documents.reading import TooSlow, beginning_of
from handlers.media.coming_back import come_back
from handlers.media.duration import duration
from handlers.media.hearing import Heard, NotHeard, Transcriber
from handlers.media.interrupted import blamed, interrupted
from handlers.media.kinds import BYTES, PDF
from handlers.media.pictures import children
from handlers.media.room import Room
from handlers.media.rules import DEATHS_MAX, DIED, Again, after_hearing
from handlers.media.words import document_read, heard, not_understood
from handlers.media_store.port import Store, StoreProblem
from handlers.process import telemetry
from handlers.rules.texts import storable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

READ_S = 30.0
HEARD, NOTHING, READ = "heard", "nothing", "read"  # media.heard; else a problem


@dataclass(frozen=True, slots=True)
class Listener:
    pool: Pool
    store: Store
    transcriber: Transcriber | None  # None: nothing is heard
    children: Room = field(default_factory=children)

    async def listen(self, claim: MediumClaim) -> None:
        """Raises nothing but cancellation; whatever happens is in the row and in one log line."""
        try:
            outcome = await self._listen(claim)
        except UNAVAILABLE as error:
            outcome = "interrupted"
            log.warning("medium.interrupted", medium_id=claim.id, exc_info=error)
            await interrupted(self.pool, claim)
        except Exception as error:  # a mistake of ours with one medium must not end the role
            outcome = "failed"
            log.error("medium.failed", medium_id=claim.id, exc_info=error)
            await blamed(self.pool, claim)
        telemetry.HEARD.labels(outcome).inc()
        log.info("medium.heard", user_id=claim.user_id, medium_id=claim.id, outcome=outcome)

    async def _listen(self, claim: MediumClaim) -> str:
        async with tenant(self.pool, claim.user_id) as conn:
            medium = await begin_reading(conn, claim)
        if medium is None or medium.file is None or medium.content_type is None:
            return "lost"
        if medium.attempts >= DEATHS_MAX:
            return await self._settle(claim, medium, DIED, None)
        if medium.content_type == PDF:
            return await self._read(claim, medium, medium.file)
        if self.transcriber is None:  # it was there when this was stored
            return await self._settle(claim, medium, "not_heard", None)
        try:
            data = await self._data(medium.file)
            found = await self.transcriber.hear(data, medium.content_type, medium.language)
        except NotHeard as error:
            return await self._not_now(claim, medium, str(error))
        except (StoreProblem, FileNotFoundError):
            return await self._not_now(claim, medium, "store")
        seconds = found.seconds or duration(data, medium.content_type)
        return await self._settle(claim, medium, HEARD if found.text else NOTHING, found, seconds)

    async def _read(self, claim: MediumClaim, medium: ToRead, file: str) -> str:
        try:
            async with self.children.place(claim.user_id):
                text = await beginning_of(self.store.read(file), READ_S)
        except TooSlow:
            return await self._not_now(claim, medium, "too_slow")
        except Refused:
            return await self._settle(claim, medium, "not_read", None)
        except (StoreProblem, FileNotFoundError):  # also: it is not mounted at this moment
            return await self._not_now(claim, medium, "store")
        return await self._settle(claim, medium, READ, None, text=text[:BEGINNING_CHARS])

    async def _not_now(self, claim: MediumClaim, medium: ToRead, problem: str) -> str:
        age = datetime.now(UTC) - medium.sent_at
        then = after_hearing(problem, medium.failures, age)
        if not isinstance(then, Again):
            log.warning("medium.not_heard", medium_id=claim.id, problem=problem)
            return await self._settle(claim, medium, then.reason, None)
        async with tenant(self.pool, claim.user_id) as conn:
            await put_off_medium(conn, claim, problem, then.wait)
        return "put_off"

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
        text: str | None = None,
    ) -> str:
        user_id = claim.user_id
        async with tenant(self.pool, user_id) as conn:
            held = await hold_conversation(conn, user_id, medium.conversation_id)
            message_id = await end_reading(conn, claim, how, seconds, text and storable(text))
            if held is None or message_id is None:
                return "lost"
            said = found.text if found is not None else text or ""
            await _tell(conn, claim, medium, held, said)
            if found is not None and self.transcriber is not None:
                spent = Transcribed(
                    seconds=seconds or Decimal(0),
                    input_tokens=found.input_tokens,
                    output_tokens=found.output_tokens,
                )
                model = self.transcriber.model
                count_transcription(conn, claim, medium.chatbot_id, model, spent)
        return how if how in (HEARD, NOTHING, READ) else "refused"


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
    if not transcript:
        text = not_understood(text)
    elif medium.content_type == PDF:
        text = document_read(text, transcript)
    else:
        text = heard(text, transcript)
    await write_heard(conn, user_id, message_id, text, bool(transcript))
    says = bool(transcript)
    await come_back(conn, user_id, conversation_id, held, message, says=says)
