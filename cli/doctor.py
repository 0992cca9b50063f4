"""`swiftreplies doctor`: looks at everything that has to be right, and says what to do where it is
not. It changes nothing and sends nothing."""

import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import aiohttp
import asyncpg

from cli.checks import Check, failed, ok, warning
from cli.doctor_model import model
from cli.operating import broker_problem, database_problem
from db.chatbots import Credentials, chatbot_credentials, owners_of_chatbots
from db.ingest_log import connect_publishing, lane_sizes, log_size
from db.migrate import pending
from db.pool import UNAVAILABLE, Conn, connect_owner, connect_runtime, tenant_transaction
from handlers.ingest_log.factory import adapter
from handlers.ingest_log.port import DEAD_LANES
from handlers.ingest_log.postgres import full
from handlers.ingest_log.rabbitmq import connection as amqp
from handlers.ingest_log.rabbitmq import topology
from handlers.process.configuration import BadConfiguration, Environment
from handlers.process.secrets import Undecryptable, Vault, access_token_of
from handlers.rules.numbers import normalised
from ingress import settings as ingress_settings
from worker import settings as worker_settings

OLDEST_POSTGRESQL = 15
OLDEST_RABBITMQ = (3, 10)
MANAGEMENT_PORT = 15_672
# Not the dead ones: what is there was taken already, and refusing it would lose it.
BOUNDED = (*topology.ORDERED_QUEUES.values(), *topology.OTHER_QUEUES.values())
BEAT_FRESH_S = 4.0  # as workers judge each other
CALL_TIMEOUT_S = 10.0
EXPIRES_SOON_S = 14 * 86_400
POLICY_HINT = "deploy/rabbitmq/policies.sh sets one, see docs/operations.md under RabbitMQ"


async def examine(values: Mapping[str, str]) -> list[Check]:
    env = Environment(values)
    checks = configuration(values)
    database, log_url = env.database_url(), env.log_url()
    bad = {problem.partition(" ")[0] for problem in env.problems}
    if "DATABASE_URL" not in bad:
        checks += await postgresql(database)
    if not bad & {"AMQP_URL", "INGEST_LOG", *(["DATABASE_URL"] if log_url == database else [])}:
        checks += await LOGS[adapter(log_url).NAME](log_url)
    if "DATABASE_URL" not in bad:
        checks += await meta(values, env.owner_url(database))
    return [*checks, *await model(values)]


def report(checks: list[Check]) -> dict[str, Any]:
    return {
        "ok": all(check.state != "failed" for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def described(checks: list[Check]) -> str:
    width = max(len(check.check) for check in checks)
    return "\n".join(f"{c.state:<8} {c.check:<{width}}  {c.detail}" for c in checks)


# ---- configuration -------------------------------------------------------------------------------


def configuration(values: Mapping[str, str]) -> list[Check]:
    """As the two processes would read it; what both miss is told once."""
    problems: dict[str, list[str]] = {}
    for process, read in (("ingress", ingress_settings.read), ("worker", worker_settings.read)):
        try:
            read(values)
        except BadConfiguration as bad:
            for problem in bad.problems:
                problems.setdefault(problem, []).append(process)
    if not problems:
        return [ok("configuration", "complete for ingress and worker")]
    return [
        failed("configuration", f"{problem} (needed by {' and '.join(processes)})")
        for problem, processes in problems.items()
    ]


# ---- PostgreSQL ----------------------------------------------------------------------------------


async def postgresql(url: str) -> list[Check]:
    try:
        conn = await connect_owner(url)  # as the login itself, to see what it may
    except (*UNAVAILABLE, asyncpg.PostgresError, ValueError) as error:
        return [failed("postgresql", database_problem(error))]
    try:
        version = conn.get_server_version()
        spelt = f"version {version.major}.{version.minor}"
        checks = [
            ok("postgresql", f"reachable, {spelt}")
            if version.major >= OLDEST_POSTGRESQL
            else failed("postgresql", f"{spelt}: {OLDEST_POSTGRESQL} or newer is needed")
        ]
        power = await _power(conn)
        checks.append(power)
    finally:
        await conn.close()
    if power.state == "failed":
        return checks
    try:
        runtime = await connect_runtime(url, "swiftreplies doctor")
    except (*UNAVAILABLE, asyncpg.PostgresError) as error:
        return [*checks, failed("postgresql role", database_problem(error))]
    try:
        missing = await pending(runtime)
        if missing:
            return [
                *checks,
                failed("schema", f"lacks {', '.join(missing)}: run `swiftreplies migrate`"),
            ]
        return [*checks, ok("schema", "current"), await _workers(runtime)]
    finally:
        await runtime.close()


async def _power(conn: Conn) -> Check:
    """Whether the login may do what it must, and no more."""
    row = await conn.fetchrow(
        "SELECT rolname, rolsuper, rolbypassrls,"
        " EXISTS (SELECT FROM pg_roles WHERE rolname = 'swiftreplies_app') AS migrated,"
        " EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid AND c.relname = 'messages'"
        "   AND c.relnamespace = 'public'::regnamespace) AS owner"
        " FROM pg_roles r WHERE rolname = current_user"
    )
    assert row is not None, "who is connected has a role"
    if not row["migrated"]:
        return failed("postgresql login", "the roles are missing: run `swiftreplies migrate`")
    if not await conn.fetchval("SELECT pg_has_role('swiftreplies_app', 'MEMBER')"):
        return failed(
            "postgresql login",
            f"{row['rolname']} is no member of swiftreplies_app: run `swiftreplies migrate`, or as"
            f" an administrator GRANT swiftreplies_app TO {row['rolname']}",
        )
    if row["rolsuper"] or row["rolbypassrls"] or row["owner"]:
        what = (
            "a superuser" if row["rolsuper"] else "the owner" if row["owner"] else "above the rules"
        )
        return warning(
            "postgresql login",
            f"{row['rolname']} is {what}. Tenants are kept apart all the same (connections take"
            " the role swiftreplies_app), but a login of less power is better: see Database roles"
            " in docs/operations.md",
        )
    return ok("postgresql login", f"{row['rolname']} may only what the runtime needs")


async def _workers(conn: Conn) -> Check:
    silent = await conn.fetch(
        "SELECT name, extract(epoch FROM clock_timestamp() - beat_at)::float AS s FROM workers"
    )
    alive = [row for row in silent if row["s"] < BEAT_FRESH_S]
    if alive:
        return ok("workers", f"{len(alive)} alive")
    return failed(
        "workers",
        "none beats, so nothing is recorded, answered or sent: start `swiftreplies worker`",
    )


# ---- RabbitMQ ------------------------------------------------------------------------------------


async def broker(url: str) -> list[Check]:
    try:
        connection = await amqp.connect(url, "swiftreplies doctor")
    except amqp.UNREACHABLE as error:
        return [failed("rabbitmq", broker_problem(error))]
    async with connection:
        checks = [_version(connection)]
        missing, dead, unread = [], 0, []
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
    checks.append(await _policies(url))
    return checks


def dead_letters(count: int) -> Check:
    return warning(
        "dead letters",
        f"{count} entries were delivered too often; workers move them to the dead list:"
        " see `swiftreplies dead list`",
    )


def _version(connection: Any) -> Check:
    properties = connection.transport.connection.server_properties
    text = str(properties.get("version", "?"))
    parts = text.split(".")
    number = tuple(int(part) for part in parts[:2] if part.isdigit())
    if len(number) == 2 and number < OLDEST_RABBITMQ:
        return failed("rabbitmq", f"version {text}: 3.10 or newer is needed, 4.x is better")
    if len(number) == 2 and number < (4, 0):
        return warning(
            "rabbitmq",
            f"reachable, version {text}: it works, but is out of support and gives all lanes to one"
            " worker; 4.x is better",
        )
    return ok("rabbitmq", f"reachable, version {text}")


async def _policies(url: str) -> Check:
    """Only the management interface tells; it is where it is by default, or not looked at."""
    parts = urlsplit(url)
    vhost = unquote(parts.path[1:]) or "/"
    address = f"http://{parts.hostname}:{MANAGEMENT_PORT}/api/policies/{quote(vhost, safe='')}"
    auth = aiohttp.BasicAuth(unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http,
            http.get(address, auth=auth) as response,
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


# ---- the ingest log as a table -------------------------------------------------------------------


async def log_table(url: str) -> list[Check]:
    try:
        conn = await connect_publishing(url, "swiftreplies doctor")
        try:
            size, lanes = await log_size(conn), await lane_sizes(conn)
        finally:
            conn.terminate()
    except (*UNAVAILABLE, asyncpg.PostgresError) as error:
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


# ---- Meta ----------------------------------------------------------------------------------------


async def meta(values: Mapping[str, str], owner_url: str) -> list[Check]:
    try:
        settings = worker_settings.read(values)
    except BadConfiguration:
        return [failed("meta", "not looked at: mend the configuration first")]
    try:
        async with _owner(owner_url) as conn:
            chatbots: list[Credentials] = []
            for user_id in await owners_of_chatbots(conn):
                async with tenant_transaction(conn, user_id):
                    chatbots += await chatbot_credentials(conn, user_id)
    except (asyncpg.UndefinedFunctionError, asyncpg.InsufficientPrivilegeError):
        return [
            failed(
                "meta",
                "the chatbots cannot be read: run `swiftreplies migrate`, and set"
                " MIGRATION_DATABASE_URL to the owner's URL",
            )
        ]
    except (*UNAVAILABLE, asyncpg.PostgresError):
        return []  # said above
    if not chatbots:
        return [warning("meta", "there is no chatbot yet: see `swiftreplies chatbot create`")]
    vault = Vault(settings.secrets_keys)
    base = f"{settings.graph_url.rstrip('/')}/{settings.graph_version}"
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    checks: list[Check] = []
    tokens: dict[str, str] = {}
    async with aiohttp.ClientSession(timeout=timeout) as http:
        graph = Graph(http, base)
        for chatbot in chatbots:
            name = f"chatbot {chatbot.id}"
            try:
                token = _token(chatbot, vault, settings.shared_token)
            except Undecryptable as error:
                checks.append(failed(name, f"its access token cannot be read: {error}"))
                continue
            if token is None:
                checks.append(
                    failed(
                        name,
                        "has no access token, and WHATSAPP_ACCESS_TOKEN is not set: set one",
                    )
                )
                continue
            tokens.setdefault(token, name)
            checks.append(await _number(graph, chatbot, name, token))
        for token, name in tokens.items():
            checks += await _token_checks(graph, f"token of {name}", token)
    return checks


@asynccontextmanager
async def _owner(url: str) -> AsyncIterator[Conn]:
    conn = await connect_owner(url)
    try:
        yield conn
    finally:
        await conn.close()


def _token(chatbot: Credentials, vault: Vault, shared: str | None) -> str | None:
    if chatbot.access_token is None:
        return shared
    return vault.decrypt(chatbot.access_token, access_token_of(chatbot.id))


class Graph:
    """Looks at the Graph API: what it answers, or why not, in words without the token."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self._http = http
        self._base = base

    async def get(self, path: str, token: str, **query: str) -> dict[str, Any] | str:
        try:
            async with self._http.get(
                f"{self._base}/{path}",
                params=query,
                headers={"Authorization": f"Bearer {token}"},
                allow_redirects=False,
            ) as response:
                answer = await response.json(content_type=None)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return f"no answer that tells from {self._base}: {type(error).__name__}"
        if not isinstance(answer, dict):
            return f"HTTP {status}"
        error_ = answer.get("error")
        if isinstance(error_, dict):
            code = error_.get("code")
            hint = {
                190: "the token is invalid or has expired: make a new one",
                10: "the token lacks a permission: whatsapp_business_messaging",
                200: "the token lacks a permission: whatsapp_business_messaging",
                100: "Meta does not know it, or the token may not see it",
                33: "Meta does not know it, or the token may not see it",
            }.get(code if isinstance(code, int) else -1, "see Meta's list of error codes")
            return f"Meta says {code}: {hint}"
        return answer if status == 200 else f"HTTP {status}"


async def _number(graph: Graph, chatbot: Credentials, name: str, token: str) -> Check:
    if chatbot.phone_number_id is None:
        return warning(
            name,
            "has no phone_number_id: the first webhook of its number brings it; until then its"
            " credentials cannot be looked at",
        )
    fields = "id,display_phone_number,verified_name,quality_rating"
    answer = await graph.get(chatbot.phone_number_id, token, fields=fields)
    if isinstance(answer, str):
        return failed(name, f"phone_number_id {chatbot.phone_number_id}: {answer}")
    number = normalised(answer.get("display_phone_number"))
    if number != chatbot.whatsapp_phone_number:
        return failed(
            name,
            f"phone_number_id {chatbot.phone_number_id} is the number {number} at Meta, not"
            f" {chatbot.whatsapp_phone_number}: one of them is wrong",
        )
    return ok(name, f"Meta knows {number} and takes the token")


async def _token_checks(graph: Graph, name: str, token: str) -> list[Check]:
    """What the token is worth, and whether the accounts it is for send us their webhooks."""
    answer = await graph.get("debug_token", token, input_token=token)
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict):
        why = answer if isinstance(answer, str) else "an answer without data"
        return [warning(name, f"Meta does not say what it may: {why}")]
    if data.get("is_valid") is not True:
        return [failed(name, "Meta says that it is not valid: make a new one")]
    scopes = data.get("scopes") or []
    if "whatsapp_business_messaging" not in scopes:
        return [failed(name, "lacks the permission whatsapp_business_messaging: make a new one")]
    expires_at = data.get("expires_at") or 0
    left_s = expires_at - time.time()
    days = round(left_s / 86_400)
    checks = [
        ok(name, "valid, does not expire")
        if not expires_at
        else warning(name, f"expires in {days} days: a system user's token does not")
        if left_s < EXPIRES_SOON_S
        else ok(name, f"valid for {days} days")
    ]
    accounts = {
        str(target)
        for one in data.get("granular_scopes") or []
        if isinstance(one, dict) and one.get("scope") == "whatsapp_business_management"
        for target in one.get("target_ids") or []
    }
    if not accounts:
        checks.append(
            warning(
                "subscription",
                "the token does not say for which account it is, so whether its webhooks come here"
                " cannot be looked at: see docs/go-live.md, step 5",
            )
        )
    return [*checks, *[await _subscription(graph, one, token) for one in sorted(accounts)]]


async def _subscription(graph: Graph, account: str, token: str) -> Check:
    name = f"account {account}"
    answer = await graph.get(f"{account}/subscribed_apps", token)
    if isinstance(answer, str):
        return warning(name, f"its subscribed apps cannot be looked at: {answer}")
    if not answer.get("data"):
        return failed(
            name,
            "no app is subscribed, so Meta sends no webhooks: POST"
            f" /{account}/subscribed_apps, see docs/go-live.md, step 5",
        )
    return ok(name, f"{len(answer['data'])} app(s) get its webhooks")
