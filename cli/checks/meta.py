"""Meta: each chatbot's number and token, and whether its account's webhooks come here."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg

from cli.checks.check import Check, failed, ok, warning
from db.chatbots import Credentials, chatbot_credentials, owners_of_chatbots
from db.pool import UNAVAILABLE, Conn, connect_owner, tenant_transaction
from handlers.process.configuration import BadConfiguration
from handlers.process.secrets import Undecryptable, Vault, access_token_of
from handlers.rules.numbers import normalised
from worker import settings as worker_settings

CALL_TIMEOUT_S = 10.0
EXPIRES_SOON_S = 14 * 86_400


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
