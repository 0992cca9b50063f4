"""What the product wrote down about one conversation, as turns.

The tenant API tells the messages, but not how long a turn took, which knowledge it used, what else
happened and whether it is being answered. That is read as the tenant itself, and by what
docs/schema.md says of these tables.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

ROWS_MAX = 120

ANSWERING = """
SELECT lease_owner IS NOT NULL FROM conversations WHERE user_id = $1 AND id = $2
"""
DURATIONS = """
SELECT id, processing_duration::float8 AS seconds
  FROM messages WHERE user_id = $1 AND conversation_id = $2 AND processing_duration IS NOT NULL
 ORDER BY id DESC LIMIT $3
"""
EVENTS = """
SELECT kind, data, settled_at AS at
  FROM conversation_events WHERE user_id = $1 AND conversation_id = $2 ORDER BY id DESC LIMIT $3
"""
KNOWLEDGE = """
SELECT id, category, question, answer FROM bot_knowledge_base
 WHERE user_id = $1 AND id = ANY ($2::bigint[])
"""


class Record:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def of(
        self, user_id: int, conversation: int | None, told: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """`told`: the messages as the API has them, newest first."""
        if conversation is None:
            return {"conversation": None, "answering": False, "turns": []}
        used = {row for m in told for row in (m["metadata"] or {}).get("kb_cited", ())}
        async with self._pool.acquire() as conn, conn.transaction(readonly=True):
            await conn.execute("SELECT set_config('app.user_id', $1, true)", str(user_id))
            answering = await conn.fetchval(ANSWERING, user_id, conversation)
            took = await conn.fetch(DURATIONS, user_id, conversation, ROWS_MAX)
            happened = await conn.fetch(EVENTS, user_id, conversation, ROWS_MAX)
            knowledge = await conn.fetch(KNOWLEDGE, user_id, sorted(used)) if used else []
        durations = {r["id"]: r["seconds"] for r in took}
        messages = [_message(m, durations.get(m["id"])) for m in reversed(told)]
        events = [dict(r) | {"data": json.loads(r["data"])} for r in reversed(happened)]
        return {
            "conversation": conversation,
            "answering": bool(answering),
            "turns": turns(messages, events, {r["id"]: dict(r) for r in knowledge}),
        }


def _message(told: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
    return {
        **told,
        "metadata": told["metadata"] or {},
        "duration": seconds,
        "at": datetime.fromisoformat(told["created_at"]),
    }


def turns(
    messages: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
    knowledge: Mapping[int, dict[str, Any]],
) -> list[dict[str, Any]]:
    """The record, oldest first, as turns, newest first. Pure.

    A reply names the last message that it answers; what came before that one, and was settled with
    it, has the same duration. An event was settled at the moment at which its reply was born."""
    waiting = {m["id"]: m for m in messages if m["direction"] == "inbound"}
    found = []
    for reply in messages:
        if reply["direction"] != "outbound":
            continue
        last = next((m for m in waiting.values() if m["message_id"] == reply["in_reply_to"]), None)
        inputs = [m for m in waiting.values() if last and _with(last, m)]
        for message in inputs:
            del waiting[message["id"]]
        told = [event for event in events if event["at"] == reply["at"]]
        found.append(_turn(inputs, told, reply, knowledge))
    found += [_turn([message], [], None, knowledge) for message in waiting.values()]
    return sorted(found, key=lambda turn: -turn["id"])


def _with(last: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    return bool(message["id"] <= last["id"] and message["duration"] == last["duration"])


def _turn(
    inputs: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
    reply: Mapping[str, Any] | None,
    knowledge: Mapping[int, dict[str, Any]],
) -> dict[str, Any]:
    metadata = reply["metadata"] if reply else {}
    durations = [m["duration"] for m in inputs if m["duration"] is not None]
    reasons = [metadata.get("reason"), *(m["metadata"].get("reason") for m in inputs)]
    return {
        "id": reply["id"] if reply else inputs[0]["id"],
        "inputs": [{"kind": m["message_type"], "text": m["content_text"]} for m in inputs],
        "events": [_told(event["data"]) for event in events],
        "seconds": durations[0] if durations else None,
        "reason": next((reason for reason in reasons if reason), None),
        "open": reply is None and not durations,
        "reply": {
            "text": reply["content_text"],
            "status": reply["status"],
            "kind": "person" if reply["is_from_human"] else metadata.get("kind"),
            "model": metadata.get("model"),
        }
        if reply
        else None,
        "knowledge": [knowledge[row] for row in metadata.get("kb_cited", ()) if row in knowledge],
    }


def _told(data: Mapping[str, Any]) -> str:
    words = [data.get("request_type") or "handed back by a person", data.get("status") or ""]
    return " ".join(str(word).replace("_", " ") for word in words).strip()
