"""What was parked while its number was nobody's, and is somebody's now, comes up again."""

from collections.abc import Sequence
from typing import Final

from db.chatbots import resolve_numbers
from db.claims import unpark
from db.ids import ChatbotId, UserId
from db.parked import ParkedItem
from db.pool import Pool, tenant
from handlers.ingest.parking import parked_app
from handlers.rules.numbers import normalised

UNPARK_BATCH = 500  # items in a transaction
NOBODYS: Final = frozenset({"unknown_number", "phone_number_id_of_another", "bindable"})
BINDS: Final = {"message": True, "other": False}  # kinds that come up again: statuses do not


async def unpark_all(pool: Pool, user_id: UserId, chatbot_id: ChatbotId) -> None:
    """Of a number that is proven, and whose proof is committed."""
    more = UNPARK_BATCH
    while more == UNPARK_BATCH:
        async with tenant(pool, user_id) as conn:
            more = await unpark(conn, chatbot_id, UNPARK_BATCH)


async def look_again(pool: Pool, parked: Sequence[ParkedItem]) -> None:
    """Once they are parked for good. Who proves a number between our look and our commit does not
    see them; so whoever of the two comes second finds what the first has written."""
    owners: set[tuple[UserId, ChatbotId]] = set()
    for kind, bind in BINDS.items():
        numbers = sorted(
            {
                (item.phone_number_id, normalised(item.display_number) or "", parked_app(item.raw))
                for item in parked
                if item.kind == kind and item.reason in NOBODYS and item.phone_number_id
            },
            key=lambda number: (*number[:2], number[2] or 0),
        )
        if not numbers:
            continue
        ids, of, apps = zip(*numbers, strict=True)
        async with pool.acquire() as conn:
            found = await resolve_numbers(conn, ids, of, apps, bind)
        owners |= {
            (row.user_id, row.chatbot_id)
            for row in found
            if row.user_id is not None and row.chatbot_id is not None
        }
    for user_id, chatbot_id in sorted(owners):
        await unpark_all(pool, user_id, chatbot_id)
