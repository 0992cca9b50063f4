"""What is written while nobody may answer is kept with its reason, and answered later."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from db.conversations import claim_conversations
from db.pool import Conn
from db.sends import claim_sends
from db.waits import waits_over
from handlers.process.sweeps import Sweep
from handlers.turns.decide import decide
from handlers.turns.run import _read
from handlers.turns.turn import Turn
from handlers.turns.write import _write
from handlers.waiting import end_waits
from tests.db.test_turn_queries import PAIR
from tests.factories import Tenant, make_conversation, make_message, make_tenant
from tests.plan import ME, House, days
from tests.turn.test_looked_at_again import Meta, sender
from tests.usage import differences

NEW_PLAN = """
    INSERT INTO user_subscriptions (user_id, subscription_name, contract_start_date)
    SELECT max(id), 'new', current_date FROM users"""
# How answering is stopped and begun again, and the reason meanwhile.
STOPS = {
    "the tenant is suspended": (
        "UPDATE users SET is_active = false",
        "UPDATE users SET is_active = true",
        "tenant_inactive",
    ),
    "the chatbot is switched off": (
        "UPDATE chatbots SET is_active = false",
        "UPDATE chatbots SET is_active = true",
        "chatbot_inactive",
    ),
    "the chatbot is paused": (
        "UPDATE chatbots SET bot_status = 'paused'",
        "UPDATE chatbots SET bot_status = 'active'",
        "chatbot_inactive",
    ),
    "the contract has ended": (
        "UPDATE user_subscriptions SET contract_end_date = current_date - 2",
        "UPDATE user_subscriptions SET contract_end_date = NULL",
        "no_active_subscription",
    ),
    "the contract is yet to begin": (
        "UPDATE user_subscriptions SET contract_start_date = current_date + 2",
        "UPDATE user_subscriptions SET contract_start_date = current_date",
        "no_active_subscription",
    ),
    "the plan was closed": (
        "UPDATE user_subscriptions SET is_active = false",
        NEW_PLAN,
        "no_active_subscription",
    ),
}


@pytest.fixture
async def shop(owner: Conn) -> Tenant:
    return await make_tenant(owner)


@pytest.mark.parametrize("why", STOPS)
async def test_nothing_is_lost(house: House, shop: Tenant, why: str) -> None:
    stop, start, reason = STOPS[why]
    await house.write(shop, "before")
    await house.turns()
    await house.owner.execute(stop)
    for wamid in ("first", "second"):
        await house.write(shop, wamid)
        await house.turns()
        await house.scheduler()
    assert await house.turns() == 0
    assert await house.became(shop) == {"before": "answered", "first": reason, "second": reason}
    await house.owner.execute(start)
    await house.scheduler()
    assert await house.turns() == 1
    assert await house.became(shop) == dict.fromkeys(("before", "first", "second"), "answered")
    assert await replies(house.owner) == 2  # to two messages one answer
    await house.scheduler()
    assert await house.turns() == 0


@pytest.mark.parametrize("why", list(STOPS)[:3])
async def test_a_reply_that_was_queued_is_no_loss(house: House, shop: Tenant, why: str) -> None:
    """Stopped between a turn and its send: what it answered waits, in one piece, and no more."""
    stop, start, reason = STOPS[why]
    meta = Meta()
    await house.write(shop, "before")
    await house.turns()
    await send_all(house, meta)
    for wamid in ("first", "second"):
        await house.write(shop, wamid)
    await house.turns()
    await house.owner.execute(stop)
    await send_all(house, meta)
    assert await house.became(shop) == {"before": "answered", "first": reason, "second": reason}
    assert await house.owner.fetchval("SELECT count(*) FROM dead_sends") == 0
    await house.owner.execute(start)
    await house.scheduler()
    assert await house.turns() == 1
    await send_all(house, meta)
    assert await house.became(shop) == dict.fromkeys(("before", "first", "second"), "answered")
    assert len(meta.sent) == 2
    assert await differences(house.owner, shop) == []


async def test_a_reply_that_may_have_arrived_is_not_given_again(house: House, shop: Tenant) -> None:
    await house.write(shop, "w")
    await house.turns()
    await house.owner.execute("UPDATE messages SET send_attempts = 1 WHERE direction = 'outbound'")
    await house.owner.execute("UPDATE users SET is_active = false")
    await send_all(house, Meta())
    await house.owner.execute("UPDATE users SET is_active = true")
    await house.scheduler()
    assert await house.turns() == 0
    assert await house.owner.fetchval("SELECT count(*) FROM dead_sends") == 1


async def send_all(house: House, meta: Meta) -> None:
    async with house.pool.acquire() as conn:
        claims = await claim_sends(conn, ME, 100, 100, PAIR, timedelta(hours=24))
    for claim in claims:
        await sender(house.pool, meta).send(ME, claim)


async def test_what_waited_too_long_is_history(house: House, shop: Tenant) -> None:
    await house.owner.execute("UPDATE users SET is_active = false")
    await house.write(shop, "late", age_s=11 * 3600 + 3500)
    await house.write(shop, "new")
    await house.turns()
    await house.owner.execute(
        "UPDATE messages SET sent_at = sent_at - interval '10 min' WHERE message_id = 'late'"
    )
    await house.owner.execute("UPDATE users SET is_active = true")
    await house.scheduler()
    await house.turns()
    assert await house.became(shop) == {"late": "tenant_inactive", "new": "answered"}


async def test_what_nobody_would_answer_is_looked_at_no_more(house: House, shop: Tenant) -> None:
    await house.owner.execute("UPDATE users SET is_active = false")
    await house.write(shop, "w")
    await house.turns()
    waits = "SELECT count(*) FROM conversations WHERE waits_for IS NOT NULL"
    await house.scheduler()
    assert await house.owner.fetchval(waits) == 1
    await house.owner.execute("UPDATE conversations SET last_inbound_at = now() - interval '13 h'")
    await house.scheduler()
    assert await house.owner.fetchval(waits) == 0


async def test_what_a_person_answered_meanwhile_stays_answered(house: House, shop: Tenant) -> None:
    await house.owner.execute("UPDATE users SET is_active = false")
    await house.write(shop, "answered by phone")
    await house.turns()
    (row,) = await house.owner.fetch("SELECT contact_id, id FROM conversations")
    said = await make_message(house.owner, shop, *row, status="sent", text="I am here.")
    await house.owner.execute("UPDATE messages SET is_from_human = true WHERE id = $1", said)
    await house.write(shop, "then")
    await house.turns()
    await house.owner.execute("UPDATE users SET is_active = true")
    await house.scheduler()
    await house.turns()
    assert await house.became(shop) == {
        "answered by phone": "tenant_inactive",
        "then": "answered",
    }


async def test_a_turn_that_read_before_the_change_is_not_forgotten(
    house: House, shop: Tenant
) -> None:
    """It writes after the look that found nothing: the next one finds it."""
    await house.owner.execute("UPDATE users SET is_active = false")
    await house.write(shop, "w")
    await house.owner.execute("UPDATE conversations SET ready_at = now()")
    async with house.pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, ME, 1, 10)
    turn = Turn(house.pool, house.agent, ME, claim, None)
    read = await _read(turn)
    assert read is not None
    await house.owner.execute("UPDATE users SET is_active = true")
    await house.scheduler()
    await _write(turn, read, decide(read, None))
    await house.scheduler()
    await house.turns()
    assert await house.became(shop) == {"w": "answered"}


async def test_many_workers_wake_each_once(house: House, shop: Tenant) -> None:
    await house.owner.execute("UPDATE users SET is_active = false")
    for n in range(20):
        await house.write(shop, f"w{n}", who=f"1303555{n:04d}")
    await house.turns()
    await house.owner.execute("UPDATE users SET is_active = true")
    await asyncio.gather(*(end_waits(house.pool, Sweep(f"{n}")) for n in range(6)))
    seqs = await house.owner.fetch("SELECT input_seq, answered_seq FROM conversations")
    assert [tuple(row) for row in seqs] == [(2, 1)] * 20
    await house.turns()
    assert set((await house.became(shop)).values()) == {"answered"}
    assert await replies(house.owner) == 20


async def test_another_tenant_s_conversation_goes_on_waiting(house: House, shop: Tenant) -> None:
    other = await make_tenant(house.owner)
    await house.owner.execute("UPDATE users SET is_active = false")
    for one in (shop, other):
        await house.write(one, f"w{one.user_id}")
    await house.turns()
    await house.owner.execute("UPDATE users SET is_active = true WHERE id = $1", shop.user_id)
    await house.scheduler()
    await house.turns()
    assert await house.became(shop) == {f"w{shop.user_id}": "answered"}
    assert await house.became(other) == {f"w{other.user_id}": "tenant_inactive"}


async def test_a_contract_that_starts_tomorrow_is_no_reason_to_wake(
    house: House, shop: Tenant
) -> None:
    await house.contract(shop, contract_start_date=await house.today(shop) + days(1))
    await house.write(shop, "w")
    await house.turns()
    await house.scheduler()
    assert await house.turns() == 0


async def test_what_wakes_and_what_answers_go_by_the_same_day(house: House) -> None:
    """A tenant moved west on a contract's last day: one looked at the calendar, the other at the
    usage day, which stays, and the conversation was woken and put off again and again."""
    user = await make_tenant(house.owner, timezone="Pacific/Kiritimati")
    await house.owner.execute("UPDATE users SET timezone = 'Etc/GMT+12'")
    await house.contract(user, contract_end_date=await house.today(user))
    await house.write(user, "w")
    for _ in range(3):
        await house.turns()
        await house.scheduler()
    assert await house.became(user) == {"w": "answered"}
    assert await house.owner.fetchval("SELECT input_seq FROM conversations") == 1


async def test_a_tenant_of_whom_many_wait_holds_nobody_up(house: House, shop: Tenant) -> None:
    other = await make_tenant(house.owner)
    for one, many in ((shop, 12), (other, 1)):
        for _ in range(many):
            await make_conversation(house.owner, one, waits_for="tenant_inactive")
    found = await waits_over(house.owner, 10)
    assert [one.user_id for one in found[:2]] == [shop.user_id, other.user_id]
    assert len(found) == 10


async def replies(owner: Conn) -> Any:
    return await owner.fetchval("SELECT count(*) FROM messages WHERE direction = 'outbound'")
