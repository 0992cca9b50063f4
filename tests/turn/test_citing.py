"""What a reply is made from is on its row, and not in its text."""

import json
from typing import Any

from db.pool import Conn, Pool
from tests.turn.shop import Shop, open_shop


async def made(owner: Conn) -> list[dict[str, Any]]:
    rows = await owner.fetch(
        "SELECT metadata FROM messages WHERE metadata ->> 'kind' = 'reply' ORDER BY id"
    )
    return [json.loads(row["metadata"]) for row in rows]


async def ids(owner: Conn) -> dict[str, int]:
    rows = await owner.fetch("SELECT id, question FROM bot_knowledge_base")
    return {row["question"]: row["id"] for row in rows}


async def test_of_a_base_that_is_in_the_prompt_the_cited_rows_are_known(
    pool: Pool, owner: Conn
) -> None:
    async with open_shop(pool, owner) as shop:
        await shop.knows(("Do you deliver?", "Within 5 km."))
        row = await ids(owner)
        hours, delivery = row["When are you open?"], row["Do you deliver?"]
        who = await shop.customer()
        said = f"We deliver within 5 km.\n[[{delivery}, {delivery + 1_000}]]"
        await shop.simulator.rules({"match": "deliver", "reply": said})
        turn = await shop.turn(who, "do you deliver?")
        assert turn.said == ["We deliver within 5 km."]
        (told,) = await made(owner)
        assert (told["kb_shown"], told["kb_cited"]) == ([hours, delivery], [delivery])
        again = await shop.turn(who, "thanks")
        assert "[[" not in json.dumps(again.requests[0]["messages"][1:])  # the thread has none


async def test_of_a_search_what_was_found_and_what_was_cited(pool: Pool, owner: Conn) -> None:
    async with open_shop(pool, owner) as shop:
        await shop.knows(*((f"What is item {n}?", "x" * 200) for n in range(80)))
        row = (await ids(owner))["When are you open?"]
        call = {"name": "search_knowledge_base", "arguments": {"query": "When are you open?"}}
        await shop.simulator.rules(
            {"tool_match": "From 7", "reply": f"From 7 to 18. [[{row}]]"},
            {"match": "hours", "tool_calls": [call]},
        )
        turn = await shop.turn(await shop.customer(), "your hours?")
        assert turn.said == ["From 7 to 18."]
        (told,) = await made(owner)
        assert told["kb_cited"] == [row]
        assert row in told["kb_shown"]
        assert len(told["kb_shown"]) == 6


async def test_an_answer_that_is_nothing_but_its_rows_is_none(pool: Pool, owner: Conn) -> None:
    async with open_shop(pool, owner) as shop:
        await shop.simulator.rules({"match": "hi", "reply": "[[1]]"})
        turn = await shop.turn(await shop.customer(), "hi")
        assert turn.said == []


async def test_the_languages_and_other_ways_to_ask_are_in_the_prompt(
    pool: Pool, owner: Conn
) -> None:
    async with open_shop(pool, owner) as shop:
        await told_of(shop, "UPDATE chatbots SET language = 'fr'", "is written in: fr.")
        await told_of(
            shop,
            "UPDATE bot_knowledge_base SET language = 'de', alternatives = '[\"Zeiten?\"]'",
            "is written in: de.",
        )
        prompt = (await shop.turn(await shop.customer(), "hi")).requests[0]["messages"][0]
        assert '"also": ["Zeiten?"]' in prompt["content"]


async def told_of(shop: Shop, change: str, words: str) -> None:
    await shop.owner.execute(change)
    turn = await shop.turn(await shop.customer(), "hi")
    assert words in turn.requests[0]["messages"][0]["content"]
