"""A line that is written in several ways is one contact, whoever makes it at the same moment."""

import asyncio

import pytest

from db.people import NewPerson
from db.pool import Conn, Pool, tenant
from handlers.contacts import make
from handlers.ingest.people import contacts_of
from handlers.whatsapp.values import Customer
from tests.api import Client
from tests.db.test_turn_queries import until_somebody_waits_for_a_lock
from tests.factories import Tenant
from tests.plan import House

SPELLINGS = [
    ("5511988887777", "551188887777"),
    ("5213312345678", "523312345678"),
    ("5491123456789", "541123456789"),
]


def new(digits: str) -> NewPerson:
    return NewPerson(
        phone_number=f"+{digits}",
        name="given",
        language=None,
        tags=[],
        custom_fields={},
        contact_status="active",
        chatbot_id=None,
    )


async def numbers(owner: Conn, of: Tenant) -> list[str]:
    rows = await owner.fetch(
        "SELECT phone_number FROM contacts WHERE user_id = $1 ORDER BY id", of.user_id
    )
    return [row["phone_number"] for row in rows]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
@pytest.mark.parametrize("backwards", [False, True])
async def test_who_writes_waits_for_the_program_and_is_the_same(
    house: House, owner: Conn, pool: Pool, ours: Tenant, one: str, other: str, backwards: bool
) -> None:
    first, second = (other, one) if backwards else (one, other)
    async with tenant(pool, ours.user_id) as conn:
        await make(conn, ours.user_id, new(first))
        writing = asyncio.create_task(house.write(ours, "w1", second))
        await until_somebody_waits_for_a_lock(owner)
    await writing
    assert await numbers(owner, ours) == [f"+{first}"]
    assert await house.became(ours) == {"w1": "open"}


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
@pytest.mark.parametrize("backwards", [False, True])
async def test_the_program_waits_for_who_writes_and_is_told_of_them(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, one: str, other: str, backwards: bool
) -> None:
    first, second = (other, one) if backwards else (one, other)
    who = Customer(phone_number=f"+{first}", bsuid=None, wa_id=first, name=None)
    async with tenant(pool, ours.user_id) as conn:
        (contact_id,) = await contacts_of(conn, ours.user_id, [(ours.chatbot_id, who)])
        posting = asyncio.create_task(client.post("/contacts", {"phone_number": f"+{second}"}))
        await until_somebody_waits_for_a_lock(owner)
    answer = await posting
    assert (answer.status, answer.problem) == (409, "already_exists")
    assert answer.json["contact_id"] == contact_id
    assert await numbers(owner, ours) == [f"+{first}"]


async def test_another_s_same_line_waits_for_nobody(
    pool: Pool, ours: Tenant, theirs: Tenant
) -> None:
    async with (
        tenant(pool, ours.user_id) as mine,
        tenant(pool, theirs.user_id) as other,
        asyncio.timeout(10),
    ):
        await make(mine, ours.user_id, new("5511988887777"))
        await make(other, theirs.user_id, new("551188887777"))


async def test_many_who_meet_are_one_each(
    house: House, owner: Conn, client: Client, ours: Tenant
) -> None:
    for n in range(8):
        spelt = (f"55119888877{n:02d}", f"551188887 7{n:02d}".replace(" ", ""))
        answer, *_ = await asyncio.gather(
            client.post("/contacts", {"phone_number": f"+{spelt[n % 2]}"}),
            house.write(ours, f"a{n}", spelt[0]),
            house.write(ours, f"b{n}", spelt[1]),
        )
        assert answer.status in (201, 409)
        assert len(await numbers(owner, ours)) == n + 1
