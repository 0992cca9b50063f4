"""What the bots asked a person, listed and decided from a terminal."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from db.migrate import migrate
from db.pool import Conn
from local.servers.postgres import Postgres
from tests.cli import Command
from tests.conftest import Database, runtime_url, with_database
from tests.db.test_migrations import new_database
from tests.factories import Tenant, make_conversation, make_tenant


@pytest.fixture(params=["superuser", "plain owner"])
async def place(
    request: pytest.FixtureRequest, postgres_server: Postgres, database: Database
) -> AsyncIterator[tuple[Command, Conn]]:
    """The command, and a connection that sees everything. An owner who is no superuser sees
    nothing before it has set a tenant."""
    if request.param == "superuser":
        urls = (database.runtime_url, database.owner_url)
        conn = await asyncpg.connect(database.owner_url)
        yield Command({"DATABASE_URL": urls[0], "MIGRATION_DATABASE_URL": urls[1]}), conn
        await conn.close()
        return
    admin = await asyncpg.connect(postgres_server.url)
    await admin.execute(
        "CREATE ROLE decider LOGIN PASSWORD 'x';"
        " GRANT swiftreplies_app, swiftreplies_log, swiftreplies_system TO decider"
    )
    try:
        async with new_database(postgres_server, "decider:x") as made:
            runtime = runtime_url(postgres_server.url, made.name)
            await migrate(made.owner_url, runtime, lambda _: None)
            await admin.execute("REVOKE swiftreplies_system FROM decider")
            conn = await asyncpg.connect(with_database(postgres_server.url, made.name))
            yield Command({"DATABASE_URL": runtime, "MIGRATION_DATABASE_URL": made.owner_url}), conn
            await conn.close()
    finally:
        await admin.execute("DROP OWNED BY decider; DROP ROLE decider")
        await admin.close()


async def asked(conn: Conn, user: Tenant, details: str) -> int:
    contact, _ = await make_conversation(conn, user)
    action: int = await conn.fetchval(
        "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details)"
        " VALUES ($1, $2, $3, 'refund', $4) RETURNING id",
        *(user.user_id, user.chatbot_id, contact, details),
    )
    return action


async def test_list_and_decide(place: tuple[Command, Conn]) -> None:
    command, conn = place
    assert (await command("action", "list")).out == "there are none\n"
    ada, ben = await make_tenant(conn), await make_tenant(conn)
    first = await asked(conn, ada, "order 1 \x1b[31m\nforged")
    second = await asked(conn, ben, "order 2")
    listed = (await command("action", "list", "--json")).json["actions"]
    assert [(a["id"], a["user_id"], a["status"]) for a in listed] == [
        (first, ada.user_id, "pending"),
        (second, ben.user_id, "pending"),
    ]
    shown = (await command("action", "list", "--user", str(ada.user_id))).out
    assert shown.count("\n") == 1
    assert shown.endswith("refund               order 1  [31m forged\n")

    approve = ("action", "approve", str(first), "--response", " By Friday. ", "--similar")
    done = (await command(*approve, "--json")).json
    assert (done["status"], done["user_response"]) == ("approved", "By Friday.")
    assert (done["auto_approve_similar"], done["resolved_by"]) == (True, ada.user_id)
    said = await command.refused("action", "deny", str(first))
    assert said == f"action {first} is approved already"
    denied = await command("action", "deny", str(second))
    assert denied.out == f"action {second} denied\n"
    assert (await command("action", "list", "--status", "pending")).out == "there are none\n"
    events = await conn.fetch("SELECT data ->> 'status' FROM conversation_events ORDER BY id")
    assert [e[0] for e in events] == ["approved", "denied"]
    ready = await conn.fetchval("SELECT count(*) FROM conversations WHERE ready_at <= now()")
    assert ready == 2

    assert (await command.refused("action", "deny", "404")).startswith("there is no action 404")
    long = await command.refused("action", "deny", str(first), "--response", "x" * 2_001)
    assert "2001 characters, 2000 at most" in long
    await command.misused("action", "approve", "first")


async def test_a_bound_by_command(place: tuple[Command, Conn]) -> None:
    command, conn = place
    ada = await make_tenant(conn)
    action, plain = str(await asked(conn, ada, "order 1")), str(await asked(conn, ada, "order 2"))
    await conn.execute(
        "UPDATE actions SET amount = 12, currency = 'EUR' WHERE id = $1", int(action)
    )
    approve = ("action", "approve", action)
    assert await command.refused(*approve, "--max-amount", "5") == "a bound is one of --similar"
    small = await command.refused(*approve, "--similar", "--max-per-day", "5")
    assert small == "--max-per-day: below max_amount, which is 12.00"
    past = ("--similar", "--expires", "2020-01-01T00:00:00Z")
    assert await command.refused(*approve, *past) == "--expires is in the past"
    await command.misused(*approve, "--similar", "--max-amount", "0")
    none = await command.refused("action", "approve", plain, "--similar", "--max-amount", "5")
    assert none.startswith("--max-amount: the action has no amount")
    bound = ("--similar", "--max-amount", "20", "--max-per-day", "50.50", "--any-contact")
    done = (await command(*approve, *bound, "--json")).json
    assert (done["max_amount"], done["max_per_day"], done["any_contact"]) == (
        "20.00",
        "50.50",
        True,
    )
    listed = (await command("action", "list", "--similar", "--json")).json["actions"]
    assert [one["id"] for one in listed] == [int(action)]
    assert (
        await command("action", "withdraw", action)
    ).out == f"action {action} approves no others\n"
    assert (
        await command.refused("action", "withdraw", action) == f"action {action} approves no others"
    )
    assert (await command("action", "list", "--similar")).out == "there are none\n"
    assert (await command.refused("action", "withdraw", "404")).startswith("there is no action 404")
