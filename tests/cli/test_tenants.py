"""The tenants' lives from a terminal: list, show, update, plan, suspend, resume."""

import asyncio
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from db.pool import Conn, Pool
from tests.cli import Command
from tests.conftest import Database
from tests.factories import make_tenant
from tests.plan import House

DAY = timedelta(days=1)
UNSTORABLE = r"""{"custom_settings": {"custom_fields":
                     {"a": "\u0000", "b": [NaN, 1e400, "\ud800"]}},
                 "limits": {"max_chatbots": -1}}"""


@pytest.fixture
def command(database: Database) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
        }
    )


async def create(command: Command, *more: str) -> str:
    made = await command("tenant", "create", "--email", "t@example.com", *more, "--json")
    return str(made.json["user_id"])


async def subscriptions(owner: Conn) -> list[dict[str, Any]]:
    return [dict(r) for r in await owner.fetch("SELECT * FROM user_subscriptions ORDER BY id")]


def written(tmp_path: Path, plan: Any, name: str = "plan.json") -> str:
    (tmp_path / name).write_text(plan if isinstance(plan, str) else json.dumps(plan))
    return str(tmp_path / name)


@pytest.fixture
async def today(owner: Conn) -> date:
    day: date = await owner.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    return day


async def test_a_plan_is_made_with_all_its_terms(command: Command, owner: Conn) -> None:
    await create(
        command,
        *("--subscription", "gold", "--start", "2026-01-31", "--end", "2027-01-30"),
        *("--auto-renew", "--billing-cycle", "yearly", "--billing-amount", "480.50"),
        *("--billing-currency", "EUR", "--daily-messages", "1", "--monthly-messages", "2"),
        *("--daily-campaigns", "3", "--monthly-campaigns", "4"),
    )
    (row,) = await subscriptions(owner)
    assert row["subscription_name"] == "gold"
    assert (row["contract_start_date"], row["contract_end_date"], row["auto_renew"]) == (
        date(2026, 1, 31),
        date(2027, 1, 30),
        True,
    )
    billing = (row["billing_cycle"], str(row["billing_amount"]), row["billing_currency"])
    assert billing == ("yearly", "480.50", "EUR")
    assert (
        row["daily_message_limit"],
        row["monthly_message_limit"],
        row["daily_campaign_limit"],
        row["monthly_campaign_limit"],
    ) == (1, 2, 3, 4)


async def test_every_mistake_is_told_at_once(command: Command, tmp_path: Path) -> None:
    plan = written(tmp_path, {"limits": {"max_chatbots": "3"}, "featurs": {}})
    wrong = (
        *("--config", plan, "--start", "tomorrow", "--end", "2026-02-30"),
        *("--billing-cycle", "weekly", "--billing-amount", "-1", "--billing-currency", "euro"),
        *("--timezone", "Berlin", "--language", "Spanish"),
    )
    for said in (
        await command.refused("tenant", "create", "--email", "nobody", *wrong),
        await command.refused("tenant", "update", "1", "--email", "nobody", *wrong),
    ):
        for word in (
            *("--email", "--timezone", "--language", "limits.max_chatbots", "featurs", "--start"),
            *("--end", "--billing-cycle", "--billing-amount", "--billing-currency"),
        ):
            assert word in said


async def test_another_plan_closes_the_row_in_force_and_opens_one(
    command: Command, owner: Conn, tmp_path: Path, today: date
) -> None:
    user = await create(
        command,
        *("--start", str(today - 10 * DAY), "--end", str(today + 20 * DAY)),
        *("--daily-messages", "7"),
    )
    plan = written(tmp_path, {"subscription_name": "gold", "limits": {"max_chatbots": 3}})
    changed = (await command("tenant", "plan", user, "--config", plan, "--json")).json
    old, new = await subscriptions(owner)
    assert changed == {
        "user_id": int(user),
        "subscription_id": new["id"],
        "subscription_name": "gold",
        "changed": True,
        "closed_subscription_id": old["id"],
        "in_force": True,
        "contract_start_date": str(today),
        "contract_end_date": str(today + 20 * DAY),
        "auto_renew": False,
    }
    assert (old["is_active"], old["contract_end_date"]) == (False, today - DAY)
    assert (new["is_active"], new["daily_message_limit"]) == (True, 7)  # what is not named stays
    assert json.loads(new["subscription_config"])["limits"] == {"max_chatbots": 3}


async def test_it_is_safe_to_repeat_and_at_the_same_time(
    command: Command, owner: Conn, tmp_path: Path
) -> None:
    user = await create(command)
    plan = written(tmp_path, {"limits": {"max_chatbots": 3}})
    told = await asyncio.gather(
        *(command.process("tenant", "plan", user, "--config", plan, "--json") for _ in range(4))
    )
    assert sorted(one.json["changed"] for one in told) == [False, False, False, True]
    # Days later it is the same plan still.
    await owner.execute(
        "UPDATE user_subscriptions SET contract_start_date = contract_start_date - 3"
    )
    again = await command("tenant", "plan", user, "--config", plan, "--json")
    assert again.json["changed"] is False
    assert [r["is_active"] for r in await subscriptions(owner)] == [False, True]


async def test_after_its_end_a_plan_begins_anew_without_an_end(
    command: Command, house: House, tmp_path: Path, today: date
) -> None:
    user = await create(
        command, "--start", str(today - 9 * DAY), "--end", str(today - DAY), "--daily-messages", "7"
    )
    plan = written(tmp_path, {})
    changed = (await command("tenant", "plan", user, "--config", plan, "--json")).json
    assert (changed["changed"], changed["in_force"]) == (True, True)
    assert changed["contract_end_date"] is None
    old, new = await subscriptions(house.owner)
    assert (old["contract_end_date"], new["daily_message_limit"]) == (today - DAY, 7)


async def test_a_plan_that_begins_later_says_so(
    command: Command, owner: Conn, today: date, tmp_path: Path
) -> None:
    user = await create(command)
    said = await command("tenant", "plan", user, "--start", str(today + 3 * DAY))
    assert "which today is not in" in said.out
    old, _ = await subscriptions(owner)
    assert old["contract_end_date"] == today


async def test_an_end_before_the_first_day_is_refused(command: Command, today: date) -> None:
    user = await create(command)
    both = ("--start", "2026-03-01", "--end", "2026-02-01")
    assert "is before --start" in await command.refused("tenant", "plan", user, *both)
    said = await command.refused("tenant", "plan", user, "--end", str(today - DAY))
    assert "is before its first day" in said
    assert "nothing is named" in await command.refused("tenant", "plan", user)
    assert "there is no tenant 99" in await command.refused(
        "tenant", "plan", "99", "--no-auto-renew"
    )


async def test_the_schema_is_printed_without_a_database(command: Command) -> None:
    printed = await command("tenant", "plan", "--schema", DATABASE_URL="")
    schema = json.loads(printed.out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"]["limits"]["properties"]["max_chatbots"]["type"] == "integer"


async def test_suspended_and_resumed(command: Command, owner: Conn) -> None:
    user = await create(command)
    for verb, active in (("suspend", False), ("suspend", False), ("resume", True)):
        done = (await command("tenant", verb, user, "--json")).json
        assert done["is_active"] is active
        assert await owner.fetchval("SELECT is_active FROM users") is active
    assert "there is no tenant 99" in await command.refused("tenant", "suspend", "99")


async def test_what_is_named_is_updated_and_the_rest_stays(command: Command, owner: Conn) -> None:
    user = await create(command, "--name", "Ada", "--language", "es")
    updated = await command(
        *("tenant", "update", user, "--company", "Lemon Street", "--phone", "+44 20 7946 0000"),
        *("--timezone", "Europe/London", "--daily-messages", "9", "--json"),
    )
    assert updated.json["company_name"] == "Lemon Street"
    (row,) = await owner.fetch("SELECT * FROM users")
    assert (row["full_name"], row["language"], row["email"]) == ("Ada", "es", "t@example.com")
    assert (row["timezone"], row["phone"]) == ("Europe/London", "+44 20 7946 0000")
    assert [r["daily_message_limit"] for r in await subscriptions(owner)] == [100, 9]
    await command("tenant", "create", "--email", "other@example.com")
    said = await command.refused("tenant", "update", user, "--email", "other@example.com")
    assert said == "there is a tenant with the e-mail other@example.com already"
    assert "nothing is named" in await command.refused("tenant", "update", user)


async def test_an_update_waits_for_nobody_who_writes_of_the_tenant(
    command: Command, owner: Conn
) -> None:
    user = await create(command)
    async with owner.transaction():  # as every row does that refers to the tenant
        await owner.execute("SELECT FROM users WHERE id = $1 FOR KEY SHARE", int(user))
        told = command("tenant", "update", user, "--timezone", "Europe/Madrid", "--json")
        async with asyncio.timeout(20):
            assert (await told).json["timezone"] == "Europe/Madrid"


async def test_a_currency_is_given_and_fixed_while_it_has_to_be(
    command: Command, owner: Conn
) -> None:
    user = await create(command, "--currency", "EUR")
    assert (await command("tenant", "show", user, "--json")).json["currency"] == "EUR"
    for wrong in ("eur", "EURO", "€", ""):
        said = await command.refused("tenant", "update", user, "--currency", wrong)
        assert "--currency is no currency like USD" in said
    done = await command("tenant", "update", user, "--currency", "CHF", "--json")
    assert done.json["currency"] == "CHF"
    await owner.execute(
        "INSERT INTO products (user_id, name, price) VALUES ($1, 'Cake', 1)", int(user)
    )
    assert "it is fixed while" in await command.refused(
        *("tenant", "update", user, "--currency", "USD", "--company", "Lemon Street")
    )
    row = await owner.fetchrow("SELECT currency, company_name FROM users WHERE id = $1", int(user))
    assert row is not None
    assert tuple(row) == ("CHF", None)
    assert (await command("tenant", "update", user, "--currency", "CHF")).code == 0


async def test_listed_and_shown(command: Command, owner: Conn, tmp_path: Path) -> None:
    assert "there is no tenant" in (await command("tenant", "list")).out
    user = await create(command, "--config", written(tmp_path, {"limits": {"max_chatbots": 3}}))
    await command("tenant", "plan", user, "--subscription", "gold", "--billing-amount", "10")
    await owner.execute("INSERT INTO chatbots (user_id, name) VALUES ($1, 'x')", int(user))
    (listed,) = (await command("tenant", "list", "--json")).json["tenants"]
    assert (listed["subscription_name"], listed["in_force"]) == ("gold", True)
    found = (await command("tenant", "show", user, "--json")).json
    assert found["email"] == "t@example.com"
    assert found["subscription"]["limits"]["max_chatbots"] == {"limit": 3, "used": 1}
    assert found["subscription"]["billing_amount"] == "10.00"
    assert [one["subscription_name"] for one in found["history"]] == ["standard"]
    assert "gold" in (await command("tenant", "show", user)).out
    assert "there is no tenant 99" in await command.refused("tenant", "show", "99")


@pytest.fixture
def house(owner: Conn, pool: Pool) -> House:
    return House(owner, pool)


async def test_a_life_by_command_loses_nothing(
    command: Command, house: House, today: date, tmp_path: Path
) -> None:
    """Suspended, resumed, ended, planned anew: what was written meanwhile is answered."""
    user = await make_tenant(house.owner)
    number = str(user.user_id)

    async def written_while(stopped: str, *again: str) -> None:
        await house.write(user, stopped)
        await house.turns()
        assert (await house.became(user))[stopped] != "answered"
        await command("tenant", *again)
        await house.scheduler()
        await house.turns()
        assert (await house.became(user))[stopped] == "answered"

    await command("tenant", "suspend", number)
    await written_while("suspended", "resume", number)
    await house.contract(user, contract_end_date=today - DAY)
    await written_while("ended", "plan", number, "--config", written(tmp_path, {}))


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (
            {"features": {"core_features": {"chatbot_management": False}}},
            "features.core_features.chatbot_management",
        ),
        (
            {"permissions": {"configure_integrations": False}},
            "permissions.configure_integrations",
        ),
    ],
)
async def test_what_the_plan_leaves_out_is_refused_here_too(
    command: Command, owner: Conn, tmp_path: Path, config: Any, key: str
) -> None:
    user = await make_tenant(owner)
    number = str(user.user_id)
    rows = tmp_path / "faq.csv"
    rows.write_text("question,answer\nopen?,yes\n")
    makes = {
        "features.core_features.chatbot_management": (
            ("chatbot", "create", "--user", number, "--name", "n", "--number", "+12025550777"),
            ("kb", "import", "--chatbot", str(user.chatbot_id), str(rows)),
        ),
        "permissions.configure_integrations": (
            ("apikey", "create", "--user", number, "--name", "n"),
        ),
    }[key]
    await command("tenant", "plan", number, "--config", written(tmp_path, config))
    for make in makes:
        said = await command.refused(*make)
        assert said.startswith(f"the plan of tenant {number} does not allow {key}")
    await command("tenant", "plan", number, "--config", written(tmp_path, {}))
    for make in makes:
        assert (await command(*make)).code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"limits": {"max_chatbots": 1}, "limits": {}}', ["limits stands twice"]),
        ('{"limits": {"max_chatbots": 1, "max_chatbots": 5}}', ["max_chatbots stands twice"]),
        (
            UNSTORABLE,
            [
                *("custom_fields.a has", "custom_fields.b.2 has", "NaN is no JSON"),
                *("1e400 is too big", "limits.max_chatbots"),
            ],
        ),
        ('{"custom_settings": {"custom_fields": {"x\\u0000": 1}}}', ["in its name"]),
        (
            '{"custom_settings": {"custom_fields": {"a": "' + "x" * 65_536 + '"}}}',
            ["more than 65,536 bytes"],
        ),
    ],
    ids=["twice", "twice within", "not storable", "a name", "big"],
)
async def test_a_plan_that_json_reads_and_nobody_can_keep(
    command: Command, tmp_path: Path, text: str, said: list[str]
) -> None:
    """Each with its place, and none is left to the database."""
    file = tmp_path / "plan.json"
    file.write_text(text)
    told = await command.refused(
        "tenant", "create", "--email", "a@b.example", "--config", str(file), "--billing-cycle", "x"
    )
    for words in (*said, "plan.json", "--billing-cycle"):
        assert words in told


async def test_a_plan_as_windows_saves_it(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"limits": {"max_chatbots": 1}}', encoding="utf-8-sig")
    await command("tenant", "create", "--email", "a@b.example", "--config", str(file))
