"""Rows are found by what they mean, where a chatbot wants it: filled by a job that goes on where it
was left, compared in memory, and never waited for."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from db.embeddings import claim_embedding, store_vectors
from db.ids import WorkerId
from db.pool import Conn, Pool, tenant
from handlers.agent.embedding import Embedder, NotEmbedded, read_answer
from handlers.agent.graph import Agent
from handlers.agent.knowledge import Knowledge
from handlers.agent.meaning import LATE_S
from handlers.agent.shelf import Shelf
from handlers.agent.spending import Spent, noted_in
from handlers.embeddings.work import ROWS_AT_ONCE, embed_one
from simulator.app import create_app
from simulator.client import Simulator
from tests.factories import Tenant, make_tenant
from tests.turn.shop import open_shop
from tests.turn.test_knowledge import seen

ME, OTHER = WorkerId(1), WorkerId(2)
TERM = timedelta(seconds=4)
ROWS = (
    ("When are you open?", "From 7 to 18."),
    ("Do you deliver?", "Within 5 km."),
    ("Is there parking?", "Behind the house."),
    ("Can I get a refund?", "Within 30 days."),
    ("Do you bake cakes for weddings?", "Yes, two weeks ahead."),
    ("Are there nuts in the bread?", "In some; ask us."),
)


@dataclass(slots=True)
class Base:
    owner: Conn
    pool: Pool
    user: Tenant
    simulator: Simulator
    embedder: Embedder
    shelf: Shelf

    async def knows(self, rows: Sequence[tuple[str, str]]) -> None:
        await self.owner.executemany(
            "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
            " VALUES ($1, $2, $3, $4)",
            [(self.user.user_id, self.user.chatbot_id, *row) for row in rows],
        )

    async def wants(self, wanted: bool = True) -> None:
        await self.owner.execute("UPDATE chatbots SET embeddings = $1", wanted)

    async def embeds(self, worker: WorkerId = ME) -> bool:
        await self.owner.execute("UPDATE knowledge_bases SET embed_at = now() - interval '1 s'")
        return await embed_one(self.pool, self.embedder, worker, TERM)

    async def finds(self, query: str) -> str | None:
        known = await seen(self.shelf, self.pool, self.user)
        found = await known.search(query, 3)
        return found[0][0].question if found else None

    async def vectors(self) -> int:
        count: int = await self.owner.fetchval(
            "SELECT count(*) FROM knowledge_embeddings WHERE vector IS NOT NULL"
        )
        return count

    async def asked(self) -> list[list[str]]:
        return [list(e["request"]["input"]) for e in await self.simulator.log("embedding")]


@asynccontextmanager
async def simulated() -> AsyncIterator[tuple[Simulator, aiohttp.ClientSession]]:
    runner = web.AppRunner(create_app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with Simulator(url) as simulator, aiohttp.ClientSession() as session:
        yield simulator, session
    await runner.cleanup()


@pytest.fixture
async def base(pool: Pool, owner: Conn) -> AsyncIterator[Base]:
    user = await make_tenant(owner)
    for worker in (ME, OTHER):
        await owner.execute("INSERT INTO workers (id, name) VALUES ($1, 'w')", worker)
    async with simulated() as (simulator, session):
        embedder = Embedder.create("toy", "sk-1", f"{simulator.url}/v1", session)
        made = Base(owner, pool, user, simulator, embedder, Shelf(embedder=embedder))
        await made.knows(ROWS)
        yield made


async def test_a_question_in_another_language_finds_its_row(base: Base) -> None:
    asked = "\u00bfd\u00f3nde dejo el coche?"
    assert not await base.embeds()  # nobody wants it
    await base.wants()
    assert await base.finds(asked) != "Is there parking?"  # no vector yet
    assert await base.embeds()
    assert await base.vectors() == len(ROWS)
    assert await base.finds(asked) == "Is there parking?"
    assert await base.finds("k\u00f6nnen Sie liefern?") == "Do you deliver?"
    assert await base.finds("\u0645\u062a\u0649 \u062a\u0641\u062a\u062d\u0648\u0646") == ROWS[0][0]
    assert not await base.embeds()
    await base.wants(False)
    before = len(await base.asked())
    assert await base.finds(asked) != "Is there parking?"
    assert len(await base.asked()) == before


async def test_an_edited_row_is_embedded_again_and_is_never_found_by_what_it_was(
    base: Base,
) -> None:
    await base.wants()
    await base.embeds()
    assert await base.finds("tarta para una boda") == ROWS[4][0]
    await base.owner.execute(
        "UPDATE bot_knowledge_base SET question = 'What does a zebra eat?', answer = 'Grass.'"
        " WHERE question = $1",
        ROWS[4][0],
    )
    assert await base.vectors() == len(ROWS) - 1
    assert await base.finds("tarta para una boda") != "What does a zebra eat?"
    assert await base.embeds()
    assert await base.vectors() == len(ROWS)
    assert (await base.asked())[-1] == ["What does a zebra eat?\nGrass."]  # the others are kept
    await base.owner.execute("UPDATE bot_knowledge_base SET category = 'x'")  # not its text
    await base.owner.execute("DELETE FROM bot_knowledge_base WHERE question = $1", ROWS[0][0])
    assert await base.vectors() == len(ROWS) - 1
    count = len(await base.asked())
    assert await base.embeds()  # looks, and finds nothing to ask for
    assert len(await base.asked()) == count


async def test_another_model_begins_anew(base: Base) -> None:
    await base.wants()
    await base.embeds()
    base.embedder.model = "other"
    assert await base.finds("\u00bfy mi coche?") != "Is there parking?"  # not its vectors
    assert await base.embeds()
    models = await base.owner.fetch("SELECT DISTINCT model FROM knowledge_embeddings")
    assert [row["model"] for row in models] == ["other"]
    assert await base.finds("\u00bfy mi coche?") == "Is there parking?"


async def test_one_bad_row_stops_no_other(base: Base) -> None:
    await base.knows([(f"What is item {n}?", "An item.") for n in range(20)])
    await base.simulator.config(embedding_refuses="item 7")
    await base.wants()
    assert await base.embeds()
    assert await base.vectors() == len(ROWS) + 19
    assert not await base.embeds()  # and it is not asked for again
    await base.simulator.config(embedding_refuses="nothing at all")
    await base.owner.execute(
        "UPDATE bot_knowledge_base SET answer = 'Mended.' WHERE question = 'What is item 7?'"
    )
    assert await base.embeds()
    assert await base.vectors() == len(ROWS) + 20


async def test_an_outage_is_waited_for_and_what_is_stored_stays(base: Base) -> None:
    await base.knows([(f"What is item {n}?", "An item.") for n in range(ROWS_AT_ONCE)])
    await base.wants()
    await base.simulator.config(embedding_status=503)
    assert await base.embeds()
    state = await base.owner.fetchrow(
        "SELECT embed_tries, embedder, embed_at > now() AS waits FROM knowledge_bases"
    )
    assert state is not None
    assert tuple(state) == (1, None, True)
    assert await base.vectors() == 0
    await base.simulator.config(embedding_status=200)
    assert await base.embeds(OTHER)
    assert await base.vectors() == len(ROWS) + ROWS_AT_ONCE
    assert [len(texts) for texts in (await base.asked())[1:]] == [ROWS_AT_ONCE, len(ROWS)]


async def test_a_worker_s_base_is_nobody_else_s_until_it_dies(base: Base) -> None:
    await base.wants()
    await base.owner.execute("UPDATE knowledge_bases SET embed_at = now() - interval '1 s'")
    async with base.pool.acquire() as conn:
        assert await claim_embedding(conn, ME, TERM, "toy") is not None
        assert await claim_embedding(conn, OTHER, TERM, "toy") is None
    await base.owner.execute("DELETE FROM workers WHERE id = $1", ME)
    assert await base.embeds(OTHER)
    assert await base.vectors() == len(ROWS)


async def test_who_lost_a_base_stores_nothing_in_it(base: Base) -> None:
    await base.wants()
    await base.owner.execute("UPDATE knowledge_bases SET embed_at = now() - interval '1 s'")
    async with base.pool.acquire() as conn:
        claim = await claim_embedding(conn, ME, TERM, "toy")
    assert claim is not None
    async with tenant(base.pool, claim.user_id) as conn:
        assert await store_vectors(conn, claim, ME, "toy", [])
    await base.owner.execute("UPDATE knowledge_bases SET embedder = $1", OTHER)
    async with tenant(base.pool, claim.user_id) as conn:
        assert not await store_vectors(conn, claim, ME, "toy", [])


async def test_what_is_edited_while_it_is_embedded_is_due_again(base: Base) -> None:
    await base.wants()
    await base.simulator.config(embedding_latency_ms=4_000)
    await base.owner.execute("UPDATE knowledge_bases SET embed_at = now() - interval '1 s'")
    working = asyncio.create_task(embed_one(base.pool, base.embedder, ME, TERM))
    while not await base.owner.fetchval("SELECT embedder IS NOT NULL FROM knowledge_bases"):
        await asyncio.sleep(0.01)
    await asyncio.sleep(1)
    await base.owner.execute(
        "UPDATE bot_knowledge_base SET answer = 'Not any more.' WHERE question = $1", ROWS[2][0]
    )
    await working
    await base.simulator.config(embedding_latency_ms=0)
    assert await base.vectors() == len(ROWS) - 1
    assert await base.embeds()
    assert await base.vectors() == len(ROWS)
    assert (await base.asked())[-1] == [f"{ROWS[2][0]}\nNot any more."]


async def test_a_late_or_failing_server_means_words_alone(base: Base) -> None:
    await base.wants()
    await base.embeds()
    await base.simulator.config(embedding_latency_ms=3_000)
    began = time.monotonic()
    assert await base.finds("is there parking") == "Is there parking?"
    assert time.monotonic() - began < LATE_S + 1.5
    await base.simulator.config(embedding_latency_ms=0, embedding_status=500)
    for _ in range(3):
        assert await base.finds("is there parking") == "Is there parking?"
    count = len(await base.asked())
    assert await base.finds("is there parking") == "Is there parking?"
    assert len(await base.asked()) == count  # it is away, and not asked for a while


async def test_nobody_s_but_the_tenant_s(base: Base) -> None:
    other = await make_tenant(base.owner)
    await base.wants()
    await base.embeds()
    async with tenant(base.pool, other.user_id) as conn:
        assert await conn.fetchval("SELECT count(*) FROM knowledge_embeddings") == 0


async def test_tokens_are_metered_as_embedding(base: Base) -> None:
    await base.owner.execute(
        "INSERT INTO model_prices VALUES ('toy', 'embedding', '2020-01-01', 1000, 0, 0)"
    )
    await base.wants()
    await base.embeds()
    spent = Spent()
    with noted_in(spent):
        await base.finds("parking?")
    assert (spent.by_model, spent.embeddings["toy"].calls) == ({}, 1)
    row = await base.owner.fetchrow(
        "SELECT u.kind, u.calls, u.input_tokens > 20 AS tokens, u.cost > 0 AS cost,"
        " u.input_tokens = c.input_tokens AS same FROM model_usage u"
        " JOIN model_calls c USING (user_id)"
    )
    assert row is not None
    assert tuple(row) == ("embedding", 1, True, True, True)


async def test_a_turn_searches_by_meaning_and_is_billed(pool: Pool, owner: Conn) -> None:
    async with open_shop(pool, owner) as shop, aiohttp.ClientSession() as session:
        await owner.execute("INSERT INTO workers (id, name) VALUES ($1, 'w')", ME)
        embedder = Embedder.create("toy", "sk-1", f"{shop.simulator.url}/v1", session)
        shop.agent = Agent(shop.model, Shelf(embedder=embedder))
        await shop.knows(*ROWS[1:], *((f"What is item {n}?", "x" * 200) for n in range(80)))
        await owner.execute("UPDATE chatbots SET embeddings = true")
        assert await embed_one(pool, embedder, ME, TERM)
        arguments = '{"query": "aparcamiento coche"}'
        call = {"name": "search_knowledge_base", "arguments": arguments}
        await shop.simulator.rules(
            {"tool_match": "Behind the house", "reply": "Detr\u00e1s de la casa."},
            {"match": "aparcar", "tool_calls": [call]},
        )
        turn = await shop.turn(await shop.customer(), "\u00bfd\u00f3nde puedo aparcar?")
        assert turn.said == ["Detr\u00e1s de la casa."]
        used = await owner.fetch(
            "SELECT kind, model FROM model_calls WHERE conversation_id IS NOT NULL ORDER BY kind"
        )
        assert [tuple(row) for row in used] == [("embedding", "toy"), ("turn", "some-model")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"data": []}',
        b'{"data": [{"index": 1, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": []}]}',
        b'{"data": [{"index": 0, "embedding": [0, 0]}]}',
        b'{"data": [{"index": 0, "embedding": ["a"]}]}',
        b'{"data": [{"index": 0, "embedding": [[1], [2]]}]}',
        b'{"data": [{"index": 0, "embedding": [NaN]}]}',
        b'{"data": [{"index": 0, "embedding": [Infinity, 1]}]}',
        b'{"data": [{"index": 0, "embedding": null}]}',
        b'{"data": [{"index": 0}]}',
        b'{"data": {"index": 0}}',
        b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}, 3]}',
    ],
)
def test_an_answer_that_is_none_is_not_used(body: bytes) -> None:
    with pytest.raises(NotEmbedded):
        read_answer(body, 1)


def test_vectors_have_length_one_and_tokens_are_what_they_say() -> None:
    found: Any = read_answer(b'{"data": [{"index": 0, "embedding": [3, 4]}], "usage": {}}', 1)
    assert [round(float(x), 3) for x in found.vectors[0]] == [0.6, 0.8]
    assert found.tokens == 0


async def test_a_row_that_changes_or_goes_takes_no_other_s_meaning_along(base: Base) -> None:
    """The numbers of the vectors move with what leaves none behind: a worker that waited for one
    would look by words for ever."""
    await base.wants()
    await base.embeds()
    asked = "\u00bfy mi coche?"
    assert await base.finds(asked) == "Is there parking?"
    await base.owner.execute("UPDATE bot_knowledge_base SET category = 'x'")  # not its text
    assert await base.finds(asked) == "Is there parking?"
    await base.owner.execute(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
        " VALUES ($1, $2, 'Do you sell zebras?', 'No.')",
        *(base.user.user_id, base.user.chatbot_id),
    )
    await base.embeds()
    await base.owner.execute(
        "DELETE FROM bot_knowledge_base WHERE question = 'Do you sell zebras?'"
    )
    base.shelf = Shelf(embedder=base.embedder)  # of a worker that begins now
    assert await base.finds(asked) == "Is there parking?"


async def test_vectors_of_rows_that_are_gone_take_no_memory(base: Base) -> None:
    await base.wants()
    sizes = []
    for n in range(3):
        await base.owner.execute("DELETE FROM bot_knowledge_base WHERE category = 'new'")
        await base.owner.executemany(
            "INSERT INTO bot_knowledge_base (user_id, chatbot_id, category, question, answer)"
            " VALUES ($1, $2, 'new', $3, 'An item.')",
            [(base.user.user_id, base.user.chatbot_id, f"Item {n} {k}?") for k in range(20)],
        )
        await base.embeds()
        assert await base.finds("\u00bfy mi coche?") == "Is there parking?"
        known = await seen(base.shelf, base.pool, base.user)
        assert isinstance(known, Knowledge)
        assert known.meaning is not None
        sizes.append(known.meaning.nbytes)
    assert sizes == [sizes[0]] * 3


async def test_a_server_that_refuses_every_text_is_away_and_no_row_is_to_blame(base: Base) -> None:
    """As one does that has no such model."""
    await base.wants()
    await base.simulator.config(embedding_refuses="")
    assert await base.embeds()
    waits = await base.owner.fetchval("SELECT embed_at > now() FROM knowledge_bases")
    assert waits
    assert len(await base.asked()) < 2 + len(ROWS)  # it is found out by the first row
    await base.simulator.config(embedding_refuses="nothing at all")
    assert await base.embeds()
    assert await base.vectors() == len(ROWS)


async def test_questions_that_are_refused_keep_nobody_else_s_from_being_asked(base: Base) -> None:
    await base.wants()
    await base.embeds()
    await base.simulator.config(embedding_refuses="zebra")
    for _ in range(3):
        await base.finds("zebra?")
    assert await base.finds("\u00bfy mi coche?") == "Is there parking?"


async def test_of_two_models_in_use_one_embeds(base: Base) -> None:
    """While workers are restarted with another one. The newest worker's, since it is the wish of
    now; the other's rows are not embedded in turns for ever."""
    await base.wants()
    assert await base.embeds(ME)
    base.embedder.model = "newer"
    assert await base.embeds(OTHER)
    base.embedder.model = "toy"
    assert not await base.embeds(ME)
    models = await base.owner.fetch("SELECT DISTINCT model FROM knowledge_embeddings")
    assert [row["model"] for row in models] == ["newer"]
    await base.owner.execute("DELETE FROM workers WHERE id = $1", OTHER)
    assert await base.embeds(ME)  # who is dead wishes nothing
