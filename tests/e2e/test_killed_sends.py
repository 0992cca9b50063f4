"""A worker that dies while Meta has its call: the record says so, and nothing goes out silently
again."""

from tests.e2e.conftest import Product, until
from tests.e2e.test_conversation import say


async def test_a_worker_killed_in_mid_send_leaves_it_unknown(
    product: Product, workers: None
) -> None:
    bot = await product.bot()
    await product.simulator.faults(
        {
            "kind": "timeout_before_accept",
            "hold_ms": 30_000,
            "phone_number_id": bot.phone_number_id,
        }
    )
    await say(product, bot, "who sends?")
    await until(lambda: product.sends(bot, "dropped"), lambda calls: len(calls) == 1)
    (row,) = await product.rows(
        bot,
        "SELECT m.status, m.send_attempts, w.name FROM messages m JOIN workers w"
        " ON w.id = m.send_owner WHERE m.user_id = $1",
    )
    assert (row["status"], row["send_attempts"]) == ("sending", 1)  # committed: we can see it
    pid = int(row["name"].rpartition(":")[2])
    next(p for p in product.stack.processes if p.pid == pid).kill()
    assert await product.replies(bot, 1) == ["Re: who sends?"]
    await product.settled(bot)
    (row,) = await product.rows(
        bot,
        "SELECT send_attempts, unknown_count, metadata -> 'resent_after_unknown' AS marked"
        " FROM messages WHERE user_id = $1 AND direction = 'outbound'",
    )
    assert tuple(row) == (2, 1, "true")
    assert await product.counters_equal_rows(bot) == (1, 1)
