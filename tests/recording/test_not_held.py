"""What somebody does to a chatbot, for as long as it takes, holds up no batch: neither that
tenant's messages nor the other tenants' beside them."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import asyncpg
import pytest

from db.pool import Conn, Pool
from handlers.ingest.accounts import _LEARNED
from handlers.ingest.recording import record_batch
from tests.conftest import Database
from tests.factories import make_tenant
from tests.recording import DEBOUNCE, plainly_logged, recorded, to, wrote


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


@pytest.mark.parametrize("phone_number_id", [None, "bound-before"])
@pytest.mark.parametrize(
    "change",
    [
        (
            "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
            " SELECT $1, $2, 'new' || n, 'yes' FROM generate_series(1, 600) n"
        ),
        "UPDATE bot_knowledge_base SET answer = 'no' WHERE user_id = $1 AND chatbot_id = $2",
        "DELETE FROM bot_knowledge_base WHERE user_id = $1 AND chatbot_id = $2",
    ],
)
async def test_a_change_of_knowledge_holds_up_no_first_message(
    pool: Pool, owner: Conn, database: Database, change: str, phone_number_id: str | None
) -> None:
    """The first message of a number is the one that writes to its chatbot's row: the number is
    bound, and its account learned."""
    busy = await make_tenant(owner, phone_number_id=phone_number_id)
    free = await make_tenant(owner)
    _LEARNED.clear()
    await owner.execute(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
        " SELECT $1, $2, 'old' || n, 'yes' FROM generate_series(1, 3) n",
        busy.user_id,
        busy.chatbot_id,
    )
    changing = await asyncpg.connect(database.owner_url)
    async with changing.transaction():
        await changing.execute(change, busy.user_id, busy.chatbot_id)
        item = to(replace(busy, phone_number_id=phone_number_id or "new-id"), wrote("first"))
        async with asyncio.timeout(10):
            await record_batch(pool, [item, to(free, wrote("beside"))], DEBOUNCE)
        assert await recorded(owner, busy) == ["first"]
        assert await recorded(owner, free) == ["beside"]
        (row,) = await owner.fetch(
            "SELECT phone_number_id, waba_id FROM chatbots WHERE id = $1", busy.chatbot_id
        )
        assert (row["phone_number_id"], row["waba_id"]) == (phone_number_id or "new-id", "440011")
    await changing.close()
    version = await owner.fetchval("SELECT kb_version FROM chatbots WHERE id = $1", busy.chatbot_id)
    assert version == 2


async def test_an_account_that_cannot_be_written_now_is_learned_later(
    pool: Pool, owner: Conn, database: Database
) -> None:
    busy, free = await make_tenant(owner), await make_tenant(owner)
    _LEARNED.clear()
    other = await asyncpg.connect(database.owner_url)
    async with other.transaction():
        await other.execute("UPDATE chatbots SET name = name WHERE id = $1", busy.chatbot_id)
        async with asyncio.timeout(10):
            await record_batch(pool, [to(busy, wrote("1")), to(free, wrote("1"))], DEBOUNCE)
    await other.close()
    learned = "SELECT waba_id FROM chatbots ORDER BY id"
    assert [row[0] for row in await owner.fetch(learned)] == [None, "440011"]
    await record_batch(pool, [to(busy, wrote("2"))], DEBOUNCE)
    assert [row[0] for row in await owner.fetch(learned)] == ["440011", "440011"]
