"""What a bot remembers of a conversation and of a customer, and what that may take."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, AnyMessage

from db.ids import MessageId, Wamid
from db.pool import Conn, Pool, tenant
from handlers import facts
from handlers.agent.graph import Agent
from handlers.agent.prompt import Briefing
from handlers.agent.remembering import REMEMBER
from handlers.agent.tools import REQUEST, SEARCH, Toolbox
from handlers.facts import FACTS_MAX
from handlers.ingest.changes import apply_change
from handlers.whatsapp.values import Change, Customer, Inbound
from tests.factories import make_message
from tests.turn.shop import Shop, Who, open_shop

SOMEBODY = Customer("+12025550143", "12025550143", None)


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as opened:
        yield opened


def texts(request: dict[str, Any]) -> list[str]:
    return [m["content"] or "" for m in request["messages"]]


async def said_before(shop: Shop, who: Who, text: str, ago: timedelta, **columns: Any) -> MessageId:
    """In the record, long since answered."""
    given: dict[str, Any] = {"direction": "inbound", "status": "received", "input_seq": 0} | columns
    message_id = await make_message(*(shop.owner, shop.tenant, *who), text=text, **given)
    await shop.owner.execute(
        "UPDATE messages SET sent_at = now() - $2::interval, created_at = now() - $2::interval"
        " WHERE id = $1",
        *(message_id, ago),
    )
    return message_id


async def changed(shop: Shop, what: Change) -> bool:
    async with tenant(shop.pool, shop.tenant.user_id) as conn:
        return await apply_change(conn, shop.tenant.user_id, shop.tenant.chatbot_id, what)


def change_of(wamid: str, what: Literal["reaction", "edit", "revoke"], **given: Any) -> Change:
    return Change(
        what=what,
        by="customer",
        wamid=Wamid(f"{wamid}-{what}"),
        at=datetime.now(UTC),
        who=SOMEBODY,
        target=Wamid(wamid),
        **given,
    )


def edit_of(wamid: str, text: str) -> Change:
    new = Inbound(Wamid(wamid), datetime.now(UTC), SOMEBODY, "text", text)
    return change_of(wamid, "edit", new=new)


# ---- history -------------------------------------------------------------------------------------


async def test_two_hundred_long_turns_stay_within_the_budget(shop: Shop) -> None:
    """By the count of the model's server."""
    who = await shop.customer()
    counted: list[int] = []
    begins: list[str] = []
    for n in range(40):
        # At the pace of people.
        await shop.owner.execute("UPDATE messages SET created_at = created_at - interval '1 min'")
        turn = await shop.turn(who, f"Story {n}. " + "A long story. " * 280)
        (request,) = turn.requests
        counted.append(len(json.dumps(request["messages"], ensure_ascii=False)) // 4)
        begins.append(texts(request)[1][:60])
        assert texts(request)[-1].startswith(f"Story {n}. ")
    assert max(counted) <= 12_000
    assert min(counted[10:]) > 2_000
    assert len({*begins[10:]}) < 25, "it begins anew with every turn"
    blob = await shop.owner.fetchval("SELECT max(length(blob)) FROM checkpoint_blobs")
    assert blob < 100_000


async def test_a_chatbot_s_own_budget_acts(shop: Shop) -> None:
    await shop.owner.execute(
        "UPDATE chatbots SET budgets ="
        """ '{"input_tokens": 4000, "knowledge_tokens": 0, "output_tokens": 120}'"""
    )
    who = await shop.customer()
    for n in range(6):
        turn = await shop.turn(who, f"Story {n}. " + "A long story. " * 280)
        (request,) = turn.requests
        assert len(json.dumps(request["messages"], ensure_ascii=False)) // 4 <= 4_000
        assert request["max_completion_tokens"] == 120
        assert "From 7 to 18." not in texts(request)[0]
        assert SEARCH in [tool["function"]["name"] for tool in request["tools"]]


async def test_times_and_colleagues_are_told(shop: Shop) -> None:
    who = await shop.customer()
    await said_before(shop, who, "Is my cake ready?", timedelta(days=21))
    await said_before(
        *(shop, who, "Tomorrow.", timedelta(days=21)),
        direction="outbound",
        status="read",
        input_seq=None,
    )
    await shop.owner.execute(
        "UPDATE messages SET is_from_human = true WHERE content_text = 'Tomorrow.'"
    )
    (request,) = (await shop.turn(who, "Is it ready?")).requests
    _, first, colleague, now, newest = texts(request)
    assert first.endswith("]\nIs my cake ready?")
    assert colleague == "[a colleague wrote] Tomorrow."
    assert now.startswith("[It is ")
    assert newest.startswith("[3 weeks later, ")
    assert newest.endswith("]\nIs it ready?")
    await shop.simulator.rules({"reply": "[a colleague wrote] It is ready.", "times": 1})
    assert (await shop.turn(who, "Well?")).said == ["It is ready."]


async def test_a_note_of_the_moment_is_no_part_of_the_thread(shop: Shop) -> None:
    who = await shop.customer()
    first = (await shop.turn(who, "One")).requests[0]
    second = (await shop.turn(who, "Two")).requests[0]
    assert texts(second)[0] == texts(first)[0]
    assert [t for t in texts(second) if t.startswith("[It is ")] == [texts(second)[-2]]
    assert first["tools"] == second["tools"]


async def test_a_reaction_is_noted_once(shop: Shop) -> None:
    who = await shop.customer()
    await shop.turn(who, "Can you pass it on?")
    reply = await shop.owner.fetchval(
        "UPDATE messages SET message_id = 'w.reply', status = 'read'"
        " WHERE direction = 'outbound' RETURNING content_text"
    )
    reaction = change_of("w.reply", "reaction", emoji="\U0001f44d")
    assert await changed(shop, reaction)
    for n in range(3):
        (request,) = (await shop.turn(who, f"Question {n}")).requests
        notes = [t for t in texts(request) if t.startswith("[the customer reacted")]
        assert notes == [f'[the customer reacted with \U0001f44d to "{reply}"]']


async def test_an_edit_after_the_answer_does_not_make_it_look_wrong(shop: Shop) -> None:
    who = await shop.customer()
    await shop.turn(who, "2 cakes please")
    assert await changed(shop, edit_of("w.1", "20 cakes please"))
    (request,) = (await shop.turn(who, "Did you see?")).requests
    _, asked, answered, note, _, newest = texts(request)
    assert asked.endswith("]\n2 cakes please")
    assert answered == "Re: 2 cakes please"
    assert note == '[the customer later changed "2 cakes please" to:]\n20 cakes please'
    assert newest == "Did you see?"
    assert await changed(shop, change_of("w.1", "revoke"))
    (request,) = (await shop.turn(who, "And now?")).requests
    assert "cakes please" not in "".join(t for t in texts(request) if not t.startswith("Re: "))
    assert "2 cakes" not in await shop.owner.fetchval(
        "SELECT metadata::text FROM messages WHERE message_id = 'w.1'"
    )


async def test_an_edit_before_the_answer_is_what_is_answered(shop: Shop) -> None:
    who = await shop.customer()
    await shop.turn(who, "Hello")
    await shop.owner.execute("UPDATE conversations SET input_seq = input_seq + 1")
    await make_message(
        *(shop.owner, shop.tenant, *who),
        direction="inbound",
        status="received",
        wamid="w.mine",
        input_seq=2,
        text="2 cakes please",
    )
    assert await changed(shop, edit_of("w.mine", "20 cakes please"))
    turn = await shop.turn(who, "Thanks")
    assert turn.said == ["Re: 20 cakes please | Thanks"]
    (request,) = (await shop.turn(who, "Well?")).requests
    assert not any("later changed" in text for text in texts(request))


class Edits:
    """The customer edits what is being answered."""

    name = "m"

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        assert await changed(self.shop, edit_of("w.1", "20 cakes please"))
        return AIMessage("Two cakes.")


async def test_an_edit_while_the_turn_thinks_comes_after_its_answer(shop: Shop) -> None:
    who = await shop.customer()
    agent, shop.agent = shop.agent, Agent(Edits(shop))
    assert (await shop.turn(who, "2 cakes please")).said == ["Two cakes."]
    shop.agent = agent
    (request,) = (await shop.turn(who, "Did you see?")).requests
    assert texts(request)[1].endswith("]\n2 cakes please")
    assert texts(request)[2] == "Two cakes."
    assert texts(request)[3].endswith("to:]\n20 cakes please")


async def test_a_thread_of_the_release_before_goes_on(shop: Shop) -> None:
    """Its messages have no times, its state no reactions."""
    who = await shop.customer()
    await shop.turn(who, "One")
    await shop.owner.execute(
        "UPDATE checkpoints SET checkpoint = checkpoint #- '{channel_values,reacted}'"
        " #- '{channel_versions,reacted}'"
    )
    turn = await shop.turn(who, "Two")
    assert turn.said == ["Re: Two"]
    assert "One" in texts(turn.requests[0])[1]


# ---- facts ---------------------------------------------------------------------------------------


def noting(key: str, text: str) -> dict[str, Any]:
    return {
        "tool_calls": [{"name": REMEMBER, "arguments": {"about": key, "text": text}}],
        "times": 1,
    }


async def known(shop: Shop) -> list[tuple[str, str]]:
    rows = await shop.owner.fetch("SELECT about, text FROM facts ORDER BY id")
    return [(row["about"], row["text"]) for row in rows]


async def test_a_fact_is_kept_with_the_answer_and_told_from_then_on(shop: Shop) -> None:
    who = await shop.customer()
    await shop.simulator.rules(noting("Allergy", "allergic to nuts"), {"reply": "I see."})
    turn = await shop.turn(who, "I am allergic to nuts")
    assert turn.said == ["I see."]
    assert "<facts>" not in texts(turn.requests[1])[0]
    assert await known(shop) == [("allergy", "allergic to nuts")]
    source = await shop.owner.fetchval(
        "SELECT m.content_text FROM facts f JOIN messages m ON m.id = f.message_id"
    )
    assert source == "I am allergic to nuts"
    (request,) = (await shop.turn(who, "Hello")).requests
    assert '{"about": "allergy", "fact": "allergic to nuts"}' in texts(request)[0]
    stranger = await shop.customer()
    (request,) = (await shop.turn(stranger, "Hello")).requests
    assert "<facts>" not in texts(request)[0]


async def test_the_same_key_is_the_same_fact(shop: Shop) -> None:
    who = await shop.customer()
    for text in ("allergic to nuts", "no allergies any more"):
        await shop.simulator.rules(noting("allergy", text), {"reply": "I see."})
        await shop.turn(who, text)
    assert await known(shop) == [("allergy", "no allergies any more")]


async def test_a_contact_has_a_bounded_number_of_facts(shop: Shop) -> None:
    who = await shop.customer()
    for n in range(FACTS_MAX + 3):
        message_id = await said_before(shop, who, "x", timedelta(0))
        async with tenant(shop.pool, shop.tenant.user_id) as conn:
            await facts.keep(conn, shop.tenant.user_id, [message_id], [(f"k{n}", "x")])
    assert [key for key, _ in await known(shop)] == [f"k{n}" for n in range(3, FACTS_MAX + 3)]


async def test_turns_of_two_chatbots_keep_facts_of_a_contact_at_once(shop: Shop) -> None:
    """In the other order each would wait for the other."""
    who = await shop.customer()
    ids = [await said_before(shop, who, "x", timedelta(0)) for _ in range(8)]

    async def keep(n: int) -> None:
        keys = [f"k{k}" for k in range(30)]
        given = [(key, str(n)) for key in (keys if n % 2 else reversed(keys))]
        async with tenant(shop.pool, shop.tenant.user_id) as conn:
            await facts.keep(conn, shop.tenant.user_id, [ids[n]], given)

    await asyncio.gather(*(keep(n) for n in range(8)))
    found = await known(shop)
    assert FACTS_MAX <= len(found) <= 30
    assert len({key for key, _ in found}) == len(found)


class Loses:
    """While it thinks, the lease becomes somebody else's; before, it notes a fact."""

    name = "m"

    def __init__(self, owner: Conn) -> None:
        self.owner = owner

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        noted = await tools.call(REMEMBER, {"about": "allergy", "text": "nuts"})
        assert noted.startswith("noted")
        await self.owner.execute("UPDATE conversations SET epoch = epoch + 1")
        return AIMessage("Yes.")


async def test_a_turn_that_lost_its_lease_leaves_no_fact(shop: Shop) -> None:
    who = await shop.customer()
    shop.agent = Agent(Loses(shop.owner))
    assert (await shop.turn(who, "I am allergic to nuts")).said == []
    assert await known(shop) == []


async def test_a_fact_goes_with_the_message_it_was_learnt_from(shop: Shop) -> None:
    """Revoked: also when it was another one of the same burst. Too old: as the row goes."""
    who = await shop.customer()
    await shop.simulator.rules(noting("allergy", "nuts"), {"reply": "I see."})
    await shop.turn(who, "I am allergic to nuts", "is that a problem?")
    await shop.simulator.rules(noting("street", "Mill Lane 3"), {"reply": "I see."})
    await shop.turn(who, "I live in Mill Lane 3")
    assert len(await known(shop)) == 2
    assert await changed(shop, change_of("w.1", "revoke"))
    assert await known(shop) == [("street", "Mill Lane 3")]
    await shop.owner.execute("DELETE FROM messages WHERE message_id = 'w.3'")
    assert await known(shop) == []


async def test_what_was_revoked_while_the_turn_thought_is_not_noted(shop: Shop) -> None:
    who = await shop.customer()

    class Revokes(Loses):
        async def answer(
            self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
        ) -> AIMessage:
            await tools.call(REMEMBER, {"about": "allergy", "text": "nuts"})
            assert await changed(shop, change_of("w.1", "revoke"))
            return AIMessage("I see.")

    shop.agent = Agent(Revokes(shop.owner))
    assert (await shop.turn(who, "I am allergic to nuts", "Hm")).said == ["I see."]
    assert await known(shop) == []


async def test_a_deleted_fact_is_told_by_nothing_any_more(shop: Shop) -> None:
    """Also not by the thread, which has seen how it was noted."""
    who = await shop.customer()
    await shop.simulator.rules(noting("allergy", "peculiar nuts"), {"reply": "I see."})
    await shop.turn(who, "You know my allergy")
    fact_id = await shop.owner.fetchval("SELECT id FROM facts")
    (request,) = (await shop.turn(who, "Hello")).requests
    assert "peculiar nuts" in json.dumps(request["messages"])
    async with tenant(shop.pool, shop.tenant.user_id) as conn:
        assert await facts.forget(conn, shop.tenant.user_id, fact_id) == who[0]
        assert await facts.forget(conn, shop.tenant.user_id, fact_id) is None
    (request,) = (await shop.turn(who, "Hello")).requests
    assert "peculiar nuts" not in json.dumps(request["messages"])


# ---- money ---------------------------------------------------------------------------------------


async def test_money_ends_the_rounds_of_tools(shop: Shop) -> None:
    """A request costs some 1,000 tokens here; the rule would call for ever."""
    await shop.owner.execute(
        "INSERT INTO model_prices (model, kind, valid_from, input_price, cached_price,"
        " output_price) VALUES ('some-model', '*', '2020-01-01', 1, 1, 1)"
    )
    call = {"tool_calls": [{"name": REQUEST, "arguments": {"type": "refund", "details": "x"}}]}
    usage = {"prompt_tokens": 1_000, "completion_tokens": 0, "total_tokens": 1_000}
    await shop.simulator.rules(
        {**call, "usage": usage, "times": 1}, {**call, "usage": usage, "times": 1}
    )
    who = await shop.customer()
    turn = await shop.turn(who, "Refund please")
    assert [r.get("tool_choice") for r in turn.requests] == [None, None, None]
    await shop.owner.execute("""UPDATE chatbots SET budgets = '{"cost": "0.0025"}'""")
    await shop.simulator.rules({**call, "usage": usage, "times": 1})
    turn = await shop.turn(who, "Refund please, another one")
    assert [r.get("tool_choice") for r in turn.requests] == [None, "none"]
    assert len(turn.said) == 1
