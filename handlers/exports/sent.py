"""What one person sent, and what the tenant gave about them, as files in their export."""

from collections.abc import AsyncIterator

from db.ids import ContactId, UserId
from db.media import Medium, media_of_contact
from db.pool import Pool, tenant
from handlers.media.sniffing import ending
from handlers.media_store.port import Store

PAGE_FILES = 100


async def files_of_contact(
    pool: Pool, store: Store, user_id: UserId, contact_id: ContactId
) -> AsyncIterator[tuple[Medium, AsyncIterator[bytes]]]:
    """One that goes meanwhile is left out."""
    after, page = 0, list[Medium]()
    while after == 0 or len(page) == PAGE_FILES:
        async with tenant(pool, user_id) as conn:
            page = await media_of_contact(conn, user_id, contact_id, after, PAGE_FILES)
        for medium in page:
            after = medium.id
            assert medium.file is not None, "of a stored one"
            pieces = store.read(medium.file)
            try:
                first = await anext(pieces, b"")
            except FileNotFoundError:
                continue
            yield medium, _behind(first, pieces)
        after = after or 1


def name_of(medium: Medium) -> str:
    """In the archive, and as GET /v1/media/{id} gives it."""
    return f"files/{medium.kind}-{medium.id}.{ending(medium.content_type or '')}"


async def _behind(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece
