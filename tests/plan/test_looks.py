"""What the scheduler looks for every second: a look reads of those who wait, and nobody else."""

import asyncpg
import pytest

from tests.conftest import Database
from tests.factories import make_tenant
from tests.plan import House

ROOM_FOR_NONE = '{"limits": {"max_contacts": 0}}'
CONTACTS = """
    INSERT INTO contacts (id, user_id, chatbot_id, phone_number, thread_id, over_limit, entered_at)
    SELECT n, $1[w.which], $2[w.which], '+' || (13035550000 + n), 't' || n, w.waits,
           CASE WHEN w.waits THEN now() END
      FROM generate_series(1, 24000) n,
           LATERAL (SELECT CASE WHEN n <= 12000 THEN 5 ELSE n % 40 + 1 END AS which,
                           n > 12000 AND n % 3 = 0 AND n % 40 <> 4 AS waits) w"""
CONVERSATIONS = """
    INSERT INTO conversations (user_id, chatbot_id, contact_id, thread_id, waits_for)
    SELECT user_id, chatbot_id, id, thread_id, CASE WHEN over_limit THEN 'tenant_inactive' END
      FROM contacts"""


@pytest.mark.parametrize("look", ["contacts_may_enter", "contacts_entered", "waits_over"])
async def test_a_look_reads_nobody_who_does_not_wait(
    house: House, database: Database, look: str
) -> None:
    """Of many tenants some wait, and of the biggest, with half of all, none."""
    users = [await make_tenant(house.owner, config=ROOM_FOR_NONE) for _ in range(40)]
    await house.owner.execute(
        CONTACTS.replace("$1[", "($1::bigint[])[").replace("$2[", "($2::bigint[])["),
        [user.user_id for user in users],
        [user.chatbot_id for user in users],
    )
    await house.owner.execute(CONVERSATIONS)
    await house.owner.execute("ANALYZE contacts; ANALYZE conversations")
    conn = await asyncpg.connect(database.owner_url)
    async with conn.transaction():
        await conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await conn.fetch(f"SELECT * FROM {look}(10)")
        read = await conn.fetchval(
            "SELECT sum(idx_tup_fetch + seq_tup_read) FROM pg_stat_xact_user_tables"
            " WHERE relname IN ('contacts', 'conversations')"
        )
    await conn.close()
    assert read < 1_000
