"""Deliveries: signed, once a webhook-id, again when they fail, and held up by nobody else's."""

import json
from typing import Any

import pytest

from db.pool import tenant_transaction
from handlers.deliveries.catalogue import BotRecovered
from tests.deliveries.conftest import House
from tests.e2e.conftest import until


async def done(house: House, hook: Any, count: int, status: str = "delivered") -> list[Any]:
    def all_done(rows: list[Any]) -> bool:
        return len([row for row in rows if row["status"] == status]) >= count

    return await until(lambda: house.rows(hook), all_done)


async def tried(house: House, hook: Any, times: int) -> None:
    def often(rows: list[Any]) -> bool:
        return bool(rows[0]["attempts"] >= times)

    await until(lambda: house.rows(hook), often)


async def test_an_event_arrives_signed(house: House) -> None:
    hook = await house.hook()
    await house.worker()
    await house.tell(hook.tenant)
    (row,) = await done(house, hook, 1)
    (got,) = await house.got(hook)
    assert got["verified"] is True
    assert got["webhook_id"] == f"evt_{row['event_id']}"
    body = json.loads(got["body"])
    assert body["type"] == "bot.recovered"
    assert body["data"] == {
        "user_id": hook.tenant.user_id,
        "chatbot_id": hook.tenant.chatbot_id,
    }
    assert body["timestamp"].endswith("Z")
    stored = await house.owner.fetchval("SELECT body FROM webhook_events")
    assert got["body"] == stored, "the exact bytes that are kept"
    assert row["attempts"] == 1


async def test_what_fails_comes_again_under_the_same_id(house: House) -> None:
    hook = await house.hook(mode={"mode": "fail", "status": 500})
    await house.worker()
    await house.tell(hook.tenant)
    (row,) = await until(lambda: house.rows(hook), lambda rows: rows[0]["attempts"] == 1)
    assert row["status"] == "pending"
    wait = (row["due_at"] - row["created_at"]).total_seconds()
    assert 3 < wait < 30, "the first retry comes within seconds"
    await house.simulator.endpoint(hook.name, mode="ok")
    await house.hurry(hook)
    (row,) = await done(house, hook, 1)
    ids = [one["webhook_id"] for one in await house.got(hook)]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    attempts = await house.owner.fetch(
        "SELECT status_code, error, duration_ms FROM webhook_attempts ORDER BY at"
    )
    assert [a["status_code"] for a in attempts] == [500, 200]
    assert all(a["duration_ms"] >= 0 and a["error"] is None for a in attempts)


@pytest.mark.parametrize(
    ("mode", "code", "error"),
    [
        ({"mode": "redirect", "location": "http://127.0.0.1:1/"}, 302, None),
        ({"mode": "dead"}, None, "connect"),
        ({"mode": "fail", "status": 404}, 404, None),
    ],
)
async def test_whatever_is_no_2xx_is_tried_again(
    house: House, mode: dict[str, Any], code: int | None, error: str | None
) -> None:
    hook = await house.hook(mode=mode)
    await house.worker()
    await house.tell(hook.tenant)
    (row,) = await until(lambda: house.rows(hook), lambda rows: rows[0]["attempts"] == 1)
    assert row["status"] == "pending"
    attempt = await house.owner.fetchrow("SELECT status_code, error FROM webhook_attempts")
    assert attempt is not None
    assert attempt["status_code"] == code
    assert attempt["error"] in ((error, "protocol") if error else (None,))


async def test_nine_attempts_and_it_has_failed(house: House) -> None:
    hook = await house.hook(mode={"mode": "fail"})
    await house.worker()
    await house.tell(hook.tenant)
    for times in range(1, 10):
        await tried(house, hook, times)
        await house.hurry(hook)
    (row,) = await done(house, hook, 1, "failed")
    assert row["attempts"] == row["tries"] == 9
    assert row["due_at"] is None


async def test_gone_switches_it_off_and_says_so(house: House) -> None:
    hook = await house.hook(mode={"mode": "gone"})
    other = await house.hook(hook.tenant, events=("webhook.*",))
    await house.worker()
    await house.tell(hook.tenant)
    (told,) = await until(lambda: house.got(other), bool)
    data = json.loads(told["body"])["data"]
    assert (data["webhook_id"], data["reason"]) == (hook.id, "gone")
    row = await house.owner.fetchrow(
        "SELECT is_active, disabled_reason, disabled_at IS NOT NULL AS dated, version"
        " FROM webhooks WHERE id = $1",
        hook.id,
    )
    assert row is not None
    assert tuple(row) == (False, "gone", True, 2)
    # What is due while it rests is kept, and not tried.
    await house.hurry(hook)
    kept = await until(
        lambda: house.rows(hook), lambda rows: all(r["due_at"] is None for r in rows)
    )
    assert {row["status"] for row in kept} == {"pending"}
    assert len(await house.got(hook)) == 1


@pytest.mark.parametrize("mode", [{"mode": "gone"}, {"mode": "retry_after", "retry_after": 1_800}])
async def test_what_the_address_before_did_is_nothing_against_the_new_one(
    house: House, mode: dict[str, Any]
) -> None:
    hook = await house.hook(mode=mode)
    await house.tell(hook.tenant)
    async with house.owner.transaction():
        # The worker has its answer and cannot write what came of it; then the address changes.
        await house.owner.execute("SELECT FROM webhook_deliveries FOR UPDATE")
        await house.worker()
        await until(lambda: house.got(hook), bool)
        async with house.pool.acquire() as conn, tenant_transaction(conn, hook.tenant.user_id):
            await conn.execute(
                "UPDATE webhooks SET url = $2 WHERE id = $1",
                *(hook.id, house.simulator.endpoint_url("another")),
            )
    await until(lambda: house.rows(hook), lambda rows: rows[0]["attempts"] == 1)
    await house.tell(hook.tenant)
    await until(lambda: house.simulator.deliveries("another"), bool)
    on = await house.owner.fetchval("SELECT is_active FROM webhooks WHERE id = $1", hook.id)
    assert on is True


async def test_who_changes_a_webhook_is_not_waited_for(house: House) -> None:
    hook = await house.hook(mode={"mode": "gone"})
    await house.worker()
    async with house.owner.transaction():
        await house.owner.execute("SELECT FROM webhooks WHERE id = $1 FOR UPDATE", hook.id)
        await house.tell(hook.tenant)

        async def let_go() -> bool:
            async with house.pool.acquire() as conn, tenant_transaction(conn, hook.tenant.user_id):
                row = await conn.fetchrow(
                    "SELECT failures, lease_owner FROM webhook_states WHERE webhook_id = $1",
                    hook.id,
                )
            return row is not None and tuple(row) == (1, None)

        await until(let_go, bool)
    await house.hurry(hook)

    async def reason() -> str | None:
        found: str | None = await house.owner.fetchval(
            "SELECT disabled_reason FROM webhooks WHERE id = $1", hook.id
        )
        return found

    assert await until(reason, bool) == "gone"


async def test_days_without_a_success_switch_it_off(house: House) -> None:
    hook = await house.hook(mode={"mode": "fail"})
    await house.owner.execute(
        "UPDATE webhook_states SET failures = 30, opened = 9,"
        " failing_since = now() - interval '5 days 1 minute' WHERE webhook_id = $1",
        hook.id,
    )
    await house.worker()
    await house.tell(hook.tenant)

    async def reason() -> str | None:
        found: str | None = await house.owner.fetchval(
            "SELECT disabled_reason FROM webhooks WHERE id = $1", hook.id
        )
        return found

    assert await until(reason, bool) == "failing"


async def test_a_success_makes_it_well_again(house: House) -> None:
    hook = await house.hook()
    await house.owner.execute(
        "UPDATE webhook_states SET failures = 30, timeouts = 3, opened = 4,"
        " failing_since = now() - interval '4 days' WHERE webhook_id = $1",
        hook.id,
    )
    await house.worker()
    await house.tell(hook.tenant)

    async def state() -> tuple[Any, ...]:
        row = await house.owner.fetchrow(
            "SELECT failures, timeouts, opened, failing_since, last_success_at IS NOT NULL"
            " FROM webhook_states WHERE webhook_id = $1",
            hook.id,
        )
        return tuple(row or ())

    assert await until(state, lambda found: found[0] == 0) == (0, 0, 0, None, True)


async def test_ten_failures_in_a_row_and_nothing_is_tried_for_a_while(house: House) -> None:
    hook = await house.hook(mode={"mode": "fail"})
    await house.tell(hook.tenant, *[BotRecovered(chatbot_id=hook.tenant.chatbot_id)] * 40)
    await house.worker()

    async def opened() -> int:
        times: int = await house.owner.fetchval(
            "SELECT opened FROM webhook_states WHERE webhook_id = $1", hook.id
        )
        return times

    await until(opened, bool)
    rows = await house.rows(hook)
    tried = sum(row["attempts"] for row in rows)
    assert 10 <= tried <= 14, "those that were under way finish"
    assert sum(row["tries"] == 0 for row in rows) == 40 - tried, "no attempt is spent meanwhile"


async def test_who_says_come_at_once_is_left_alone_as_well(house: House) -> None:
    hook = await house.hook(mode={"mode": "retry_after", "status": 503, "retry_after": 0})
    await house.tell(hook.tenant, *[BotRecovered(chatbot_id=hook.tenant.chatbot_id)] * 40)
    await house.worker()

    async def opened() -> int:
        times: int = await house.owner.fetchval(
            "SELECT opened FROM webhook_states WHERE webhook_id = $1", hook.id
        )
        return times

    await until(opened, bool)


async def test_who_says_when_to_come_again_is_heard(house: House) -> None:
    hook = await house.hook(mode={"mode": "retry_after", "status": 429, "retry_after": 120})
    await house.worker()
    await house.tell(hook.tenant)
    (row,) = await until(lambda: house.rows(hook), lambda rows: rows[0]["attempts"] == 1)
    assert (row["due_at"] - row["created_at"]).total_seconds() > 115

    async def waits() -> float | None:
        seconds: float | None = await house.owner.fetchval(
            "SELECT extract(epoch FROM open_until - now()) FROM webhook_states"
            " WHERE webhook_id = $1",
            hook.id,
        )
        return seconds

    assert (await until(waits, bool) or 0) > 60, "nothing else goes there meanwhile"


@pytest.mark.parametrize(
    "how",
    [
        "UPDATE webhooks SET is_active = false WHERE user_id = $1",
        "UPDATE users SET is_active = false WHERE id = $1",
        """UPDATE user_subscriptions SET subscription_config =
           '{"features": {"premium_features": {"webhooks": false}}}' WHERE user_id = $1""",
    ],
)
async def test_what_is_due_while_it_rests_is_kept_and_not_tried(house: House, how: str) -> None:
    hook = await house.hook()
    await house.owner.execute(how, hook.tenant.user_id)
    await house.worker()
    await house.tell(hook.tenant)
    (row,) = await until(lambda: house.rows(hook), lambda rows: rows[0]["due_at"] is None)
    assert (row["status"], row["attempts"]) == ("pending", 0)
    assert await house.got(hook) == []


async def test_both_secrets_sign_for_a_day(house: House) -> None:
    hook = await house.hook()
    await house.owner.execute(
        "UPDATE webhooks SET prev_secret_token = secret_token,"
        " prev_secret_until = now() + interval '1 h' WHERE id = $1",
        hook.id,
    )
    await house.worker()
    await house.tell(hook.tenant)
    await done(house, hook, 1)
    (got,) = await house.got(hook)
    signatures = got["headers"]["webhook-signature"].split(" ")
    assert len(signatures) == 2
    await house.owner.execute(
        "UPDATE webhooks SET prev_secret_until = now() WHERE id = $1", hook.id
    )
    await house.tell(hook.tenant)
    await done(house, hook, 2)
    assert len((await house.got(hook))[1]["headers"]["webhook-signature"].split(" ")) == 1


async def test_a_killed_worker_s_webhooks_go_on_elsewhere(house: House) -> None:
    hook = await house.hook(mode={"mode": "hang"})
    first = await house.worker()
    await house.tell(hook.tenant)
    await until(lambda: house.got(hook), bool)
    await first.kill()
    house.workers.remove(first)
    await house.simulator.endpoint(hook.name, mode="ok")
    await house.worker()
    await done(house, hook, 1)
    assert len({one["webhook_id"] for one in await house.got(hook)}) == 1


async def test_an_ordered_webhook_keeps_the_order_of_each_conversation(house: House) -> None:
    hook = await house.hook(ordered=True, mode={"mode": "flaky", "times": 1})
    await house.owner.execute(
        "INSERT INTO webhook_events (id, user_id, type, body) SELECT 1000 + i, $1, 'ping',"
        " json_build_object('n', i, 'key', i % 3)::text FROM generate_series(1, 30) i",
        hook.tenant.user_id,
    )
    await house.owner.execute(
        "INSERT INTO webhook_deliveries (user_id, webhook_id, event_id, order_key)"
        " SELECT $1, $2, 1000 + i, i % 3 FROM generate_series(1, 30) i",
        hook.tenant.user_id,
        hook.id,
    )
    await house.worker()

    async def hurried() -> list[Any]:
        await house.hurry(hook)
        return await house.rows(hook)

    await until(hurried, lambda rows: all(row["status"] == "delivered" for row in rows))
    taken: dict[int, list[int]] = {}
    for one in await house.got(hook):
        if one["status"] == 200:
            body = json.loads(one["body"])
            taken.setdefault(body["key"], []).append(body["n"])
    assert [len(of_key) for of_key in taken.values()] == [10, 10, 10]
    assert all(of_key == sorted(of_key) for of_key in taken.values())


async def test_a_dead_endpoint_s_backlog_holds_up_nobody(house: House) -> None:
    dead = await house.hook(mode={"mode": "hang"})
    await house.owner.execute(
        "INSERT INTO webhook_events (id, user_id, type, body) VALUES (1, $1, 'ping', '{}')",
        dead.tenant.user_id,
    )
    await house.owner.execute(
        "INSERT INTO webhook_deliveries (user_id, webhook_id, event_id, order_key)"
        " SELECT $1, $2, i, -i FROM generate_series(1, 20000) i",
        dead.tenant.user_id,
        dead.id,
    )
    good = [await house.hook() for _ in range(20)]
    await house.worker()
    for hook in good:
        await house.tell(hook.tenant)
    for hook in good:
        await done(house, hook, 1)
    assert len(await house.got(dead)) <= 8


async def test_what_has_no_event_any_more_is_no_delivery(house: House) -> None:
    hook = await house.hook()
    await house.tell(hook.tenant)
    await house.owner.execute("DELETE FROM webhook_events")
    await house.worker()
    await until(lambda: house.rows(hook), lambda rows: rows == [])
    await house.tell(hook.tenant)
    await done(house, hook, 1)


async def test_a_secret_that_no_key_opens_is_looked_at_again(house: House) -> None:
    hook = await house.hook()
    await house.owner.execute(
        "UPDATE webhooks SET secret_token = 'enc:v1:00000000:AAAA' WHERE id = $1", hook.id
    )
    await house.worker()
    await house.tell(hook.tenant)

    async def paused() -> bool:
        found: bool = await house.owner.fetchval(
            "SELECT open_until > now() FROM webhook_states WHERE webhook_id = $1", hook.id
        )
        return found

    await until(paused, bool)
    (row,) = await house.rows(hook)
    assert (row["status"], row["tries"]) == ("pending", 0)
    assert row["due_at"] is not None
