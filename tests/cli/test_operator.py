"""Tenants, chatbots and their knowledge, made from a terminal, and every way to get it wrong."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db.ids import ChatbotId, UserId
from db.pool import Conn
from handlers.process.secrets import Vault, access_token_of
from local.servers.postgres import Postgres
from local.servers.rabbitmq import RabbitMQ
from tests.cli import Command
from tests.conftest import LOG_LOGIN, RUNTIME_LOGIN, Database, with_database
from tests.e2e.conftest import until
from tests.factories import Tenant, make_conversation

KEY = "a key of sixteen characters or more"
NUMBER = "+12025550143"


@pytest.fixture
def command(database: Database) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
            "SECRETS_KEY": KEY,
        }
    )


async def new_tenant(command: Command, *more: str) -> int:
    created = (await command("tenant", "create", "--email", "t@example.com", "--json", *more)).json
    assert list(created) == ["user_id"]
    return int(created["user_id"])


async def new_chatbot(command: Command, user: int, *more: str) -> int:
    created = await command(
        *("chatbot", "create", "--user", str(user), "--name", "Luma", "--number", NUMBER),
        *("--json", *more),
    )
    assert list(created.json) == ["chatbot_id"]
    return int(created.json["chatbot_id"])


# ---- tenants -----------------------------------------------------------------------------------


async def test_a_tenant_has_a_zone_and_a_language(command: Command, owner: Conn) -> None:
    user = await new_tenant(
        command, "--timezone", "Pacific/Pago_Pago", "--language", "pt-BR", "--daily-messages", "7"
    )
    (row,) = await owner.fetch(
        "SELECT u.timezone, u.language, s.contract_start_date ="
        " (now() AT TIME ZONE 'Pacific/Pago_Pago')::date AS from_today"
        "  FROM users u JOIN user_subscriptions s ON s.user_id = u.id WHERE u.id = $1",
        user,
    )
    assert tuple(row) == ("Pacific/Pago_Pago", "pt-BR", True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--timezone", "Berlin"), "there is no zone 'Berlin': is it Europe/Berlin"),
        (("--timezone", "America/New York"), "is it America/New_York"),
        (("--timezone", "xyzzy"), "it is like Europe/Madrid"),
        (("--timezone", "+02:00"), "there is no zone '+02:00'"),
        (("--language", "Spanish"), "--language is no language tag like es or pt-BR: 'Spanish'"),
    ],
)
async def test_a_zone_or_language_that_is_none_is_refused(
    command: Command, owner: Conn, options: tuple[str, str], why: str
) -> None:
    said = await command.refused("tenant", "create", "--email", "t@example.com", *options)
    assert why in said
    assert await owner.fetchval("SELECT count(*) FROM users WHERE email = 't@example.com'") == 0


async def test_a_tenant_has_an_active_plan(command: Command, owner: Conn, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"subscription_name": "gold", "limits": {"max_chatbots": 3}}))
    user = await new_tenant(
        command,
        *("--name", "Ada", "--config", str(plan)),
        *("--daily-messages", "7", "--monthly-messages", "0"),
    )
    row = await owner.fetchrow(
        "SELECT * FROM users u JOIN user_subscriptions s ON s.user_id = u.id WHERE u.id = $1", user
    )
    assert row is not None
    assert (row["email"], row["full_name"], row["password_hash"]) == ("t@example.com", "Ada", "!")
    assert (row["daily_message_limit"], row["monthly_message_limit"]) == (7, 0)
    assert row["subscription_name"] == "gold"
    assert json.loads(row["subscription_config"])["limits"] == {"max_chatbots": 3}


async def test_a_plan_chooses_what_happens_at_its_limit(
    command: Command, owner: Conn, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    limits = {"on_message_limit": "refuse", "message_limit_notice": "Until tomorrow! \U0001f319"}
    plan.write_text(json.dumps({"limits": limits, "features": {"core_features": {}}}))
    user = await new_tenant(command, "--config", str(plan), "--daily-messages", "0")
    _, conversation = await make_conversation(
        owner, Tenant(UserId(user), ChatbotId(await new_chatbot(command, user)), NUMBER, "")
    )
    outcome, notice = await owner.fetchrow(
        "SELECT outcome, notice FROM reserve_messages($1, $2, 1)", user, conversation
    ) or (None, None)
    assert (outcome, notice) == ("daily_message_limit", limits["message_limit_notice"])


async def test_without_json_a_sentence_is_printed(command: Command) -> None:
    result = await command("tenant", "create", "--email", "t@example.com")
    assert result.code == 0
    assert result.out.startswith("tenant ")
    assert result.out.endswith(" created\n")


@pytest.mark.parametrize(
    ("email", "why"),
    [
        ("nobody", "--email is not an e-mail address: 'nobody'"),
        ("a b@c", "--email is not an e-mail address: 'a b@c'"),
        ("@", "--email is not an e-mail address: '@'"),
    ],
)
async def test_an_address_is_an_address(command: Command, email: str, why: str) -> None:
    assert await command.refused("tenant", "create", "--email", email) == why


async def test_an_address_is_taken_once(command: Command, owner: Conn) -> None:
    await new_tenant(command)
    said = await command.refused("tenant", "create", "--email", "t@example.com")
    assert said == "there is a tenant with the e-mail t@example.com already"
    assert await owner.fetchval("SELECT count(*) FROM user_subscriptions") == 1


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (None, "cannot read {file}: No such file or directory"),
        ("{", "{file} is not JSON: "),
        ("[]", "{file}: the plan is not a JSON object"),
        ('{"limits": []}', "{file}: limits is not a JSON object"),
        ('{"limits": null}', "{file}: limits is not a JSON object"),
        (
            '{"limits": {"max_chatbots": -1, "max_contacts": 1.5, "max_webhooks": true}}',
            "{file}: "
            + "; ".join(
                f"limits.max_{name} is not a whole number from 0"
                for name in ("chatbots", "contacts", "webhooks")
            ),
        ),
        *(
            (
                f'{{"features": {{"premium_features": {{"api_access": {value}}}}}}}',
                "{file}: features.premium_features.api_access is neither true nor false",
            )
            for value in ("0", "null", '"no"', '""', "[]")
        ),
        (
            '{"features": {"premium_features": {"api_acess": false}}}',
            "{file}: features.premium_features.api_acess is no key of a plan: is it ",
        ),
        *(
            (
                f'{{"limits": {{"on_message_limit": {value}}}}}',
                "{file}: limits.on_message_limit is neither refuse nor overage",
            )
            for value in ('"stop"', "null", "true", '["refuse"]')
        ),
        *(
            (
                f'{{"limits": {{"message_limit_notice": {value}}}}}',
                "{file}: limits.message_limit_notice is not a text of 1 to 4096 characters",
            )
            for value in ('""', '" "', "null", "5", '"\\ud800"')
        ),
        pytest.param(
            json.dumps({"limits": {"message_limit_notice": "x" * 4097}}),
            "{file}: limits.message_limit_notice is not a text of 1 to 4096 characters",
            id="a notice that is too long",
        ),
        (
            '{"limits": {"max_webhooks": -1, "on_message_limit": 0, "message_limit_notice": ""}}',
            (
                "{file}: limits.max_webhooks is not a whole number from 0; limits.on_message_limit"
                " is neither refuse nor overage; limits.message_limit_notice is not a text of 1 to"
            ),
        ),
        ("\x80", "{file} is not JSON: "),
        (
            '{"custom_settings": {"custom_fields": {"name": "\\u0000"}}}',
            "{file}: custom_settings.custom_fields.name has a character that cannot be stored",
        ),
    ],
)
async def test_a_plan_is_read_with_care(
    command: Command, owner: Conn, tmp_path: Path, plan: str | None, why: str
) -> None:
    file = tmp_path / "plan.json"
    if plan is not None:
        file.write_bytes(plan.encode("latin-1"))
    said = await command.refused(
        "tenant", "create", "--email", "t@example.com", "--config", str(file)
    )
    assert said.startswith(why.format(file=file))
    assert await owner.fetchval("SELECT count(*) FROM users") == 0


async def test_a_name_that_is_too_long_is_refused(command: Command, owner: Conn) -> None:
    said = await command.refused(
        "tenant", "create", "--email", "t@example.com", "--name", "n" * 256
    )
    assert said.startswith("--name is longer than 255 characters")
    assert await owner.fetchval("SELECT count(*) FROM users") == 0


# ---- chatbots ----------------------------------------------------------------------------------


async def test_a_chatbot_has_its_number_in_one_form(command: Command, owner: Conn) -> None:
    user = await new_tenant(command)
    created = await command(
        *("chatbot", "create", "--user", str(user), "--name", "Luma", "--json"),
        *("--number", "+1 (202) 555-0143", "--phone-number-id", "4098_7-A"),
        *("--instructions", "Be \u00e9l\u00e9gant."),
    )
    row = await owner.fetchrow("SELECT * FROM chatbots WHERE id = $1", created.json["chatbot_id"])
    assert row is not None
    assert (row["user_id"], row["name"], row["whatsapp_phone_number"], row["phone_number_id"]) == (
        *(user, "Luma", NUMBER, "4098_7-A"),
    )
    assert row["general_instructions"] == "Be \u00e9l\u00e9gant."
    assert row["access_token"] is None


async def test_an_access_token_is_nowhere_in_clear(command: Command, owner: Conn) -> None:
    token = "EAAG-very-secret-token"
    chatbot = await new_chatbot(command, await new_tenant(command), "--access-token", token)
    stored = await owner.fetchval("SELECT access_token FROM chatbots WHERE id = $1", chatbot)
    assert Vault((KEY,)).decrypt(stored, access_token_of(chatbot)) == token
    tables = await owner.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class c"
        " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
    )
    for table in tables:
        found = await owner.fetchval(
            f"SELECT count(*) FROM {table['name']} AS r WHERE r::text LIKE '%' || $1 || '%'", token
        )
        assert found == 0, table["name"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--number 12025550143", "--number is not a number like +12025550143: '12025550143'"),
        ("--number +1234", "--number is not a number like +12025550143: '+1234'"),
        ("--number +1202555014x", "--number is not a number like +12025550143: '+1202555014x'"),
        ("--number +" + "1" * 21, "--number is not a number like "),
        (
            f"--number {NUMBER} --phone-number-id a/b",
            "--phone-number-id is not an id as Meta's dashboard shows it",
        ),
        (
            f"--number {NUMBER} --phone-number-id=",
            "--phone-number-id is not an id as Meta's dashboard shows it",
        ),
    ],
)
async def test_a_number_is_checked(command: Command, options: str, why: str) -> None:
    user = await new_tenant(command)
    said = await command.refused(
        "chatbot", "create", "--user", str(user), "--name", "n", *options.split()
    )
    assert said.startswith(why)


@pytest.mark.parametrize("user", ["404", "0", "9223372036854775807"])
async def test_there_is_such_a_tenant(command: Command, user: str) -> None:
    said = await command.refused(
        "chatbot", "create", f"--user={user}", "--name", "n", "--number", NUMBER
    )
    assert said.startswith("there is no tenant ")


async def test_a_number_and_an_id_are_taken_once(command: Command) -> None:
    user = str(await new_tenant(command))
    await new_chatbot(command, int(user), "--phone-number-id", "1")
    create = ("chatbot", "create", "--user", user, "--name", "n")
    said = await command.refused(*create, "--number", NUMBER)
    assert said == "a chatbot with this number exists already"
    said = await command.refused(*create, "--number", "+12025550144", "--phone-number-id", "1")
    assert said == "a chatbot with this id exists already"


async def test_a_token_needs_a_key(command: Command, owner: Conn) -> None:
    user = str(await new_tenant(command))
    create = ("chatbot", "create", "--user", user, "--name", "n", "--number", NUMBER)
    for key in ("", "short", ","):
        said = await command.refused(*create, "--access-token", "t", SECRETS_KEY=key)
        assert "SECRETS_KEY" in said
    assert await owner.fetchval("SELECT count(*) FROM chatbots") == 0
    assert (await command(*create, SECRETS_KEY="")).code == 0


async def test_the_plan_limits_chatbots_also_at_once(
    command: Command, owner: Conn, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"limits": {"max_chatbots": 2}}')
    user = str(await new_tenant(command, "--config", str(plan)))
    results = await asyncio.gather(
        *(
            command.process(
                *("chatbot", "create", "--user", user, "--name", f"bot {n}", "--json"),
                *("--number", f"+1202555010{n}"),
            )
            for n in range(5)
        )
    )
    assert sorted(r.code for r in results) == [0, 0, 1, 1, 1]
    refusal = f"swiftreplies: the plan of tenant {user} allows 2 chatbots (limits.max_chatbots)"
    assert all(r.err.startswith(refusal) for r in results if r.code)
    assert await owner.fetchval("SELECT count(*) FROM chatbots") == 2


async def test_a_limit_that_is_no_number_allows_no_chatbot(command: Command, owner: Conn) -> None:
    user = str(await new_tenant(command))
    for value in ("null", '"3"', "2.5", "[]"):
        await owner.execute(
            "UPDATE user_subscriptions SET subscription_config = $1::text::jsonb",
            f'{{"limits": {{"max_chatbots": {value}}}}}',
        )
        said = await command.refused(
            *("chatbot", "create", "--user", user, "--name", "n", "--number", NUMBER)
        )
        assert f"the plan of tenant {user} allows 0 chatbots" in said


async def test_who_waited_counts_what_came_meanwhile(
    command: Command, owner: Conn, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"limits": {"max_chatbots": 1}}')
    user = await new_tenant(command, "--config", str(plan))
    async with owner.transaction():
        await owner.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user)
        creating = asyncio.create_task(
            command("chatbot", "create", f"--user={user}", "--name", "n", "--number", NUMBER)
        )
        await until(lambda: owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"), bool)
        await owner.execute(
            "INSERT INTO chatbots (user_id, name, whatsapp_phone_number)"
            " VALUES ($1, 'first', '+12025550199')",
            user,
        )
    result = await creating
    assert (result.code, "allows 1 chatbots" in result.err) == (1, True)
    assert await owner.fetchval("SELECT count(*) FROM chatbots") == 1


# ---- knowledge ---------------------------------------------------------------------------------


async def imported(
    command: Command, chatbot: int, file: Path, content: str | bytes
) -> dict[str, Any]:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = await command("kb", "import", "--chatbot", str(chatbot), str(file), "--json")
    report: dict[str, Any] = result.json
    return report


async def knowledge(owner: Conn) -> list[tuple[str, str, str | None]]:
    rows = await owner.fetch(
        "SELECT question, answer, category FROM bot_knowledge_base WHERE is_active ORDER BY id"
    )
    return [(r["question"], r["answer"], r["category"]) for r in rows]


@pytest.fixture
async def chatbot(command: Command) -> int:
    return await new_chatbot(command, await new_tenant(command))


async def test_rows_are_inserted_and_updated(
    command: Command, owner: Conn, chatbot: int, tmp_path: Path
) -> None:
    file = tmp_path / "faq.csv"
    first = await imported(
        command, chatbot, file, "category,question,answer\nhours,open?,yes\n,where?,here\n"
    )
    assert first == {"inserted": 2, "updated": 0, "rejected": []}
    second = await imported(command, chatbot, file, "Question , ANSWER\nopen?,no\nwhy?,because\n")
    assert second == {"inserted": 1, "updated": 1, "rejected": []}
    assert await knowledge(owner) == [
        ("open?", "no", None),
        ("where?", "here", None),
        ("why?", "because", None),
    ]


async def test_a_language_is_that_of_rows_which_name_none(
    command: Command, owner: Conn, chatbot: int, tmp_path: Path
) -> None:
    file = tmp_path / "faq.csv"
    file.write_text("question,answer,language,alternatives\na?,b,,c?;d?\ne?,f,pt-BR,\n")
    named = ("kb", "import", "--chatbot", str(chatbot), str(file), "--language")
    assert (await command(*named, "es", "--json")).json == {
        "inserted": 2,
        "updated": 0,
        "rejected": [],
    }
    rows = "SELECT array_agg(concat_ws(' ', language, alternatives) ORDER BY id)"
    rows = f"{rows} FROM bot_knowledge_base"
    assert await owner.fetchval(rows) == ['es ["c?", "d?"]', "pt-BR []"]
    file.write_text("question,answer\na?,b\n")
    await command("kb", "import", "--chatbot", str(chatbot), str(file))
    assert await owner.fetchval(rows) == ['es ["c?", "d?"]', "pt-BR []"], "without it, it stays"
    assert "'Spanish!' is not a language tag" in await command.misused(*named, "Spanish!")


async def test_a_file_of_json_lines_has_what_the_api_takes(
    command: Command, owner: Conn, chatbot: int, tmp_path: Path
) -> None:
    rows = [
        {"question": "a?", "answer": "b", "alternatives": ["c;d?"], "language": "de"},
        {"question": "e?", "answer": "f", "is_active": False},
        {"question": "g?", "answer": "h", "alternatives": "no list", "language": "?"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    report = await imported(command, chatbot, tmp_path / "a.jsonl", text)
    assert (report["inserted"], report["updated"]) == (2, 0)
    (bad,) = report["rejected"]
    assert bad["line"] == 3
    assert bad["why"] == "language is not a language tag, like es or pt-BR"
    assert await owner.fetchval(
        "SELECT array_agg(concat_ws(' ', alternatives, language, is_active) ORDER BY id)"
        " FROM bot_knowledge_base"
    ) == ['["c;d?"] de t', "[] f"]


async def test_more_than_a_batch_is_imported(
    command: Command, owner: Conn, chatbot: int, tmp_path: Path
) -> None:
    lines = "".join(f"question {n},answer {n}\n" for n in range(1_234))
    report = await imported(command, chatbot, tmp_path / "a.csv", "question,answer\n" + lines)
    assert report["inserted"] == 1_234
    assert len(await knowledge(owner)) == 1_234


async def test_an_import_is_there_wholly_or_not_at_all(
    command: Command, owner: Conn, chatbot: int, tmp_path: Path
) -> None:
    """Killed in its middle, which is where it waits for the question that somebody else adds."""
    file = tmp_path / "faq.csv"
    file.write_text("question,answer\n" + "".join(f"q{n},{n}\n" for n in range(2_000)))
    async with owner.transaction():
        await owner.execute(
            "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
            " SELECT user_id, id, 'q1500', 'x' FROM chatbots"
        )
        importing = asyncio.create_task(
            command.process("kb", "import", f"--chatbot={chatbot}", str(file))
        )
        waiting = "SELECT pid FROM pg_locks WHERE NOT granted"
        pid = await until(lambda: owner.fetchval(waiting), bool)
        other = await asyncpg.connect(command.environment["MIGRATION_DATABASE_URL"])
        assert await knowledge(other) == []
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        await other.close()
        assert (await importing).code == 1
    assert [row[0] for row in await knowledge(owner)] == ["q1500"]


async def test_bad_lines_are_named_and_the_rest_is_kept(
    command: Command, owner: Conn, chatbot: int, tmp_path: Path
) -> None:
    content = (
        "question,answer,category\n"
        "one,1,\n"
        ",2,\n"
        '"two"x,2,\n'
        "three,3\n"
        "\n"
        "four,4,c,and more\n"
        "five,,\n"
        "one,again,\n"
        f"{'q' * 2_001},6,\n"
        f"six,{'a' * 8_001},\n"
        f"seven,7,{'c' * 101}\n"
        "eight\n"
        "nul\0,8,\n"
        '"nine","9\nand a half",\n'
        "ten,10,\n"
        "two,2,\n"
        '"never closed,11,\n'
        "twelve,12,\n"
    )
    report = await imported(command, chatbot, tmp_path / "faq.csv", content)
    rejected = {r["line"]: r["why"] for r in report["rejected"]}
    assert rejected == {
        3: "question is empty",
        4: "not CSV: a quote inside a quoted value: write it twice",
        7: "4 values for 3 columns: quote values with commas",
        8: "answer is empty",
        9: "the same question as line 2",
        10: "question has 2001 characters, 2000 at most",
        11: "answer has 8001 characters, 8000 at most",
        12: "category has 101 characters, 100 at most",
        13: "answer is empty",
        14: rejected.get(14),
        19: "not CSV: a quote that is opened here is never closed; lines 19 to 20 are left out",
    }
    assert rejected[14]
    assert [row[0] for row in await knowledge(owner)] == ["one", "three", "nine", "ten", "two"]
    assert (report["inserted"], report["updated"]) == (5, 0)


async def test_quotes_and_lines_are_read_as_spreadsheets_write_them(
    command: Command, owner: Conn, chatbot: int, tmp_path: Path
) -> None:
    content = (
        '\ufeffquestion,answer\r\n"Say ""hi""?","One,\r\ntwo\nthree"\r\n'
        "form\x0cfeed?,next\x85line and \u2028 separator\r\n  spaces  ,  around  \r\n"
    )
    report = await imported(command, chatbot, tmp_path / "faq.csv", content)
    assert report == {"inserted": 3, "updated": 0, "rejected": []}
    assert await knowledge(owner) == [
        ('Say "hi"?', "One,\r\ntwo\nthree", None),
        ("form\x0cfeed?", "next\x85line and \u2028 separator", None),
        ("spaces", "around", None),
    ]


async def test_jsonl(command: Command, owner: Conn, chatbot: int, tmp_path: Path) -> None:
    lines = [
        '\ufeff{"question": "one", "answer": "1 \\u00e9", "category": "c", "more": 5}',
        "",
        '{"question": "two"}',
        '{"question": 3, "answer": "3"}',
        "[1]",
        '"text"',
        "{",
        '{"question": "nul\\u0000", "answer": "4"}',
        '{"question": "half \\ud83c", "answer": "5"}',
        '{"question": "one", "answer": "again"}',
        "[" * 5_000,
        '{"question": "six", "answer": "6 \u2028 line", "category": null}\r',
    ]
    report = await imported(command, chatbot, tmp_path / "faq.JSONL", "\n".join(lines))
    rejected = {r["line"]: r["why"] for r in report["rejected"]}
    assert list(rejected) == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert rejected[3] == "answer is empty"
    assert rejected[4] == "question is not a text"
    assert rejected[5] == rejected[6] == "not an object with question and answer"
    assert rejected[7].startswith("not JSON: ")
    assert rejected[8] == rejected[9] == "question has a character that cannot be stored"
    assert rejected[10] == "the same question as line 1"
    assert rejected[11].startswith("not JSON: ")
    assert await knowledge(owner) == [("one", "1 \u00e9", "c"), ("six", "6 \u2028 line", None)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot read {file}: No such file or directory"),
        (b"question,answer\ncaf\xe9,1\n", "{file} is not UTF-8 (byte 19): save it as UTF-8"),
        (b"", "{file} has no column answer and no column question"),
        (b"question:answer\na:b\n", "{file} has no column answer and no column question"),
        (b"question,category\na,b\n", "{file} has no column answer"),
        (b'"question"x,answer\na,b\n', "{file} is not CSV in line 1: "),
    ],
)
async def test_a_file_that_cannot_be_read_changes_nothing(
    command: Command, owner: Conn, chatbot: int, tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "faq.csv"
    if content is not None:
        file.write_bytes(content)
    said = await command.refused("kb", "import", "--chatbot", str(chatbot), str(file))
    assert said.startswith(why.format(file=file))
    assert await knowledge(owner) == []


async def test_when_nothing_is_good_it_fails_and_says_why(
    command: Command, chatbot: int, tmp_path: Path
) -> None:
    file = tmp_path / "faq.csv"
    file.write_text("question,answer\n,b\n")
    result = await command("kb", "import", "--chatbot", str(chatbot), str(file))
    assert result.code == 1
    assert result.out == "0 inserted, 0 updated\nline 2 rejected: question is empty\n"
    assert result.err == "swiftreplies: nothing was imported\n"


@pytest.mark.parametrize("chatbot_id", ["404", "9223372036854775807"])
async def test_there_is_such_a_chatbot(command: Command, tmp_path: Path, chatbot_id: str) -> None:
    file = tmp_path / "faq.csv"
    file.write_text("question,answer\na,b\n")
    said = await command.refused("kb", "import", f"--chatbot={chatbot_id}", str(file))
    assert said.startswith("there is no chatbot ")


# ---- what waited for its number ------------------------------------------------------------------


async def test_all_that_waited_for_a_number_is_replayed_whatever_kept_it(
    command: Command, owner: Conn, broker: RabbitMQ
) -> None:
    user = await new_tenant(command)
    reasons = ("unknown_number", "phone_number_id_of_another", "bindable", "poison")
    for n, reason in enumerate((*reasons, "not_understood")):
        await owner.execute(
            "INSERT INTO parked_items"
            " (item_key, reason, kind, phone_number_id, display_number, raw)"
            " VALUES (sha256($1), $2, 'message', $3, $4, $5)",
            *(str(n).encode(), reason, "40" if n % 2 else None, "1 202 555 0143"),
            b'{"field": "messages", "phone_number_id": "40", "item": {}, "contact": null}',
        )
    created = await command(
        *("chatbot", "create", "--user", str(user), "--name", "n", "--number", NUMBER, "--json"),
        AMQP_URL=broker.url,
    )
    assert created.json["replayed"] == len(reasons)
    left = await owner.fetch("SELECT reason FROM parked_items")
    assert [row["reason"] for row in left] == ["not_understood"]


# ---- migrate -----------------------------------------------------------------------------------


@pytest.fixture
async def empty(postgres_server: Postgres) -> AsyncIterator[Database]:
    """A database without a schema."""
    admin = await asyncpg.connect(postgres_server.url)
    await admin.execute("CREATE DATABASE empty_one")
    url = with_database(postgres_server.url, "empty_one")
    runtime, log = (
        with_database(url, "empty_one", f"{who}:runtime") for who in (RUNTIME_LOGIN, LOG_LOGIN)
    )
    yield Database("empty_one", url, runtime, log)
    await admin.execute("DROP DATABASE empty_one WITH (FORCE)")
    await admin.close()


async def test_migrate_needs_no_broker_when_the_log_is_a_table(empty: Database) -> None:
    command = Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": empty.runtime_url,
            "MIGRATION_DATABASE_URL": empty.owner_url,
            "INGEST_LOG": "postgres",
            "INGEST_LOG_URL": empty.log_url,
        }
    )
    for _ in range(2):
        result = await command("migrate")
        assert result.code == 0, result.err
        assert result.out.splitlines()[-2:] == [
            "database is current",
            "ingest log is current, a table of it",
        ]


async def test_migrate_twice_and_at_once(empty: Database, rabbitmq_server: RabbitMQ) -> None:
    command = Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": empty.runtime_url,
            "MIGRATION_DATABASE_URL": empty.owner_url,
            "AMQP_URL": rabbitmq_server.url,
        }
    )
    said = await command.refused("tenant", "create", "--email", "t@example.com")
    assert said == "the database has no schema yet: run `swiftreplies migrate`"
    said = await command.refused("dead", "list")
    assert said == "the database has no schema yet: run `swiftreplies migrate`"
    together = await asyncio.gather(*(command.process("migrate") for _ in range(3)))
    assert [r.code for r in together] == [0, 0, 0], together
    again = await command("migrate")
    assert again.code == 0
    assert again.out.splitlines() == ["database is current", "broker topology is current"]
    assert await new_tenant(command)


async def test_migrate_says_when_the_broker_is_away(database: Database) -> None:
    command = Command(
        {
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
            "AMQP_URL": "amqp://u:pw-of-broker@127.0.0.1:1/",
        }
    )
    result = await command("migrate")
    assert result.code == 1
    assert result.out == "database is current\n"
    assert result.err.startswith("swiftreplies: RabbitMQ at AMQP_URL: ")
    assert "pw-of" not in result.err


async def test_a_wrong_password_is_said_and_not_shown(
    database: Database, rabbitmq_server: RabbitMQ
) -> None:
    name, _, rest = database.owner_url.removeprefix("postgresql://").partition(":")
    host = rest.rpartition("@")[2]
    command = Command(
        {
            "DATABASE_URL": f"postgresql://{name}:pw-of-nobody@{host}",
            "AMQP_URL": rabbitmq_server.url.replace(":", ":pw-of-nobody", 2).replace(
                "amqp:pw-of-nobody", "amqp:"
            ),
        }
    )
    said = await command.refused("tenant", "create", "--email", "t@example.com")
    assert "password authentication failed" in said
    assert "pw-of" not in said
    broker = Command(command.environment | {"DATABASE_URL": database.owner_url})
    result = await broker("migrate")
    assert result.code == 1
    assert result.err.startswith("swiftreplies: RabbitMQ at AMQP_URL: ")
    assert "pw-of" not in result.err
