"""What a customer sees besides the answers, and what is not answered or sent any more."""

import time
from typing import Any

import pytest

from tests.e2e.conftest import Bot, Product, until
from tests.e2e.test_conversation import NOOR, quiet, said_in, say
from tests.e2e.test_dead import dead_of
from tests.e2e.test_faults import worker_in_turn
from tests.e2e.test_sends import outbound, refuse

HOUR = 3_600
HOLD = "UPDATE send_limits SET held_until = now() + $2::text::interval WHERE user_id = $1"
TAKE_OVER = (
    "UPDATE conversations SET taken_over_at = now(), taken_over_until = 'infinity',"
    " taken_over_by = 'human', taken_over_reason = 'test' WHERE user_id = $1"
)


async def typing(product: Product, bot: Bot) -> list[dict[str, Any]]:
    entries = await product.simulator.log("typing")
    return [e for e in entries if e["phone_number_id"] == bot.phone_number_id]


async def close_window(product: Product, bot: Bot) -> None:
    await product.owner.execute(
        "UPDATE conversations SET last_inbound_at = now() - interval '24 h' WHERE user_id = $1",
        bot.user_id,
    )


async def approve_template(product: Product, bot: Bot) -> None:
    await product.owner.execute(
        'UPDATE chatbots SET window_template = \'{"name": "write_again", "language": "en_US"}\''
        " WHERE user_id = $1",
        bot.user_id,
    )


async def statuses(product: Product, bot: Bot) -> list[str]:
    return [status for status, _, _ in await outbound(product, bot)]


# ---- read and typing ---------------------------------------------------------------------------


async def test_the_last_message_is_read_and_typing_shows_before_the_answer(
    product: Product,
) -> None:
    bot = await product.bot()
    await product.simulator.config(model_latency_ms=1_500)
    told = await say(product, bot, "one", "two")
    await product.replies(bot, 1)
    (shown,) = await typing(product, bot)
    (send,) = await product.sends(bot)
    assert shown["message_id"] == told["wamids"][-1]
    assert shown["at"] < send["at"]
    chat = await product.simulator.chat(bot.phone_number_id, NOOR)
    assert [line["status"] for line in chat if line["from"] == "customer"] == ["read", "read"]


async def test_a_repeated_turn_shows_typing_once(product: Product, workers: None) -> None:
    bot = await product.bot()
    await product.simulator.config(model_latency_ms=1_500)
    await say(product, bot, "who answers?")
    await until(lambda: typing(product, bot), lambda seen: len(seen) == 1)
    (await worker_in_turn(product, bot.user_id)).kill()
    await product.replies(bot, 1)
    assert len(await typing(product, bot)) == 1


async def test_no_typing_where_a_person_answers(product: Product) -> None:
    bot = await product.bot()
    await say(product, bot, "hello")
    await product.replies(bot, 1)
    await product.owner.execute(TAKE_OVER, bot.user_id)
    await say(product, bot, "and?")
    await product.settled(bot)
    await quiet()
    assert len(await typing(product, bot)) == 1
    await product.replies(bot, 1)


async def test_an_answer_does_not_depend_on_typing(product: Product) -> None:
    bot = await product.bot()
    await say(product, bot, "hello")
    await product.simulator.reset()  # Meta knows nothing of the message, and refuses
    await product.replies(bot, 1)
    (refused,) = await product.simulator.log("read")
    assert refused["code"] == 131009


async def test_markdown_becomes_whatsapps_own(product: Product) -> None:
    bot = await product.bot()
    await product.simulator.rules({"match": "menu", "reply": "# Cakes\n- **Lemon:** 2*3\n- Rye"})
    await say(product, bot, "menu")
    assert await product.replies(bot, 1) == ["*Cakes*\n- *Lemon:* 2*3\n- Rye"]


# ---- old messages ------------------------------------------------------------------------------


async def test_a_message_of_yesterday_is_recorded_and_not_answered(product: Product) -> None:
    bot = await product.bot(instructions="You are the STALE desk.")
    await say(product, bot, "still open?", timestamp=int(time.time()) - 13 * HOUR)
    await until(lambda: product.rows(bot, "SELECT 1 FROM messages WHERE user_id = $1"), bool)
    await product.settled(bot)
    (row,) = await product.rows(bot, "SELECT * FROM messages WHERE user_id = $1")
    assert (row["ai_processed"], '"stale"' in row["metadata"]) == (False, True)
    assert await product.prompts("STALE") == []
    assert await typing(product, bot) == []
    assert await product.counters_equal_rows(bot) == (0, 1)


async def test_old_messages_are_history_for_new_ones(product: Product) -> None:
    bot = await product.bot(instructions="You are the MIXED desk.")
    old = int(time.time()) - 13 * HOUR
    await say(product, bot, "still open?", timestamp=old)
    told = await say(product, bot, "any cake left?")
    await product.replies(bot, 1)
    await product.settled(bot)
    (prompt,) = await product.prompts("MIXED")
    assert said_in(prompt["messages"]) == [
        "(arrived too late to be answered) still open?",
        "any cake left?",
    ]
    (send,) = await product.sends(bot)
    assert send["context"] == told["wamids"][0]
    rows = await product.rows(
        bot,
        "SELECT ai_processed, metadata ->> 'reason' AS reason FROM messages"
        " WHERE user_id = $1 AND direction = 'inbound' ORDER BY id",
    )
    assert [tuple(row) for row in rows] == [(False, "stale"), (True, None)]


# ---- the 24-hour window ------------------------------------------------------------------------


async def late_reply(product: Product, bot: Bot) -> None:
    """A reply that has to wait, until the window is closed."""
    await refuse(product, bot, 131056)
    await say(product, bot, "hello?")
    await until(
        lambda: product.rows(
            bot, "SELECT 1 FROM messages WHERE user_id = $1 AND metadata ? 'refused'"
        ),
        lambda rows: len(rows) == 1,
    )
    await close_window(product, bot)


async def test_outside_the_window_a_reply_is_not_sent(product: Product) -> None:
    bot = await product.bot()
    await late_reply(product, bot)
    await product.settled(bot)
    assert await outbound(product, bot) == [("cancelled", 1, False)]
    (dead,) = await dead_of(product, bot.phone_number_id)
    assert dead["reason"] == "window_closed"
    assert await product.sends(bot) == []
    assert await product.counters_equal_rows(bot) == (0, 1)


async def test_outside_the_window_the_chatbots_template_goes_instead(product: Product) -> None:
    bot = await product.bot(instructions="You are the TEMPLATE desk.")
    await approve_template(product, bot)
    await product.simulator.config(templates=["write_again"])
    await late_reply(product, bot)
    (text,) = await until(lambda: product.sends(bot), lambda s: len(s) == 1)
    assert text["body"]["template"] == {"name": "write_again", "language": {"code": "en_US"}}
    await until(lambda: statuses(product, bot), lambda seen: seen == ["cancelled", "read"])
    assert [counted for _, _, counted in await outbound(product, bot)] == [False, True]
    assert await dead_of(product, bot.phone_number_id) == []
    assert await product.counters_equal_rows(bot) == (1, 1)
    await say(product, bot, "I am back")  # and gets what was not said
    await until(lambda: product.sends(bot), lambda s: len(s) == 2)
    prompt = (await product.prompts("TEMPLATE"))[-1]["messages"]
    assert said_in(prompt) == [
        "hello?",
        "(not delivered to the customer) Re: hello?",
        "[template write_again]",
        "I am back",
    ]
    await product.simulator.config(templates=[])


@pytest.mark.parametrize("how", ["refused", "reported"])
async def test_meta_has_the_last_word_on_the_window(product: Product, how: str) -> None:
    bot = await product.bot()
    await approve_template(product, bot)
    fault = {"kind": "async_failure", "code": 131047, "phone_number_id": bot.phone_number_id}
    if how == "reported":
        await product.simulator.faults(fault)
    else:
        await refuse(product, bot, 131047)
    await say(product, bot, "hello?")
    await until(lambda: statuses(product, bot), lambda seen: seen == ["failed", "read"])
    assert await dead_of(product, bot.phone_number_id) == []
    assert await product.counters_equal_rows(bot) == (1, 1)


async def test_a_window_gets_one_template(product: Product) -> None:
    bot = await product.bot()
    await approve_template(product, bot)
    for _ in range(2):
        await product.simulator.faults(
            {"kind": "async_failure", "code": 131047, "phone_number_id": bot.phone_number_id}
        )
    await product.owner.execute(HOLD, bot.user_id, "1 h")  # until both replies are there
    await say(product, bot, "one")
    await until(lambda: statuses(product, bot), lambda seen: seen == ["queued"])
    await say(product, bot, "two", timestamp=int(time.time()) - HOUR)
    await until(lambda: statuses(product, bot), lambda seen: seen == ["queued", "queued"])
    await product.owner.execute(HOLD, bot.user_id, None)
    await until(
        lambda: statuses(product, bot), lambda s: sorted(s) == ["failed", "failed", "read"], 30
    )
    await quiet()
    assert len(await statuses(product, bot)) == 3
    assert await product.counters_equal_rows(bot) == (1, 2)


# ---- a person ----------------------------------------------------------------------------------


async def test_an_unknown_send_is_not_repeated_over_a_person(product: Product) -> None:
    bot = await product.bot()
    await product.simulator.faults(
        {"kind": "timeout_before_accept", "phone_number_id": bot.phone_number_id}
    )
    await say(product, bot, "hello?")
    await until(lambda: statuses(product, bot), lambda seen: seen == ["unknown"])
    await product.owner.execute(TAKE_OVER, bot.user_id)
    await product.settled(bot)
    assert await outbound(product, bot) == [("cancelled", 1, False)]
    assert await product.sends(bot) == []
    assert await product.counters_equal_rows(bot) == (0, 1)


async def test_a_person_does_not_wait_for_what_the_bot_wanted_to_say(product: Product) -> None:
    bot = await product.bot()
    await refuse(product, bot, 131016, 503, times=3)
    await say(product, bot, "hello?")
    await until(
        lambda: product.rows(
            bot, "SELECT 1 FROM messages WHERE user_id = $1 AND metadata ? 'refused'"
        ),
        lambda rows: len(rows) == 1,
    )
    await product.owner.execute(
        "UPDATE messages SET send_after = now() + interval '1 h'"
        " WHERE user_id = $1 AND direction = 'outbound'",
        bot.user_id,
    )
    await product.owner.execute(TAKE_OVER, bot.user_id)
    await product.owner.execute(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,"
        " content_text, status, is_from_human, sent_at)"
        " SELECT user_id, chatbot_id, contact_id, id, 'outbound', 'Ana here', 'queued', true, now()"
        " FROM conversations WHERE user_id = $1",
        bot.user_id,
    )
    assert await product.replies(bot, 1) == ["Ana here"]
    await product.settled(bot)
    assert (await statuses(product, bot))[0] == "cancelled"
