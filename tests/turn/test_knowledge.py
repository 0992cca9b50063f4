"""What a process keeps of a knowledge base is never what it was, and not read again for nothing."""

import asyncio

from db.ids import ChatbotId, UserId
from db.pool import Conn, Pool, tenant
from handlers.agent.knowledge import Known
from handlers.agent.shelf import Shelf
from tests.factories import Tenant, make_tenant


async def seen(shelf: Shelf, pool: Pool, user: Tenant) -> Known:
    """As a turn does: the version first."""
    async with tenant(pool, user.user_id) as conn:
        version = await conn.fetchval(
            "SELECT kb_version FROM chatbots WHERE id = $1", user.chatbot_id
        )
    return await shelf.knowledge(pool, user.user_id, user.chatbot_id, version)


async def add(owner: Conn, user: Tenant, *questions: str) -> None:
    await owner.execute(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
        " SELECT $1, $2, q, 'yes' FROM unnest($3::text[]) q",
        user.user_id,
        user.chatbot_id,
        list(questions),
    )


async def test_every_change_is_seen_and_only_a_change_is_read(pool: Pool, owner: Conn) -> None:
    user, other = await make_tenant(owner), await make_tenant(owner)
    shelf = Shelf()
    assert (await seen(shelf, pool, user)).rows == ()
    await add(owner, user, "one?", "two?")
    first = await seen(shelf, pool, user)
    assert [row.question for row in first.rows] == ["one?", "two?"]
    await add(owner, other, "else?")
    assert await seen(shelf, pool, user) is first
    for change, left in (
        ("UPDATE bot_knowledge_base SET answer = 'no' WHERE question = 'one?'", 2),
        ("UPDATE bot_knowledge_base SET is_active = false WHERE question = 'two?'", 1),
        ("DELETE FROM bot_knowledge_base WHERE question = 'one?'", 0),
    ):
        await owner.execute(change)
        assert len((await seen(shelf, pool, user)).rows) == left
    await owner.execute(
        "UPDATE bot_knowledge_base SET chatbot_id = $1, user_id = $2 WHERE question = 'else?'",
        user.chatbot_id,
        user.user_id,
    )
    assert [row.question for row in (await seen(shelf, pool, user)).rows] == ["else?"]
    assert (await seen(shelf, pool, other)).rows == ()


async def test_turns_that_miss_together_read_once(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    await add(owner, user, "one?")
    shelf = Shelf()
    found = await asyncio.gather(*(seen(shelf, pool, user) for _ in range(8)))
    assert {id(one) for one in found} == {id(found[0])}


async def test_the_shelf_is_bounded_by_bytes(pool: Pool, owner: Conn) -> None:
    users = [await make_tenant(owner) for _ in range(3)]
    for user in users:
        await add(owner, user, *(f"q{n}" for n in range(10)))
    one = (await seen(Shelf(), pool, users[0])).nbytes
    assert one > 10 * len("q1yes")
    shelf = Shelf(kept_bytes=2 * one)
    first, second, third = [await seen(shelf, pool, user) for user in users]
    assert await seen(shelf, pool, users[2]) is third
    assert await seen(shelf, pool, users[1]) is second
    assert await seen(shelf, pool, users[0]) is not first


async def test_nobody_reads_anothers(pool: Pool, owner: Conn) -> None:
    user, other = await make_tenant(owner), await make_tenant(owner)
    await add(owner, user, "secret?")
    found = await Shelf().knowledge(
        pool, UserId(other.user_id), ChatbotId(user.chatbot_id), version=1
    )
    assert found.rows == ()
