"""What rows of an earlier release lack, given to them after the migrations in small transactions: a
migration that did it would keep everybody from writing meanwhile."""

from db.ids import UserId
from db.pool import Conn, tenant_transaction
from db.sql import load

_SQL = load(__file__)

BATCH = 500


async def backfill(conn: Conn) -> int:
    """As the owner. Goes on where another ended. How many contacts got what they are found by."""
    done = 0
    while (due := await conn.fetchrow(_SQL["terms_due"])) is not None:
        user_id = UserId(due["tenant_id"])
        async with tenant_transaction(conn, user_id):
            page = await conn.fetch(
                _SQL["add_terms"], user_id, due["after_id"], due["upto_id"], BATCH
            )
        if page:
            done += len(page)
            await conn.execute(_SQL["terms_added"], user_id, max(row["id"] for row in page))
        else:
            await conn.execute(_SQL["terms_complete"], user_id)
    return done


async def terms_left(conn: Conn) -> int:
    """As the owner. Of how many tenants a search does not find all contacts yet."""
    return int(await conn.fetchval(_SQL["terms_left"]))
