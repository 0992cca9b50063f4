"""What a customer and a tenant see, from outside."""

import asyncio
import re
import time
from typing import Any

from tests.e2e.conftest import DEBOUNCE_MS, Bot, Product, until

NOOR = "+12025550178"
IKER = "+34600000001"


async def say(product: Product, bot: Bot, *texts: str, sender: str = NOOR, **options: Any) -> Any:
    return await product.simulator.say(bot.phone_number_id, sender, *texts, **options)


async def quiet() -> None:
    """Longer than a debounce and a turn: what was not answered by now will not be."""
    await asyncio.sleep(DEBOUNCE_MS / 1000 + 1.0)


async def test_a_message_gets_one_answer_that_quotes_it(product: Product) -> None:
    bot = await product.bot()
    told = await say(product, bot, "Is the lemon cake available?", name="Noor Haddad")
    assert told["answers"] == [{"status": 200, "body": "durable"}]
    assert await product.replies(bot, 1) == ["Re: Is the lemon cake available?"]
    (send,) = await product.sends(bot)
    assert send["to"] == NOOR
    assert send["context"] == told["wamids"][0]
    row = (
        await until(
            lambda: product.rows(
                bot, "SELECT * FROM messages WHERE user_id = $1 AND direction = 'outbound'"
            ),
            lambda rows: rows[0]["status"] == "read",
        )
    )[0]
    assert send["biz_opaque_callback_data"] == f"sr:{row['id']}:1"
    assert row["message_id"] == send["wamid"]
    inbound = (
        await product.rows(
            bot, "SELECT * FROM messages WHERE user_id = $1 AND direction = 'inbound'"
        )
    )[0]
    assert inbound["ai_processed"] is True
    assert inbound["message_id"] == told["wamids"][0]
    assert await product.counters_equal_rows(bot) == (1, 1)
    contact = (await product.rows(bot, "SELECT * FROM contacts WHERE user_id = $1"))[0]
    assert (contact["phone_number"], contact["name"]) == (NOOR, "Noor Haddad")
    thread = (await product.rows(bot, "SELECT thread_id FROM conversations WHERE user_id = $1"))[0]
    assert contact["thread_id"] == thread["thread_id"]
    assert (
        await product.owner.fetchval(
            "SELECT count(*) FROM checkpoints WHERE thread_id = $1", thread["thread_id"]
        )
        == 1
    )


async def test_a_burst_is_one_turn(product: Product) -> None:
    bot = await product.bot()
    await say(product, bot, "I need a cake", "for Saturday", "gluten-free", one_post=False)
    assert await product.replies(bot, 1) == ["Re: I need a cake | for Saturday | gluten-free"]
    await quiet()
    await product.replies(bot, 1)
    assert await product.counters_equal_rows(bot) == (1, 3)


async def test_a_batch_in_one_post_is_one_turn_in_order(product: Product) -> None:
    bot = await product.bot()
    lines = [f"line {n}" for n in range(12)]
    await say(product, bot, *lines)
    assert await product.replies(bot, 1) == ["Re: " + " | ".join(lines)]


async def test_a_duplicate_changes_nothing(product: Product) -> None:
    bot = await product.bot()
    told = await say(product, bot, "only once")
    await product.replies(bot, 1)
    wamids = told["wamids"]
    async with asyncio.TaskGroup() as group:  # at the same moment, several times
        for _ in range(8):
            group.create_task(say(product, bot, "only once", wamids=wamids))
    # and in another envelope, with a message that is new
    await say(product, bot, "only once", "and this", wamids=[wamids[0], f"{wamids[0]}-new"])
    assert await product.replies(bot, 2) == ["Re: only once", "Re: and this"]
    await quiet()
    await product.replies(bot, 2)
    assert await product.counters_equal_rows(bot) == (2, 2)


async def test_a_message_during_a_turn_is_answered_by_the_next(product: Product) -> None:
    bot = await product.bot()
    await product.simulator.rules(
        {"match": "slow", "reply": "That took a while.", "latency_ms": 1_500}
    )
    await say(product, bot, "a slow question")
    await until(lambda: product.simulator.log("model"), lambda seen: len(seen) == 1)
    await say(product, bot, "and another thing")
    assert await product.replies(bot, 2) == ["That took a while.", "Re: and another thing"]
    assert await product.counters_equal_rows(bot) == (2, 2)


NOTE = re.compile(r"\A\[[^\]]*[0-9]{4}-[0-9]{2}-[0-9]{2}[^\]]*\]\n?")


def said_in(prompt: list[dict[str, Any]]) -> list[str]:
    """Without our notes on times."""
    return [said for m in prompt[1:] if (said := NOTE.sub("", m["content"]))]


async def test_the_agent_remembers_and_knows_only_what_is_its_own(product: Product) -> None:
    ours = await product.bot(
        instructions="You are the LEMON bakery.", knowledge="Open?,LEMON opens at seven\n"
    )
    theirs = await product.bot(
        instructions="You are the MINT clinic.", knowledge="Open?,MINT opens at nine\n"
    )
    await say(product, ours, "hello bakery")
    await say(product, theirs, "hello clinic")
    await product.replies(ours, 1)
    await product.replies(theirs, 1)
    await product.owner.execute(
        "INSERT INTO conversation_instructions (user_id, chatbot_id, contact_id, instruction_text,"
        " expires_at, is_active) SELECT $1, $2, c.id, t.text, t.until, t.active FROM contacts c,"
        " (VALUES ('Speak like a PIRATE', now() + interval '1 h', true),"
        " ('EXPIRED offer', now() - interval '1 s', true), ('SWITCHED off', NULL, false))"
        " AS t (text, until, active) WHERE c.user_id = $1",
        ours.user_id,
        ours.chatbot_id,
    )
    await say(product, ours, "and on Sundays?")
    assert await product.replies(ours, 2) == ["Re: hello bakery", "Re: and on Sundays?"]
    last = (await product.prompts("LEMON"))[-1]["messages"]
    assert said_in(last) == [
        "hello bakery",
        "Re: hello bakery",
        "and on Sundays?",
    ]
    system = last[0]["content"]
    assert "LEMON opens at seven" in system
    assert "Speak like a PIRATE" in system
    assert "MINT" not in str(last)
    assert "EXPIRED" not in system
    assert "SWITCHED" not in system
    assert "LEMON" not in str(await product.prompts("MINT"))
    for bot in (ours, theirs):  # each with its own credential and its own number
        assert {s["outcome"] for s in await product.sends(bot, None)} == {"accepted"}
    sealed = await product.owner.fetchval(
        "SELECT access_token FROM chatbots WHERE id = $1", ours.chatbot_id
    )
    assert ours.token not in sealed


async def test_one_post_for_two_tenants_and_a_stranger(product: Product) -> None:
    ours, theirs = await product.bot(), await product.bot()
    payload = {"object": "whatsapp_business_account", "entry": []}
    entries: list[Any] = payload["entry"]  # type: ignore[assignment]
    for pnid, number, text in (
        (ours.phone_number_id, ours.number, "to ours"),
        ("999000111", "+15550000000", "to nobody"),
        (theirs.phone_number_id, theirs.number, "to theirs"),
    ):
        entries.append(
            {
                "id": "1",
                "changes": [
                    {
                        "field": "messages",
                        "value": {
                            "messaging_product": "whatsapp",
                            "metadata": {
                                "display_phone_number": number[1:],
                                "phone_number_id": pnid,
                            },
                            "contacts": [{"profile": {"name": "N"}, "wa_id": NOOR[1:]}],
                            "messages": [
                                {"id": f"wamid.broken-{pnid}", "type": "text"},
                                {
                                    "from": NOOR[1:],
                                    "id": f"wamid.{pnid}",
                                    "timestamp": str(int(time.time())),
                                    "type": "text",
                                    "text": {"body": text},
                                },
                            ],
                        },
                    }
                ],
            }
        )
    assert (await product.simulator.raw(payload=payload))["status"] == 200
    assert await product.replies(ours, 1) == ["Re: to ours"]
    assert await product.replies(theirs, 1) == ["Re: to theirs"]
    parked = await until(
        lambda: product.owner.fetch(
            "SELECT reason, raw FROM parked_items WHERE phone_number_id = ANY ($1) ORDER BY id",
            [ours.phone_number_id, theirs.phone_number_id, "999000111"],
        ),
        lambda rows: len(rows) >= 4,
    )
    assert sorted(row["reason"] for row in parked) == ["not_understood"] * 3 + ["unknown_number"]
    assert b"to nobody" in b"".join(row["raw"] for row in parked)


async def test_at_the_limit_there_is_no_reply_and_a_reason(product: Product) -> None:
    bot = await product.bot(daily=2)
    for n in range(4):
        await say(product, bot, f"question {n}", sender=f"+1202555010{n}")
    await until(
        lambda: product.rows(
            bot,
            "SELECT metadata ->> 'reason' AS reason FROM messages"
            " WHERE user_id = $1 AND metadata ? 'reason'",
        ),
        lambda rows: [r["reason"] for r in rows] == ["daily_message_limit"] * 2,
    )
    await product.replies(bot, 2)
    await product.settled(bot)
    assert await product.counters_equal_rows(bot) == (2, 4)


async def test_a_model_that_is_back_answers_what_came_meanwhile_once(product: Product) -> None:
    bot = await product.bot()
    await product.simulator.rules({"match": "trouble", "status": 500})
    await say(product, bot, "trouble ahead")
    waits = "SELECT 1 FROM conversations WHERE user_id = $1 AND failing_since IS NOT NULL"
    await until(lambda: product.rows(bot, waits), lambda rows: len(rows) == 1)
    await say(product, bot, "are you there?")
    await product.simulator.rules()
    assert await product.replies(bot, 1) == ["Re: trouble ahead | are you there?"]
    await quiet()
    await product.replies(bot, 1)
    assert await product.counters_equal_rows(bot) == (1, 2)


async def test_when_the_model_gives_up_there_is_an_apology_and_a_handover(
    product: Product,
) -> None:
    bot = await product.bot()
    # Nothing that the turn could wait for: no key of ours fits.
    await product.simulator.rules({"match": "trouble", "status": 418})
    await say(product, bot, "trouble ahead")
    (apology,) = await product.replies(bot, 1)
    assert apology.startswith("I'm sorry")
    row = (await product.rows(bot, "SELECT * FROM conversations WHERE user_id = $1"))[0]
    assert row["taken_over_reason"] == "model:http_418"
    await say(product, bot, "are you there?")
    await until(
        lambda: product.rows(
            bot,
            "SELECT 1 FROM messages WHERE user_id = $1 AND metadata ->> 'reason' = 'taken_over'",
        ),
        lambda rows: len(rows) == 1,
    )
    await product.replies(bot, 1)
    assert await product.counters_equal_rows(bot) == (0, 2)  # a notice is outside the meter
