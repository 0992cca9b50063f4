"""Several brokers in AMQP_URL, and confirms that never come."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from handlers.ingest_log.port import LANES, Entry, NotDurable
from handlers.ingest_log.rabbitmq.confirms import UNCONFIRMED_MAX, Confirms
from handlers.ingest_log.rabbitmq.connection import NoBroker, connect
from handlers.ingest_log.rabbitmq.publisher import Publisher
from local.servers.rabbitmq import RabbitMQ
from tests.e2e.conftest import until
from tests.wire import ToBroker, to_broker

DEAD = "amqp://guest:pw-of-nobody@127.0.0.1:1/"


@asynccontextmanager
async def publisher(urls: str) -> AsyncIterator[Publisher]:
    one = Publisher(urls, "tests")
    running = asyncio.create_task(one.run())
    try:
        await ready(one)
        yield one
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@asynccontextmanager
async def publisher_of(*lines: ToBroker) -> AsyncIterator[Publisher]:
    """Entered when the lines are open: before, they have no ports."""
    async with publisher(",".join(line.url for line in lines)) as one:
        yield one


async def ready(one: Publisher) -> None:
    async def problem() -> str | None:
        return one.problem

    await until(problem, lambda found: found is None)


async def until_published(one: Publisher) -> None:
    """For all the time that it takes to reconnect."""

    async def publish() -> bool:
        try:
            await one.publish([Entry(LANES[0], b"x")])
        except NotDurable:
            return False
        return True

    await until(publish, bool)


# ---- several brokers -----------------------------------------------------------------------------


async def test_the_first_that_answers_is_taken_and_asked_first_next_time(
    broker: RabbitMQ,
) -> None:
    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent_lines.append(writer)

    silent_lines: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    urls = f"{DEAD},amqp://x:y@127.0.0.1:{port}/, {broker.url}"
    async with await connect(urls, "tests") as connection:
        assert not connection.is_closed
    started = time.monotonic()
    async with await connect(urls, "tests"):
        assert time.monotonic() - started < 3, "nobody waits for the silent one again"
    silent.close()
    for line in silent_lines:
        line.close()


async def test_another_takes_over_when_one_goes(broker: RabbitMQ) -> None:
    one, other = ToBroker(broker.url), ToBroker(broker.url)
    async with (
        to_broker(one) as first,
        to_broker(other),
        publisher_of(one, other) as publishing,
    ):
        await publishing.publish([Entry(LANES[0], b"x")])
        assert (len(one.lines), len(other.lines)) == (1, 0)
        first.close()
        await one.cut()
        await until_published(publishing)
        assert (len(one.lines), len(other.lines)) == (0, 1)


async def test_each_broker_s_cause_is_told_and_no_password(broker: RabbitMQ) -> None:
    place = broker.url.rpartition("@")[2].rstrip("/")
    login = broker.url.rpartition("@")[0]
    urls = ",".join(
        (
            *(DEAD, "amqp://x:pw-of-nobody@no-such-host.invalid/"),
            *(f"amqp://x:pw-of-nobody@{place}/", f"{login}@{place}/no-such-vhost"),
            f"amqps://x:pw-of-nobody@{place}/",
        )
    )
    with pytest.raises(NoBroker) as caught:
        await connect(urls, "tests")
    causes = caught.value.told.split("; ")
    for told, what in zip(
        causes,
        (
            *("127.0.0.1:1: nothing listens there", "no-such-host.invalid:5672: the host's name"),
            *("ACCESS_REFUSED", "is there such a virtual host", "TLS failed"),
        ),
        strict=True,
    ):
        assert what in told
    assert "pw-of" not in caught.value.told


# ---- confirms that never come --------------------------------------------------------------------


def remembered() -> int:
    """Of all channels that publish in this process."""
    return sum(
        len(one.channel.confirmations) for one in gc.get_objects() if isinstance(one, Confirms)
    )


async def given_up(publishing: Publisher, posts: int) -> int:
    """How many of so many POSTs at once were not durable."""
    entries = [Entry(lane, b"x" * 100) for lane in LANES]
    ended = await asyncio.gather(
        *(publishing.publish(entries) for _ in range(posts)), return_exceptions=True
    )
    return sum(isinstance(end, NotDurable) for end in ended)


async def test_what_is_never_confirmed_is_not_remembered_for_ever(broker: RabbitMQ) -> None:
    posts = UNCONFIRMED_MAX // len(LANES) // 2
    line = ToBroker(broker.url)
    async with to_broker(line), publisher(line.url) as publishing:
        line.withholds = True
        most = 0
        for _ in range(6):
            assert await given_up(publishing, posts) == posts
            gc.collect()
            most = max(most, remembered())
            await ready(publishing)
        assert most <= UNCONFIRMED_MAX + posts * len(LANES)
        line.withholds = False
        await until_published(publishing)
        await until(_remembered, lambda n: n <= UNCONFIRMED_MAX)


async def _remembered() -> int:
    return remembered()


async def test_a_late_confirm_is_forgotten_with_its_entry(broker: RabbitMQ) -> None:
    """A broker that was slow for a moment costs nobody the connection."""
    line = ToBroker(broker.url)
    async with to_broker(line), publisher(line.url) as publishing:
        line.withholds = True
        assert await given_up(publishing, 3) == 3
        assert remembered() == 3 * len(LANES)
        line.withholds = False
        held = set(line.lines)
        # Confirms are of all up to one: the next brings what was withheld.
        await publishing.publish([Entry(lane, b"y") for lane in LANES])
        assert line.lines == held
