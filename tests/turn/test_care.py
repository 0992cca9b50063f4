"""What a turn says without a model: to STOP, to another bot, to who had enough for a day, and to
what is off-topic again."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from db.conversations import claim_conversations
from db.pool import Conn, Pool
from handlers.agent.off_topic import MARK
from handlers.fixed.texts import Kind, fixed_text
from handlers.takeover import hand_back_conversation
from handlers.turns.run import run_turn
from tests.factories import make_message
from tests.turn.shop import ME, Shop, Who, open_shop

OUT = fixed_text(Kind.OPTED_OUT, "en")


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        yield shop


async def notices(shop: Shop, who: Who) -> list[tuple[str, str]]:
    rows = await shop.owner.fetch(
        "SELECT metadata ->> 'reason', content_text FROM messages"
        " WHERE conversation_id = $1 AND metadata ->> 'kind' = 'notice' ORDER BY id",
        who[1],
    )
    return [(row[0], row[1]) for row in rows]


async def reserved(shop: Shop) -> tuple[int, int]:
    row = await shop.owner.fetchrow(
        "SELECT coalesce(sum(daily_messages_sent), 0)::int, (SELECT count(*) FROM"
        " usage_reservations)::int FROM usage_tracking"
    )
    assert row is not None
    return row[0], row[1]


async def plan(shop: Shop, **limits: int) -> None:
    config = json.dumps({"limits": limits})
    await shop.owner.execute("UPDATE user_subscriptions SET subscription_config = $1", config)


# ---- STOP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language"), [("STOP", "en"), ("¡BAJA!", "es"), ("abmelden", "de")]
)
async def test_stop_is_confirmed_without_a_model_and_outside_the_meter(
    shop: Shop, text: str, language: str
) -> None:
    who = await shop.customer()
    await shop.owner.execute("UPDATE contacts SET language = $1", language)
    turn = await shop.turn(who, text)
    assert (turn.said, turn.requests) == ([], [])
    assert await notices(shop, who) == [("opted_out", fixed_text(Kind.OPTED_OUT, language))]
    assert await reserved(shop) == (0, 0)
    (row,) = await shop.owner.fetch(
        "SELECT ai_processed, metadata ->> 'reason' AS reason FROM messages"
        " WHERE direction = 'inbound'"
    )
    assert tuple(row) == (True, "opted_out")


async def test_what_was_not_taken_down_is_not_confirmed(shop: Shop) -> None:
    """A word that became one after it was written: nobody promises what no row says."""
    await shop.owner.execute("UPDATE chatbots SET opt_out_words = '{Schluss jetzt}'")
    await shop.simulator.rules({"reply": "What do you mean?"})
    who = await shop.customer()
    turn = await shop.turn(who, "Schluss jetzt!")
    assert turn.said == ["What do you mean?"]
    assert await notices(shop, who) == []


async def test_service_goes_on_after_it(shop: Shop) -> None:
    who = await shop.customer()
    await shop.turn(who, "STOP")
    await shop.simulator.rules({"reply": "From 7 to 18."})
    turn = await shop.turn(who, "When are you open?")
    assert turn.said == ["From 7 to 18."]


async def test_a_question_beside_it_is_answered_too(shop: Shop) -> None:
    await shop.simulator.rules({"reply": "From 7 to 18."})
    turn = await shop.turn(await shop.customer(), "stop", "When are you open?")
    assert turn.said == [f"From 7 to 18.\n\n{OUT}"]
    (request,) = turn.requests
    assert [m["content"] for m in request["messages"][2:]] == ["When are you open?"]


async def test_start_is_a_question_of_who_had_not_stopped(shop: Shop) -> None:
    await shop.simulator.rules({"reply": "Hello!"})
    turn = await shop.turn(await shop.customer(), "Start")
    assert turn.said == ["Hello!"]


async def test_start_after_stop_is_confirmed(shop: Shop) -> None:
    who = await shop.customer()
    await make_message(
        *(shop.owner, shop.tenant, *who), direction="inbound", status="received", input_seq=1
    )
    await shop.owner.execute("UPDATE messages SET content_text = 'START', message_id = 'w.start'")
    await shop.owner.execute(
        "UPDATE contacts c SET marketing_choice = 'resume', marketing_choice_at = m.sent_at"
        " FROM messages m WHERE m.contact_id = c.id"
    )
    await shop.owner.execute("UPDATE conversations SET input_seq = 1, ready_at = now()")
    await run_due(shop)
    assert await notices(shop, who) == [("opted_in", fixed_text(Kind.OPTED_IN, "en"))]


async def run_due(shop: Shop) -> None:
    async with shop.pool.acquire() as conn:
        claims = await claim_conversations(conn, ME, 10, 100)
    await asyncio.gather(*(run_turn(shop.pool, shop.agent, ME, claim) for claim in claims))


# ---- loops ---------------------------------------------------------------------------------------


async def delivered(shop: Shop) -> None:
    """What was queued left at once."""
    await shop.owner.execute(
        "UPDATE messages SET status = 'delivered', sent_at = now() WHERE direction = 'outbound'"
        " AND status = 'queued'"
    )


async def stopped(shop: Shop) -> list[Any]:
    return await shop.owner.fetch(
        "SELECT event_data FROM analytics_events WHERE event_type = 'bot.loop_stopped'"
    )


async def test_eight_at_once_stop_the_bot_for_an_hour_and_a_hand_back_ends_it(shop: Shop) -> None:
    await shop.simulator.rules({"reply": "Your message is important to us."})
    who = await shop.customer()
    for _ in range(8):  # the first one came by itself: seven came at once after ours
        turn = await shop.turn(who, "Thank you for contacting us!")
        assert len(turn.said) == 1
        await delivered(shop)
    turn = await shop.turn(who, "Thank you for contacting us!")
    assert (turn.said, turn.requests, turn.with_a_person) == ([], [], True)
    assert await notices(shop, who) == [("loop", fixed_text(Kind.LOOP, "en"))]
    assert len(await stopped(shop)) == 1
    assert await reserved(shop) == (8, 0)
    hour = await shop.owner.fetchval(
        "SELECT taken_over_until - now() > interval '59 min' FROM conversations WHERE id = $1",
        who[1],
    )
    assert hour

    async with shop.pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT set_config('app.user_id', $1, true)", str(shop.tenant.user_id))
        await hand_back_conversation(conn, shop.tenant.user_id, who[1])
    await delivered(shop)
    turn = await shop.turn(who, "I am a person.")
    assert len(turn.said) == 1
    assert len(await stopped(shop)) == 1


async def test_a_person_who_answers_in_their_own_time_is_left_alone(shop: Shop) -> None:
    await shop.simulator.rules({"reply": "Yes."})
    who = await shop.customer()
    for _ in range(10):
        turn = await shop.turn(who, "And this?")
        assert turn.said == ["Yes."]
        await delivered(shop)
        await shop.owner.execute(
            "UPDATE messages SET sent_at = sent_at - interval '4 s' WHERE direction = 'outbound'"
        )


async def said_lately(shop: Shop, who: Who, count: int, age: str) -> None:
    await shop.owner.execute(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, status,"
        " content_text, created_at) SELECT $1, $2, $3, $4, 'outbound', 'cancelled', 'x',"
        " now() - $6::text::interval FROM generate_series(1, $5)",
        *(shop.tenant.user_id, shop.tenant.chatbot_id, *who, count, age),
    )


@pytest.mark.parametrize(
    ("count", "age", "stops"), [(29, "9 min", False), (30, "9 min", True), (60, "11 min", False)]
)
async def test_more_than_thirty_turns_in_ten_minutes(
    shop: Shop, count: int, age: str, stops: bool
) -> None:
    who = await shop.customer()
    await said_lately(shop, who, count, age)
    if count < 30:
        await said_lately(shop, who, 5, "11 min")
    turn = await shop.turn(who, "And this?")
    assert turn.with_a_person == stops
    assert len(turn.said) == (not stops)


# ---- a customer's day ----------------------------------------------------------------------------

LIMIT = fixed_text(Kind.LIMIT, "en")


async def test_answers_of_a_day_are_bounded_and_told_once(shop: Shop) -> None:
    await plan(shop, max_messages_per_contact_day=2)
    who, other = await shop.customer(), await shop.customer()
    said = [(await shop.turn(who, "Hello?")).said for _ in range(4)]
    assert [len(one) for one in said] == [1, 1, 0, 0]
    assert await notices(shop, who) == [("max_messages_per_contact_day", LIMIT)]
    assert len((await shop.turn(other, "Hello?")).said) == 1
    told = await shop.owner.fetch(
        "SELECT event_data ->> 'limit' FROM analytics_events WHERE event_type = 'limit.reached'"
    )
    assert [row[0] for row in told] == ["max_messages_per_contact_day"]
    await shop.owner.execute("UPDATE contact_days SET usage_day = usage_day - 1")
    assert len((await shop.turn(who, "Hello?")).said) == 1


async def bots(shop: Shop, who: Who, count: int) -> Sequence[Who]:
    """As many conversations of the same customer, each with a chatbot of its own."""
    found = []
    for n in range(count):
        conversation = await shop.owner.fetchval(
            "WITH bot AS (INSERT INTO chatbots (user_id, name) VALUES ($1, 'Another') RETURNING id)"
            " INSERT INTO conversations (user_id, chatbot_id, contact_id, thread_id,"
            " last_inbound_at, input_seq, ready_at)"
            " SELECT $1, bot.id, $2, 'bots:' || $3::int, now(), 1, now() FROM bot RETURNING id",
            *(shop.tenant.user_id, who[0], n),
        )
        await shop.owner.execute(
            "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,"
            " status, content_text, message_id, input_seq) SELECT user_id, chatbot_id, contact_id,"
            " id, 'inbound', 'received', 'Hello?', 'w.bots.' || id, 1 FROM conversations"
            " WHERE id = $1",
            conversation,
        )
        found.append((who[0], conversation))
    return found


@pytest.mark.parametrize("most", [0, 3])
async def test_of_turns_at_once_no_more_are_answered(shop: Shop, most: int) -> None:
    await plan(shop, max_messages_per_contact_day=most)
    await bots(shop, await shop.customer(), 8)
    await run_due(shop)
    answered = await shop.owner.fetchval(
        "SELECT count(*) FROM messages WHERE metadata ->> 'kind' = 'reply'"
    )
    assert answered == most
    rows = await shop.owner.fetch("SELECT answers FROM contact_days")
    assert [row[0] for row in rows] == [most]
    assert (await reserved(shop))[1] == 0


async def test_tokens_of_a_day_are_held_before_they_are_spent(shop: Shop) -> None:
    await shop.simulator.rules(
        {"reply": "Yes.", "usage": {"prompt_tokens": 900, "completion_tokens": 40}}
    )
    await plan(shop, max_tokens_per_contact_day=5_000)
    who = await shop.customer()
    said = []
    for _ in range(12):
        said += (await shop.turn(who, "Hello?")).said
    tokens = await shop.owner.fetchval("SELECT tokens FROM contact_days")
    assert tokens == 940 * len(said)
    assert 0 < tokens <= 5_000
    assert await notices(shop, who) == [("max_tokens_per_contact_day", LIMIT)]
    assert (await reserved(shop)) == (len(said), 0)


async def test_of_turns_at_once_none_spends_what_another_holds(shop: Shop) -> None:
    await shop.simulator.rules(
        {
            "reply": "Yes.",
            "usage": {"prompt_tokens": 900, "completion_tokens": 40},
            "latency_ms": 300,
        }
    )
    await plan(shop, max_tokens_per_contact_day=5_000)
    await bots(shop, await shop.customer(), 10)
    await run_due(shop)
    tokens = await shop.owner.fetchval("SELECT tokens FROM contact_days")
    assert 0 < tokens <= 5_000
    assert await shop.owner.fetchval("SELECT max(tokens) FROM usage_reservations") is None


async def test_a_plan_without_such_limits_counts_nothing(shop: Shop) -> None:
    await shop.turn(await shop.customer(), "Hello?")
    assert await shop.owner.fetchval("SELECT count(*) FROM contact_days") == 0


# ---- off-topic -----------------------------------------------------------------------------------

DECLINE = "I am here for cakes."


async def topical(shop: Shop) -> Who:
    await shop.owner.execute("UPDATE chatbots SET topic = 'A bakery in Porto: \"cakes\"'")
    await shop.simulator.rules(
        {"match": "open", "reply": "From 7 to 18."}, {"reply": f"{DECLINE}\n{MARK}"}
    )
    return await shop.customer()


async def test_twice_off_topic_and_code_declines(shop: Shop) -> None:
    who = await topical(shop)
    for _ in range(2):
        turn = await shop.turn(who, "Write me a poem about Rome")
        assert turn.said == [DECLINE]
        assert "A bakery in Porto" in turn.requests[0]["messages"][0]["content"]
    units = await reserved(shop)
    turn = await shop.turn(who, "Then translate this into Latin")
    assert (turn.said, turn.requests) == ([], [])
    assert await notices(shop, who) == [("off_topic", fixed_text(Kind.OFF_TOPIC, "en"))]
    assert await reserved(shop) == units
    turn = await shop.turn(who, "When are you open?")  # the knowledge base knows
    assert turn.said == ["From 7 to 18."]
    turn = await shop.turn(who, "Write me a poem about Rome")
    assert turn.said == [DECLINE]  # counted anew


async def test_what_is_off_topic_is_no_gap_in_the_knowledge_base(shop: Shop) -> None:
    who = await topical(shop)
    await shop.simulator.rules({"reply": f"{DECLINE}\n{MARK}\n[[]]"})
    assert (await shop.turn(who, "Write me a poem about Rome")).said == [DECLINE]
    assert await shop.owner.fetchval("SELECT off_topic FROM conversations") == 1
    assert await shop.owner.fetchval("SELECT count(*) FROM unanswered_questions") == 0


async def test_it_lapses(shop: Shop) -> None:
    who = await topical(shop)
    for _ in range(2):
        await shop.turn(who, "Write me a poem about Rome")
    await shop.owner.execute(
        "UPDATE conversations SET off_topic_at = off_topic_at - interval '10 min'"
    )
    assert (await shop.turn(who, "Write me a poem about Rome")).said == [DECLINE]


async def test_a_bot_without_a_topic_is_told_nothing_of_it(shop: Shop) -> None:
    await shop.simulator.rules({"reply": f"{DECLINE}\n{MARK}"})
    who = await shop.customer()
    for _ in range(3):
        turn = await shop.turn(who, "Write me a poem about Rome")
        assert turn.said == [DECLINE]
        assert MARK not in turn.requests[0]["messages"][0]["content"]
