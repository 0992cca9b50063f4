"""priority_queue is a weight in the claims of turns and of sends, max_concurrent_conversations a
bound in that of turns. Nobody is passed by for ever, and nothing that waits is lost."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from db.conversations import Claim, claim_conversations
from db.ids import UserId, WorkerId
from db.pool import Pool
from db.sends import Pace, claim_sends
from tests.factories import Owner, Tenant, make_conversations, make_message, make_tenant
from tests.plan import House

ORDINARY = '{"features": {"enterprise_features": {"priority_queue": false}}}'
PRIORITY = '{"features": {"enterprise_features": {"priority_queue": true}}}'
PACE = Pace(every=timedelta(seconds=6), burst=45)
DAY = timedelta(hours=24)
CLIENTS = 64
ROUNDS = 20


def bounded(most: int) -> str:
    return f'{{"limits": {{"max_concurrent_conversations": {most}}}}}'


async def ready(owner: Owner, tenant: Tenant, count: int) -> None:
    ids = await make_conversations(owner, tenant, count)
    await owner.execute(
        "UPDATE conversations SET ready_at = now() - interval '1 min' WHERE id = ANY ($1)", ids
    )


async def finish(owner: Owner) -> None:
    await owner.execute("UPDATE conversations SET lease_owner = NULL WHERE ready_at IS NULL")


async def claim(pool: Pool, limit: int, worker: int = 1) -> list[Claim]:
    async with pool.acquire() as conn:
        return await claim_conversations(conn, WorkerId(worker), limit, 10_000)


@pytest.mark.parametrize("limit", [3, 6, 30])
async def test_of_many_claims_priority_gets_twice_as_many(
    pool: Pool, owner: Owner, limit: int
) -> None:
    """Turns that end before the next claim, and then turns that do not."""
    ordinary = await make_tenant(owner, config=ORDINARY)
    priority = await make_tenant(owner, config=PRIORITY)
    for one in (ordinary, priority):
        await ready(owner, one, 300)
    for ends in (True, False):
        got: Counter[UserId] = Counter()
        for _ in range(180 // limit):
            got += Counter(c.user_id for c in await claim(pool, limit))
            if ends:
                await finish(owner)
        assert got == {priority.user_id: 120, ordinary.user_id: 60}
        await finish(owner)


async def test_of_equals_each_gets_the_same(pool: Pool, owner: Owner) -> None:
    for config in (ORDINARY, PRIORITY):
        few = await make_tenant(owner, config=config)
        many = await make_tenant(owner, config=config)
        await ready(owner, many, 200)
        await ready(owner, few, 50)
        got = Counter(c.user_id for c in await claim(pool, 80))
        assert got == {many.user_id: 40, few.user_id: 40}
        await owner.execute("UPDATE conversations SET ready_at = NULL, lease_owner = NULL")


async def test_a_flood_with_priority_starves_nobody(pool: Pool, owner: Owner) -> None:
    flood = await make_tenant(owner, config=PRIORITY)
    await ready(owner, flood, 200)
    for running in range(5):
        other = await make_tenant(owner, config=ORDINARY)
        await ready(owner, other, 1)
        assert other.user_id in {c.user_id for c in await claim(pool, 3)}, running


async def test_a_missing_key_is_allowed_and_a_wrong_one_is_not(house: House) -> None:
    for config, weighs in (("{}", True), (PRIORITY, True), (ORDINARY, False), ("7", False)):
        user = await make_tenant(house.owner, config=config)
        assert weighs == await house.owner.fetchval(
            "SELECT has_priority FROM user_subscriptions WHERE user_id = $1", user.user_id
        )


async def test_of_sends_priority_gets_twice_as_many(pool: Pool, owner: Owner) -> None:
    ordinary = await make_tenant(owner, config=ORDINARY)
    priority = await make_tenant(owner, config=PRIORITY)
    for one in (ordinary, priority):
        for conversation_id in await make_conversations(owner, one, 150):
            contact_id = await owner.fetchval(
                "SELECT contact_id FROM conversations WHERE id = $1", conversation_id
            )
            await make_message(owner, one, contact_id, conversation_id)
    await owner.execute("UPDATE send_limits SET max_rate = 100000")
    for sent in (True, False):
        got: Counter[UserId] = Counter()
        for _ in range(10):
            async with pool.acquire() as conn:
                claims = await claim_sends(conn, WorkerId(1), 9, 10_000, PACE, DAY)
            got += Counter(c.user_id for c in claims)
            if sent:
                await owner.execute(
                    "UPDATE messages SET status = 'accepted', send_owner = NULL"
                    " WHERE send_owner IS NOT NULL"
                )
        assert got == {priority.user_id: 60, ordinary.user_id: 30}


@pytest.mark.parametrize("most", [0, 1, 7])
async def test_never_more_turns_at_once_than_the_plan_has(
    pool: Pool, owner: Owner, most: int
) -> None:
    """64 workers claim at the same moment, some turns end, others claim again."""
    bound = await make_tenant(owner, config=bounded(most))
    free = await make_tenant(owner)
    for one in (bound, free):
        await ready(owner, one, 400)
    running = "SELECT count(*) FROM conversations WHERE lease_owner IS NOT NULL AND user_id = $1"
    seen = 0
    for round_ in range(ROUNDS):
        claims = await asyncio.gather(*(claim(pool, 3, n + 1) for n in range(CLIENTS)))
        seen += sum(c.user_id == bound.user_id for mine in claims for c in mine)
        assert await owner.fetchval(running, bound.user_id) <= most
        # Some that were held up by another's claim come again: the rest of the room is filled.
        await claim(pool, 400, 99)
        assert await owner.fetchval(running, bound.user_id) == most
        await owner.execute(
            "UPDATE conversations SET lease_owner = NULL WHERE id IN (SELECT id FROM conversations"
            " WHERE lease_owner IS NOT NULL AND ready_at IS NULL AND (id + $1) % 3 > 0)",
            round_,
        )
        await owner.execute(
            "UPDATE conversations SET ready_at = now() WHERE user_id = $1 AND ready_at IS NULL"
            " AND lease_owner IS NULL",
            free.user_id,
        )
    assert seen > 0 or most == 0


async def test_a_claim_of_a_bounded_tenant_waits_for_no_other_and_takes_nothing_beside_it(
    pool: Pool, owner: Owner
) -> None:
    """What the first holds is not to be seen by the second, and another comes first by now."""
    bound = await make_tenant(owner, config=bounded(2))
    free = await make_tenant(owner)
    for one in (bound, free):
        await ready(owner, one, 6)
    async with pool.acquire() as conn, conn.transaction():
        first = await claim_conversations(conn, WorkerId(1), 4, 10_000)
        await ready(owner, bound, 1)
        await owner.execute(
            "UPDATE conversations SET ready_at = now() - interval '2 min' WHERE id ="
            " (SELECT max(id) FROM conversations)"
        )
        second = await claim(pool, 4, 2)
    assert Counter(c.user_id for c in first) == {bound.user_id: 2, free.user_id: 2}
    assert {c.user_id for c in second} == {free.user_id}


async def test_what_waits_for_a_place_is_claimed_when_one_is_free(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, config=bounded(2))
    await ready(owner, user, 5)
    claimed: list[int] = []
    while claims := await claim(pool, 10):
        assert len(claims) <= 2
        claimed += [c.conversation_id for c in claims]
        await finish(owner)
    assert len(set(claimed)) == len(claimed) == 5


async def test_a_changed_plan_acts_with_the_next_claim(house: House) -> None:
    user = await make_tenant(house.owner, config=bounded(3))
    await ready(house.owner, user, 10)
    assert len(await claim(house.pool, 10)) == 3
    await house.plan(user, {"limits": {"max_concurrent_conversations": 5}})
    assert len(await claim(house.pool, 10)) == 2
    await house.plan(user, {"limits": {"max_concurrent_conversations": 1}})
    assert await claim(house.pool, 10) == []
    await house.plan(user, {})
    assert len(await claim(house.pool, 10)) == 5
