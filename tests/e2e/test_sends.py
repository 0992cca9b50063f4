"""What Meta refuses, and what then becomes of the reply, of those behind it and of the unit."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import Bot, Product, until
from tests.e2e.test_conversation import NOOR, quiet, say
from tests.e2e.test_dead import dead_of

SECOND = "+12025550199"


async def refuse(product: Product, bot: Bot, code: int, status: int = 400, **more: Any) -> None:
    await product.simulator.faults(
        {
            "kind": "error",
            "status": status,
            "code": code,
            "message": f"error {code}",
            "phone_number_id": bot.phone_number_id,
            **more,
        }
    )


async def outbound(product: Product, bot: Bot) -> list[tuple[str, int, bool]]:
    """Status, sends, and whether a unit is counted; in the order of the record."""
    rows = await product.rows(
        bot,
        "SELECT status, send_attempts, usage_day IS NOT NULL AS counted FROM messages"
        " WHERE user_id = $1 AND direction = 'outbound' ORDER BY id",
    )
    return [tuple(row) for row in rows]


async def events(product: Product, bot: Bot) -> list[tuple[str, dict[str, Any]]]:
    rows = await product.rows(
        bot, "SELECT event_type, event_data FROM analytics_events WHERE user_id = $1 ORDER BY id"
    )
    return [(row["event_type"], json.loads(row["event_data"])) for row in rows]


async def dead_send(product: Product, bot: Bot) -> dict[str, Any]:
    (dead,) = await until(lambda: dead_of(product, bot.phone_number_id), lambda i: len(i) == 1)
    assert dead["kind"] == "send"
    return dead


async def test_a_refused_account_pauses_its_number_and_loses_nothing(product: Product) -> None:
    bot, other = await product.bot(), await product.bot()
    await refuse(product, bot, 190, 401)
    await say(product, bot, "first")
    held = await until(
        lambda: product.rows(bot, "SELECT * FROM send_limits WHERE user_id = $1"),
        lambda rows: rows[0]["held_until"] is not None,
    )
    assert held[0]["held_reason"] == "account:190"
    await product.owner.execute(  # longer than this test takes
        "UPDATE send_limits SET held_until = now() + interval '1 h' WHERE user_id = $1",
        bot.user_id,
    )
    await say(product, bot, "second", sender=SECOND)
    await say(product, bot, "third")
    await say(product, other, "meanwhile")
    assert await product.replies(other, 1) == ["Re: meanwhile"]
    await until(lambda: outbound(product, bot), lambda rows: len(rows) == 3)
    await quiet()
    assert await outbound(product, bot) == [
        ("queued", 1, True),
        ("queued", 0, True),
        ("queued", 0, True),
    ]
    await product.owner.execute(
        "UPDATE send_limits SET held_until = now() WHERE user_id = $1", bot.user_id
    )
    sent = await product.replies(bot, 3)
    assert sorted(sent) == ["Re: first", "Re: second", "Re: third"]
    assert sent.index("Re: first") < sent.index("Re: third")
    await product.settled(bot)
    assert [kind for kind, _ in await events(product, bot)] == ["sending.paused", "sending.resumed"]
    assert await product.counters_equal_rows(bot) == (3, 3)
    assert await dead_of(product, bot.phone_number_id) == []


async def test_a_pair_that_is_too_fast_waits_and_nobody_else(product: Product) -> None:
    bot = await product.bot()
    await refuse(product, bot, 131056, to=NOOR, times=2)
    await say(product, bot, "one")
    await until(
        lambda: product.rows(
            bot, "SELECT 1 FROM messages WHERE user_id = $1 AND metadata ? 'refused'"
        ),
        lambda rows: len(rows) == 1,
    )
    await say(product, bot, "two")
    await say(product, bot, "beside", sender=SECOND)
    assert await product.replies(bot, 1) == ["Re: beside"]
    assert await product.replies(bot, 3) == ["Re: beside", "Re: one", "Re: two"]
    await product.settled(bot)
    assert await product.counters_equal_rows(bot) == (3, 3)


async def test_a_number_that_is_too_fast_slows_down_and_goes_on(product: Product) -> None:
    bot = await product.bot()
    await refuse(product, bot, 130429)
    await say(product, bot, "one")
    assert await product.replies(bot, 1) == ["Re: one"]
    (limits,) = await product.rows(bot, "SELECT * FROM send_limits WHERE user_id = $1")
    assert limits["slow_rate"] == limits["max_rate"] / 2
    ((_, attempts, counted),) = await outbound(product, bot)
    assert (attempts, counted) == (2, True)


@pytest.mark.parametrize(
    ("code", "reason"), [(131047, "window_closed"), (131026, "refused"), (100, "refused")]
)
async def test_what_is_refused_for_good_is_on_the_dead_list_and_can_be_sent_again(
    product: Product, code: int, reason: str
) -> None:
    bot = await product.bot()
    await refuse(product, bot, code)
    await say(product, bot, "hello?")
    dead = await dead_send(product, bot)
    assert (dead["reason"], dead["detail"]) == (reason, f"{code} error {code}")
    assert await outbound(product, bot) == [("failed", 1, False)]
    shown = await product.stack.command("dead", "show", dead["id"], "--json")
    assert (shown["raw"]["text"], shown["raw"]["answers"]) == ("Re: hello?", "hello?")
    assert shown["trace_id"] == dead["trace_id"]
    assert shown["trace_id"] is not None
    ((kind, told),) = await events(product, bot)
    assert (kind, told["reason"], told["detail"]) == (
        *("message.failed", reason, f"{code} error {code}"),
    )
    assert await product.counters_equal_rows(bot) == (0, 1)

    done = await product.stack.command("dead", "replay", dead["id"], "--json")
    assert done == {"replayed": 1, "missing": [], "refused": []}
    assert await product.replies(bot, 1) == ["Re: hello?"]
    await product.settled(bot)
    assert await product.counters_equal_rows(bot) == (1, 1)
    assert await dead_of(product, bot.phone_number_id) == []


async def test_a_failure_that_a_status_reports_is_one_too(product: Product) -> None:
    bot = await product.bot()
    await product.simulator.faults(
        {
            "kind": "async_failure",
            "code": 131049,
            "message": "not delivered",
            "phone_number_id": bot.phone_number_id,
        }
    )
    await say(product, bot, "hello?")
    dead = await dead_send(product, bot)
    assert (dead["reason"], dead["detail"]) == ("not_delivered", "131049 not delivered")
    assert await product.counters_equal_rows(bot) == (0, 1)
    await product.stack.command("dead", "replay", dead["id"])
    assert await product.replies(bot, 2) == [
        "Re: hello?",
        "Re: hello?",
    ]  # the first arrived nowhere
    assert await until(lambda: outbound(product, bot), lambda rows: rows[0][0] == "read") == [
        ("read", 2, True)
    ]
    assert await product.counters_equal_rows(bot) == (1, 1)


async def test_unknown_twice_is_on_the_dead_list_and_holds_nobody_up(product: Product) -> None:
    bot = await product.bot()
    await product.simulator.faults(
        {"kind": "timeout_before_accept", "phone_number_id": bot.phone_number_id, "times": 2}
    )
    await say(product, bot, "first")
    await until(lambda: outbound(product, bot), lambda rows: len(rows) == 1)
    await say(product, bot, "second")
    assert await product.replies(bot, 1) == ["Re: second"]
    dead = await dead_send(product, bot)
    assert dead["reason"] == "send_outcome_unknown"
    assert [kind for kind, _ in await events(product, bot)] == ["message.failed"]
    assert (await outbound(product, bot))[0] == ("failed", 2, False)
    assert await product.counters_equal_rows(bot) == (1, 2)


async def test_a_replay_does_not_pass_the_limit(product: Product) -> None:
    bot = await product.bot(daily=1)
    await refuse(product, bot, 131026)
    await say(product, bot, "one")
    dead = await dead_send(product, bot)
    await say(product, bot, "two")
    await product.replies(bot, 1)
    await product.settled(bot)
    done = await product.stack.command("dead", "replay", "--all", "--json")
    assert {"id": dead["id"], "why": "daily_message_limit: nothing more may be sent"} in done[
        "refused"
    ]
    await quiet()
    await product.replies(bot, 1)
    assert (await dead_send(product, bot))["id"] == dead["id"]
    assert await product.counters_equal_rows(bot) == (1, 2)


async def test_a_reply_that_a_person_made_needless_is_not_dead(product: Product) -> None:
    bot = await product.bot()
    await refuse(product, bot, 131056, times=1)
    await say(product, bot, "hello?")
    await until(
        lambda: product.rows(
            bot, "SELECT 1 FROM messages WHERE user_id = $1 AND metadata ? 'refused'"
        ),
        lambda rows: len(rows) == 1,
    )
    await product.owner.execute(
        "UPDATE conversations SET taken_over_at = now(), taken_over_until = 'infinity',"
        " taken_over_by = 'human', taken_over_reason = 'test' WHERE user_id = $1",
        bot.user_id,
    )
    await product.settled(bot)
    assert [row[0] for row in await outbound(product, bot)] == ["cancelled"]
    assert await product.sends(bot) == []
    assert await dead_of(product, bot.phone_number_id) == []
    assert await product.counters_equal_rows(bot) == (0, 1)
