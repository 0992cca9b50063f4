"""Actions that a person decides, and a knowledge base that is searched: the whole product."""

import asyncio
import contextlib
import json
from typing import Any

from local.stack import StackError
from tests.e2e.conftest import Bot, Product, until
from tests.e2e.test_conversation import quiet, say

ASK = {"type": "Refund", "details": "Money back for order 12", "context": {"order": 12}}


async def asks(product: Product, *calls: dict[str, Any], then: Any = None) -> None:
    """The model asks a person when a refund is asked for."""
    requested = [{"name": "request_human_action", "arguments": call} for call in calls or (ASK,)]
    rules = [{"match": "refund", "tool_match": "^$", "tool_calls": requested}]
    await product.simulator.rules(*rules, *([then] if then else ()))


async def action_ids(product: Product, bot: Bot, status: str) -> list[int]:
    found = await product.stack.command(
        *("action", "list", "--user", str(bot.user_id), "--status", status, "--json")
    )
    return [action["id"] for action in found["actions"]]


async def requested(product: Product, bot: Bot) -> int:
    await say(product, bot, "I want a refund")
    await product.replies(bot, 1)
    (action_id,) = await action_ids(product, bot, "pending")
    return action_id


async def test_requested_told_decided_told_once(product: Product) -> None:
    bot = await product.bot()
    await asks(product)
    action_id = await requested(product, bot)
    (first,) = await product.replies(bot, 1)
    assert first.startswith("Re: I want a refund")
    result = (await product.prompts(bot.number[2:]))[-1]["messages"][-1]
    assert (result["role"], "a person will decide" in result["content"]) == ("tool", True)
    (row,) = await product.rows(bot, "SELECT * FROM actions WHERE user_id = $1")
    assert (row["request_type"], row["request_details"]) == ("refund", ASK["details"])
    context = json.loads(row["context_data"])
    assert context == {"order": 12, "customer_wrote": ["I want a refund"]}

    await say(product, bot, "and when are you open?")  # the conversation goes on
    assert (await product.replies(bot, 2))[1] == "Re: and when are you open?"
    prompt = (await product.prompts(bot.number[2:]))[-1]["messages"]
    assert str(ASK["details"]) in str(prompt[-2]["content"]), "what is requested stands before it"

    shown = await product.stack.command(
        *("action", "approve", str(action_id), "--response", "By Friday.", "--json")
    )
    assert (shown["status"], shown["resolved_by"]) == ("approved", bot.user_id)
    event = json.loads((await product.replies(bot, 3))[2].removeprefix("Re: "))
    assert (event["event"], event["status"]) == ("action_decided", "approved")
    assert (event["details"], event["response"]) == (ASK["details"], "By Friday.")
    await product.settled(bot)
    await quiet()
    await product.replies(bot, 3)
    assert await product.counters_equal_rows(bot) == (3, 2)
    await say(product, bot, "thanks")  # the thread is as a strict model takes it
    assert (await product.replies(bot, 4))[3] == "Re: thanks"
    usage = await product.rows(
        bot, "SELECT actions_created, actions_reserved FROM usage_tracking WHERE user_id = $1"
    )
    assert [tuple(row) for row in usage] == [(1, 0)]


async def test_two_deciders_at_once_and_several_open(product: Product) -> None:
    bot = await product.bot(limits={"max_actions_per_day": 2})
    more = {**ASK, "details": "Money back for order 13"}
    third = {**ASK, "details": "Money back for order 14"}
    await asks(product, ASK, more, third)
    await say(product, bot, "a refund for three orders")
    await product.replies(bot, 1)
    results = [
        m["content"]
        for m in (await product.prompts(bot.number[2:]))[-1]["messages"]
        if m["role"] == "tool"
    ]
    assert [r.split(":")[0] for r in results] == ["pending", "pending", "not requested"]
    one, other = await action_ids(product, bot, "pending")

    async def decide(verb: str) -> bool:
        with contextlib.suppress(StackError):
            await product.stack.command("action", verb, str(one), "--json")
            return True
        return False

    won = await asyncio.gather(decide("approve"), decide("deny"))
    assert sorted(won) == [False, True]
    await product.replies(bot, 2)
    await product.stack.command("action", "deny", str(other), "--json")
    assert '"denied"' in (await product.replies(bot, 3))[2]
    await product.settled(bot)
    assert await product.counters_equal_rows(bot) == (3, 1)


async def test_nobody_decides(product: Product) -> None:
    bot = await product.bot()
    await asks(product)
    await requested(product, bot)
    await product.rows(bot, "UPDATE actions SET expires_at = now() WHERE user_id = $1 RETURNING id")
    assert '"expired"' in (await product.replies(bot, 2))[1]
    await quiet()
    await product.replies(bot, 2)


async def test_a_worker_killed_after_the_request_leaves_one_action(
    product: Product, workers: None
) -> None:
    bot = await product.bot()
    await asks(product, then={"tool_match": "pending", "hang_ms": 30_000, "times": 1})
    await say(product, bot, "I want a refund")

    async def reserved() -> Any:
        rows = await product.rows(
            bot,
            "SELECT w.name FROM usage_reservations r JOIN conversations c ON c.id ="
            " r.conversation_id JOIN workers w ON w.id = c.lease_owner"
            " WHERE r.user_id = $1 AND r.actions = 1",
        )
        return [int(r["name"].rpartition(":")[2]) for r in rows]

    (pid,) = await until(reserved, lambda found: len(found) == 1)
    victim = next(p for p in product.stack.processes if p.pid == pid)
    victim.kill()
    await victim.ended()
    await product.replies(bot, 1)
    assert len(await action_ids(product, bot, "pending")) == 1
    await product.settled(bot)
    usage = await product.rows(
        bot, "SELECT actions_created, actions_reserved FROM usage_tracking WHERE user_id = $1"
    )
    assert [tuple(row) for row in usage] == [(1, 0)]
    assert await product.counters_equal_rows(bot) == (1, 1)


async def test_a_worker_killed_while_it_tells_the_decision(product: Product, workers: None) -> None:
    bot = await product.bot()
    await asks(product)
    action_id = await requested(product, bot)
    await product.simulator.rules({"tool_match": "approved", "hang_ms": 30_000, "times": 1})
    await product.stack.command("action", "approve", str(action_id), "--json")

    async def leased() -> Any:
        rows = await product.rows(
            bot,
            "SELECT w.name FROM conversations c JOIN workers w ON w.id = c.lease_owner"
            " JOIN usage_reservations r ON r.conversation_id = c.id WHERE c.user_id = $1",
        )
        return [int(r["name"].rpartition(":")[2]) for r in rows]

    # Only when the model has been asked: the worker after this one would wait for its silence too.
    await until(
        lambda: product.simulator.log("model"), lambda seen: any(e["status"] is None for e in seen)
    )
    (pid,) = await until(leased, lambda found: len(found) == 1)
    victim = next(p for p in product.stack.processes if p.pid == pid)
    victim.kill()
    await victim.ended()
    assert '"approved"' in (await product.replies(bot, 2))[1]
    await quiet()
    await product.replies(bot, 2)
    assert await product.counters_equal_rows(bot) == (2, 1)


async def test_a_decision_is_told_without_the_model_too(product: Product) -> None:
    bot = await product.bot()
    await asks(product)
    action_id = await requested(product, bot)
    await product.simulator.rules({"tool_match": "denied", "status": 500, "times": 2})
    await product.stack.command("action", "deny", str(action_id), "--response", "Sorry.", "--json")
    assert (await product.replies(bot, 2))[1] == (
        'Your request "Money back for order 12" has been declined. Sorry.'
    )
    await say(product, bot, "I see")
    assert (await product.replies(bot, 3))[2] == "Re: I see"
    assert "declined" in str((await product.prompts(bot.number[2:]))[-1]["messages"])


async def test_a_big_knowledge_base_is_searched(product: Product) -> None:
    filler = "".join(f"What does item {n} cost?,Item {n} costs {n} EUR.\n" for n in range(400))
    bot = await product.bot(knowledge=filler + "Do you have parking?,Behind the house.\n")
    marker = bot.number[2:]
    await product.simulator.rules(
        {
            "match": "car",
            "tool_match": "^$",
            "tool_calls": [
                {"name": "search_knowledge_base", "arguments": {"query": "is there parking?"}},
                {"name": "search_knowledge_base", "arguments": "{broken"},
                {"name": "no_such_tool", "arguments": {}},
            ],
        },
        {"tool_match": "Behind the house", "reply": "Behind the house."},
    )
    await say(product, bot, "where do I leave my car?")
    assert await product.replies(bot, 1) == ["Behind the house."]
    first, second = await product.prompts(marker)
    assert "Item 399" not in str(first["messages"])
    names = {tool["function"]["name"] for tool in first["tools"]}
    assert names == {
        *("search_knowledge_base", "request_human_action"),
        *("hand_over_to_human", "calculate", "remember_fact", "offer_choices"),
    }
    results = [m["content"] for m in second["messages"] if m["role"] == "tool"]
    assert [r.startswith("error") for r in results].count(True) == 2
    assert len(results) == 3
    (metadata,) = await product.rows(
        bot,
        "SELECT metadata, (SELECT id FROM bot_knowledge_base WHERE user_id = $1"
        " AND question = 'Do you have parking?') AS id"
        " FROM messages WHERE user_id = $1 AND direction = 'outbound'",
    )
    assert metadata["id"] == json.loads(metadata["metadata"])["kb_shown"][0]
    await product.owner.execute(  # no process keeps what is not so any more
        "UPDATE bot_knowledge_base SET answer = 'Behind the house, 2 EUR.' WHERE id = $1",
        metadata["id"],
    )
    await say(product, bot, "my car again")
    await product.replies(bot, 2)
    messages = (await product.prompts(marker))[-1]["messages"]
    assert "Behind the house, 2 EUR." in str(messages)
    assert str(messages).count("not kept") == 2  # of both searches of the turn before


async def test_a_model_that_only_calls_tools_has_to_answer(product: Product) -> None:
    bot = await product.bot(knowledge="".join(f"q{n}?,{'x' * 100}\n" for n in range(200)))
    call = {"name": "search_knowledge_base", "arguments": {"query": "q1"}}
    await product.simulator.rules(
        {"match": "loop", "tool_match": "^$", "tool_calls": [call]},
        {"tool_match": "q1", "tool_calls": [call], "times": 3},
    )
    await say(product, bot, "loop")
    assert await product.replies(bot, 1) == ["Re: loop"]
    choices = [p.get("tool_choice") for p in await product.prompts(bot.number[2:])]
    assert choices == [None] * 4 + ["none"]
