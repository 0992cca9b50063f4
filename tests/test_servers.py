"""The private servers of demo, dev and this suite: real ones, which leave nothing behind."""

import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import pytest

from local.servers import postgres as ports
from local.servers.daemon import PortTakenError, ServerError, free_ports
from local.servers.postgres import available_postgres, postgres
from local.servers.rabbitmq import rabbitmq

ROOT = Path(__file__).parent.parent

STARTER = """
import asyncio
from local.servers.postgres import postgres

async def main():
    async with postgres() as pg:
        print(pg.pid, pg.directory, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def processes_of(directory: Path) -> list[str]:
    """Whatever runs in or for the directory: its path is in the command or the environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if str(directory).encode() in command + (process / "environ").read_bytes():
                found.append(command.replace(b"\0", b" ").decode())
    return found


async def gone(directory: Path) -> bool:
    for _ in range(200):
        if not directory.exists() and not processes_of(directory):
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.mark.parametrize("major", sorted({one.major for one in available_postgres()}))
async def test_postgres_keeps_what_was_committed(major: int) -> None:
    async with postgres(version=major) as pg:
        assert pg.version.split(".")[0] == str(major)
        assert str(pg.directory) in pg.origin
        before = await asyncpg.connect(pg.url)
        await before.execute("CREATE TABLE kept (value int); INSERT INTO kept VALUES (1)")
        assert await before.fetchval("SHOW server_encoding") == "UTF8"
        assert processes_of(pg.directory)

        await pg.crash()
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await before.execute("INSERT INTO kept VALUES (2)")
        with pytest.raises(OSError):
            await asyncpg.connect(pg.url)
        await pg.start()
        after = await asyncpg.connect(pg.url)
        await after.execute("INSERT INTO kept VALUES (3)")
        await after.close()

        await pg.stop()
        await pg.start()
        last = await asyncpg.connect(pg.url)
        assert [row[0] for row in await last.fetch("SELECT value FROM kept")] == [1, 3]
        await last.close()
    assert await gone(pg.directory)


async def test_postgres_wants_its_password() -> None:
    async with postgres() as pg:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(pg.url.replace(f"{pg.superuser}:", f"{pg.superuser}:not-"))
        connection = await asyncpg.connect(pg.database_url("template1"))
        assert await connection.fetchval("SELECT current_database()") == "template1"
        await connection.close()
        await pg.crash()  # and is left so
    assert await gone(pg.directory)


async def test_rabbitmq_keeps_durable_messages() -> None:
    async with rabbitmq() as rabbit:
        assert str(rabbit.directory) in rabbit.origin
        before = await aio_pika.connect(rabbit.url)
        channel = await before.channel()
        for kind in ("classic", "quorum"):
            await channel.declare_queue(kind, durable=True, arguments={"x-queue-type": kind})
            message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key=kind)
        # RabbitMQ 3.10 writes the list of its quorum queues to disk about a second later than it
        # confirms them: a queue as young as that is lost in a crash, with its messages.
        await asyncio.sleep(2)

        await rabbit.crash()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", urlsplit(rabbit.url).port)
        with contextlib.suppress(Exception):
            await before.close()
        await rabbit.start()
        after = await aio_pika.connect(rabbit.url)
        channel = await after.channel()
        for kind in ("classic", "quorum"):
            queue = await channel.get_queue(kind)
            kept = await queue.get(timeout=10)
            assert kept is not None
            assert kept.body == b"kept"
            await kept.ack()
        await after.close()
    assert await gone(rabbit.directory)


async def test_an_exception_ends_the_server() -> None:
    with pytest.raises(RuntimeError, match="of the caller"):
        async with postgres() as pg:
            raise RuntimeError("of the caller")
    assert await gone(pg.directory)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_killed_parent_leaves_nothing(number: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        STARTER,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=hears_interrupts,
    )
    try:
        assert parent.stdout is not None
        pid, directory = (await parent.stdout.readline()).decode().split()
        assert Path(f"/proc/{pid}").exists()
        assert Path(directory).exists()
        parent.send_signal(number)
        await parent.wait()
    finally:
        if parent.returncode is None:
            parent.kill()
    assert await gone(Path(directory))


def hears_interrupts() -> None:
    """A shell lets what it starts in the background ignore SIGINT, and that is inherited."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


async def test_a_taken_port_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    choose = free_ports
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        choices = iter([[taken], choose(1)])
        monkeypatch.setattr(ports, "free_ports", lambda count: next(choices))
        async with postgres() as pg:
            assert f":{taken}/" not in pg.url

        monkeypatch.setattr(ports, "free_ports", lambda count: [taken])
        with pytest.raises(PortTakenError, match="Address already in use"):
            await postgres().__aenter__()


async def test_what_is_missing_is_named() -> None:
    with pytest.raises(ServerError, match="No PostgreSQL 99"):
        await postgres(version=99).__aenter__()
