"""A medium is fetched and stored, by whoever has claimed it.

    begin    is there room for it today; then the file's name, before the file is
    fetch    no transaction: from Meta into the store, piece by piece
    settle   one transaction, fenced by the claim: it is there, it will not be, or it is tried again

Who lost the claim, or whose medium went meanwhile, writes nothing and removes what it wrote; what a
process leaves that dies is removed by the name that its row had (files_to_remove).
"""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from db.ids import ConversationId, MessageId, UserId
from db.media import (
    Held,
    MediumClaim,
    ToFetch,
    admit_media,
    begin_fetch,
    conversation_of,
    heard_message,
    hold_conversation,
    meter_media,
    put_off_medium,
    refuse_medium,
    show_medium,
    store_medium,
)
from db.pool import UNAVAILABLE, Conn, Pool, tenant
from handlers.media import places
from handlers.media.coming_back import come_back
from handlers.media.fetching import Asked, Coming, MediaApi, NotFetched
from handlers.media.interrupted import blamed, interrupted
from handlers.media.kinds import CONTACT_DAY, TENANT_DAY, is_read
from handlers.media.pictures import DRAWN, PICTURES, NotDrawn, children, drawn_anew, whole
from handlers.media.room import Room
from handlers.media.rules import GiveUp, after, before
from handlers.media_store.port import Store, StoreProblem
from handlers.process import telemetry
from handlers.sends.tokens import Tokens

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Fetcher:
    pool: Pool
    store: Store
    api: MediaApi
    tokens: Tokens
    hears: bool = False  # somebody turns sound into words
    children: Room = field(default_factory=children)

    async def fetch(self, claim: MediumClaim) -> None:
        """Raises nothing but cancellation; whatever happens is in the row and in one log line."""
        try:
            outcome = await self._fetch(claim)
        except UNAVAILABLE as error:
            outcome = "interrupted"
            log.warning("medium.interrupted", medium_id=claim.id, exc_info=error)
            await interrupted(self.pool, claim)
        except Exception as error:  # a mistake of ours with one medium must not end the role
            log.error("medium.failed", medium_id=claim.id, exc_info=error)
            outcome = "failed"
            await blamed(self.pool, claim)
        telemetry.MEDIA.labels(outcome).inc()
        log.info("medium.done", user_id=claim.user_id, medium_id=claim.id, outcome=outcome)

    async def give_back(self, claim: MediumClaim) -> None:
        """The worker ends."""
        await interrupted(self.pool, claim, timedelta())

    async def _fetch(self, claim: MediumClaim) -> str:
        file = file_key(claim.user_id, datetime.now(UTC))
        async with tenant(self.pool, claim.user_id) as conn:
            room = await admit_media(
                conn, claim.user_id, claim.id, claim.epoch, CONTACT_DAY, TENANT_DAY
            )
        if room == "lost":
            return room
        if room != "admitted":
            return await self._give_up(claim, room)
        async with tenant(self.pool, claim.user_id) as conn:
            medium = await begin_fetch(conn, claim, file)
        if medium is None:
            return "lost"
        age = datetime.now(UTC) - medium.sent_at
        if (none := before(medium.attempts, age)) is not None:
            return await self._give_up(claim, none.reason)
        try:
            return await self._stored(claim, medium, file)
        except StoreProblem as problem:
            log.warning("medium.not_stored", medium_id=claim.id, exc_info=problem)
            return await self._failed(claim, "store", medium.failures, age)
        except NotFetched as problem:
            return await self._failed(claim, str(problem), medium.failures, age)

    async def _stored(self, claim: MediumClaim, medium: ToFetch, file: str) -> str:
        token = self.tokens.of(medium.chatbot_id, medium.access_token)
        if token is None or medium.phone_number_id is None:
            raise NotFetched("token")
        asked = Asked(medium.kind, medium.handle, medium.phone_number_id, token, medium.named_hash)
        async with await self.api.fetch(asked) as fetch:
            coming = await fetch.coming()
            if medium.kind in PICTURES:
                await self._draw(claim, coming, file)
            elif medium.kind != "document" and coming.content_type in places.TYPES:
                await self.store.write(file, places.without_places(coming.pieces()))
            else:
                await self.store.write(file, coming.pieces())
        if not await self._note_stored(claim, medium, coming):
            for one in (file, f"{file}-small"):
                await self.store.remove(one)
            return "lost"
        return "stored"

    async def _draw(self, claim: MediumClaim, coming: Coming, file: str) -> None:
        """Nothing of a picture is kept but what can be seen."""
        data = b"".join([piece async for piece in coming.pieces()])
        try:
            async with self.children.place(claim.user_id):
                picture = await drawn_anew(whole(data))
        except NotDrawn as problem:
            raise NotFetched(str(problem)) from None
        await self.store.write(file, whole(picture.big))
        await self.store.write(f"{file}-small", whole(picture.small))
        coming.content_type, coming.bytes = DRAWN, len(picture.big)

    async def _note_stored(self, claim: MediumClaim, medium: ToFetch, coming: Coming) -> bool:
        user_id = claim.user_id
        to_be_read = is_read(medium.kind, coming.content_type, hears=self.hears)
        async with tenant(self.pool, user_id) as conn:
            held = await hold_conversation(conn, user_id, medium.conversation_id)
            stored = await store_medium(conn, claim, coming.content_type, coming.bytes, to_be_read)
            if stored is None:
                return False
            await show_medium(conn, user_id, stored.message_id, claim.id)
            if not to_be_read:
                conversation_id = medium.conversation_id
                await self._tell(conn, user_id, conversation_id, held, stored.message_id)
            if stored.usage_day is not None:
                meter_media(conn, user_id, stored.usage_day, coming.bytes)
        return True

    async def _tell(
        self,
        conn: Conn,
        user_id: UserId,
        conversation_id: ConversationId,
        held: Held | None,
        message_id: MessageId,
    ) -> None:
        """Nothing that can be read: a picture is there to be seen, or nothing will come."""
        message = await heard_message(conn, user_id, message_id)
        if held is not None and message is not None:
            await come_back(conn, user_id, conversation_id, held, message, says=False)

    async def _failed(self, claim: MediumClaim, problem: str, tries: int, age: timedelta) -> str:
        then = after(problem, tries, age)
        if isinstance(then, GiveUp):
            return await self._give_up(claim, then.reason)
        async with tenant(self.pool, claim.user_id) as conn:
            await put_off_medium(conn, claim, problem, then.wait)
        log.info("medium.put_off", medium_id=claim.id, problem=problem, tries=tries)
        return "put_off"

    async def _give_up(self, claim: MediumClaim, reason: str) -> str:
        user_id = claim.user_id
        async with tenant(self.pool, user_id) as conn:
            conversation_id = await conversation_of(conn, user_id, claim.id)
            if conversation_id is None:
                return "lost"
            held = await hold_conversation(conn, user_id, conversation_id)
            message_id = await refuse_medium(conn, claim, reason)
            if message_id is not None:
                await self._tell(conn, user_id, conversation_id, held, message_id)
        log.info("medium.refused", medium_id=claim.id, reason=reason)
        return "lost" if message_id is None else "refused"


def file_key(user_id: int, now: datetime) -> str:
    """Where the store has it: ours, and nothing of what it is called."""
    return f"media/{user_id:d}/{now:%Y-%m}/{secrets.token_hex(16)}"
