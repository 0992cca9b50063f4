"""A shop with tools of its own, at an endpoint that the simulator plays."""

import json
from typing import Any

from handlers.deliveries.signing import new_secret
from handlers.process.secrets import tool_secret_of
from tests.turn.shop import VAULT, Shop

ENDPOINT = "tools"
BOOK: dict[str, Any] = {
    "type": "object",
    "properties": {"day": {"type": "string"}, "people": {"type": "integer", "minimum": 1}},
    "required": ["day"],
    "additionalProperties": False,
}


async def has_tool(shop: Shop, name: str = "book_table", **columns: Any) -> int:
    """With its secret known to the endpoint."""
    row = {
        "description": "Books a table for the customer.",
        "parameters": BOOK,
        "url": shop.simulator.endpoint_url(ENDPOINT),
        "effect": "once",
        "needs_approval": False,
        "timeout_ms": 1_000,
    } | columns
    tool_id: int = await shop.owner.fetchval(
        "INSERT INTO tools (user_id, chatbot_id, name, description, parameters, url, effect,"
        " needs_approval, timeout_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
        *(shop.tenant.user_id, shop.tenant.chatbot_id, name, row["description"]),
        *(json.dumps(row["parameters"]), row["url"], row["effect"], row["needs_approval"]),
        row["timeout_ms"],
    )
    secret = new_secret()
    sealed = VAULT.encrypt(secret, tool_secret_of(tool_id))
    await shop.owner.execute("UPDATE tools SET secret_token = $2 WHERE id = $1", tool_id, sealed)
    await shop.simulator.endpoint(ENDPOINT, secrets=[secret])
    return tool_id


async def answers(shop: Shop, value: Any, **mode: Any) -> None:
    """The endpoint does, from now on, with JSON."""
    headers = {"Content-Type": "application/json"}
    given = {"mode": "ok", "body": json.dumps(value), "headers": headers} | mode
    await shop.simulator.endpoint(ENDPOINT, **given)


def calls(name: str = "own_book_table", **arguments: Any) -> dict[str, Any]:
    return {"tool_calls": [{"name": name, "arguments": arguments}], "times": 1}


async def ledger(shop: Shop) -> list[dict[str, Any]]:
    rows = await shop.owner.fetch(
        "SELECT id, tool_name, status, error, status_code, result, tries, told, input_seq,"
        " action_id, arguments FROM tool_calls ORDER BY id"
    )
    return [dict(row) | {"arguments": json.loads(row["arguments"])} for row in rows]


async def arrived(shop: Shop) -> list[dict[str, Any]]:
    return await shop.simulator.deliveries(ENDPOINT)
