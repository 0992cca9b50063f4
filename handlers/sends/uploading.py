"""The file that a message brings is uploaded to Meta before the message is sent: once for a number,
as long as Meta keeps it.

Nothing is marked and no transaction held meanwhile. Whoever dies between the upload and the send
costs an upload; who sends next finds the id, or uploads anew.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import structlog

from db.given_media import handle_of, keep_handle
from db.ids import UserId
from db.pool import Pool, tenant
from db.sends import Send
from handlers.media_store.port import Store, StoreProblem
from handlers.sends.rules import UploadProblem
from handlers.whatsapp.cloud_api.uploads import HANDLES_LIVE, Outgoing, Uploaded, Uploads

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Problem:
    kind: UploadProblem
    error: dict[str, Any] | None = None  # Meta's code, title, details


def is_to_be_uploaded(send: Send) -> bool:
    """Its file is there, and Meta has it not."""
    return (
        send.medium is not None
        and send.medium["file"] is not None
        and send.medium["handle"] is None
    )


@dataclass(frozen=True, slots=True)
class Uploader:
    pool: Pool
    api: Uploads
    store: Store
    # Of messages that bring the same file at once the first uploads it, and the others wait.
    _locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = field(
        default_factory=WeakValueDictionary
    )

    async def upload(
        self, user_id: UserId, send: Send, phone_number_id: str, token: str
    ) -> Problem | None:
        """None: Meta has it."""
        medium = send.medium
        assert medium is not None, "is_to_be_uploaded()"
        lock = self._locks.setdefault((medium["id"], phone_number_id), asyncio.Lock())
        async with lock:
            async with tenant(self.pool, user_id) as conn:
                if await handle_of(conn, user_id, medium["id"], phone_number_id) is not None:
                    return None
            return await self._upload(user_id, medium, phone_number_id, token)

    async def _upload(
        self, user_id: UserId, medium: dict[str, Any], phone_number_id: str, token: str
    ) -> Problem | None:
        pieces = self.store.read(medium["file"])
        try:
            first = await anext(pieces, b"")
        except FileNotFoundError:
            return Problem("gone")
        except StoreProblem as problem:
            log.warning("upload.not_read", media_id=medium["id"], exc_info=problem)
            return Problem("store")
        kind = medium["content_type"]
        name = f"file.{kind.rpartition('/')[2]}"
        file = Outgoing(kind, name, _from(first, pieces), medium["bytes"])
        outcome = await self.api.upload(phone_number_id, token, file)
        if not isinstance(outcome, Uploaded):
            return Problem(outcome.kind, outcome.error)
        async with tenant(self.pool, user_id) as conn:
            args = (medium["id"], phone_number_id, outcome.handle, HANDLES_LIVE)
            await keep_handle(conn, user_id, *args)
        return None


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
