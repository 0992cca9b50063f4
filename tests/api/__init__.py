"""The tenant API over HTTP, with a real database behind it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from db.api_keys import create_api_key
from db.ids import ApiKeyId, ConversationId, MessageId
from db.pool import Conn, Pool, tenant
from handlers.api_keys import PERMISSIONS, hash_of, new_key
from ingress.api.description import problems_of
from ingress.api.endpoints import ENDPOINTS
from ingress.api.table import AnyEndpoint
from tests.factories import Tenant, make_conversation, make_message


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    json: Any
    headers: dict[str, str]

    @property
    def problem(self) -> str:
        """The last word of its type, once it is a whole problem."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self
        assert self.json.keys() >= {"type", "title", "status", "detail", "instance"}
        assert self.json["status"] == self.status
        assert self.json["detail"]
        prefix, _, name = str(self.json["type"]).rpartition(":")
        assert prefix == "urn:swiftreplies:problem"
        return name


@dataclass(frozen=True, slots=True)
class Client:
    url: str
    http: aiohttp.ClientSession
    key: str

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.send("GET", path, params=query)

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send("POST", path, json={} if body is None else body, headers=sent)

    async def send(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any
    ) -> Answer:
        given = {"Authorization": f"Bearer {self.key}"} | (headers or {})
        async with self.http.request(
            method, f"{self.url}/v1{path}", headers=given, **request
        ) as response:
            body = await response.json(content_type=None)
            answer = Answer(response.status, body, dict(response.headers))
        if answer.headers["Content-Type"].startswith("application/problem+json"):
            assert_listed(method, path, answer.problem)
        return answer


def assert_listed(method: str, path: str, problem: str) -> None:
    """Whatever a test provokes: the description says that it may come there."""
    for endpoint in ENDPOINTS:
        pattern = re.sub(r"{\w+}", "[^/]+", endpoint.path)
        if endpoint.method == method and re.fullmatch(pattern, path.partition("?")[0]):
            assert problem in problems_of(endpoint), f"{endpoint.name} does not list {problem}"


def spelt(endpoint: AnyEndpoint, row_id: int) -> str:
    return re.sub(r"{\w+}", str(row_id), endpoint.path)


async def make_key(
    pool: Pool, of: Tenant, permissions: Sequence[str] = PERMISSIONS
) -> tuple[str, ApiKeyId]:
    key = new_key()
    hashed = hash_of(key)
    assert hashed is not None
    async with tenant(pool, of.user_id) as conn:
        granted = dict.fromkeys(permissions, True)
        key_id = await create_api_key(conn, of.user_id, "test", hashed, key[:10], granted)
    return key, key_id


async def make_action(owner: Conn, of: Tenant, **columns: Any) -> tuple[int, ConversationId]:
    """A pending one, of a conversation of its own."""
    contact_id, conversation_id = await make_conversation(owner, of)
    action_id = await owner.fetchval(
        "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details)"
        " VALUES ($1, $2, $3, 'refund', 'of 12 EUR') RETURNING id",
        of.user_id,
        of.chatbot_id,
        contact_id,
    )
    for column, value in columns.items():
        await owner.execute(f"UPDATE actions SET {column} = $2 WHERE id = $1", action_id, value)
    return action_id, conversation_id


async def make_open_conversation(owner: Conn, of: Tenant) -> tuple[ConversationId, MessageId]:
    """The customer wrote a moment ago, and waits."""
    contact_id, conversation_id = await make_conversation(owner, of)
    message_id = await make_message(
        owner,
        of,
        contact_id,
        conversation_id,
        direction="inbound",
        status="received",
        text="hello?",
        wamid=f"wamid.{conversation_id}",
        input_seq=1,
    )
    await owner.execute(
        "UPDATE conversations SET last_inbound_at = now(), input_seq = 1, answered_seq = 1"
        " WHERE id = $1",
        conversation_id,
    )
    return conversation_id, message_id
