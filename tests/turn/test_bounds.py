"""What is approved without asking stays within its bound, and equal requests are one."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from db.actions import Action, withdraw_action
from db.ids import ActionId, ContactId, ConversationId
from db.pool import Conn, Pool, tenant
from handlers.actions import Outcome, Request, Similar, create, decide, withdraw
from handlers.rules.requests import Money, Unbounded
from tests.factories import Tenant, make_conversation, make_tenant

Who = tuple[ContactId, ConversationId]


def refund(amount: str | None, details: str = "Refund", currency: str = "EUR") -> Request:
    money = Money(Decimal(amount), currency) if amount else None
    return Request("refund", details, {}, money)


async def ask(pool: Pool, user: Tenant, who: Who, *requests: Request) -> list[Action]:
    """As a turn's last transaction does, which holds its conversation."""
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("SELECT FROM conversations WHERE id = $1 FOR NO KEY UPDATE", who[1])
        await conn.execute("SELECT reserve_messages($1, $2, 1)", user.user_id, who[1])
        await conn.execute(
            "SELECT reserve_actions($1, $2, $3)", user.user_id, who[1], len(requests)
        )
        return await create(conn, user.user_id, who[1], requests, 24)


async def approved(pool: Pool, user: Tenant, action: Action, **bound: Any) -> Action:
    async with tenant(pool, user.user_id) as conn:
        outcome = await decide(conn, user.user_id, action.id, "approved", similar=Similar(**bound))
    assert outcome is not None
    assert outcome.won
    return outcome.action


async def withdrawn(pool: Pool, user: Tenant, action_id: ActionId) -> Outcome | None:
    async with tenant(pool, user.user_id) as conn:
        return await withdraw(conn, user.user_id, action_id)


async def with_bound(pool: Pool, owner: Conn, **bound: Any) -> tuple[Tenant, Who, Action]:
    """A refund of 10 EUR that a person approved, and what it approves."""
    user = await make_tenant(owner)
    who = await make_conversation(owner, user)
    (first,) = await ask(pool, user, who, refund("10.00"))
    assert first.status == "pending"
    return user, who, await approved(pool, user, first, **bound)


async def test_within_the_amount_and_the_day(pool: Pool, owner: Conn) -> None:
    user, who, first = await with_bound(pool, owner, max_amount=Decimal(8), max_per_day=Decimal(20))
    statuses = []
    for n, amount in enumerate(("8.01", "8.00", "8.00", "4.01", "4.00", "0.01")):
        (action,) = await ask(pool, user, who, refund(amount, f"Refund for order {n}"))
        statuses.append((amount, action.status, action.auto_approved_by))
    assert statuses == [
        ("8.01", "pending", None),
        ("8.00", "approved", first.id),
        ("8.00", "approved", first.id),
        ("4.01", "pending", None),
        ("4.00", "approved", first.id),
        ("0.01", "pending", None),
    ]
    row = await owner.fetchrow("SELECT * FROM actions WHERE id = $1", first.id)
    assert row is not None
    assert row["auto_approved_sum"] == Decimal(20)
    told = await owner.fetch("SELECT data FROM conversation_events ORDER BY id")
    details = [json.loads(one["data"])["details"] for one in told]
    # Nobody has read the model's words about what was approved by its amount.
    assert details == ["Refund", "refund: 8.00 EUR", "refund: 8.00 EUR", "refund: 4.00 EUR"]


async def test_a_bound_defaults_to_the_approved_amount_for_thirty_days(
    pool: Pool, owner: Conn
) -> None:
    user, who, first = await with_bound(pool, owner)
    assert (first.max_amount, first.max_per_day, first.any_contact) == (
        *(Decimal("10.00"), Decimal("10.00")),
        False,
    )
    assert first.auto_approve_until is not None
    assert abs(first.auto_approve_until - datetime.now(UTC) - timedelta(days=30)) < timedelta(
        minutes=5
    )
    got = await ask(pool, user, who, refund("6.00", "One"), refund("6.00", "Two"))
    assert [one.status for one in got] == ["approved", "pending"]


async def test_of_many_at_once_the_day_s_sum_is_never_passed(pool: Pool, owner: Conn) -> None:
    user, _, first = await with_bound(
        pool, owner, max_amount=Decimal(5), max_per_day=Decimal(23), any_contact=True
    )
    whos = [await make_conversation(owner, user) for _ in range(12)]
    asked = await asyncio.gather(*(ask(pool, user, who, refund("5.00")) for who in whos))
    found = Counter(one.status for got in asked for one in got)
    assert found == {"approved": 4, "pending": 8}
    total = await owner.fetchval(
        "SELECT sum(amount) FROM actions WHERE auto_approved_by = $1", first.id
    )
    kept = await owner.fetchval("SELECT auto_approved_sum FROM actions WHERE id = $1", first.id)
    assert total == kept == Decimal(20)


async def test_the_next_day_has_a_sum_of_its_own_and_no_day_comes_back(
    pool: Pool, owner: Conn
) -> None:
    user, who, first = await with_bound(pool, owner)
    days = []
    for n, ahead in enumerate((0, 1, 0)):
        await owner.execute(
            "UPDATE usage_reservations SET usage_day = usage_day + $1::int", 0
        )  # none is left behind
        async with tenant(pool, user.user_id) as conn:
            await conn.execute("SELECT reserve_messages($1, $2, 1)", user.user_id, who[1])
            await conn.execute("SELECT reserve_actions($1, $2, 1)", user.user_id, who[1])
            day = await conn.fetchval("SELECT usage_day FROM usage_reservations")
            taken = await conn.fetchval(
                "UPDATE actions SET auto_approved_day = $2::date - 1 WHERE id = $1"
                " AND $3::int = 1 RETURNING true",
                *(first.id, day, ahead),
            )
            (action,) = await create(
                conn, user.user_id, who[1], (refund("10.00", f"Order {n}"),), 24
            )
        days.append((taken, action.status))
    assert days == [(None, "approved"), (True, "approved"), (None, "pending")]


@pytest.mark.parametrize(
    ("change", "request_", "status"),
    [
        ({}, refund("10.00", "Another"), "approved"),
        ({}, refund("10.00", "Another", "USD"), "pending"),
        ({}, refund(None, "Refund"), "pending"),
        ({}, refund("10.00", "Refund of 9,500 EUR"), "pending"),
        ({"auto_approve_until": "-1 s"}, refund("10.00", "Another"), "pending"),
        ({"auto_approve_until": "1 h"}, refund("10.00", "Another"), "approved"),
    ],
)
async def test_what_is_no_more_of_its_kind(
    pool: Pool, owner: Conn, change: dict[str, str], request_: Request, status: str
) -> None:
    user, who, first = await with_bound(pool, owner)
    for column, after in change.items():
        await owner.execute(
            f"UPDATE actions SET {column} = now() + $2::text::interval WHERE id = $1",
            *(first.id, after),
        )
    (action,) = await ask(pool, user, who, request_)
    assert action.status == status


async def test_another_contact_only_when_somebody_says_so(pool: Pool, owner: Conn) -> None:
    user, _, _ = await with_bound(pool, owner)
    other = await make_conversation(owner, user)
    assert [one.status for one in await ask(pool, user, other, refund("1.00"))] == ["pending"]
    stranger = await make_tenant(owner)
    theirs = await make_conversation(owner, stranger)
    assert [one.status for one in await ask(pool, stranger, theirs, refund("1.00"))] == ["pending"]


async def test_withdrawn_it_approves_nothing_and_waits_for_who_takes_of_it(
    pool: Pool, owner: Conn
) -> None:
    user, who, first = await with_bound(pool, owner, max_per_day=Decimal(100), any_contact=True)
    others = [await make_conversation(owner, user) for _ in range(6)]
    results = await asyncio.gather(
        *(ask(pool, user, one, refund("1.00")) for one in others[:3]),
        withdrawn(pool, user, first.id),
        *(ask(pool, user, one, refund("1.00")) for one in others[3:]),
    )
    outcome = results[3]
    assert isinstance(outcome, Outcome)
    assert (outcome.won, outcome.action.auto_approve_similar) == (True, False)
    assert outcome.action.withdrawn_at is not None
    assert outcome.action.status == "approved"
    late = await owner.fetchval(
        "SELECT count(*) FROM actions WHERE auto_approved_by = $1 AND resolved_at > $2"
        " AND id > (SELECT max(id) FROM actions WHERE status = 'pending')",
        *(first.id, outcome.action.withdrawn_at),
    )
    assert late == 0
    assert [one.status for one in await ask(pool, user, who, refund("2.00", "x"))] == ["pending"]
    again = await withdrawn(pool, user, first.id)
    assert again is not None
    assert not again.won
    stranger = await make_tenant(owner)
    assert await withdrawn(pool, stranger, first.id) is None


async def test_a_withdrawal_waits_for_who_takes_of_it_though_no_sum_is_taken(
    pool: Pool, owner: Conn
) -> None:
    """Of a decision without an amount nothing is written when it approves."""
    user = await make_tenant(owner)
    who = await make_conversation(owner, user)
    (first,) = await ask(pool, user, who, refund(None))
    await approved(pool, user, first)
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("SELECT FROM conversations WHERE id = $1 FOR NO KEY UPDATE", who[1])
        await conn.execute("SELECT reserve_messages($1, $2, 1)", user.user_id, who[1])
        await conn.execute("SELECT reserve_actions($1, $2, 1)", user.user_id, who[1])
        (again,) = await create(conn, user.user_id, who[1], (refund(None),), 24)
        assert again.auto_approved_by == first.id
        async with tenant(pool, user.user_id) as other:
            # As withdraw() does, once it has the conversation, which may be another of the contact.
            await other.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await withdraw_action(other, user.user_id, first.id)
    assert (await withdrawn(pool, user, first.id)) is not None


async def test_a_bound_that_does_not_fit_is_refused_and_nothing_is_decided(
    pool: Pool, owner: Conn
) -> None:
    user = await make_tenant(owner)
    who = await make_conversation(owner, user)
    (plain,) = await ask(pool, user, who, refund(None))
    with pytest.raises(Unbounded):
        await approved(pool, user, plain, max_amount=Decimal(5))
    assert await owner.fetchval("SELECT status FROM actions") == "pending"
    kept = await approved(pool, user, plain, any_contact=True)
    assert (kept.max_amount, kept.any_contact) == (None, True)
    other = await make_conversation(owner, user)
    assert [one.status for one in await ask(pool, user, other, refund(None))] == ["approved"]


async def test_the_database_holds_the_sum_too(pool: Pool, owner: Conn) -> None:
    _, _, first = await with_bound(pool, owner)
    with pytest.raises(Exception, match="actions_sum_check"):
        await owner.execute(
            "UPDATE actions SET auto_approved_sum = max_per_day + 1 WHERE id = $1", first.id
        )


async def test_equal_requests_are_one_until_somebody_decides(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    who, other = [await make_conversation(owner, user) for _ in range(2)]
    (first,) = await ask(pool, user, who, refund("5.00", "Order 12"))
    again = await ask(pool, user, who, refund("5.00", " order  12! "), refund("6.00", "Order 12"))
    assert [one.amount for one in again] == [Decimal(6)]
    assert len(await ask(pool, user, other, refund("5.00", "Order 12"))) == 1
    counted = await owner.fetchrow(
        "SELECT sum(actions_created) AS created, sum(actions_reserved) AS reserved"
        " FROM usage_tracking"
    )
    assert counted is not None
    assert counted["created"] == await owner.fetchval("SELECT count(*) FROM actions") == 3
    assert counted["reserved"] == 1  # of the one that was none: the turn's end gives it back
    async with tenant(pool, user.user_id) as conn:
        await decide(conn, user.user_id, first.id, "denied")
    assert len(await ask(pool, user, who, refund("5.00", "Order 12"))) == 1


async def test_equal_requests_at_once_are_one(pool: Pool, owner: Conn) -> None:
    """Of two turns of a conversation that think at once one is fenced off; even if it were not."""
    user = await make_tenant(owner)
    who = await make_conversation(owner, user)
    await asyncio.gather(*(ask(pool, user, who, refund("5.00", "Order 12")) for _ in range(6)))
    assert await owner.fetchval("SELECT count(*) FROM actions") == 1
    with pytest.raises(Exception, match="actions_equal"):
        await owner.execute(
            "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details,"
            " request_key) SELECT user_id, chatbot_id, contact_id, request_type, request_details,"
            " request_key FROM actions"
        )
