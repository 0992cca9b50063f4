"""Requests to a person: made, limited, decided, expired, and told to the customer."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage

from db.actions import Action, WantedActions, list_actions
from db.conversation_events import HANDED_BACK, Passed, add_event, passed_events
from db.conversations import Claim, claim_conversations
from db.ids import ActionId, ContactId, ConversationId, WorkerId
from db.pool import Conn, Pool, create_pool, tenant
from handlers.actions import (
    Outcome,
    Request,
    Similar,
    Verdict,
    _raise,
    create,
    decide,
    expire_overdue,
    raise_passed_events,
)
from handlers.agent.graph import INPUTS_MAX, Agent
from handlers.agent.offline import Offline
from handlers.agent.prompt import Briefing
from handlers.agent.tools import Toolbox
from handlers.fixed.texts import Kind, fixed_text
from handlers.process.sweeps import Sweep
from handlers.rules.requests import EQUAL_A_DAY
from handlers.turns.run import run_turn
from handlers.turns.turn import Turn
from handlers.turns.write import give_up
from tests.conftest import Database
from tests.factories import Tenant, make_conversation, make_message, make_tenant

ME = WorkerId(1)
REFUND = "Can I get my money back?"
RULE = "Money back is decided by our manager."
HOURS = "We open at seven."
ASKED = fixed_text(Kind.REQUEST_KEPT, "en")
NOT_ASKED = fixed_text(Kind.REQUEST_REFUSED, "en")
Who = tuple[ContactId, ConversationId]


@pytest.fixture
def agent() -> Agent:
    return Agent(Offline())


async def shop(owner: Conn, **plan: Any) -> Tenant:
    user = await make_tenant(owner, config=json.dumps(plan))
    await owner.executemany(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, category, question, answer)"
        " VALUES ($1, $2, $3, $4, $5)",
        [
            (user.user_id, user.chatbot_id, "needs_human", REFUND, RULE),
            (user.user_id, user.chatbot_id, "hours", "When do you open?", HOURS),
        ],
    )
    return user


async def write(owner: Conn, user: Tenant, who: Who, text: str) -> None:
    """The customer's next message, due now."""
    seq = await owner.fetchval(
        "UPDATE conversations SET input_seq = input_seq + 1, ready_at = now() WHERE id = $1"
        " RETURNING input_seq",
        who[1],
    )
    await make_message(
        *(owner, user, *who),
        direction="inbound",
        status="received",
        wamid=f"w.{who[1]}.{seq}",
        input_seq=seq,
        text=text,
    )


async def turns(pool: Pool, agent: Agent) -> int:
    """One turn of every conversation that is due; how many."""
    claims = await claims_of(pool)
    await asyncio.gather(*(run_turn(pool, agent, ME, claim) for claim in claims))
    return len(claims)


async def claims_of(pool: Pool) -> list[Claim]:
    async with pool.acquire() as conn:
        return await claim_conversations(conn, ME, 100, 100)


async def decided(
    pool: Pool, user: Tenant, action_id: int, verdict: Verdict, response: str | None = None
) -> Outcome | None:
    async with tenant(pool, user.user_id) as conn:
        return await decide(conn, user.user_id, ActionId(action_id), verdict, response)


async def said(owner: Conn) -> list[str]:
    rows = await owner.fetch(
        "SELECT content_text FROM messages WHERE direction = 'outbound' ORDER BY id"
    )
    return [row[0] for row in rows]


async def actions(owner: Conn) -> list[tuple[str, str]]:
    rows = await owner.fetch("SELECT request_type, status FROM actions ORDER BY id")
    return [tuple(row) for row in rows]


async def told(owner: Conn) -> list[str]:
    rows = await owner.fetch("SELECT event_type FROM analytics_events ORDER BY id")
    return [row[0] for row in rows]


async def counters(owner: Conn) -> tuple[int, int, int, int]:
    """Actions created and reserved, replies sent and reserved; the first equals the rows."""
    row = await owner.fetchrow(
        "SELECT coalesce(sum(actions_created), 0), coalesce(sum(actions_reserved), 0),"
        " coalesce(sum(daily_messages_sent), 0), coalesce(sum(messages_reserved), 0),"
        " (SELECT count(*) FROM actions WHERE usage_day IS NOT NULL) FROM usage_tracking"
    )
    assert row is not None
    assert row[0] == row[4]
    return tuple(row[:4])


@pytest.mark.parametrize(
    ("verdict", "told_as", "words"),
    [("approved", "approved", "has been approved. By Friday."), ("denied", "declined", "declined")],
)
async def test_a_person_decides_and_the_customer_hears_it_once(
    pool: Pool, owner: Conn, agent: Agent, verdict: Verdict, told_as: str, words: str
) -> None:
    user = await shop(owner)
    who = await make_conversation(owner, user)
    await write(owner, user, who, "can I get my money back?")
    assert await turns(pool, agent) == 1
    assert await said(owner) == [f"{RULE}\n\n{ASKED}"]
    (row,) = await owner.fetch("SELECT * FROM actions")
    assert (row["status"], row["request_type"]) == ("pending", "can_i_get_my_money_back")
    assert row["request_details"] == "can I get my money back?"
    assert json.loads(row["context_data"])["customer_wrote"] == ["can I get my money back?"]
    assert (row["expires_at"] - row["created_at"]).total_seconds() == 24 * 3600

    await write(owner, user, who, "when do you open?")  # the conversation goes on
    await turns(pool, agent)
    assert (await said(owner))[1] == HOURS

    outcome = await decided(pool, user, row["id"], verdict, "By Friday.")
    assert outcome is not None
    assert outcome.won
    assert outcome.action.resolved_by == user.user_id
    assert await turns(pool, agent) == 1
    assert await turns(pool, agent) == 0
    replies = await said(owner)
    assert len(replies) == 3
    assert told_as in replies[2]
    assert words in replies[2]
    assert await told(owner) == ["action.created", "action.decided"]
    assert await counters(owner) == (1, 0, 3, 0)
    quoted = await owner.fetch(
        "SELECT in_reply_to IS NULL FROM messages WHERE direction = 'outbound' ORDER BY id"
    )
    assert [q[0] for q in quoted] == [False, False, True]


async def test_of_many_deciders_one_wins(pool: Pool, owner: Conn, agent: Agent) -> None:
    user = await shop(owner)
    who = await make_conversation(owner, user)
    await write(owner, user, who, "money back?")
    await turns(pool, agent)
    action_id = await owner.fetchval("SELECT id FROM actions")
    verdicts: list[Verdict] = ["approved", "denied"]
    outcomes = await asyncio.gather(
        *(decided(pool, user, action_id, verdict) for verdict in verdicts * 4)
    )
    status = await owner.fetchval("SELECT status FROM actions")
    assert Counter(o.won for o in outcomes if o) == {True: 1, False: 7}
    assert {o.action.status for o in outcomes if o} == {status}
    assert await owner.fetchval("SELECT count(*) FROM conversation_events") == 1
    assert await decided(pool, user, action_id + 1, "denied") is None
    other = await shop(owner)
    assert await decided(pool, other, action_id, "denied") is None


async def test_a_locked_conversation_keeps_nobody_else_s_from_being_looked_at(
    database: Database, pool: Pool, owner: Conn, agent: Agent
) -> None:
    for _ in range(2):
        user = await shop(owner)
        await write(owner, user, await make_conversation(owner, user), "money back?")
    await turns(pool, agent)
    await owner.execute("UPDATE actions SET expires_at = now() + id * interval '1 ms'")
    await asyncio.sleep(0.1)
    hasty = await create_pool(database.runtime_url, size=2, name="t", statement_timeout="300ms")
    first = await owner.fetchval("SELECT min(id) FROM actions")
    locks = (
        "SELECT FROM conversations v JOIN actions a USING (user_id, contact_id)"
        " WHERE a.id = $1 FOR UPDATE OF v"
    )
    try:
        async with owner.transaction():
            await owner.execute(locks, first)
            await expire_overdue(hasty, Sweep("test"))
    finally:
        hasty.terminate()
    found = await owner.fetch("SELECT status FROM actions ORDER BY id")
    assert [row["status"] for row in found] == ["pending", "expired"]


async def test_nobody_decided_in_time(pool: Pool, owner: Conn, agent: Agent) -> None:
    user = await shop(owner, limits={"action_expiry_hours": 2})
    who = await make_conversation(owner, user)
    await write(owner, user, who, "money back?")
    await turns(pool, agent)
    assert await owner.fetchval("SELECT expires_at = created_at + interval '2 h' FROM actions")
    await expire_overdue(pool, Sweep("test"))
    assert (await actions(owner))[0][1] == "pending"
    await owner.execute("UPDATE actions SET expires_at = now()")
    await asyncio.gather(
        *(expire_overdue(pool, Sweep("test")) for _ in range(3))
    )  # of three workers
    assert await turns(pool, agent) == 1
    assert "in time" in (await said(owner))[1]
    assert await told(owner) == ["action.created", "action.expired"]
    assert await owner.fetchval("SELECT resolved_by IS NULL FROM actions")
    outcome = await decided(pool, user, await owner.fetchval("SELECT id FROM actions"), "approved")
    assert outcome is not None
    assert (outcome.won, outcome.action.status) == (False, "expired")


async def test_no_more_than_the_plan_allows_in_a_day(pool: Pool, owner: Conn, agent: Agent) -> None:
    user = await shop(owner, limits={"max_actions_per_day": 3})
    for _ in range(12):
        await write(owner, user, await make_conversation(owner, user), "money back?")
    await turns(pool, agent)
    answers = Counter(await said(owner))
    assert answers == {f"{RULE}\n\n{ASKED}": 3, f"{RULE}\n\n{NOT_ASKED}": 9}
    assert await counters(owner) == (3, 0, 12, 0)
    assert (await told(owner)).count("limit.reached") == 1


@pytest.mark.parametrize("limit", [0, None, "3", 2.5, []])
async def test_a_limit_that_is_no_number_allows_nothing(
    pool: Pool, owner: Conn, agent: Agent, limit: object
) -> None:
    user = await shop(owner, limits={"max_actions_per_day": limit})
    await write(owner, user, await make_conversation(owner, user), "money back?")
    await turns(pool, agent)
    assert await said(owner) == [f"{RULE}\n\n{NOT_ASKED}"]
    assert await counters(owner) == (0, 0, 1, 0)


@pytest.mark.parametrize("hours", [0, -5, 1.5, 10**12, "2", None])
async def test_a_time_that_is_none_leaves_the_usual_one(
    pool: Pool, owner: Conn, agent: Agent, hours: object
) -> None:
    user = await shop(owner, limits={"action_expiry_hours": hours})
    await write(owner, user, await make_conversation(owner, user), "money back?")
    await turns(pool, agent)
    assert await owner.fetchval("SELECT expires_at = created_at + interval '24 h' FROM actions")


async def test_a_turn_without_its_lease_leaves_no_action(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user = await shop(owner)
    who = await make_conversation(owner, user)
    await write(owner, user, who, "money back?")
    (old,) = await claims_of(pool)
    await owner.execute("UPDATE conversations SET lease_owner = NULL, ready_at = now()")
    (new,) = await claims_of(pool)
    # Both think at once; the one that was taken for dead can neither reserve nor write.
    await asyncio.gather(run_turn(pool, agent, ME, old), run_turn(pool, agent, ME, new))
    assert len(await actions(owner)) == 1
    assert await counters(owner) == (1, 0, 1, 0)


async def test_a_turn_that_is_repeated_asks_once(pool: Pool, owner: Conn, agent: Agent) -> None:
    """Dead after it reserved, and before it wrote."""
    user = await shop(owner, limits={"max_actions_per_day": 1})
    who = await make_conversation(owner, user)
    await write(owner, user, who, "money back?")
    (claim,) = await claims_of(pool)
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("SELECT reserve_messages($1, $2, 1)", user.user_id, who[1])
        for _ in range(2):
            await conn.execute("SELECT reserve_actions($1, $2, 1)", user.user_id, who[1])
    assert await counters(owner) == (0, 1, 0, 1)
    await owner.execute("UPDATE conversations SET lease_owner = NULL, ready_at = now()")
    await turns(pool, agent)
    assert await actions(owner) == [("can_i_get_my_money_back", "pending")]
    assert await counters(owner) == (1, 0, 1, 0)
    assert claim.epoch == 1


async def test_a_turn_that_gives_up_gives_its_requests_back(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user = await shop(owner)
    who = await make_conversation(owner, user)
    await write(owner, user, who, "money back?")
    (claim,) = await claims_of(pool)
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("SELECT reserve_messages($1, $2, 1)", user.user_id, who[1])
        await conn.execute("SELECT reserve_actions($1, $2, 2)", user.user_id, who[1])
    await give_up(Turn(pool, agent, ME, claim, None), failed=True)
    assert await counters(owner) == (0, 0, 0, 0)


async def test_the_same_request_of_the_same_contact_is_approved_by_the_earlier_decision(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user = await shop(owner)
    first, second = [await make_conversation(owner, user) for _ in range(2)]
    await write(owner, user, first, "money back?")
    await turns(pool, agent)
    async with tenant(pool, user.user_id) as conn:
        (action,) = (
            await list_actions(conn, user.user_id, WantedActions(status="pending"), None, 10)
        ).rows
        await decide(conn, user.user_id, action.id, "approved", similar=Similar())
    await turns(pool, agent)
    await write(owner, user, first, "Money  back?")
    await turns(pool, agent)
    like_it = await owner.fetchrow("SELECT * FROM actions ORDER BY id DESC LIMIT 1")
    assert like_it is not None
    assert (like_it["status"], like_it["auto_approved_by"]) == ("approved", action.id)
    assert await turns(pool, agent) == 1
    assert "approved" in (await said(owner))[-1]
    other = await shop(owner)  # neither another contact's is like it, nor another tenant's
    await write(owner, user, second, "money back?")
    await write(owner, other, await make_conversation(owner, other), "money back?")
    await turns(pool, agent)
    assert [status for _, status in await actions(owner)] == [
        *("approved", "approved", "pending", "pending")
    ]


APPROVED = Request("refund", "Refund 5 EUR for order 12, caf\u00e9", {"amount": 5})


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (APPROVED, "approved"),
        (replace(APPROVED, details=" refund 5 eur\nfor order 12,  cafe\u0301 "), "approved"),
        (replace(APPROVED, context={"amount": 5, "customer_wrote": ["again"]}), "approved"),
        (replace(APPROVED, details="Refund 9,500 EUR for order 99, caf\u00e9"), "pending"),
        (replace(APPROVED, details="Refund 5 EUR for order 12, cafe"), "pending"),
        (replace(APPROVED, details=""), "pending"),
        (replace(APPROVED, request_type="refunds"), "pending"),
        (replace(APPROVED, context={"amount": 9_500}), "pending"),
        (replace(APPROVED, context={}), "pending"),
    ],
)
async def test_what_an_earlier_decision_approves(
    pool: Pool, owner: Conn, request_: Request, status: str
) -> None:
    """The model may be talked into any type, details and context."""
    user = await shop(owner)
    who, other = [await make_conversation(owner, user) for _ in range(2)]

    async def ask(conversation_id: ConversationId, what: Request) -> Action:
        async with tenant(pool, user.user_id) as conn:
            await conn.execute("SELECT reserve_messages($1, $2, 1)", user.user_id, conversation_id)
            await conn.execute("SELECT reserve_actions($1, $2, 1)", user.user_id, conversation_id)
            (action,) = await create(conn, user.user_id, conversation_id, (what,), 24)
            return action

    first = await ask(who[1], APPROVED)
    assert first.status == "pending"
    async with tenant(pool, user.user_id) as conn:
        await decide(conn, user.user_id, first.id, "approved", similar=Similar())
    assert (await ask(other[1], request_)).status == "pending"
    again = await ask(who[1], request_)
    by = first.id if status == "approved" else None
    assert (again.status, again.auto_approved_by) == (status, by)


async def test_a_decision_without_an_amount_has_a_bound_a_day(pool: Pool, owner: Conn) -> None:
    user = await shop(owner)
    who = await make_conversation(owner, user)

    async def ask() -> Action:
        async with tenant(pool, user.user_id) as conn:
            await conn.execute("SELECT reserve_messages($1, $2, 1)", user.user_id, who[1])
            await conn.execute("SELECT reserve_actions($1, $2, 1)", user.user_id, who[1])
            (action,) = await create(conn, user.user_id, who[1], (APPROVED,), 24)
            return action

    first = await ask()
    async with tenant(pool, user.user_id) as conn:
        await decide(conn, user.user_id, first.id, "approved", similar=Similar())
    approved = [await ask() for _ in range(EQUAL_A_DAY)]
    assert {one.auto_approved_by for one in approved} == {first.id}
    assert (await ask()).status == "pending"
    await owner.execute("DELETE FROM actions WHERE status = 'pending'")
    await owner.execute("UPDATE actions SET created_at = created_at - interval '25 hours'")
    assert (await ask()).status == "approved"


@pytest.mark.parametrize("value", [False, 0, None, "no", "", []])
async def test_without_the_feature_there_is_no_tool(
    pool: Pool, owner: Conn, agent: Agent, value: object
) -> None:
    user = await shop(owner, features={"advanced_features": {"actions_center": value}})
    await write(owner, user, await make_conversation(owner, user), "money back?")
    await turns(pool, agent)
    assert await said(owner) == [RULE]
    assert await actions(owner) == []


# ---- decisions that cannot be told at once ------------------------------------------------------


async def decided_action(pool: Pool, owner: Conn, agent: Agent, user: Tenant, who: Who) -> None:
    await write(owner, user, who, "money back?")
    await turns(pool, agent)
    await decided(pool, user, await owner.fetchval("SELECT max(id) FROM actions"), "approved")


async def taken_over(owner: Conn, by: str) -> None:
    await owner.execute(
        "UPDATE conversations SET taken_over_at = now(), taken_over_by = $1,"
        " taken_over_until = now() + interval '1 h', taken_over_reason = 'test'",
        by,
    )


async def test_the_bots_own_silence_only_delays_a_decision(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user = await shop(owner)
    who = await make_conversation(owner, user)
    await decided_action(pool, owner, agent, user, who)
    await taken_over(owner, "product")
    assert await turns(pool, agent) == 1
    assert len(await said(owner)) == 1
    await raise_passed_events(pool, Sweep("test"))  # not yet
    assert await turns(pool, agent) == 0
    await owner.execute("UPDATE conversations SET taken_over_until = now()")
    await owner.execute("UPDATE conversation_events SET due_at = now()")
    await asyncio.gather(*(raise_passed_events(pool, Sweep("test")) for _ in range(3)))
    assert await turns(pool, agent) == 1
    assert "approved" in (await said(owner))[1]
    await raise_passed_events(pool, Sweep("test"))
    assert await turns(pool, agent) == 0
    assert await counters(owner) == (1, 0, 2, 0)


class Raises:
    """While it thinks, events are raised that were found before it began."""

    name = "offline"

    def __init__(self, pool: Pool, found: Sequence[Passed]) -> None:
        self._pool, self._found = pool, found

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        for one in self._found:
            await _raise(self._pool, one)
        return await Offline().answer(briefing, messages, tools, may_call)


async def test_an_event_that_a_turn_is_telling_is_not_raised(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    """It would be an input that nobody has settled, and a turn with nothing to say."""
    user = await shop(owner)
    who = await make_conversation(owner, user)
    await decided_action(pool, owner, agent, user, who)
    await taken_over(owner, "product")
    await turns(pool, agent)
    await owner.execute("UPDATE conversations SET taken_over_until = now()")
    await owner.execute("UPDATE conversation_events SET due_at = now()")
    async with pool.acquire() as conn:
        found = await passed_events(conn, 10)
    assert len(found) == 1
    await write(owner, user, who, "well?")
    assert await turns(pool, Agent(Raises(pool, found))) == 1
    assert "approved" in (await said(owner))[1]
    assert await owner.fetchval("SELECT input_seq = answered_seq FROM conversations")
    assert await turns(pool, agent) == 0


@pytest.mark.parametrize("age", ["0 h", "25 h"])
async def test_a_person_or_a_day_ends_the_wait(
    pool: Pool, owner: Conn, agent: Agent, age: str
) -> None:
    user = await shop(owner)
    who = await make_conversation(owner, user)
    await decided_action(pool, owner, agent, user, who)
    await owner.execute(
        "UPDATE conversation_events SET created_at = now() - $1::text::interval", age
    )
    await taken_over(owner, "human" if age == "0 h" else "product")
    await turns(pool, agent)
    row = await owner.fetchrow("SELECT settled_at IS NOT NULL, reason FROM conversation_events")
    assert tuple(row or ()) == (True, "taken_over")


async def test_an_event_that_a_turn_of_the_release_before_went_past_comes_up_again(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user = await shop(owner)
    who = await make_conversation(owner, user)
    await decided_action(pool, owner, agent, user, who)
    await owner.execute("UPDATE conversations SET answered_seq = input_seq, ready_at = NULL")
    await raise_passed_events(pool, Sweep("test"))
    assert await turns(pool, agent) == 1
    assert "approved" in (await said(owner))[1]
    assert await turns(pool, agent) == 0


async def test_what_is_beyond_a_turns_inputs_is_the_next_turns(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user = await shop(owner)
    who = await make_conversation(owner, user)
    await write(owner, user, who, "money back?")
    await turns(pool, agent)
    for n in range(INPUTS_MAX + 3):
        await write(owner, user, who, f"line {n}")
    await decided(pool, user, await owner.fetchval("SELECT max(id) FROM actions"), "approved")
    assert [await turns(pool, agent) for _ in range(3)] == [1, 1, 0]
    open_ones = await owner.fetchval(
        "SELECT count(*) FROM messages WHERE direction = 'inbound' AND NOT ai_processed"
    )
    assert open_ones == 0
    assert "approved" in (await said(owner))[2]


@pytest.mark.parametrize(("last", "replies"), [("inbound", 1), ("outbound", 0)])
async def test_a_hand_back_is_answered_if_the_customer_wrote_last(
    pool: Pool, owner: Conn, agent: Agent, last: str, replies: int
) -> None:
    user = await shop(owner)
    who = await make_conversation(owner, user, input_seq=1, answered_seq=1)
    await make_message(
        *(owner, user, *who),
        direction="inbound",
        status="received",
        wamid="w",
        input_seq=1,
        text="when do you open?",
    )
    if last == "outbound":
        await make_message(*(owner, user, *who), status="sent", text="At seven.")
    before = len(await said(owner))
    async with tenant(pool, user.user_id) as conn:
        assert await add_event(conn, user.user_id, who[1], HANDED_BACK, {})
    assert await turns(pool, agent) == 1
    assert (await said(owner))[before:] == [HOURS] * replies
    assert await owner.fetchval("SELECT settled_at IS NOT NULL FROM conversation_events")
    assert await counters(owner) == (0, 0, replies, 0)
