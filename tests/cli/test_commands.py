"""All commands: each has --help, answers one JSON object where it answers, says what is wrong."""

import argparse
import importlib
from collections.abc import Iterator

import pytest

from cli.main import NOUNS
from db.pool import Conn
from tests.cli import Command
from tests.conftest import Database
from tests.factories import make_conversation, make_tenant

PROCESSES = {"ingress", "worker"}  # they run
NO_ANSWER = PROCESSES | {"migrate"}  # it says what it does while it does it


def parsers() -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    for noun, module, _ in NOUNS:
        parser = argparse.ArgumentParser(prog=noun)
        importlib.import_module(module).declare(parser)
        verbs = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if not verbs:
            yield (noun,), parser
        for action in verbs:
            for verb, under in action.choices.items():
                yield (noun, verb), under


ALL = dict(parsers())


@pytest.fixture
def command(database: Database) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
            "SECRETS_KEY": "a key of sixteen characters or more",
        }
    )


@pytest.mark.parametrize("words", [*ALL], ids=" ".join)
async def test_each_has_help_and_json(words: tuple[str, ...]) -> None:
    result = await Command({"PATH": "/usr/bin:/bin"})(*words, "--help")
    assert result.code == 0
    assert result.err == ""
    assert ("--json" in result.out) is (words[0] not in NO_ANSWER)


def ids() -> Iterator[tuple[str, ...]]:
    """Whatever takes the number of a row."""
    for words, parser in ALL.items():
        for action in parser._actions:
            if action.metavar == "ID" and getattr(action.type, "__name__", "") == "row_id":
                yield (*words, *action.option_strings[:1])


@pytest.mark.parametrize("words", [*ids()], ids=" ".join)
@pytest.mark.parametrize("number", [str(2**63), "9" * 400, "-1", "1.0", "\u0661", ""])
async def test_what_is_no_id_is_a_mistake_in_usage(words: tuple[str, ...], number: str) -> None:
    result = await Command({"PATH": "/usr/bin:/bin"})(*words, number)
    assert result.code == 2
    assert result.out == ""


async def test_lists_are_one_object_also_when_there_is_nothing(command: Command) -> None:
    for words in ALL:
        if words[-1] == "list" and words != ("apikey", "list"):
            (listed,) = (await command(*words, "--json")).json.values()
            assert listed == []


async def test_mistakes_are_told_in_our_words_and_all_at_once(
    command: Command, owner: Conn
) -> None:
    long = "n" * 256
    said = await command.refused("tenant", "create", "--email", "x", "--name", long)
    assert "--email" in said
    assert "--name is longer than 255" in said
    user = str((await make_tenant(owner)).user_id)
    said = await command.refused(
        *("chatbot", "create", "--user", user, "--name", long, "--number", "7"),
        *("--phone-number-id", "?"),
    )
    assert all(option in said for option in ("--name", "--number", "--phone-number-id"))
    said = await command.refused(
        *("app", "create", "--name", "A b", "--app-secret", "", "--verify-token", "\n")
    )
    assert all(option in said for option in ("--name", "--app-secret", "--verify-token"))


# ---- conversation --------------------------------------------------------------------------------


async def test_a_conversation_is_taken_over_and_handed_back(command: Command, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    _, conversation = await make_conversation(owner, tenant)
    await make_conversation(owner, await make_tenant(owner))
    number = str(conversation)
    listed = ("conversation", "list", "--user", str(tenant.user_id), "--json")
    (one,) = (await command(*listed)).json["conversations"]
    assert (one["conversation_id"], one["status"]) == (conversation, "bot")
    assert len((await command("conversation", "list", "--json")).json["conversations"]) == 2
    for _ in range(2):
        taken = await command(
            *("conversation", "takeover", number, "--reason", "calls", "--json"),
            *("--until", "2096-01-31T17:00:00Z"),
        )
        assert taken.json["status"] == "taken_over"
        assert taken.json["taken_over_reason"] == "calls"
    told = await owner.fetch("SELECT event_type FROM analytics_events ORDER BY id")
    assert [row["event_type"] for row in told] == ["conversation.taken_over"]
    assert (await command(*listed, "--status", "bot")).json["conversations"] == []
    for _ in range(2):
        back = await command("conversation", "handback", number, "--json")
        assert back.json["status"] == "bot"
    assert "no conversation 999" in await command.refused("conversation", "handback", "999")
    said = await command.refused(
        *("conversation", "takeover", number, "--reason", " ", "--until", "2020-01-01T00:00:00Z")
    )
    assert "--reason" in said
    assert "--until" in said


async def test_a_plan_without_takeovers_has_none_by_command_either(
    command: Command, owner: Conn
) -> None:
    off = '{"features": {"advanced_features": {"live_chat_takeover": false}}}'
    tenant = await make_tenant(owner, config=off)
    _, conversation = await make_conversation(owner, tenant)
    said = await command.refused("conversation", "takeover", str(conversation))
    assert "live_chat_takeover" in said
    assert (await command("conversation", "handback", str(conversation))).code == 0


async def test_what_tenants_name_steers_no_terminal(command: Command, owner: Conn) -> None:
    evil = "\x1b[31mred\x07\r\nid: 7\u202e"
    of = await make_tenant(owner)
    contact, _ = await make_conversation(owner, of)
    for table, column in (("chatbots", "name"), ("users", "full_name"), ("contacts", "name")):
        await owner.execute(f"UPDATE {table} SET {column} = $1", evil)
    await owner.execute("UPDATE users SET company_name = $1, phone = 'x\x1b[2J'", evil)
    await owner.execute(
        "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details)"
        " VALUES ($1, $2, $3, 'refund', $4)",
        *(of.user_id, of.chatbot_id, contact, evil),
    )
    await owner.execute(
        "INSERT INTO api_keys (user_id, key_name, api_key_hash) VALUES ($1, $2, 'x')",
        of.user_id,
        evil,
    )
    lists = [w for w in ALL if w[-1] == "list"]
    listed = [(*w, "--user", str(of.user_id)) if w[0] == "apikey" else w for w in lists]
    shown = [("tenant", "show", str(of.user_id)), ("chatbot", "show", str(of.chatbot_id))]
    told = ""
    for words in (*listed, *shown):
        said = (await command(*words)).out
        assert all(one.isprintable() for one in said.replace("\n", "")), words
        assert "\nid: 7" not in said, words
        told += said
    assert told.count("red") >= 6


async def test_who_is_not_there_has_no_list(command: Command) -> None:
    for words in ALL:
        if words[-1] == "list" and any(a.dest == "user" for a in ALL[words]._actions):
            assert "there is no tenant 999999" in await command.refused(*words, "--user", "999999")


async def test_what_has_no_end_is_not_read_to_its_end(command: Command) -> None:
    of = ("kb", "import", "--chatbot", "1")
    for words in (of, ("prices", "import")):
        assert "has more than" in await command.refused(*words, "/dev/zero")
