"""What nothing answers is noted with the turn, once, and goes with the message."""

from datetime import timedelta
from typing import Any

from db.pool import Conn, Pool, tenant
from db.unanswered import forget_revoked, forget_unanswered
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from handlers.unanswered import KEPT_MAX, note
from tests.factories import make_conversation, make_message, make_tenant
from tests.turn.shop import Shop, open_shop


async def noted(owner: Conn) -> list[str]:
    rows = await owner.fetch("SELECT question FROM unanswered_questions ORDER BY id")
    return [row["question"] for row in rows]


async def keys(owner: Conn) -> int:
    count: int = await owner.fetchval("SELECT count(DISTINCT key) FROM unanswered_questions")
    return count


async def asks(shop: Shop, text: str, *more: str, **rule: Any) -> None:
    await shop.simulator.rules({"match": text, "times": 1, **rule})
    await shop.turn(await shop.customer(), text, *more)


async def test_a_model_says_that_nothing_answers(pool: Pool, owner: Conn) -> None:
    async with open_shop(pool, owner) as shop:
        await asks(shop, "do you sell roses", "red ones?", reply="I do not know.\n[[]]")
        assert await noted(owner) == ["do you sell roses red ones?"]
        await asks(shop, "Red ones, do you sell roses", reply="Sorry. [[]]")
        assert (len(await noted(owner)), await keys(owner)) == (2, 1)
        await asks(shop, "your hours please", reply="From 7. [[]] [[1]]")  # it contradicts itself
        await asks(shop, "thanks a lot", reply="You are welcome!")
        await asks(shop, "hi", reply="Hello. [[]]")
        await asks(shop, "a real failure", status=400)
        assert len(await noted(owner)) == 2


async def test_a_search_in_vain_says_it_too(pool: Pool, owner: Conn) -> None:
    async with open_shop(pool, owner) as shop:
        await shop.knows(*((f"What is item {n}?", "x" * 200) for n in range(80)))
        call = {"name": "search_knowledge_base", "arguments": {"query": "\u0416\u0416"}}
        await shop.simulator.rules(
            {"tool_match": "nothing found", "reply": "I do not know."},
            {"match": "zebras", "tool_calls": [call]},
        )
        await shop.turn(await shop.customer(), "do you sell zebras?")
        assert await noted(owner) == ["do you sell zebras?"]


async def test_the_built_in_answerer_notes_what_it_does_not_have(pool: Pool, owner: Conn) -> None:
    async with open_shop(pool, owner) as shop:
        shop.agent = Agent(Offline())
        await shop.turn(await shop.customer(), "When are you open?")
        assert await noted(owner) == []
        await shop.turn(await shop.customer(), "Can I pay with bitcoin?")
        assert await noted(owner) == ["Can I pay with bitcoin?"]


async def test_it_goes_with_the_message_and_when_that_is_revoked(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    messages = [
        await make_message(
            *(owner, user, contact, conversation),
            direction="inbound",
            status="received",
            wamid=f"w.{n}",
        )
        for n in range(3)
    ]
    async with tenant(pool, user.user_id) as conn:
        for message in messages[1:]:
            for _ in range(2):  # a turn that is written twice
                await note(
                    conn,
                    user.user_id,
                    user.chatbot_id,
                    [messages[0], message],
                    "Do you sell roses?",
                )
    assert len(await noted(owner)) == 2
    await owner.execute("DELETE FROM messages WHERE id = $1", messages[2])
    assert len(await noted(owner)) == 1
    async with tenant(pool, user.user_id) as conn:  # of a burst, whose last message is noted
        await forget_revoked(conn, user.user_id, user.chatbot_id, "w.0")  # type: ignore[arg-type]
    assert await noted(owner) == []


async def test_there_is_an_end_of_it(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    first = await make_message(
        *(owner, user, contact, conversation), direction="inbound", status="received"
    )
    await owner.execute(
        "WITH m AS (INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id,"
        " direction, content_text, status) SELECT $1, $2, $3, $4, 'inbound', 'x', 'received'"
        " FROM generate_series(1, $5) RETURNING id)"
        " INSERT INTO unanswered_questions (user_id, chatbot_id, contact_id, message_id, question,"
        " key, created_at) SELECT $1, $2, $3, m.id, 'why ' || m.id, decode(md5(m.id::text), 'hex'),"
        " now() - interval '89 days' FROM m",
        *(user.user_id, user.chatbot_id, contact, conversation, KEPT_MAX + 3),
    )
    async with tenant(pool, user.user_id) as conn:
        await note(conn, user.user_id, user.chatbot_id, [first], "Do you sell roses?")
    assert len(await noted(owner)) == KEPT_MAX
    async with pool.acquire() as conn:
        assert await forget_unanswered(conn, timedelta(days=90), 10) == 0
        assert await forget_unanswered(conn, timedelta(days=88), KEPT_MAX) == KEPT_MAX - 1
    assert await noted(owner) == ["Do you sell roses?"]
