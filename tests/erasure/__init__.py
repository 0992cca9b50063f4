"""Who is erased is in no answer, soon in no row, and does not come back by what comes again."""

from collections.abc import Sequence
from typing import Any

from db.erasures import DueErasure
from db.ids import ContactId
from db.pool import Conn, Pool, tenant
from handlers.erasure.begin import erase_contact
from handlers.erasure.marks import Marker
from handlers.erasure.work import step
from handlers.media_store.port import NoStore
from tests.factories import Tenant

MARKER = Marker(("a key that is long enough",))


async def begin(pool: Pool, of: Tenant, contact_id: ContactId) -> bool:
    async with tenant(pool, of.user_id) as conn:
        return await erase_contact(conn, of.user_id, contact_id)


async def due(owner: Conn) -> list[DueErasure]:
    rows = await owner.fetch("SELECT user_id, id FROM erasures WHERE settled_at IS NULL")
    return [DueErasure(**row) for row in rows]


async def finish(pool: Pool, owner: Conn, marker: Marker = MARKER) -> int:
    """As the scheduler does it, without the waits. How many transactions it took."""
    steps = 0
    for one in await due(owner):
        while await owner.fetchval("SELECT settled_at IS NULL FROM erasures WHERE id = $1", one.id):
            await step(pool, marker, NoStore(), one)
            steps += 1
    return steps


async def only(owner: Conn, query: str, *args: Any) -> dict[str, Any]:
    (row,) = await owner.fetch(query, *args)
    return dict(row)


async def contact_ids(owner: Conn, of: Tenant) -> list[ContactId]:
    rows = await owner.fetch(
        "SELECT id FROM contacts WHERE user_id = $1 AND erased_at IS NULL ORDER BY id", of.user_id
    )
    return [row["id"] for row in rows]


async def found_in(owner: Conn, needles: Sequence[str]) -> dict[str, list[str]]:
    """Every table in which one of these texts stands, in whatever column: also as the bytes of one.
    Whole rows as PostgreSQL writes them, so no table or column can be forgotten."""
    tables = await owner.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class c"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm')"
    )
    found: dict[str, list[str]] = {}
    for table in tables:
        rows: list[Any] = await owner.fetch(
            f"SELECT DISTINCT n FROM {table['name']} t, unnest($1::text[]) n"
            "  WHERE position(lower(n) IN lower(t::text)) > 0"
            "     OR position(encode(convert_to(n, 'UTF8'), 'hex') IN t::text) > 0",
            list(needles),
        )
        if rows:
            found[table["name"]] = sorted(row["n"] for row in rows)
    return found
