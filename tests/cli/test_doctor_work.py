"""swiftreplies doctor: work that no worker takes, and webhooks whose secrets no key opens."""

from typing import Any

from db.pool import Conn
from handlers.deliveries.signing import new_secret
from handlers.process.secrets import Vault, webhook_secret_of
from simulator.client import Simulator
from tests.cli import Command
from tests.cli.test_doctor import KEY, command, looked, simulator
from tests.factories import Tenant, make_conversation, make_message, make_tenant

__all__ = ["command", "simulator"]  # fixtures


async def webhook(owner: Conn, user: Tenant, **columns: Any) -> int:
    """With one event that has been due for an hour."""
    row_id: int = await owner.fetchval(
        "INSERT INTO webhooks (user_id, url, events) VALUES ($1, 'https://x.example', '[\"*\"]')"
        " RETURNING id",
        user.user_id,
    )
    columns = {"secret_token": sealed(row_id)} | columns
    for column, value in columns.items():
        await owner.execute(f"UPDATE webhooks SET {column} = $2 WHERE id = $1", row_id, value)
    await owner.execute(
        "INSERT INTO webhook_deliveries (user_id, webhook_id, event_id, order_key, due_at)"
        " VALUES ($1, $2, 1, -1, now() - interval '1 h')",
        *(user.user_id, row_id),
    )
    return row_id


def sealed(row_id: int, key: str = KEY) -> str:
    return Vault((key,)).encrypt(new_secret(), webhook_secret_of(row_id))


async def states(command: Command, what: str) -> dict[str, str]:
    _, found = await looked(command)
    return {check: detail for check, (state, detail) in found.items() if state == what}


async def test_a_back_fill_that_did_not_end_is_told(
    command: Command, owner: Conn, simulator: Simulator
) -> None:
    assert "search for contacts" not in await states(command, "warning")
    user = await make_tenant(owner)
    await owner.execute(
        "INSERT INTO contact_terms_due (tenant_id, after_id, upto_id) VALUES ($1, 0, 1)",
        user.user_id,
    )
    told = (await states(command, "warning"))["search for contacts"]
    assert told.startswith("of 1 tenants")
    assert "swiftreplies migrate" in told
    assert (await command("migrate")).code == 0
    assert "search for contacts" not in await states(command, "warning")


async def test_what_no_worker_takes_is_told_with_its_role(
    command: Command, owner: Conn, simulator: Simulator
) -> None:
    user = await make_tenant(owner)
    dead: int = await owner.fetchval(
        "INSERT INTO workers (name, beat_at) VALUES ('w', now() - interval '1 h') RETURNING id"
    )
    alive: int = await owner.fetchval("INSERT INTO workers (name) VALUES ('v') RETURNING id")
    assert (await looked(command))[1]["roles"][0] == "ok"
    conversations = [(await make_conversation(owner, user))[1] for _ in range(3)]
    await owner.execute(
        "UPDATE conversations SET ready_at = now() - interval '5 min 1 s' WHERE id = ANY ($1)",
        conversations[:2],
    )
    await owner.execute(
        "UPDATE conversations SET lease_owner = $2 WHERE id = $1", conversations[2], dead
    )
    contact_id, conversation_id = await make_conversation(owner, user)
    reply = await make_message(owner, user, contact_id, conversation_id)
    await make_message(owner, user, contact_id, conversation_id)
    await owner.execute("UPDATE messages SET created_at = now() - interval '2 h'")
    hook = await webhook(owner, user)
    told = {c: d for c, d in (await states(command, "warning")).items() if c.startswith("role ")}
    assert set(told) == {"role turns", "role sends", "role webhooks", "role scheduler"}
    assert told["role turns"].startswith("2 conversations to be answered wait, one of them for 5 ")
    assert told["role sends"].startswith("1 replies"), "the second waits for the first"
    assert "see that one runs with the role webhooks" in told["role webhooks"]

    # What somebody has, and what waits for something else, is not that.
    await owner.execute(
        "UPDATE conversations SET lease_owner = $2 WHERE id = ANY ($1)", conversations, alive
    )
    await owner.execute("UPDATE messages SET send_owner = $2 WHERE id = $1", reply, alive)
    await owner.execute(
        "UPDATE webhook_states SET open_until = now() + interval '1 min' WHERE webhook_id = $1",
        hook,
    )
    assert (await looked(command))[1]["roles"][0] == "ok"
    await owner.execute("UPDATE webhook_states SET open_until = NULL, lease_owner = $1", alive)
    assert (await looked(command))[1]["roles"][0] == "ok"
    await owner.execute("UPDATE webhook_states SET lease_owner = $1", dead)
    assert "role webhooks" in await states(command, "warning")


async def test_webhooks_whose_secrets_no_key_opens_are_named(
    command: Command, owner: Conn, simulator: Simulator
) -> None:
    user = await make_tenant(owner)
    assert "webhook secrets" not in (await looked(command))[1]
    good = await webhook(owner, user)
    assert (await looked(command))[1]["webhook secrets"] == ("ok", "1 can be read")
    other = "another key, as long as it has to be"
    bad = [
        await webhook(owner, user, secret_token=sealed(10**6, other)),
        await webhook(owner, user, secret_token=None),
        await webhook(owner, user, secret_token=sealed(good)),  # sealed for another webhook
    ]
    await webhook(owner, user, is_active=False, secret_token=sealed(1, other))
    detail = (await states(command, "failed"))["webhook secrets"]
    assert f"of webhook {', '.join(map(str, bad))}, so" in detail
    await owner.execute("DELETE FROM webhooks WHERE id = ANY ($1)", bad)
    await owner.execute(
        "UPDATE webhooks SET prev_secret_token = $2, prev_secret_until = now() + interval '1 h'"
        " WHERE id = $1",
        *(good, sealed(good, other)),
    )
    assert f"of webhook {good}, so" in (await states(command, "failed"))["webhook secrets"]
    await owner.execute("UPDATE webhooks SET prev_secret_until = now()")
    assert (await looked(command))[1]["webhook secrets"][0] == "ok"
