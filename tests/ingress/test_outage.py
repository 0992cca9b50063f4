"""POSTs while the broker is away, dies, hangs or is out of memory."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from handlers.ingest_log.rabbitmq.topology import declare_topology
from local.servers.rabbitmq import RabbitMQ, rabbitmq
from tests.e2e.conftest import until
from tests.ingress import DEAD_BROKER, Answer, Door, Found, door, messages, opened
from tests.rabbitmqctl import control
from tests.unit.payloads import change, text, value, webhook


@pytest.fixture(scope="module")
async def node() -> AsyncIterator[RabbitMQ]:
    """One that may be killed."""
    async with rabbitmq(in_memory=True) as server:
        await declare_topology(server.url)
        yield server


def payload(wamid: str) -> Any:
    return webhook(change(value(messages=[text(id=wamid, from_user_id=f"US.{wamid}")])))


def wamids_in(found: Found) -> list[str]:
    return [u.raw["id"] for es in opened(found).values() for e in es for u in e.updates]


async def wamids(node: RabbitMQ, expected: str) -> list[str]:
    found = await messages(node.url, enough=lambda seen: expected in wamids_in(seen))
    return wamids_in(found)


async def test_without_a_broker_nothing_is_promised() -> None:
    async with door(DEAD_BROKER) as opened:
        for _ in range(3):
            answer = await opened.post(payload("wamid.1"))
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            assert answer.text == "not durable now: not connected to RabbitMQ"
            assert answer.seconds < 1
        assert (await opened.post(payload("wamid.1"), signature=None)).status == 401
        ready = await opened.get("/readyz")
        assert ready.status == 503
        assert json.loads(ready.text)["reasons"] == {"rabbitmq": "not connected to RabbitMQ"}
        assert (await opened.get("/healthz")).status == 200
        assert 'swiftreplies_webhooks_total{status="503"}' in (await opened.get("/metrics")).text


async def test_who_was_started_without_a_broker_publishes_soon_after_it_is_back(
    node: RabbitMQ,
) -> None:
    await node.crash()
    async with door(node.url) as opened:
        assert (await opened.post(payload("wamid.early"))).status == 503
        await asyncio.sleep(5)  # the pauses between tries do not grow with the wait
        await node.start()

        async def answered() -> int:
            return (await opened.post(payload("wamid.early"))).status

        await until(answered, lambda status: status == 200, 10.0)
    assert "wamid.early" in await wamids(node, "wamid.early")


async def test_what_was_answered_200_survives_crashes(node: RabbitMQ) -> None:
    """POSTs without pause from several senders while the node is killed and comes back, twice."""
    durable: set[str] = set()
    sent = 0
    statuses: set[int] = set()
    over = asyncio.Event()

    async def send(opened: Door, sender: int) -> None:
        nonlocal sent
        while not over.is_set():
            sent += 1
            wamid = f"wamid.{sender}.{sent}"
            answer = await opened.post(payload(wamid))
            statuses.add(answer.status)
            if answer.status == 200:
                durable.add(wamid)
            else:
                assert answer.seconds < 3
                await asyncio.sleep(0.02)

    async with door(node.url) as opened:
        await opened.ready()
        async with asyncio.TaskGroup() as senders:
            for sender in range(8):
                senders.create_task(send(opened, sender))
            for _ in range(2):
                enough = len(durable) + 50
                await until(lambda: _count(durable), lambda n, e=enough: n > e)  # type: ignore[misc]
                await node.crash()
                down = await until(lambda: opened.get("/readyz"), lambda a: a.status == 503, 5)
                assert "rabbitmq" in json.loads(down.text)["reasons"]
                await node.start()
                await opened.ready(10)
            over.set()
    assert statuses == {200, 503}
    missing = set(durable)

    def all_there(found: Found) -> bool:
        missing.difference_update(wamids_in(found))
        return not missing

    await messages(node.url, enough=all_there)


async def _count(found: set[str]) -> int:
    return len(found)


async def test_a_broker_that_hangs_is_given_up(node: RabbitMQ) -> None:
    async with door(node.url) as opened:
        await opened.ready()
        os.kill(node.pid, signal.SIGSTOP)
        try:
            answers = await asyncio.gather(*(opened.post(payload(f"w{n}")) for n in range(5)))
            assert {a.status for a in answers} == {503}
            assert max(a.seconds for a in answers) < 3.5
            assert {a.text.partition(":")[0] for a in answers} == {"not durable now"}
        finally:
            os.kill(node.pid, signal.SIGCONT)

        async def posted() -> Answer:
            return await opened.post(payload("after"))

        await until(posted, lambda a: a.status == 200, 10)
    assert "after" in await wamids(node, "after")


async def test_a_memory_alarm_is_said_and_costs_no_time(node: RabbitMQ) -> None:
    async with door(node.url) as opened:
        await opened.ready()
        await control(node, "set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            # RabbitMQ tells a connection that it is blocked when it publishes.
            first = await opened.post(payload("blocked.0"))
            ready = await until(lambda: opened.get("/readyz"), lambda a: a.status == 503, 5)
            assert "alarm" in json.loads(ready.text)["reasons"]["rabbitmq"]
            second = await opened.post(payload("blocked.1"))
            assert (first.status, second.status) == (503, 503)
            assert first.seconds < 3.5
            assert second.seconds < 0.5
        finally:
            await control(node, "set_vm_memory_high_watermark", "absolute", "1GB")
        await opened.ready(10)
        assert (await opened.post(payload("after"))).status == 200
    found = await wamids(node, "after")
    assert "blocked.1" not in found


async def test_the_door_closes_while_the_broker_hangs(node: RabbitMQ) -> None:
    loop = asyncio.get_running_loop()
    async with door(node.url) as opened:
        await opened.ready()
        os.kill(node.pid, signal.SIGSTOP)
        started = loop.time()
    try:
        assert loop.time() - started < 4
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.ClientConnectionError):
                await http.get(opened.url + "/healthz")
    finally:
        os.kill(node.pid, signal.SIGCONT)
