"""What the processes log: one JSON object a line, no customer's words, no secret."""

import json

from tests.e2e.conftest import Product, until
from tests.e2e.test_conversation import say


async def test_the_log_holds_no_words_and_no_secret(product: Product) -> None:
    bot = await product.bot(instructions="You are the QUIETBOT.", knowledge="Q?,SECRETANSWER\n")
    await product.simulator.faults(
        {"kind": "error", "status": 400, "code": 100, "phone_number_id": bot.phone_number_id}
    )
    told = await say(product, bot, "my password is OPENSESAME", name="Noor OPENNAME")
    await until(
        lambda: product.rows(bot, "SELECT 1 FROM messages WHERE user_id=$1 AND status='failed'"),
        lambda rows: len(rows) == 1,
    )
    await say(product, bot, "trouble OPENSESAME")
    await product.replies(bot, 1)
    await product.settled(bot)
    secrets = [
        product.stack.environment[name]
        for name in ("WHATSAPP_APP_SECRET", "SECRETS_KEY", "WHATSAPP_ACCESS_TOKEN")
    ]
    forbidden = [
        *("OPENSESAME", "OPENNAME", "SECRETANSWER", "QUIETBOT", "sk-simulated"),
        *(bot.token, told["wamids"][0], *secrets),
    ]
    lines = [
        line
        for file in product.stack.log_directory.glob("*.log")
        if not file.name.startswith("simulator")
        for line in file.read_text().splitlines()
    ]
    assert [word for word in forbidden if any(word in line for line in lines)] == []
    events = [json.loads(line) for line in lines]
    mine = {e["event"] for e in events if e.get("user_id") == bot.user_id}
    assert {"turn.finished", "send.finished"} <= mine
    replied = next(
        e for e in events if e["event"] == "turn.finished" and e["user_id"] == bot.user_id
    )
    assert replied["outcome"] == "replied"
    assert replied["duration_ms"] >= replied["agent_ms"] >= 0
