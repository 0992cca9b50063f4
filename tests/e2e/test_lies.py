"""Everything at once that Meta does to a receiver, and the same promises."""

import asyncio
import json
import time
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import pytest

from tests.e2e.conftest import SEND_UNKNOWN_MS, Bot, Product, until

CUSTOMERS = 50
MESSAGES = 3
LIES = {
    "seed": 20_261_122,
    "duplicates": 0.3,
    "duplicate_times": 2,
    "delays": 0.5,
    "delay_ms": 400,
    "swaps": 0.2,
    "swap_ms": 400,
    "batch_ms": 60,
    "hidden_numbers": 0.3,
    "extras": 0.2,
    "extra_kinds": ["reaction"],  # an edit or a revocation would change what is to be answered
    "enforce_limits": True,
    "enforce_window": True,
    "refusals": {
        "130429": 0.03,
        "131016": 0.03,
        "131026": 0.03,
        "131047": 0.03,
        "131056": 0.03,
    },
    "server_errors": 0.03,
    "lost_answers": 0.1,
    "statuses_early": 0.2,
    "statuses_late": 0.2,
    "late_ms": 500,
    "statuses_never": 0.1,
    "statuses_shuffled": 0.3,
    "statuses_anonymous": 0.1,
}


def ours(entry: dict[str, Any]) -> str:
    """The row of a call, whichever send of it."""
    return str(entry["biz_opaque_callback_data"]).split(":")[1]


async def heard_in_time(product: Product) -> set[str]:
    """The wamids of which a status with our id was taken before its message would be repeated."""
    accepted = {e["wamid"]: e["at"] for e in await product.simulator.sends()}
    heard = set()
    for post in await product.simulator.log("webhook"):
        for entry in json.loads(post["body"])["entry"] if post["status"] == 200 else ():
            for change in entry["changes"]:
                for status in change["value"].get("statuses", ()):
                    if (at := accepted.get(status["id"])) is None:
                        continue  # of a message of a test before, which the journal has let go of
                    soon = post["at"] - at < SEND_UNKNOWN_MS / 1_000
                    if soon and "biz_opaque_callback_data" in status:
                        heard.add(status["id"])
    return heard


@pytest.mark.timeout(360)
async def test_all_lies_at_once(product: Product) -> None:
    bots = [await product.bot() for _ in range(3)]
    await product.simulator.config(lies=LIES, webhook_retry=True)
    began = int(time.time()) - 60
    wrote: dict[str, str] = {}  # wamid: text

    async def customer(n: int) -> None:
        bot = bots[n % 3]
        for part in range(MESSAGES):
            text = f"q{n:02d}x{part}"
            told = await product.simulator.say(
                bot.phone_number_id, f"+1202777{n:04d}", text, timestamp=began + part
            )
            wrote[told["wamids"][0]] = text
            await asyncio.sleep(0.4 * ((n + part) % 4))

    async with asyncio.TaskGroup() as group:
        for n in range(CUSTOMERS):
            group.create_task(customer(n))

    async def recorded() -> int:
        found: int = await product.owner.fetchval(
            "SELECT count(*) FROM messages WHERE message_id = ANY ($1)", list(wrote)
        )
        return found

    assert await until(recorded, lambda n: n >= len(wrote), 60) == CUSTOMERS * MESSAGES
    ids = [bot.user_id for bot in bots]

    async def open_work() -> int:
        found: int = await product.owner.fetchval(
            "SELECT (SELECT count(*) FROM conversations WHERE user_id = ANY ($1)"
            " AND (lease_owner IS NOT NULL OR input_seq > answered_seq)) + (SELECT count(*)"
            " FROM messages WHERE user_id = ANY ($1)"
            " AND status IN ('queued', 'sending', 'unknown'))",
            ids,
        )
        return found

    await until(open_work, lambda n: n == 0, 150)
    for bot in bots:
        await product.counters_equal_rows(bot)
    await judge(product, bots, wrote)


async def judge(product: Product, bots: list[Bot], wrote: dict[str, str]) -> None:
    ids = [bot.user_id for bot in bots]
    replies = await product.owner.fetch(
        "SELECT m.id, m.status, m.content_text, m.conversation_id, m.created_at, d.reason AS dead"
        " FROM messages m LEFT JOIN dead_sends d ON d.message_id = m.id"
        " WHERE m.user_id = ANY ($1) AND m.direction = 'outbound' ORDER BY m.id",
        ids,
    )
    # Nothing lost: each is answered by one reply, and the reply was taken or is on the dead list.
    answered = Counter(word for r in replies for word in r["content_text"].split() if "x" in word)
    assert answered == Counter(wrote.values())
    taken = Counter(ours(entry) for entry in await product.simulator.sends())
    lost = [r for r in replies if not taken[str(r["id"])] and not r["dead"]]
    assert lost == []
    dead = {r["dead"] for r in replies if r["status"] == "failed"}
    assert dead <= {"window_closed", "refused", "send_outcome_unknown", "transient"}
    assert 2 * sum(r["status"] == "failed" for r in replies) < len(replies)
    # Nothing doubled, but where Meta took a message, lost the answer and told nothing in time.
    heard = await heard_in_time(product)
    by_row = defaultdict(list)
    for entry in await product.simulator.sends():
        by_row[ours(entry)].append(entry)
    doubled = [
        entries
        for entries in by_row.values()
        for entry in entries[:-1]
        if "lost_answer" not in entry["lies"] or entry["wamid"] in heard
    ]
    assert doubled == []
    # And the lies were told.
    sends = await product.simulator.sends(outcome=None)
    assert len({e["code"] for e in sends if e["code"]}) >= 2
    assert {lie for e in sends for lie in e["lies"]} >= {"lost_answer", "early", "late", "shuffled"}
    posts = [post["body"] for post in await product.simulator.log("webhook")]
    assert len(set(posts)) < len(posts)
    # In order: what was said earlier is answered later only if it was recorded later too.
    rows = await product.owner.fetch(
        "SELECT content_text, sent_at, created_at FROM messages"
        " WHERE user_id = ANY ($1) AND message_id = ANY ($2)",
        ids,
        list(wrote),
    )
    said = {row["content_text"]: row for row in rows}
    for conversation in {r["conversation_id"] for r in replies}:
        words = [
            (said[word], reply)
            for reply in replies
            if reply["conversation_id"] == conversation
            for word in reply["content_text"].split()
            if word in said
        ]
        for (first, reply), (second, later) in pairwise(words):
            if second["sent_at"] < first["sent_at"]:
                assert reply["id"] != later["id"]
                assert second["created_at"] > first["created_at"]
