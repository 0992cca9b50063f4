"""What the product wrote down about one conversation. Reads only, as the tenant itself.

The tenant API tells most of it, but neither how long a turn took nor which rows it used: this page
is for those who want to look behind.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

ROWS_MAX = 120

CONVERSATION = """
SELECT v.id, v.input_seq, v.answered_seq, v.lease_owner IS NOT NULL AS answering
  FROM conversations v JOIN contacts c ON c.user_id = $1 AND c.id = v.contact_id
 WHERE v.user_id = $1 AND v.chatbot_id = $2 AND (c.phone_number = $3 OR c.bsuid = $4)
 ORDER BY c.bsuid IS NOT DISTINCT FROM $4 DESC, v.id DESC LIMIT 1
"""
MESSAGES = """
SELECT id, message_id, direction, message_type, content_text, status, ai_processed, in_reply_to,
       processing_duration::float8 AS duration, metadata, is_from_human,
       extract(epoch FROM created_at)::float8 AS at
  FROM messages WHERE user_id = $1 AND conversation_id = $2 ORDER BY id DESC LIMIT $3
"""
KNOWLEDGE = """
SELECT id, category, question, answer FROM bot_knowledge_base
 WHERE user_id = $1 AND id = ANY ($2::bigint[])
"""


EVENTS = """
SELECT kind, data, settled_at, extract(epoch FROM settled_at)::float8 AS at
  FROM conversation_events WHERE user_id = $1 AND conversation_id = $2 ORDER BY id DESC LIMIT $3
"""


class Record:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def of(self, user_id: int, chatbot_id: int, number: str, bsuid: str) -> dict[str, Any]:
        async with self._pool.acquire() as conn, conn.transaction(readonly=True):
            await conn.execute("SELECT set_config('app.user_id', $1, true)", str(user_id))
            found = await conn.fetchrow(CONVERSATION, user_id, chatbot_id, number, bsuid)
            if found is None:
                return {"conversation": None, "answering": False, "turns": []}
            rows = await conn.fetch(MESSAGES, user_id, found["id"], ROWS_MAX)
            happened = await conn.fetch(EVENTS, user_id, found["id"], ROWS_MAX)
            messages = [dict(r) | {"metadata": json.loads(r["metadata"] or "{}")} for r in rows]
            events = [dict(r) | {"data": json.loads(r["data"])} for r in happened]
            used = {row for m in messages for row in m["metadata"].get("kb_ids", ())}
            knowledge = await conn.fetch(KNOWLEDGE, user_id, sorted(used)) if used else []
        return {
            "conversation": found["id"],
            "answering": found["answering"],
            "turns": turns(messages[::-1], events[::-1], {r["id"]: dict(r) for r in knowledge}),
        }


def turns(
    messages: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
    knowledge: Mapping[int, dict[str, Any]],
) -> list[dict[str, Any]]:
    """The record, oldest first, as turns, newest first. Pure.

    A reply names the last message that it answers; what was settled with that one has the same
    duration to the millisecond. An event is settled in the transaction that queues the reply."""
    waiting = {m["id"]: m for m in messages if m["direction"] == "inbound"}
    found = []
    for reply in messages:
        if reply["direction"] != "outbound":
            continue
        last = next((m for m in waiting.values() if m["message_id"] == reply["in_reply_to"]), None)
        inputs = [m for m in waiting.values() if last and m["duration"] == last["duration"]]
        for message in inputs:
            del waiting[message["id"]]
        told = [event for event in events if event["at"] == reply["at"]]
        found.append(_turn(inputs, told, reply, knowledge))
    found += [_turn([message], [], None, knowledge) for message in waiting.values()]
    return sorted(found, key=lambda turn: -turn["id"])


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
        "knowledge": [knowledge[row] for row in metadata.get("kb_ids", ()) if row in knowledge],
    }


def _told(data: Mapping[str, Any]) -> str:
    words = [data.get("request_type") or "handed back by a person", data.get("status") or ""]
    return " ".join(str(word).replace("_", " ") for word in words).strip()
