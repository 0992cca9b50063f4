"""Ten thousand webhook items, spoilt in every way, between good ones: none of these is lost."""

import asyncio
import copy
import json
import random
import time
from typing import Any

import aiohttp

from handlers.whatsapp.cloud_api.signature import sign
from tests.e2e.conftest import Bot, Product, until
from tests.properties.test_wire import places
from tests.unit.kinds import ECHO, FIELDS, MESSAGES, MORE
from tests.unit.payloads import change, contact, status, text, value

SPOILT = 10_000
A_POST = 50  # spoilt items in one POST
CONNECTIONS = 4
INSTEAD: list[Any] = [
    *(None, True, 0, -1, 2**40, 1e308, "", "\0", "\ud83c", "x" * 300, "9" * 30, [], {}, [[]]),
    *([None], {"": None}, [{"a": [1]}], {"id": "x"}, "1795000000", "text", "wamid.ADA1"),
]
TEMPLATES: list[Any] = [
    *({"messages": [raw]} for raw, _ in [*MESSAGES.values(), *MORE.values()]),
    {"statuses": [status("read"), status("failed", 2)]},
    {"message_echoes": [ECHO]},
    *FIELDS.values(),
]
FIELD_NAMES = [
    *["messages"] * (len(MESSAGES) + len(MORE) + 1),
    "smb_message_echoes",
    *FIELDS,
]


def spoilt(dice: random.Random, bot: Bot, n: int) -> Any:
    """A change like those that Meta sends, for the bot's number, with some places put wrong."""
    at = dice.randrange(len(TEMPLATES))
    content = {**value(bot.phone_number_id, bot.number.lstrip("+")), **TEMPLATES[at]}
    if "metadata" in TEMPLATES[at]:
        content["metadata"] = value(bot.phone_number_id, bot.number.lstrip("+"))["metadata"]
    # Ids of their own, or all but the first would be repetitions.
    whole = json.dumps(change(content, FIELD_NAMES[at]))
    made: Any = json.loads(
        whole.replace("wamid.ADA1", f"wamid.{n}").replace("US.44", f"US.{n % 97}")
    )
    for _ in range(dice.randrange(4)):
        found = places(made)
        if not found:
            break
        *way, last = dice.choice(found)
        node = made
        for key in way:
            node = node[key]
        if dice.random() < 0.4:
            del node[last]
        else:
            node[last] = copy.deepcopy(dice.choice(INSTEAD))
    return made


async def test_ten_thousand_spoilt_items_lose_no_neighbour(product: Product) -> None:
    bot = await product.bot(daily=0)
    dice = random.Random(20_261_122)
    posts: list[bytes] = []
    good: set[str] = set()
    for number in range(SPOILT // A_POST):
        changes = [spoilt(dice, bot, number * A_POST + n) for n in range(A_POST)]
        for n in range(4):
            wamid = f"wamid.GOOD.{number}.{n}"
            good.add(wamid)
            who = {"from": f"1404555{number % 40:04d}", "id": wamid, "from_user_id": ""}
            neighbour = text(n, f"good {number} {n}", **who)
            about = [contact(wa_id=who["from"], user_id="")]
            content = value(
                bot.phone_number_id,
                bot.number.lstrip("+"),
                messages=[neighbour],
                contacts=about,
            )
            changes.insert(dice.randrange(len(changes)), change(content))
        whole = {
            "object": "whatsapp_business_account",
            "entry": [{"id": "440011", "changes": changes}],
        }
        posts.append(json.dumps(whole).encode())
    secret = product.stack.environment["WHATSAPP_APP_SECRET"]
    url = f"{product.stack.ingress_url}/webhooks/whatsapp"
    answers: list[int] = []
    started = time.monotonic()
    async with aiohttp.ClientSession() as http:

        async def deliver(mine: list[bytes]) -> None:
            for body in mine:
                headers = {"X-Hub-Signature-256": sign(body, secret)}
                async with http.post(url, data=body, headers=headers) as response:
                    answers.append(response.status)

        await asyncio.gather(*(deliver(posts[n::CONNECTIONS]) for n in range(CONNECTIONS)))
    assert answers == [200] * len(posts)

    async def recorded() -> int:
        found: int = await product.owner.fetchval(
            "SELECT count(*) FROM messages WHERE user_id = $1 AND message_id LIKE 'wamid.GOOD.%'",
            bot.user_id,
        )
        return found

    await until(recorded, lambda n: n >= len(good), 120.0)
    print(f"{SPOILT} spoilt items and {len(good)} good ones: {time.monotonic() - started:.1f} s")
    rows = await product.rows(
        bot,
        "SELECT message_id, content_text, direction FROM messages WHERE user_id = $1"
        " AND message_id LIKE 'wamid.GOOD.%'",
    )
    assert {row["message_id"] for row in rows} == good
    assert len(rows) == len(good)
    assert all(row["content_text"].startswith("good ") for row in rows)
    assert {row["direction"] for row in rows} == {"inbound"}
    # No item took a batch or a worker along.
    for process in product.stack.processes:
        assert process.returncode is None, process.tail()
        assert "batch.failed" not in process.tail()
    dead = await product.owner.fetchval(
        "SELECT count(*) FROM parked_items WHERE reason IN ('delivered_too_often', 'undecodable')"
    )
    assert dead == 0
