"""A chatbot hands over to a person when it should, and takes it up again when nobody came."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from db.conversations import claim_conversations
from db.pool import Conn, Pool, tenant
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from handlers.erasure.begin import erase_contact
from handlers.fixed.texts import Kind, fixed_text
from handlers.handovers import end_overdue_handovers
from handlers.process.sweeps import Sweep
from handlers.takeover import hand_back_conversation, queue_message_of_person
from handlers.turns.run import run_turn
from tests.db.test_turn_queries import until_somebody_waits_for_a_lock
from tests.factories import Tenant, make_conversation, make_tenant
from tests.turn.shop import ME, Shop, Who, open_shop
from tests.turn.test_actions import said, told, turns, write

HANDOVER = fixed_text(Kind.HANDOVER, "en")
HANDBACK = fixed_text(Kind.HANDBACK, "en")
NOBODY = fixed_text(Kind.NOBODY, "en")
KEPT = fixed_text(Kind.REQUEST_KEPT, "en")
OFFER = fixed_text(Kind.NO_INFORMATION, "en")
HOURS = "We open at seven."
NO_TAKEOVER = {"features": {"advanced_features": {"live_chat_takeover": False}}}
NEITHER = {
    "features": {"advanced_features": {"live_chat_takeover": False, "actions_center": False}}
}


@pytest.fixture
def agent() -> Agent:
    return Agent(Offline())


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        yield shop


async def customer(owner: Conn, **plan: Any) -> tuple[Tenant, Who]:
    user = await make_tenant(owner, config=json.dumps(plan))
    await owner.execute(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
        " VALUES ($1, $2, 'When do you open?', $3)",
        *(user.user_id, user.chatbot_id, HOURS),
    )
    return user, await make_conversation(owner, user)


async def state(owner: Conn) -> tuple[str | None, str | None, float | None]:
    """Who has it, why, and for how many hours."""
    row = await owner.fetchrow(
        "SELECT taken_over_by, taken_over_reason,"
        " CASE WHEN isfinite(taken_over_until)"
        " THEN extract(epoch FROM taken_over_until - taken_over_at)::float / 3600 END AS hours"
        " FROM conversations ORDER BY id LIMIT 1"
    )
    assert row is not None
    return row["taken_over_by"], row["taken_over_reason"], row["hours"]


async def until_it_is_over(owner: Conn, pool: Pool) -> None:
    await owner.execute("UPDATE conversations SET taken_over_until = now()")
    await end_overdue_handovers(pool, Sweep("test"))


@pytest.mark.parametrize(
    "wish",
    [
        "I want to talk to a human",
        "Quiero hablar con una persona",
        "Kann ich mit einem Mitarbeiter sprechen?",
        "Je voudrais parler \u00e0 un conseiller",
        "\u0623\u0631\u064a\u062f \u0634\u062e\u0635",
        "\u8f6c\u4eba\u5de5",
    ],
)
async def test_a_wish_for_a_person_is_granted(
    pool: Pool, owner: Conn, agent: Agent, wish: str
) -> None:
    user, who = await customer(owner)
    await write(owner, user, who, wish)
    await turns(pool, agent)
    assert await state(owner) == ("bot", wish, 24)
    assert len(await said(owner)) == 1
    event = await owner.fetchrow("SELECT event_type, event_data FROM analytics_events")
    assert event is not None
    assert event["event_type"] == "conversation.taken_over"
    data = json.loads(event["event_data"])
    assert (data["by"], data["reason"]) == ("bot", wish)


async def test_yes_to_the_offer_hands_over_and_the_bot_is_silent(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user, who = await customer(owner)
    await write(owner, user, who, "do you sell bicycles?")
    await turns(pool, agent)
    await write(owner, user, who, "Yes, please!")
    await turns(pool, agent)
    assert await said(owner) == [OFFER, HANDOVER]
    assert (await state(owner))[:2] == ("bot", "do you sell bicycles? / Yes, please!")
    await write(owner, user, who, "when do you open?")
    await turns(pool, agent)
    assert len(await said(owner)) == 2
    # A person hands it back: then the bot answers what is left.
    async with tenant(pool, user.user_id) as conn:
        await hand_back_conversation(conn, user.user_id, who[1])
    await turns(pool, agent)
    assert await state(owner) == (None, None, None)
    assert await told(owner) == ["conversation.taken_over", "conversation.handed_back"]


async def test_a_yes_to_nothing_is_none(pool: Pool, owner: Conn, agent: Agent) -> None:
    user, who = await customer(owner)
    await write(owner, user, who, "yes please")
    await turns(pool, agent)
    assert (await state(owner))[0] is None


async def test_nobody_came_and_the_bot_says_so(pool: Pool, owner: Conn, agent: Agent) -> None:
    user, who = await customer(owner, custom_settings={"support": {"response_time_hours": 2}})
    await write(owner, user, who, "a human please")
    await turns(pool, agent)
    assert (await state(owner))[2] == 2
    await end_overdue_handovers(pool, Sweep("test"))
    assert (await state(owner))[0] == "bot"  # not yet
    await until_it_is_over(owner, pool)
    await end_overdue_handovers(pool, Sweep("test"))  # a second worker
    assert await turns(pool, agent) == 1
    assert await said(owner) == [HANDOVER, HANDBACK]
    assert await told(owner) == ["conversation.taken_over", "conversation.handed_back"]
    await write(owner, user, who, "when do you open?")
    await turns(pool, agent)
    assert (await said(owner))[2:] == [HOURS]


async def test_who_is_erased_meanwhile_is_told_nothing(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user, who = await customer(owner)
    await write(owner, user, who, "a human please")
    await turns(pool, agent)
    await owner.execute(
        "UPDATE conversations SET last_inbound_at = now(), taken_over_until = now()"
    )
    contact = await owner.fetchval("SELECT id FROM contacts")
    async with tenant(pool, user.user_id) as conn:  # and the hand-over ends at the same moment
        assert await erase_contact(conn, user.user_id, contact)
        ends = asyncio.create_task(end_overdue_handovers(pool, Sweep("test")))
        await until_somebody_waits_for_a_lock(owner)
    await ends
    assert await owner.fetchval("SELECT count(*) FROM conversation_events") == 0
    assert await turns(pool, agent) == 0


async def test_what_the_customer_wrote_meanwhile_is_answered_with_it(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user, who = await customer(owner)
    await write(owner, user, who, "a human please")
    await turns(pool, agent)
    await write(owner, user, who, "when do you open?")
    await turns(pool, agent)
    await until_it_is_over(owner, pool)
    await turns(pool, agent)
    assert (await said(owner))[1:] == [f"{HOURS}\n\n{HANDBACK}"]


async def test_who_said_a_word_keeps_it(pool: Pool, owner: Conn, agent: Agent) -> None:
    user, who = await customer(owner)
    await write(owner, user, who, "a human please")
    await turns(pool, agent)
    await owner.execute("UPDATE conversations SET last_inbound_at = now()")
    async with tenant(pool, user.user_id) as conn:
        await queue_message_of_person(conn, user.user_id, who[1], "Here I am.", {})
    assert (await state(owner))[0] == "human"
    await end_overdue_handovers(pool, Sweep("test"))
    assert (await state(owner))[0] == "human"
    assert "conversation.handed_back" not in await told(owner)


async def test_who_says_a_word_as_the_time_ends_keeps_it(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user, who = await customer(owner)
    await write(owner, user, who, "a human please")
    await turns(pool, agent)
    await owner.execute(
        "UPDATE conversations SET last_inbound_at = now(), taken_over_until = now()"
    )
    async with tenant(pool, user.user_id) as conn:
        await queue_message_of_person(conn, user.user_id, who[1], "Here I am.", {})
        ends = asyncio.create_task(end_overdue_handovers(pool, Sweep("test")))
        await until_somebody_waits_for_a_lock(owner)
    await ends
    assert (await state(owner))[0] == "human"
    assert "conversation.handed_back" not in await told(owner)


async def test_outside_the_window_it_is_handed_back_without_a_word(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user, who = await customer(owner)
    await write(owner, user, who, "a human please")
    await turns(pool, agent)
    await owner.execute("UPDATE conversations SET last_inbound_at = now() - interval '24 h'")
    await until_it_is_over(owner, pool)
    assert await turns(pool, agent) == 0
    assert await said(owner) == [HANDOVER]
    assert (await told(owner))[-1] == "conversation.handed_back"


@pytest.mark.parametrize(
    ("plan", "answer", "actions"), [(NO_TAKEOVER, KEPT, 1), (NEITHER, NOBODY, 0)]
)
async def test_a_plan_without_people(
    pool: Pool, owner: Conn, agent: Agent, plan: dict[str, Any], answer: str, actions: int
) -> None:
    user, who = await customer(owner, **plan)
    await write(owner, user, who, "I want to talk to a human")
    await turns(pool, agent)
    assert await said(owner) == [answer]
    assert (await state(owner))[0] is None
    assert await owner.fetchval("SELECT count(*) FROM actions") == actions
    await write(owner, user, who, "do you sell bicycles?")
    await turns(pool, agent)
    offers = "colleague" in (await said(owner))[1]
    assert offers == bool(actions)


# ---- by a model ----------------------------------------------------------------------------------


def hands_over(reason: str) -> dict[str, Any]:
    arguments = {"reason": reason}
    return {"tool_calls": [{"name": "hand_over_to_human", "arguments": arguments}], "times": 1}


async def test_a_model_hands_over_by_its_tool(shop: Shop, owner: Conn) -> None:
    who = await shop.customer()
    await shop.simulator.rules(hands_over("wants a person"), {"reply": "We are open till 18."})
    turn = await shop.turn(
        who, "\u0939\u092e\u0947\u0902 \u0915\u093f\u0938\u0940 \u0938\u0947 \u092c\u093e\u0924"
    )
    assert turn.said[0].startswith("We are open till 18.\n\n")
    assert (await state(owner))[:2] == ("bot", "wants a person")
    names = [tool["function"]["name"] for tool in turn.requests[0]["tools"]]
    assert "hand_over_to_human" in names
    assert turn.with_a_person


@pytest.mark.parametrize("then", [{"reply": ""}, {"status": 500}])
async def test_a_model_that_then_fails_has_handed_over(
    shop: Shop, owner: Conn, then: dict[str, Any]
) -> None:
    who = await shop.customer()
    await shop.simulator.rules(hands_over("wants a person"), then)
    turn = await shop.turn(who, "a person please")
    assert turn.said == [HANDOVER]
    assert (await state(owner))[0] == "bot"


async def test_without_takeover_the_model_has_no_such_tool(shop: Shop, owner: Conn) -> None:
    await owner.execute(
        "UPDATE user_subscriptions SET subscription_config = $1::text::jsonb",
        json.dumps(NO_TAKEOVER),
    )
    who = await shop.customer()
    await shop.simulator.rules(hands_over("wants a person"), {"reply": "I cannot."})
    turn = await shop.turn(who, "a person please")
    assert turn.said == ["I cannot."]
    assert (await state(owner))[0] is None
    assert "hand_over_to_human" not in str(turn.requests[0]["tools"])
    system = turn.requests[0]["messages"][0]["content"]
    assert "never offer one" in system


async def test_a_turn_without_its_lease_hands_nothing_over(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user, who = await customer(owner)
    await write(owner, user, who, "a human please")
    async with pool.acquire() as conn:
        (old,) = await claim_conversations(conn, ME, 1, 100)
    await owner.execute("UPDATE conversations SET lease_owner = NULL, ready_at = NULL, epoch = 9")
    await run_turn(pool, agent, ME, old)
    assert (await state(owner))[0] is None
    assert await told(owner) == []


async def test_are_you_open_now(pool: Pool, owner: Conn, agent: Agent) -> None:
    user, who = await customer(owner)
    always = {
        day: [["00:00", "24:00"]] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    }
    for hours, answer in (
        (always, "Yes, we are open now: 24/7."),
        ({"closed": []}, "We are closed now. We open next: \u2013."),
    ):
        await owner.execute(
            "UPDATE chatbots SET business_hours = $1::text::jsonb", json.dumps(hours)
        )
        await write(owner, user, who, "Are you open now?")
        await turns(pool, agent)
        assert (await said(owner))[-1] == answer


async def test_a_model_is_told_whether_it_is_open(shop: Shop, owner: Conn) -> None:
    hours = json.dumps({"mon": [["09:00", "18:00"]]})
    await owner.execute("UPDATE chatbots SET business_hours = $1::text::jsonb", hours)
    await shop.simulator.rules({"reply": "Yes."})
    turn = await shop.turn(await shop.customer(), "open?")
    assert "open_now: " in str(turn.requests[0]["messages"])
