"""limits.max_contacts: a customer beyond it is kept unanswered, and enters when there is room."""

import asyncio
import random

import asyncpg
import pytest

from db.pool import Conn
from db.waits import contacts_entered
from handlers.process.sweeps import Sweep
from handlers.waiting import let_in
from tests.conftest import Database
from tests.factories import Tenant, make_conversation, make_tenant
from tests.plan import House

CROWD = 64
ROUNDS = 3


def at_most(contacts: int | None) -> str:
    return f'{{"limits": {{"max_contacts": {contacts}}}}}' if contacts is not None else "{}"


def person(n: int) -> str:
    return f"1303555{n:04d}"


async def over_limit(owner: Conn, of: Tenant) -> list[bool]:
    rows = await owner.fetch(
        "SELECT over_limit FROM contacts WHERE user_id = $1 ORDER BY id", of.user_id
    )
    return [row["over_limit"] for row in rows]


async def counted(owner: Conn, of: Tenant) -> int | None:
    count: int | None = await owner.fetchval(
        "SELECT contacts FROM contact_counts WHERE user_id = $1", of.user_id
    )
    return count


async def is_counted_right(owner: Conn, of: Tenant) -> bool:
    return await counted(owner, of) == (await over_limit(owner, of)).count(False)


async def test_the_one_too_many_waits_and_known_ones_go_on(house: House) -> None:
    user = await make_tenant(house.owner, config=at_most(2))
    for n in range(4):
        await house.write(user, f"w{n}", person(n))
        await house.turns()
    await house.write(user, "again", person(0))
    await house.turns()
    assert await house.became(user) == {
        "w0": "answered",
        "w1": "answered",
        "w2": "contact_limit",
        "w3": "contact_limit",
        "again": "answered",
    }
    assert await over_limit(house.owner, user) == [False, False, True, True]
    assert await counted(house.owner, user) == 2
    (reached,) = await house.events(user, "limit.reached")
    assert (reached["limit"], reached["value"]) == ("max_contacts", 2)


async def test_they_enter_in_order_of_arrival_when_there_is_room(house: House) -> None:
    user = await make_tenant(house.owner, config=at_most(1))
    for n in range(4):
        await house.write(user, f"w{n}", person(n))
    await house.turns()
    await house.plan(user, {"limits": {"max_contacts": 3}})
    await house.scheduler()
    await house.turns()
    assert list((await house.became(user)).values()) == [*["answered"] * 3, "contact_limit"]
    # One contact less is room for one more.
    await house.owner.execute("DELETE FROM contacts WHERE phone_number = $1", f"+{person(1)}")
    await house.scheduler()
    await house.turns()
    assert set((await house.became(user)).values()) == {"answered"}
    assert await is_counted_right(house.owner, user)


async def test_without_a_limit_any_more_all_enter(house: House) -> None:
    user = await make_tenant(house.owner, config=at_most(0))
    for n in range(3):
        await house.write(user, f"w{n}", person(n))
    await house.turns()
    await house.plan(user, {})
    await house.scheduler()
    await house.turns()
    assert set((await house.became(user)).values()) == {"answered"}
    await house.write(user, "new", person(9))
    assert await over_limit(house.owner, user) == [False] * 4


async def test_a_smaller_plan_takes_nothing_away_and_refuses_the_next(house: House) -> None:
    user = await make_tenant(house.owner)
    for n in range(3):
        await house.write(user, f"w{n}", person(n))
    assert await counted(house.owner, user) is None  # nobody counts without a limit
    await house.plan(user, {"limits": {"max_contacts": 1}})
    await house.write(user, "again", person(2))
    await house.write(user, "new", person(3))
    await house.turns()
    assert list((await house.became(user)).values()) == [*["answered"] * 4, "contact_limit"]
    assert await counted(house.owner, user) == 3


@pytest.mark.parametrize("room", [1, 17, 63])
async def test_a_crowd_gets_exactly_the_room_there_is(house: House, room: int) -> None:
    """Many new customers in many batches at once, and one of two batches twice."""
    for round_ in range(ROUNDS):
        user = await make_tenant(house.owner, config=at_most(room))
        people = [*range(CROWD), *range(0, CROWD, 2)]
        random.Random(round_).shuffle(people)
        await asyncio.gather(*(house.write(user, f"w{n}", person(n)) for n in people))
        found = await over_limit(house.owner, user)
        assert (len(found), found.count(False)) == (CROWD, room)
        assert await counted(house.owner, user) == room
        await house.scheduler()
        assert (await over_limit(house.owner, user)).count(False) == room


async def test_two_that_do_not_see_each_other_s_contact_have_one_place(
    house: House, database: Database
) -> None:
    user = await make_tenant(house.owner, config=at_most(1))
    first, second = [await asyncpg.connect(database.owner_url) for _ in range(2)]
    for n, conn in enumerate((first, second)):
        await conn.execute("BEGIN")
        await conn.execute(
            "INSERT INTO contacts (user_id, phone_number, thread_id, over_limit)"
            " VALUES ($1, $2, $2, true)",
            *(user.user_id, f"+{person(n)}"),
        )
    await first.execute("SELECT admit_contacts($1)", user.user_id)
    waits = asyncio.create_task(second.execute("SELECT admit_contacts($1)", user.user_id))
    await locked(house.owner)
    await first.execute("COMMIT")
    await waits
    await second.execute("COMMIT")
    assert await over_limit(house.owner, user) == [False, True]
    for conn in (first, second):
        await conn.close()


async def locked(owner: Conn) -> None:
    """Until somebody waits for a lock."""
    waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
    async with asyncio.timeout(30):
        while not await owner.fetchval(waiting):
            await asyncio.sleep(0.01)


async def test_a_limit_that_comes_while_a_contact_is_added_counts_it(
    house: House, database: Database
) -> None:
    user = await make_tenant(house.owner)
    adding = await asyncpg.connect(database.owner_url)
    await adding.execute("BEGIN")
    await adding.execute(
        "INSERT INTO contacts (user_id, phone_number, thread_id) VALUES ($1, '+13035550000', 't')",
        user.user_id,
    )
    limited = asyncio.create_task(house.plan(user, {"limits": {"max_contacts": 5}}))
    while not await adding.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
        await asyncio.sleep(0.01)
    await adding.execute("COMMIT")
    await adding.close()
    await limited
    assert await counted(house.owner, user) == 1


async def test_a_limit_that_comes_in_the_middle_of_a_crowd_counts_all(house: House) -> None:
    user = await make_tenant(house.owner)

    async def limited() -> None:
        await asyncio.sleep(0.02)
        await house.plan(user, {"limits": {"max_contacts": 5}})

    await asyncio.gather(limited(), *(house.write(user, f"w{n}", person(n)) for n in range(CROWD)))
    assert await is_counted_right(house.owner, user)


async def test_many_looks_at_once_let_in_each_once(house: House) -> None:
    user = await make_tenant(house.owner, config=at_most(0))
    for n in range(30):
        await house.write(user, f"w{n}", person(n))
    await house.turns()
    await house.plan(user, {"limits": {"max_contacts": 20}})
    await asyncio.gather(*(let_in(house.pool, Sweep(f"{n}")) for n in range(6)))
    assert await over_limit(house.owner, user) == [False] * 20 + [True] * 10
    assert await counted(house.owner, user) == 20


async def test_who_is_locked_is_not_overtaken(house: House) -> None:
    user = await make_tenant(house.owner, config=at_most(0))
    for n in range(3):
        await house.write(user, f"w{n}", person(n))
    await house.plan(user, {"limits": {"max_contacts": 2}})
    async with house.owner.transaction():
        await house.owner.execute(
            "SELECT FROM contacts WHERE phone_number = $1 FOR UPDATE", f"+{person(0)}"
        )
        await let_in(house.pool, Sweep("a"))
        assert await over_limit(house.owner, user) == [True] * 3
    await let_in(house.pool, Sweep("b"))
    assert await over_limit(house.owner, user) == [False, False, True]


async def test_80_percent_are_told_once(house: House) -> None:
    user = await make_tenant(house.owner, config=at_most(5))
    for n in range(3):
        await house.write(user, f"w{n}", person(n))
    assert await house.events(user, "limit.%") == []
    for n in range(3, 7):
        await house.write(user, f"w{n}", person(n))
    told = [(e["type"], e["limit"], e.get("used")) for e in await house.events(user, "limit.%")]
    assert told == [("limit.warning", "max_contacts", 4), ("limit.reached", "max_contacts", None)]


async def test_a_contact_that_a_plan_let_in_while_its_turn_ran(house: House) -> None:
    """The turn read that there was no room, and writes so after there was."""
    user = await make_tenant(house.owner, config=at_most(0))
    await house.write(user, "w", person(1))
    await house.turns()
    await house.plan(user, {})
    await let_in(house.pool, Sweep("a"))
    await house.scheduler()
    assert await house.turns() == 1
    # Of a second turn the note comes last: who has entered waits for nothing.
    await house.owner.execute(
        'UPDATE messages SET metadata = \'{"reason": "contact_limit"}\', ai_processed = false'
        " WHERE direction = 'inbound'"
    )
    await house.owner.execute(
        "SELECT note_wait($1, $2, 'contact_limit')",
        *(user.user_id, await house.conversation(user)),
    )
    await house.scheduler()
    await house.turns()
    assert await house.became(user) == {"w": "answered"}


async def test_whom_an_older_transaction_lets_in_is_answered(
    house: House, database: Database
) -> None:
    """It began before the customer wrote, and its COMMIT comes after their turn."""
    user = await make_tenant(house.owner, config=at_most(0))
    older = await asyncpg.connect(database.owner_url)
    await older.execute("BEGIN; SELECT now()")
    await house.write(user, "w")
    await house.turns()
    assert await house.became(user) == {"w": "contact_limit"}
    await house.plan(user, {"limits": {"max_contacts": 1}})
    assert await older.fetchval("SELECT admit_contacts($1)", user.user_id) == 1
    await older.execute("COMMIT")
    await older.close()
    await house.scheduler()
    await house.turns()
    assert await house.became(user) == {"w": "answered"}


async def test_a_tenant_of_whom_many_enter_holds_nobody_up(house: House) -> None:
    first, second = await make_tenant(house.owner), await make_tenant(house.owner)
    for one, many in ((first, 12), (second, 1)):
        for _ in range(many):
            await make_conversation(house.owner, one)
    await house.owner.execute("UPDATE contacts SET entered_at = now()")
    found = await contacts_entered(house.owner, 10)
    assert [one.user_id for one in found[:2]] == [first.user_id, second.user_id]
    assert len(found) == 10
