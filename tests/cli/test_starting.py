"""Processes on databases that they must not work on: all that is wrong is said, and the end is 1.
What is only away is waited for, and its cause is in the log."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from local.servers.daemon import free_ports
from local.servers.postgres import Postgres
from local.servers.rabbitmq import RabbitMQ
from tests.cli import ROOT, Result
from tests.conftest import Database
from tests.wire import Between, between

PATIENCE_S = 60.0


@pytest.fixture
def environment(database: Database, broker: RabbitMQ) -> dict[str, str]:
    (port,) = free_ports(1)
    return {
        "PATH": "/usr/bin:/bin",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATABASE_URL": database.runtime_url,
        "INGEST_LOG_URL": database.log_url,
        "AMQP_URL": broker.url,
        "SECRETS_KEY": "a key of sixteen characters or more",
        "OPENAI_MODEL": "offline",
        "WHATSAPP_APP_SECRET": "s",
        "WHATSAPP_VERIFY_TOKEN": "v",
    }


@asynccontextmanager
async def started(
    process: Sequence[str], environment: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", *process),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        await running.wait()


async def ended(process: Sequence[str], environment: dict[str, str]) -> Result:
    async with started(process, environment) as running, asyncio.timeout(PATIENCE_S):
        out, err = await running.communicate()
    return Result(running.returncode or 0, out.decode(), err.decode())


def told(result: Result) -> list[str]:
    """The last lines, which are for people; before them is the log."""
    assert result.code == 1, result
    assert "pw-of" not in result.err
    lines = result.err.splitlines()
    begin = next(n for n, line in enumerate(lines) if "cannot start:" in line)
    return lines[begin + 1 :]


async def logged(
    process: Sequence[str], environment: dict[str, str], event: str, cause: str
) -> dict[str, Any]:
    """The first line of this event that has the cause."""
    async with started(process, environment) as running, asyncio.timeout(PATIENCE_S):
        assert running.stderr is not None
        async for line in running.stderr:
            with contextlib.suppress(ValueError):
                found: dict[str, Any] = json.loads(line)
                if found["event"] == event and cause in str(found.get("cause")):
                    assert running.returncode is None
                    return found
    raise AssertionError(f"no {event} with {cause}")


PROCESSES = (("ingress",), ("worker",))


@pytest.mark.parametrize("process", PROCESSES, ids=" ".join)
async def test_a_superuser_behind_a_pooler_ends_the_process_and_says_what_to_do(
    postgres_server: Postgres,
    database: Database,
    environment: dict[str, str],
    process: Sequence[str],
) -> None:
    async with between(Between(postgres_server, drops=True, poses=True)) as pooler:
        environment["DATABASE_URL"] = pooler.url(database.owner_url)
        environment["INGEST_LOG_URL"] = pooler.url(database.log_url)
        environment["INGEST_LOG"] = "postgres"
        started_at = time.monotonic()
        lines = told(await ended(process, environment))
    assert time.monotonic() - started_at < 30
    assert [line.split()[1] for line in lines] == ["DATABASE_URL:"] * 2 + ["INGEST_LOG_URL:"]
    assert "ALTER ROLE" in lines[0]
    assert "superuser" in lines[1]
    assert "swiftreplies_log" in lines[2]


@pytest.mark.parametrize("process", PROCESSES, ids=" ".join)
async def test_the_runtime_s_login_is_none_of_the_log_s(
    environment: dict[str, str], process: Sequence[str]
) -> None:
    environment |= {"INGEST_LOG": "postgres", "INGEST_LOG_URL": ""}
    (line,) = told(await ended(process, environment))
    assert line.startswith("  - INGEST_LOG_URL: permission denied to set role")
    assert "CREATE ROLE swiftreplies_ingest LOGIN" in line


async def test_a_worker_whose_login_is_refused_says_so_and_ends(
    database: Database, environment: dict[str, str]
) -> None:
    environment["DATABASE_URL"] = database.runtime_url.replace(":runtime@", ":pw-of-nobody@")
    (line,) = told(await ended(("worker",), environment))
    assert "password authentication failed" in line


@pytest.mark.parametrize("process", PROCESSES, ids=" ".join)
async def test_a_server_without_tls_is_waited_for_and_named(
    database: Database, environment: dict[str, str], process: Sequence[str]
) -> None:
    environment["DATABASE_URL"] = f"{database.runtime_url}?sslmode=require"
    line = await logged(process, environment, "process.waits_for_database", "has no TLS")
    assert line["url"] == "DATABASE_URL"


async def test_a_refused_login_does_not_end_the_ingress(
    database: Database, environment: dict[str, str]
) -> None:
    """Webhooks are durable without the database."""
    environment["DATABASE_URL"] = database.runtime_url.replace(":runtime@", ":pw-of-nobody@")
    cause = "password authentication failed"
    line = await logged(("ingress",), environment, "process.waits_for_database", cause)
    assert "pw-of" not in json.dumps(line)


async def test_what_a_url_asks_for_in_vain_is_in_the_log(environment: dict[str, str]) -> None:
    environment["DATABASE_URL"] += "?channel_binding=require"
    async with started(("ingress",), environment) as running, asyncio.timeout(PATIENCE_S):
        assert running.stderr is not None
        line = json.loads(await running.stderr.readline())
    assert line["event"] == "configuration.left_out"
    assert "channel_binding=require" in line["what"]
