"""Help, usage errors, and processes that cannot start."""

import subprocess
import sys

import pytest

from cli.main import NOUNS
from tests.cli import Command

NOTHING = Command({"PATH": "/usr/bin:/bin"})
GOOD = {
    "DATABASE_URL": "postgresql://u:pw-of-database@127.0.0.1:1/d",
    "AMQP_URL": "amqp://u:pw-of-broker@127.0.0.1:1/",
    "SECRETS_KEY": "a key of sixteen characters or more",
}


async def test_help_is_worth_reading() -> None:
    result = await NOTHING("--help")
    assert result.code == 0
    for word in ("migrate", "ingress", "worker", "tenant", "chatbot", "kb", "examples:"):
        assert word in result.out
    assert (await NOTHING("--version")).out.startswith("swiftreplies ")


@pytest.mark.parametrize(
    "command",
    ["migrate", "ingress", "worker", "tenant create", "chatbot create", "kb import", "dead list"],
)
async def test_every_command_explains_itself(command: str) -> None:
    result = await NOTHING(*command.split(), "--help")
    assert result.code == 0
    assert f"usage: swiftreplies {command}" in result.out


@pytest.mark.parametrize(("noun", "module", "about"), NOUNS)
async def test_every_noun_is_a_module_that_declares_it(noun: str, module: str, about: str) -> None:
    assert about in " ".join((await NOTHING("--help")).out.split())
    result = await NOTHING(noun, "--help")
    assert result.code == 0
    assert f"usage: swiftreplies {noun}" in result.out
    assert module in sys.modules


def test_help_loads_no_noun() -> None:
    """It would take a second instead of a tenth of one."""
    code = (
        "import sys, atexit, cli.main\n"
        "atexit.register(lambda: print(sorted(m for m in sys.modules if m.startswith('cli.'))))\n"
        "sys.argv = ['swiftreplies', '--help']\n"
        "cli.main.main()"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.splitlines()[-1] == "['cli.command', 'cli.main']"


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        ("", "COMMAND"),
        ("fly", "invalid choice: 'fly'"),
        ("tenant", "COMMAND"),
        ("tenant create", "--email"),
        ("tenant create --email a@b --daily-messages -1", "not a whole number"),
        ("tenant create --email a@b --daily-messages many", "not a whole number"),
        ("tenant create --email a@b --monthly-messages 2147483648", "not a whole number"),
        ("chatbot create --user x --name n --number +12025550143", "whole number"),
        ("chatbot create --user 1 --name n", "--number"),
        ("kb import faq.csv", "--chatbot"),
        ("kb import --chatbot 1", "FILE"),
        ("worker --only turns,cooking", "no such role: cooking"),
        ("worker --only ,", "(none given)"),
        ("ingress --port 8080", "unrecognized arguments"),
    ],
)
async def test_misuse_is_explained(argv: str, hint: str) -> None:
    assert hint in await NOTHING.misused(*argv.split())


async def test_the_ingress_lists_everything_it_lacks() -> None:
    said = await NOTHING.refused("ingress")
    assert said.splitlines()[0] == "ingress cannot start:"
    names = [line.split()[1] for line in said.splitlines()[1:]]
    assert sorted(names) == [
        *("AMQP_URL", "DATABASE_URL", "SECRETS_KEY"),
        *("WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN"),
    ]


async def test_the_worker_lists_everything_it_lacks() -> None:
    said = await NOTHING.refused("worker", "--only", "ingest,turns")
    assert said.splitlines()[0] == "worker cannot start:"
    names = [line.split()[1] for line in said.splitlines()[1:]]
    assert sorted(names) == ["AMQP_URL", "DATABASE_URL", "OPENAI_API_KEY", "SECRETS_KEY"]


async def test_bad_values_are_named_and_not_shown() -> None:
    bad = GOOD | {
        "DATABASE_URL": "pw-of-database",
        "PORT": "many",
        "LOG_FORMAT": "xml",
        "WHATSAPP_APP_SECRET": ",",
        "WHATSAPP_VERIFY_TOKEN": "v",
    }
    said = await Command(bad).refused("ingress")
    assert [line.split()[1] for line in said.splitlines()[1:]] == [
        *("LOG_FORMAT", "DATABASE_URL", "WHATSAPP_APP_SECRET", "PORT"),
    ]
    assert "pw-of" not in said
    worker = await Command(GOOD | {"SECRETS_KEY": "short", "DEBOUNCE_MS": "1.5"}).refused("worker")
    assert [line.split()[1] for line in worker.splitlines()[1:]] == [
        *("OPENAI_API_KEY", "SECRETS_KEY", "DEBOUNCE_MS"),
    ]


@pytest.mark.parametrize(
    "argv",
    [
        "tenant create --email a@example.com",
        "chatbot create --user 1 --name n --number +12025550143 --access-token t",
        "dead list",
        "migrate",
    ],
)
async def test_operator_commands_list_what_they_lack(argv: str) -> None:
    said = await NOTHING.refused(*argv.split())
    assert said.splitlines()[0] == "the environment is incomplete:"
    names = sorted(line.split()[1] for line in said.splitlines()[1:])
    expected = {
        "tenant": ["DATABASE_URL"],
        "chatbot": ["DATABASE_URL", "SECRETS_KEY"],
        "dead": ["DATABASE_URL"],
        "migrate": ["AMQP_URL", "DATABASE_URL"],
    }
    assert names == expected[argv.split()[0]]


@pytest.mark.parametrize(
    "argv", ["tenant create --email a@example.com", "migrate", "kb import --chatbot 1 {csv}"]
)
async def test_a_database_that_is_away_is_said(
    argv: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("kb") / "faq.csv"
    file.write_text("question,answer\na,b\n")
    said = await Command(GOOD).refused(*argv.format(csv=file).split())
    assert said.startswith("PostgreSQL at DATABASE_URL: ")
    assert "127.0.0.1:1: nothing listens there" in said
    assert "pw-of" not in said
