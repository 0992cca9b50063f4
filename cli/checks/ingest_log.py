"""The ingest log, by what keeps it: RabbitMQ, or a table of the database."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import aiohttp
import asyncpg
from aio_pika.abc import AbstractConnection

from cli.checks.check import Check, failed, ok, warning
from cli.operating import database_problem
from db.connecting import CannotConnect
from db.ingest_log import connect_publishing, lane_sizes, log_size
from db.pool import UNAVAILABLE
from handlers.ingest_log.port import DEAD_LANES
from handlers.ingest_log.postgres import full
from handlers.ingest_log.rabbitmq import connection as amqp
from handlers.ingest_log.rabbitmq import topology
from handlers.rules.brokers import brokers

OLDEST_RABBITMQ = (3, 10)
MANAGEMENT_PORT = 15_672
# Not the dead ones: what is there was taken already, and refusing it would lose it.
BOUNDED = (*topology.ORDERED_QUEUES.values(), *topology.OTHER_QUEUES.values())
POLICY_HINT = "deploy/rabbitmq/policies.sh sets one, see docs/operations.md under RabbitMQ"


async def broker(urls: str) -> list[Check]:
    """Of several each is tried; what their queues hold is asked of the first that answers."""
    several = brokers(urls)
    checks: list[Check] = []
    asked: list[Check] = []
    away = []
    clusters = set()
    for url in several:
        name = "rabbitmq" if len(several) == 1 else f"rabbitmq {amqp.address(url)}"
        try:
            connection = await amqp.connect_one(url, "swiftreplies doctor")
        except amqp.UNREACHABLE as error:
            away.append((name, f"{amqp.address(url)}: {amqp.cause(error)}"))
            continue
        async with connection:
            properties = _properties(connection)
            checks.append(_version(name, str(properties.get("version", "?"))))
            clusters.add(str(properties.get("cluster_name")))
            if not asked:
                asked = [*await _queues(connection), await _policies(url)]
    told = warning if asked else failed  # nothing waits for one while another answers
    checks = [*(told(*one) for one in away), *checks]
    if len(clusters) > 1:
        checks.append(
            failed(
                "rabbitmq",
                f"the brokers of AMQP_URL are {len(clusters)} clusters ({', '.join(clusters)}):"
                " what one of them took, workers at another never see. Name the nodes of one",
            )
        )
    return [*checks, *asked]


async def _queues(connection: AbstractConnection) -> list[Check]:
    checks, missing, dead, unread = [], [], 0, []
    for lane, name in topology.QUEUES.items():
        found = await topology.queue_state(connection, name)
        if found is None:
            missing.append(name)
        elif lane in topology.DEAD_QUEUES:
            dead += found.messages
        elif not found.consumers:
            unread.append(name)
    if missing:
        checks.append(
            failed("topology", f"no queue {', '.join(missing)}: run `swiftreplies migrate`")
        )
    else:
        checks.append(ok("topology", f"{len(topology.QUEUES)} queues"))
    if unread:
        checks.append(
            failed(
                "consumers",
                f"nobody reads {', '.join(unread)}: start a worker with the role ingest",
            )
        )
    elif not missing:
        checks.append(ok("consumers", "every queue is read"))
    if dead:
        checks.append(dead_letters(dead))
    return checks


def dead_letters(count: int) -> Check:
    return warning(
        "dead letters",
        f"{count} entries were delivered too often; workers move them to the dead list:"
        " see `swiftreplies dead list`",
    )


def _properties(connection: Any) -> Mapping[str, Any]:
    """What the broker says of itself; `Any`, for aio_pika hides it behind its transport."""
    properties: Mapping[str, Any] = connection.transport.connection.server_properties
    return properties


def _version(name: str, text: str) -> Check:
    parts = text.split(".")
    number = tuple(int(part) for part in parts[:2] if part.isdigit())
    if len(number) == 2 and number < OLDEST_RABBITMQ:
        return failed(name, f"version {text}: 3.10 or newer is needed, 4.x is better")
    if len(number) == 2 and number < (4, 0):
        return warning(
            name,
            f"reachable, version {text}: it works, but is out of support and gives all lanes to one"
            " worker; 4.x is better",
        )
    return ok(name, f"reachable, version {text}")


async def _policies(url: str) -> Check:
    """Only the management interface tells; it is where it is by default, or not looked at."""
    parts = urlsplit(url)
    vhost = unquote(parts.path[1:]) or "/"
    address = f"http://{parts.hostname}:{MANAGEMENT_PORT}/api/policies/{quote(vhost, safe='')}"
    login, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
    try:
        headers = {"Authorization": aiohttp.encode_basic_auth(login, password)}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http,
            http.get(address, headers=headers) as response,
        ):
            policies = await response.json() if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        policies = None
    if not isinstance(policies, list):
        return warning(
            "policies",
            f"cannot look, the management interface does not answer at port {MANAGEMENT_PORT}. See"
            " that a policy bounds the queues (rabbitmqctl list_policies);"
            f" {POLICY_HINT}",
        )
    free = unbounded(policies)
    if not free:
        return ok("policies", "every queue is bounded")
    which = "the queues" if len(free) == len(BOUNDED) else ", ".join(free)
    return warning("policies", f"none bounds {which}, so they may fill the disk: {POLICY_HINT}")


def unbounded(policies: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of several policies that fit a queue only the one of the highest priority holds."""
    free = []
    for name in BOUNDED:
        fitting = [policy for policy in policies if _fits(policy, name)]
        holds = max(fitting, key=lambda policy: policy.get("priority", 0), default=None)
        if holds is None or not {"max-length", "max-length-bytes"} & set(holds["definition"]):
            free.append(name)
    return free


def _fits(policy: Mapping[str, Any], queue: str) -> bool:
    try:
        return re.search(policy["pattern"], queue) is not None
    except re.error:  # Erlang's expressions know a little more than Python's
        return False


async def log_table(url: str) -> list[Check]:
    try:
        conn = await connect_publishing(url, "swiftreplies doctor")
        try:
            size, lanes = await log_size(conn), await lane_sizes(conn)
        finally:
            conn.terminate()
    except (*UNAVAILABLE, asyncpg.PostgresError) as error:
        if isinstance(error, CannotConnect):
            return [failed("ingest log", database_problem(error, "INGEST_LOG_URL"))]
        what = f"{str(error) or type(error).__name__}: run `swiftreplies migrate`"
        return [failed("ingest log", what)]
    checks = []
    if (problem := full(size)) is not None:
        checks.append(failed("ingest log", f"{problem}. Webhooks are answered 503; see `workers`"))
    else:
        checks.append(ok("ingest log", f"a table of the database, {size.entries} entries"))
    if dead := sum(lanes.get(lane, 0) for lane in DEAD_LANES):
        checks.append(dead_letters(dead))
    return checks


LOGS = {"rabbitmq": broker, "postgresql": log_table}
