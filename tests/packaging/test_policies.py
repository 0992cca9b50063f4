"""deploy/rabbitmq/policies.sh on a real node: it bounds the queues, and a full one refuses."""

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cli.checks.ingest_log import BOUNDED, unbounded
from handlers.ingest_log.port import Entry, NotDurable
from handlers.ingest_log.rabbitmq.topology import QUEUES, declare_topology
from local.servers.rabbitmq import RabbitMQ
from tests.e2e.conftest import until
from tests.ingest_log import publishing
from tests.packaging import ROOT
from tests.rabbitmqctl import control, script

SCRIPT = ROOT / "deploy" / "rabbitmq" / "policies.sh"


@pytest.fixture
async def host(rabbitmq_server: RabbitMQ) -> AsyncIterator[str]:
    """A virtual host with the topology."""
    name = f"policies-{os.urandom(4).hex()}"
    await control(rabbitmq_server, "add_vhost", name)
    everything = (".*", ".*", ".*")
    await control(rabbitmq_server, "set_permissions", "-p", name, "swiftreplies", *everything)
    await declare_topology(rabbitmq_server.url + name)
    yield name
    await control(rabbitmq_server, "delete_vhost", name)


async def policies(node: RabbitMQ, host: str) -> list[dict[str, Any]]:
    """As the management interface has them, which doctor asks."""
    said = await control(node, "list_policies", "--silent", "-p", host, "--formatter", "json")
    return [one | {"definition": json.loads(one["definition"])} for one in json.loads(said)]


async def held(node: RabbitMQ, host: str) -> set[str]:
    """The queues that have a policy."""
    columns = ("name", "policy", "--formatter", "json")
    said = await control(node, "list_queues", "--silent", "-p", host, *columns)
    return {queue["name"] for queue in json.loads(said) if queue["policy"]}


async def test_every_queue_that_takes_in_is_bounded_and_a_full_one_refuses(
    rabbitmq_server: RabbitMQ, host: str
) -> None:
    assert set(unbounded(await policies(rabbitmq_server, host))) == set(BOUNDED)
    await script(rabbitmq_server, SCRIPT, host, MAX_BYTES="20000")
    assert unbounded(await policies(rabbitmq_server, host)) == []
    assert set(BOUNDED) == {n for n in QUEUES.values() if not n.endswith(".dlq")}
    # RabbitMQ tells the queues of a policy when it has answered.
    await until(lambda: held(rabbitmq_server, host), lambda seen: seen == set(BOUNDED))

    async with publishing(rabbitmq_server.url + host) as publisher:

        async def taken(lane: str) -> bool:
            try:
                await publisher.publish([Entry(lane, b"x" * 1_000)])
            except NotDurable:
                return False
            return True

        for lane in ("p07", "status", "other"):
            await until(lambda lane=lane: taken(lane), lambda was: not was)  # type: ignore[misc]
        assert await taken("p08"), "the others have room"
        await script(rabbitmq_server, SCRIPT, host)  # with its default, again
        await until(lambda: taken("p07"), bool)


async def test_a_bound_that_is_no_number_is_refused(rabbitmq_server: RabbitMQ, host: str) -> None:
    with pytest.raises(AssertionError, match="MAX_BYTES is not a number of bytes: 2GB"):
        await script(rabbitmq_server, SCRIPT, host, MAX_BYTES="2GB")
    assert await policies(rabbitmq_server, host) == []


def policy(pattern: str, priority: int = 0, **definition: int) -> dict[str, Any]:
    return {"pattern": pattern, "priority": priority, "definition": definition}


def test_of_several_policies_the_highest_priority_holds() -> None:
    bound = policy("^wa", **{"max-length": 9})
    assert unbounded([bound]) == []
    assert unbounded([bound, policy("^wa\\.other$", 5, **{"message-ttl": 9})]) == ["wa.other"]
    assert unbounded([policy("^wa\\.in", **{"max-length-bytes": 9})]) == ["wa.status", "wa.other"]
    assert set(unbounded([policy("(*bad", **{"max-length": 9})])) == set(BOUNDED)
