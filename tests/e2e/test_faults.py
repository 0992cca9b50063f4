"""What dies, and what of it the customer notices."""

import asyncio
import time

from local.processes import Process
from local.servers.postgres import Postgres
from tests.e2e.conftest import Product, until
from tests.e2e.test_conversation import NOOR, quiet, say


async def worker_in_turn(product: Product, user_id: int) -> Process:
    """The process that holds the tenant's conversation now."""
    name: str = await until(
        lambda: product.owner.fetchval(
            "SELECT w.name FROM conversations c JOIN workers w ON w.id = c.lease_owner"
            " WHERE c.user_id = $1",
            user_id,
        ),
        lambda found: found is not None,
    )
    pid = int(name.rpartition(":")[2])
    return next(p for p in product.stack.processes if p.pid == pid)


async def test_a_worker_killed_in_mid_turn_is_replaced_by_another(
    product: Product, workers: None
) -> None:
    bot = await product.bot()
    await product.simulator.config(model_latency_ms=2_000)
    await say(product, bot, "who answers?")
    await until(lambda: product.simulator.log("model"), lambda seen: len(seen) == 1)
    victim = await worker_in_turn(product, bot.user_id)
    killed = time.monotonic()
    victim.kill()
    assert await product.replies(bot, 1) == ["Re: who answers?"]
    took = time.monotonic() - killed
    assert took < 15, f"{took:.1f} s"
    assert len(await product.simulator.log("model")) == 2
    await quiet()
    await product.replies(bot, 1)
    await product.settled(bot)
    assert await product.counters_equal_rows(bot) == (1, 1)
    epoch = await product.owner.fetchval(
        "SELECT epoch FROM conversations WHERE user_id = $1", bot.user_id
    )
    assert epoch == 2


async def test_a_worker_told_to_stop_finishes_its_turn(product: Product, workers: None) -> None:
    bot = await product.bot()
    await product.simulator.config(model_latency_ms=1_500)
    await say(product, bot, "last words?")
    await until(lambda: product.simulator.log("model"), lambda seen: len(seen) == 1)
    worker = await worker_in_turn(product, bot.user_id)
    worker.terminate()
    assert await product.replies(bot, 1) == ["Re: last words?"]
    assert await worker.ended() == 0, worker.tail()
    assert len(await product.simulator.log("model")) == 1
    await product.settled(bot)
    assert await product.counters_equal_rows(bot) == (1, 1)


async def test_a_send_without_an_answer_is_settled_by_its_status(product: Product) -> None:
    bot = await product.bot()
    await product.simulator.faults(
        {
            "kind": "timeout_after_accept",
            "hold_ms": 300,
            "phone_number_id": bot.phone_number_id,
        }
    )
    await say(product, bot, "did it arrive?")
    (row,) = await until(
        lambda: product.rows(bot, "SELECT * FROM messages WHERE user_id = $1 AND status = 'read'"),
        lambda rows: len(rows) == 1,
    )
    await product.settled(bot)
    await quiet()
    assert row["send_attempts"] == 1
    assert len(await product.sends(bot, None)) == 1


async def test_a_send_that_nobody_ever_heard_of_goes_once_more(product: Product) -> None:
    bot = await product.bot()
    await product.simulator.faults(
        {"kind": "timeout_before_accept", "phone_number_id": bot.phone_number_id}
    )
    await say(product, bot, "first")
    await until(
        lambda: product.rows(bot, "SELECT 1 FROM messages WHERE user_id = $1 AND status='unknown'"),
        lambda rows: len(rows) == 1,
    )
    await say(product, bot, "second")  # its answer waits for the first one's
    assert await product.replies(bot, 2) == ["Re: first", "Re: second"]
    await product.settled(bot)
    rows = await product.rows(
        bot,
        "SELECT send_attempts, metadata -> 'resent_after_unknown' AS marked FROM messages"
        " WHERE user_id = $1 AND direction = 'outbound' ORDER BY id",
    )
    assert [tuple(row) for row in rows] == [(2, "true"), (1, None)]
    assert await product.counters_equal_rows(bot) == (2, 2)


async def test_unknown_twice_is_the_end_and_the_unit_comes_back(product: Product) -> None:
    bot = await product.bot()
    await product.simulator.faults(
        {"kind": "timeout_before_accept", "phone_number_id": bot.phone_number_id, "times": 2}
    )
    await say(product, bot, "hello?")
    await until(
        lambda: product.rows(
            bot,
            "SELECT 1 FROM messages WHERE user_id = $1 AND status = 'failed'"
            " AND metadata ->> 'reason' = 'send_outcome_unknown'",
        ),
        lambda rows: len(rows) == 1,
    )
    assert await product.counters_equal_rows(bot) == (0, 1)


async def test_a_refused_send_fails_with_metas_words_and_the_bot_learns_of_it(
    product: Product,
) -> None:
    bot = await product.bot(instructions="You are the PLUM shop.")
    await product.simulator.faults(
        {
            "kind": "error",
            "status": 400,
            "code": 131026,
            "message": "Message undeliverable",
            "phone_number_id": bot.phone_number_id,
        }
    )
    await say(product, bot, "first")
    await until(
        lambda: product.rows(bot, "SELECT 1 FROM messages WHERE user_id=$1 AND status='failed'"),
        lambda rows: len(rows) == 1,
    )
    assert await product.counters_equal_rows(bot) == (0, 1)
    code = await product.owner.fetchval(
        "SELECT metadata #>> '{errors,0,code}' FROM messages WHERE user_id=$1 AND status='failed'",
        bot.user_id,
    )
    assert code == "131026"
    await say(product, bot, "second")
    await product.replies(bot, 1)
    last = (await product.prompts("PLUM"))[-1]["messages"]
    assert "not delivered" in str(last)


async def test_a_passing_refusal_is_tried_again(product: Product) -> None:
    bot = await product.bot()
    await product.simulator.faults(
        {
            "kind": "error",
            "status": 503,
            "code": 131016,
            "times": 2,
            "phone_number_id": bot.phone_number_id,
        }
    )
    await say(product, bot, "hello")
    assert await product.replies(bot, 1) == ["Re: hello"]
    await product.settled(bot)
    assert await product.counters_equal_rows(bot) == (1, 1)


async def test_conversations_do_not_wait_for_each_other(product: Product) -> None:
    # A machine that is too busy for twenty quick ones within the slow one's time gets longer.
    assert await is_last(product, 4_000) or await is_last(product, 20_000)


async def is_last(product: Product, latency_ms: int) -> bool:
    """Whether what took the model so long is answered after twenty others that came later."""
    bot = await product.bot()
    await product.simulator.reset()
    slow = {"match": "slow", "reply": "at last", "latency_ms": latency_ms}
    await product.simulator.rules(slow)
    await say(product, bot, "slow please", sender=NOOR)
    await until(lambda: product.simulator.log("model"), lambda seen: len(seen) == 1)
    async with asyncio.TaskGroup() as group:
        for n in range(20):
            group.create_task(say(product, bot, "quick", sender=f"+120255502{n:02d}"))
    replies = await product.replies(bot, 21)
    assert sorted(replies) == ["Re: quick"] * 20 + ["at last"]
    return replies[-1] == "at last"


async def test_a_human_who_comes_in_during_the_turn_is_not_talked_over(product: Product) -> None:
    bot = await product.bot()
    await product.simulator.config(model_latency_ms=1_000)
    await say(product, bot, "what do you think?")
    await until(lambda: product.simulator.log("model"), lambda seen: len(seen) == 1)
    await product.owner.execute(
        "UPDATE conversations SET taken_over_at = now(), taken_over_until = 'infinity',"
        " taken_over_by = 'human', taken_over_reason = 'test' WHERE user_id = $1",
        bot.user_id,
    )
    await product.settled(bot)
    await quiet()
    assert await product.sends(bot, None) == []
    reason = await product.owner.fetchval(
        "SELECT metadata ->> 'reason' FROM messages WHERE user_id = $1", bot.user_id
    )
    assert reason == "taken_over"
    assert await product.counters_equal_rows(bot) == (0, 1)


async def test_a_flood_of_one_customer_is_answered_to_the_last_line(product: Product) -> None:
    bot = await product.bot(instructions="You are the FLOOD desk.")
    lines = [f"line {n:03d}" for n in range(130)]
    await say(product, bot, *lines)
    await until(
        lambda: product.rows(bot, "SELECT 1 FROM messages WHERE user_id = $1 AND ai_processed"),
        lambda rows: len(rows) == 130,
    )
    await product.settled(bot)
    answered = "|".join(text for s in await product.sends(bot) for text in [s["text"]])
    assert [line for line in lines if line not in answered] == []
    seen = [m["content"] for p in await product.prompts("FLOOD") for m in p["messages"][1:]]
    assert [line for line in lines if line not in seen] == []


async def test_a_broken_thread_is_rebuilt_from_the_record(product: Product) -> None:
    bot = await product.bot(instructions="You are the BROKEN desk.")
    await say(product, bot, "first")
    await product.replies(bot, 1)
    await product.settled(bot)
    await product.owner.execute(
        "UPDATE checkpoint_blobs SET blob = '\\xc1' WHERE thread_id IN"
        " (SELECT thread_id FROM conversations WHERE user_id = $1)",
        bot.user_id,
    )
    await say(product, bot, "second")
    assert await product.replies(bot, 2) == ["Re: first", "Re: second"]
    last = (await product.prompts("BROKEN"))[-1]["messages"]
    said = [m["content"].rpartition("]\n")[2] for m in last[1:]]  # without the times before them
    assert [text for text in said if not text.startswith("[")] == ["first", "Re: first", "second"]


async def test_erasing_a_contact_leaves_nothing_of_it(product: Product) -> None:
    bot = await product.bot()
    await say(product, bot, "forget me")
    await product.replies(bot, 1)
    await product.settled(bot)
    thread = await product.owner.fetchval(
        "SELECT thread_id FROM conversations WHERE user_id = $1", bot.user_id
    )
    await product.owner.execute("DELETE FROM contacts WHERE user_id = $1", bot.user_id)
    left = await product.owner.fetchval(
        "SELECT (SELECT count(*) FROM messages WHERE user_id = $1)"
        " + (SELECT count(*) FROM checkpoints WHERE thread_id = $2)"
        " + (SELECT count(*) FROM checkpoint_blobs WHERE thread_id = $2)",
        bot.user_id,
        thread,
    )
    assert left == 0


async def test_a_database_crash_during_turns_loses_and_doubles_nothing(
    product: Product, postgres_server: Postgres
) -> None:
    bot = await product.bot()
    await product.simulator.config(model_latency_ms=800)
    customers = [f"+12025553{n:03d}" for n in range(12)]
    async with asyncio.TaskGroup() as group:
        for customer in customers:
            group.create_task(say(product, bot, f"I am {customer}", sender=customer))
    await until(lambda: product.simulator.log("model"), lambda seen: len(seen) >= 3)
    await postgres_server.crash()
    told = await say(product, bot, "while it is away", sender="+12025554000")
    assert told["answers"][0]["status"] == 200
    await asyncio.sleep(1)
    await postgres_server.start()
    await product.reconnect()
    texts = await product.replies(bot, 13)
    assert sorted(texts) == sorted([f"Re: I am {c}" for c in customers] + ["Re: while it is away"])
    await product.settled(bot)
    await quiet()
    await product.replies(bot, 13)
    assert await product.counters_equal_rows(bot) == (13, 13)
