"""A knowledge base that is too big to be held is indexed once, searched from there, and until then
nothing false is said of it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from db.ids import WorkerId
from db.knowledge import Build, claim_build, give_up_build
from db.pool import Conn, Pool, tenant
from handlers.agent.big_base import LIKELY, Big
from handlers.agent.graph import Agent
from handlers.agent.index_build import LOST, STORED, TOO_BIG, build_index
from handlers.agent.knowledge import Known, NotReady
from handlers.agent.offline import Offline
from handlers.agent.retrieval import Hit, Index
from handlers.agent.shelf import Shelf
from handlers.agent.vectors import Closeness
from tests.factories import Tenant, make_tenant
from tests.recording import plainly_logged
from tests.turn.shop import Shop, open_shop
from tests.turn.test_knowledge import add, seen

ME, OTHER, GONE = WorkerId(1), WorkerId(2), WorkerId(3)
TERM = timedelta(seconds=4)
ROWS = 700
FILLER = "and so on " * 50  # 500 characters: 700 rows are more than is held whole


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


async def fill(owner: Conn, user: Tenant, first: int = 0, rows: int = ROWS) -> None:
    await owner.execute(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
        " SELECT $1, $2, 'How much is article ' || md5(n::text) || '?', 'Article ' || md5(n::text)"
        " || ' is ' || n || ' EUR ' || $5 FROM generate_series($3::int, $3::int + $4::int - 1) n",
        *(user.user_id, user.chatbot_id, first, rows, FILLER),
    )


async def article(owner: Conn, n: int) -> str:
    name: str = await owner.fetchval("SELECT md5($1::int::text)", n)
    return name


@asynccontextmanager
async def working(owner: Conn, *workers: WorkerId) -> AsyncIterator[None]:
    """They are alive, as the database knows it."""
    for worker in workers:
        await owner.execute("INSERT INTO workers (id, name) VALUES ($1, 'w')", worker)
    yield


async def build(pool: Pool, worker: WorkerId = ME) -> int | None:
    """What a worker does when it looks; None: there is nothing to build."""
    async with pool.acquire() as conn:
        claimed = await claim_build(conn, worker, TERM)
        return None if claimed is None else await build_index(conn, claimed, worker)


def whole(known: Known) -> bool:
    return known.complete


async def answers(known: Known, query: str) -> list[str]:
    return [row.answer.partition(" EUR")[0] for row, _ in await known.search(query, 3)]


@pytest.fixture
async def user(owner: Conn) -> Tenant:
    user = await make_tenant(owner)
    await fill(owner, user)
    async with working(owner, ME, OTHER):
        return user


async def test_it_is_found_once_it_is_indexed(pool: Pool, owner: Conn, user: Tenant) -> None:
    shelf = Shelf()
    known = await seen(shelf, pool, user)
    assert (known.count, known.tokens, known.complete) == (ROWS, None, False)
    assert [row.question for row in known.rows] == [
        f"How much is article {await article(owner, n)}?" for n in range(5)
    ]
    name = await article(owner, 613)
    with pytest.raises(NotReady):  # nothing of it stands in a question
        await known.search("delivery times to Ouagadougou", 3)
    assert await answers(known, f"article {name}?") == [f"Article {name} is 613"]
    assert not whole(known)
    assert await build(pool) == STORED
    assert await build(pool) is None
    found = await answers(known, f"article {name[:12]} how much")
    assert found[0] == f"Article {name} is 613"
    assert whole(known)
    assert await known.search("\u0416\u0416", 3) == []  # and now that is a fact


async def test_a_small_one_is_not_built_and_a_shrunk_one_forgets(
    pool: Pool, owner: Conn, user: Tenant
) -> None:
    small = await make_tenant(owner)
    await add(owner, small, "one?")
    assert await build(pool) == STORED
    assert await build(pool) is None
    await owner.execute("DELETE FROM bot_knowledge_base WHERE id % 3 > 0")
    assert await owner.fetchval("SELECT count(*) FROM knowledge_indexes") == 0
    assert (await seen(Shelf(), pool, user)).complete  # it is held whole now
    assert await build(pool) is None


async def test_an_edited_row_is_a_small_addition(pool: Pool, owner: Conn, user: Tenant) -> None:
    assert await build(pool) == STORED
    shelf = Shelf()
    name, other = await article(owner, 99), await article(owner, 100)
    known = await seen(shelf, pool, user)
    assert (await answers(known, f"article {name}"))[0] == f"Article {name} is 99"
    await owner.execute(
        "UPDATE bot_knowledge_base SET answer = 'Sold out EUR' WHERE question LIKE $1", f"%{name}%"
    )
    await owner.execute("DELETE FROM bot_knowledge_base WHERE question LIKE $1", f"%{other}%")
    await add(owner, user, "Is there a zoo nearby?")
    known = await seen(shelf, pool, user)
    assert (await answers(known, f"article {name}"))[0] == "Sold out"
    assert (await known.search("a zoo nearby", 3))[0][0].question == "Is there a zoo nearby?"
    assert all(other not in row.question for row, _ in await known.search(f"article {other}", 3))
    assert whole(known)
    assert await build(pool) is None  # nothing is built anew for three rows
    assert (await seen(Shelf(), pool, user)).version == known.version
    # As if it had been.
    anew = [(row, round(hit.share, 9)) for row, hit in await known.search(f"article {name}", 3)]
    await owner.execute("UPDATE knowledge_bases SET built_version = NULL")
    assert await build(pool, OTHER) == STORED
    again = await seen(Shelf(), pool, user)
    assert anew == [
        (row, round(hit.share, 9)) for row, hit in await again.search(f"article {name}", 3)
    ]


async def test_many_changes_are_built_anew_and_until_then_the_old_index_answers(
    pool: Pool, owner: Conn, user: Tenant
) -> None:
    assert await build(pool) == STORED
    shelf = Shelf()
    old, new = await article(owner, 5), await article(owner, 1_100)
    await fill(owner, user, first=1_000, rows=600)
    known = await seen(shelf, pool, user)
    assert (await answers(known, f"article {old}"))[0] == f"Article {old} is 5"
    assert not whole(known)
    assert (await answers(known, f"{new}"))[0] == f"Article {new} is 1100"  # by its words
    with pytest.raises(NotReady):
        await known.search("delivery times to Ouagadougou", 3)
    assert await build(pool) == STORED
    assert (await answers(known, f"article {new}"))[0] == f"Article {new} is 1100"
    assert whole(known)


class Slow(Index):
    """Searches when it is let."""

    let = threading.Event()

    def search(self, question: str, limit: int, closeness: Closeness | None = None) -> list[Hit]:
        assert self.let.wait(10)
        return super().search(question, limit, closeness)


async def test_a_search_in_the_old_index_is_not_complete_because_a_new_one_came_meanwhile(
    pool: Pool, owner: Conn, user: Tenant
) -> None:
    assert await build(pool) == STORED
    await fill(owner, user, first=1_000, rows=600)
    known = await seen(Shelf(), pool, user)
    assert isinstance(known, Big)
    await answers(known, "article")
    old = known.opened
    assert old is not None
    known.opened = replace(old, index=Slow([old.segment]))
    asked = asyncio.create_task(known.search("\u0416\u0416", 3))
    await asyncio.sleep(0.1)
    assert await build(pool) == STORED
    await answers(known, "article")  # of another turn, which opens it
    assert whole(known)
    Slow.let.set()
    with pytest.raises(NotReady):
        await asked


async def test_what_changes_while_it_is_built_is_not_lost(
    pool: Pool, owner: Conn, user: Tenant
) -> None:
    """The index is of the moment at which it was begun."""
    async with pool.acquire() as conn:
        claimed = await claim_build(conn, ME, TERM)
    assert claimed is not None
    other = await pool.acquire()
    lock = owner.transaction()
    await lock.start()
    # Holds the build up where it stores: what it indexes was read by then.
    await owner.execute("SELECT FROM knowledge_bases FOR NO KEY UPDATE")
    building = asyncio.create_task(build_index(other, claimed, ME))
    async with asyncio.timeout(20):
        while not await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.02)
    await add(owner, user, "Is there a zoo nearby?")
    await lock.commit()
    assert await building == STORED
    await pool.release(other)
    known = await seen(Shelf(), pool, user)
    assert (await known.search("a zoo nearby", 3))[0][0].question == "Is there a zoo nearby?"
    assert whole(known)


async def test_one_worker_builds_and_a_dead_one_s_work_is_anybody_s(
    pool: Pool, owner: Conn, user: Tenant
) -> None:
    async with pool.acquire() as conn:
        await owner.execute(
            "INSERT INTO workers (id, name, beat_at) VALUES ($1, 'w', now() - interval '1 h')", GONE
        )
        claimed = Build(user_id=user.user_id, chatbot_id=user.chatbot_id)
        assert await claim_build(conn, GONE, TERM) == claimed
        assert await claim_build(conn, ME, TERM) == claimed  # taken over
        assert await claim_build(conn, OTHER, TERM) is None
        assert await claim_build(conn, ME, TERM) == claimed  # its own, which it lost sight of
        assert await build_index(conn, claimed, GONE) == LOST  # not dead after all, and too late
        assert await owner.fetchval("SELECT count(*) FROM knowledge_indexes") == 0
        async with tenant(pool, user.user_id) as own:
            await give_up_build(own, user.user_id, user.chatbot_id, ME, True)
        assert await claim_build(conn, OTHER, TERM) is None  # it failed: not at once
        await owner.execute("UPDATE knowledge_bases SET retry_at = now() WHERE tries = 1")
        assert await claim_build(conn, OTHER, TERM) == claimed
        assert await build_index(conn, claimed, OTHER, most_bytes=10_000) == TOO_BIG
        assert await build_index(conn, claimed, OTHER) == STORED
    assert await owner.fetchval("SELECT builder IS NULL AND tries = 0 FROM knowledge_bases")


async def test_bytes_of_another_release_are_built_anew(
    pool: Pool, owner: Conn, user: Tenant
) -> None:
    assert await build(pool) == STORED
    await owner.execute("UPDATE knowledge_indexes SET data = '\\x00' || data WHERE part = 0")
    known = await seen(Shelf(), pool, user)
    with pytest.raises(NotReady):
        await known.search("delivery times to Ouagadougou", 3)
    assert await build(pool) == STORED
    assert await known.search("article", 3)


async def test_no_more_is_kept_than_fits(pool: Pool, owner: Conn, user: Tenant) -> None:
    second = await make_tenant(owner)
    await fill(owner, second)
    assert [await build(pool), await build(pool), await build(pool)] == [STORED, STORED, None]
    name = await article(owner, 3)
    both = Shelf()
    for one in (user, second):
        await (await seen(both, pool, one)).search(name, 1)
    sizes = [(await seen(both, pool, one)).nbytes for one in (user, second)]
    assert all(size > 100_000 for size in sizes)
    shelf = Shelf(kept_bytes=max(sizes) + 10_000)
    first = await seen(shelf, pool, user)
    assert (await answers(first, name))[0] == f"Article {name} is 3"
    await (await seen(shelf, pool, second)).search(name, 1)
    assert await seen(shelf, pool, user) is not first
    # One that is bigger than all there may be is not loaded at all, and nothing false is said.
    tight = await seen(Shelf(kept_bytes=50_000), pool, user)
    with pytest.raises(NotReady):
        await tight.search("delivery times to Ouagadougou", 3)
    assert tight.nbytes == 0


async def test_it_goes_with_its_chatbot(pool: Pool, owner: Conn, user: Tenant) -> None:
    assert await build(pool) == STORED
    await add(owner, user, "one more?")
    await owner.execute("DELETE FROM chatbots WHERE id = $1", user.chatbot_id)
    for table in ("knowledge_bases", "knowledge_changes", "knowledge_indexes"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_what_is_counted_is_what_there_is(pool: Pool, owner: Conn, user: Tenant) -> None:
    other = await make_tenant(owner)
    changes = [
        "UPDATE bot_knowledge_base SET is_active = false WHERE id % 7 = 0",
        "UPDATE bot_knowledge_base SET answer = answer || 'x', is_active = true WHERE id % 5 = 0",
        "DELETE FROM bot_knowledge_base WHERE id % 11 = 0",
        "UPDATE bot_knowledge_base SET is_active = NULL WHERE id % 13 = 0",
        (
            f"UPDATE bot_knowledge_base SET user_id = {other.user_id}, chatbot_id ="
            f" {other.chatbot_id} WHERE id % 2 = 0"
        ),
    ]
    for change in changes:
        await owner.execute(change)
        wrong = await owner.fetch(
            "SELECT n.rows, n.chars, b.kb_version, n.version, count(k.id) AS real_rows,"
            "       coalesce(sum(length(k.question) + length(k.answer)), 0) AS real_chars"
            "  FROM knowledge_bases n JOIN chatbots b ON b.id = n.chatbot_id"
            "  LEFT JOIN bot_knowledge_base k ON k.chatbot_id = n.chatbot_id AND k.is_active"
            " GROUP BY n.user_id, n.chatbot_id, b.id"
            " HAVING (n.rows, n.chars, n.version) IS DISTINCT FROM (count(k.id),"
            "        coalesce(sum(length(k.question) + length(k.answer)), 0), b.kb_version)"
        )
        assert [dict(row) for row in wrong] == []


# ---- in a turn ---------------------------------------------------------------------------------


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        await fill(owner, shop.tenant)
        await owner.execute("INSERT INTO workers (id, name) VALUES ($1, 'w')", ME)
        yield shop


@pytest.mark.parametrize("offline", [True, False])
async def test_nothing_false_is_said_until_it_is_there(
    shop: Shop, pool: Pool, owner: Conn, offline: bool
) -> None:
    await shop.knows(("Do you have a parking lot?", "Yes, behind the house."))
    if offline:
        shop.agent = Agent(Offline())
    search = {"name": "search_knowledge_base", "arguments": {"query": "parkings"}}
    await shop.simulator.rules(
        {"tool_match": "behind the house", "reply": "Behind the house."},
        {"tool_match": ".", "reply": "There is no such information."},
        {"tool_calls": [search]},
    )
    who = await shop.customer()
    turn = await shop.turn(who, "parkings")
    assert (turn.said, turn.due, turn.with_a_person, turn.failed) == ([], True, False, False)
    since, tries = await owner.fetchrow(  # type: ignore[misc]
        "SELECT failing_since IS NOT NULL, model_tries FROM conversations WHERE id = $1", who[1]
    )
    assert (since, tries) == (True, 0)  # it waits for us, and is no answer paid for in vain
    assert await build(pool) == STORED
    turn = await shop.turn(who)
    assert turn.said == ["Yes, behind the house." if offline else "Behind the house."]


async def test_what_is_found_without_an_index_is_marked_as_not_all(shop: Shop) -> None:
    await shop.knows(("Do you have a parking lot?", "Yes, behind the house."))
    search = {"name": "search_knowledge_base", "arguments": {"query": "parking lot"}}
    await shop.simulator.rules(
        {"tool_match": ".", "reply": "Behind the house."}, {"tool_calls": [search]}
    )
    turn = await shop.turn(await shop.customer(), "parking?")
    assert turn.said == ["Behind the house."]
    result = turn.requests[-1]["messages"][-1]["content"]
    assert "Yes, behind the house." in result
    assert "never say that there is no such thing" in result


def test_a_likely_hit_is_one_that_the_offline_answerer_takes() -> None:
    from handlers.agent.lookup import OFFLINE_BAR

    assert LIKELY >= OFFLINE_BAR
