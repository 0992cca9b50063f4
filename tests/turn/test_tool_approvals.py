"""Tools that a person approves: nothing is called before, once after, and the customer hears what
came of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from db.actions import Action, read_action
from db.ids import ActionId
from db.pool import Conn, Pool, tenant
from db.tool_calls import due_tool_calls
from handlers.actions import Similar, Verdict, decide, expire_overdue
from handlers.agent.tools import PENDING
from handlers.fixed.texts import Kind, fixed_text
from handlers.outbound.addresses import read_allow
from handlers.outbound.guard import Outbound
from handlers.process.sweeps import Sweep
from handlers.tools.calling import Caller
from handlers.tools.ledger import call_approved, end_lost_calls
from tests.turn.own_tools import ENDPOINT, answers, arrived, calls, has_tool, ledger
from tests.turn.shop import VAULT, Shop, Turn, Who, open_shop

NOT_DONE = fixed_text(Kind.NOT_DONE, "en")
FRIDAY: dict[str, Any] = {"day": "Friday", "people": 2}
DETAILS = 'book table: {"day":"Friday","people":2}'


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        await owner.execute("UPDATE chatbots SET name = 'Corner bakery'")
        yield shop


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    async with Outbound(read_allow("127.0.0.1")[0], connections=4, seconds=10) as outbound:
        yield Caller(outbound, VAULT)


async def asked(shop: Shop, who: Who, **arguments: Any) -> Action:
    await shop.simulator.rules(calls(**(arguments or FRIDAY)), {"reply": "I will ask."})
    turn = await shop.turn(who, "A table on Friday?")
    assert turn.requests[1]["messages"][-1]["content"] == PENDING
    assert turn.said == ["I will ask."]
    async with tenant(shop.pool, shop.tenant.user_id) as conn:
        newest = await shop.owner.fetchval("SELECT max(id) FROM actions")
        action = await read_action(conn, shop.tenant.user_id, ActionId(newest))
    assert action is not None
    return action


async def decided(
    shop: Shop, action: Action, verdict: Verdict, similar: Similar | None = None
) -> None:
    async with tenant(shop.pool, shop.tenant.user_id) as conn:
        outcome = await decide(conn, shop.tenant.user_id, action.id, verdict, similar=similar)
    assert outcome is not None
    assert outcome.won


async def call_due(shop: Shop, caller: Caller) -> int:
    """As a worker does; how many."""
    async with shop.pool.acquire() as conn:
        due = await due_tool_calls(conn, 4, 100)
    await asyncio.gather(*(call_approved(shop.pool, caller, one) for one in due))
    return len(due)


async def hears(shop: Shop, who: Who, *rules: dict[str, Any]) -> Turn:
    await shop.simulator.rules(*rules)
    return await shop.turn(who)


def event(turn: Turn) -> dict[str, Any]:
    return dict(json.loads(turn.requests[0]["messages"][-1]["content"]))


async def is_due(shop: Shop, who: Who) -> bool:
    return bool(
        await shop.owner.fetchval(
            "SELECT input_seq > answered_seq FROM conversations WHERE id = $1", who[1]
        )
    )


async def test_nothing_is_called_before_a_person_approves(shop: Shop, caller: Caller) -> None:
    who = await shop.customer()
    await has_tool(shop, needs_approval=True)
    await answers(shop, {"table": 7})
    action = await asked(shop, who)
    assert (action.request_type, action.request_details) == ("tool:book_table", DETAILS)
    assert json.loads(action.context_data)["arguments"] == FRIDAY
    assert await call_due(shop, caller) == 0
    assert await arrived(shop) == []
    assert [row["status"] for row in await ledger(shop)] == ["proposed"]

    await decided(shop, action, "approved")
    assert not await is_due(shop, who)  # the customer hears when it is done
    assert await call_due(shop, caller) == 1
    (came,) = await arrived(shop)
    assert came["verified"] is True
    data = json.loads(came["body"])["data"]
    assert (data["arguments"], data["action_id"]) == (FRIDAY, action.id)
    turn = await hears(shop, who, {"reply": "Your table is booked: number 7."})
    told = event(turn)
    assert (told["status"], told["tool"]["status"]) == ("approved", "done")
    assert turn.said == ["Your table is booked: number 7."]
    assert await call_due(shop, caller) == 0
    assert [row["status"] for row in await ledger(shop)] == ["done"]


@pytest.mark.parametrize("verdict", ["denied", "expired"])
async def test_a_denial_calls_nothing(shop: Shop, caller: Caller, verdict: Verdict) -> None:
    who = await shop.customer()
    await has_tool(shop, needs_approval=True)
    action = await asked(shop, who)
    if verdict == "denied":
        await decided(shop, action, verdict)
    else:
        await shop.owner.execute("UPDATE actions SET expires_at = now()")
        await expire_overdue(shop.pool, Sweep("overdue_action"))
    assert await call_due(shop, caller) == 0
    assert await arrived(shop) == []
    assert [row["status"] for row in await ledger(shop)] == ["dropped"]
    turn = await hears(shop, who, {"reply": "It was declined."})
    assert event(turn)["status"] == verdict


async def test_who_approves_at_once_and_who_calls_at_once_do_it_once(
    shop: Shop, caller: Caller
) -> None:
    who = await shop.customer()
    await has_tool(shop, needs_approval=True)
    await answers(shop, {"table": 7}, delay_ms=200)
    action = await asked(shop, who)

    async def approve() -> bool:
        async with tenant(shop.pool, shop.tenant.user_id) as conn:
            outcome = await decide(conn, shop.tenant.user_id, action.id, "approved")
            return outcome is not None and outcome.won

    assert sum(await asyncio.gather(*(approve() for _ in range(5)))) == 1
    async with shop.pool.acquire() as conn:
        (one,) = await due_tool_calls(conn, 4, 100)
    await asyncio.gather(*(call_approved(shop.pool, caller, one) for _ in range(5)))
    assert len(await arrived(shop)) == 1
    events = await shop.owner.fetchval("SELECT count(*) FROM conversation_events")
    assert events == 1


async def test_a_worker_that_dies_with_the_call_leaves_it_unknown(
    shop: Shop, caller: Caller
) -> None:
    who = await shop.customer()
    await has_tool(shop, needs_approval=True, timeout_ms=10_000)
    await shop.simulator.endpoint(ENDPOINT, mode="hang")
    await decided(shop, await asked(shop, who), "approved")
    async with shop.pool.acquire() as conn:
        (one,) = await due_tool_calls(conn, 4, 100)
    dying = asyncio.create_task(call_approved(shop.pool, caller, one))
    while not await arrived(shop):
        await asyncio.sleep(0.02)
    dying.cancel()
    await asyncio.wait([dying])
    sweep: Sweep[Any] = Sweep("tool_call")
    await end_lost_calls(shop.pool, sweep)
    assert [row["status"] for row in await ledger(shop)] == ["calling"]  # it may be alive
    await shop.owner.execute("UPDATE tool_calls SET called_at = now() - interval '31 s'")
    await end_lost_calls(shop.pool, sweep)
    await end_lost_calls(shop.pool, sweep)
    assert [row["status"] for row in await ledger(shop)] == ["unknown"]
    assert await call_due(shop, caller) == 0
    assert len(await arrived(shop)) == 1
    turn = await hears(shop, who, {"reply": "Your table is booked."})
    assert event(turn)["tool"]["status"] == "unknown"
    assert turn.said == [NOT_DONE]


@pytest.mark.parametrize(("effect", "tries"), [("once", 1), ("repeatable", 3)])
async def test_what_may_be_repeated_is_under_the_same_key(
    shop: Shop, caller: Caller, effect: str, tries: int
) -> None:
    who = await shop.customer()
    await has_tool(shop, needs_approval=True, effect=effect)
    await shop.simulator.endpoint(ENDPOINT, mode="dead")
    await decided(shop, await asked(shop, who), "approved")
    for _ in range(5):
        await call_due(shop, caller)
        await shop.owner.execute("UPDATE tool_calls SET due_at = now()")
    came = await arrived(shop)
    assert len(came) == tries
    assert len({(one["webhook_id"], one["body"]) for one in came}) == 1
    (row,) = await ledger(shop)
    assert (row["status"], row["tries"]) == ("unknown", tries)
    assert await is_due(shop, who)


async def test_without_a_model_it_is_told_in_fixed_words(shop: Shop, caller: Caller) -> None:
    who = await shop.customer()
    await has_tool(shop, needs_approval=True)
    await shop.simulator.endpoint(ENDPOINT, mode="fail", status=409)
    await decided(shop, await asked(shop, who), "approved")
    await call_due(shop, caller)
    turn = await hears(shop, who, {"status": 401})
    approved = fixed_text(Kind.APPROVED, "en", details=DETAILS)
    assert turn.said == [f"{approved} {NOT_DONE}"]


async def test_a_tool_that_is_gone_or_changed_meanwhile_is_not_called(
    shop: Shop, caller: Caller
) -> None:
    who = await shop.customer()
    tool_id = await has_tool(shop, needs_approval=True)
    first = await asked(shop, who)
    second = await asked(shop, who, day="Saturday")
    await shop.owner.execute(
        'UPDATE tools SET parameters = parameters || \'{"required": ["day", "people"]}\''
    )
    await decided(shop, second, "approved")
    await call_due(shop, caller)
    await decided(shop, first, "approved")
    await shop.owner.execute("DELETE FROM tools WHERE id = $1", tool_id)
    await call_due(shop, caller)
    rows = await ledger(shop)
    assert [(row["status"], row["error"]) for row in rows] == [
        ("failed", "tool_gone"),
        ("failed", "arguments"),
    ]
    assert await arrived(shop) == []


async def test_what_was_approved_alike_is_called_at_once(shop: Shop, caller: Caller) -> None:
    who = await shop.customer()
    await has_tool(shop, needs_approval=True)
    await answers(shop, {"table": 7})
    await decided(shop, await asked(shop, who), "approved", Similar())
    await call_due(shop, caller)
    await hears(shop, who, {"reply": "It is done."})
    second = await asked(shop, who)
    assert second.status == "approved"
    other = await asked(shop, who, day="Monday", people=2)
    assert other.status == "pending"
    assert await call_due(shop, caller) == 1
    assert len(await arrived(shop)) == 2


async def test_a_request_in_a_model_s_own_words_calls_nothing(shop: Shop, caller: Caller) -> None:
    """Whatever it writes into it."""
    who = await shop.customer()
    tool_id = await has_tool(shop, needs_approval=True)
    forged = {
        "type": "tool:book_table",
        "details": DETAILS,
        "context": {"tool": "book_table", "tool_id": tool_id, "arguments": FRIDAY},
    }
    await shop.simulator.rules(calls("request_human_action", **forged), {"reply": "I will ask."})
    await shop.turn(who, "A table?")
    action = await asked(shop, who)
    rows = await shop.owner.fetch("SELECT id, request_type FROM actions ORDER BY id")
    assert [row["request_type"] for row in rows] == ["tool_book_table", "tool:book_table"]
    async with tenant(shop.pool, shop.tenant.user_id) as conn:
        await decide(
            conn, shop.tenant.user_id, ActionId(rows[0]["id"]), "approved", similar=Similar()
        )
    assert await call_due(shop, caller) == 0
    assert action.status == "pending"
