"""What has an Idempotency-Key is done once: whoever repeats it gets the first answer.

All in the call's own transaction. The key is held by a lock of it, so that who dies lets go of it
with the connection; the answer is written with what it tells of, so that both are there or neither.
What is refused leaves nothing, and the key free.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from db.idempotency import FirstAnswer, Once, find_answer, hold_key, keep_answer
from db.ids import MessageId, UserId
from db.messages import read_message
from db.pages import StoredJson
from db.pool import Conn
from ingress.api.encoding import kept
from ingress.api.fields import Body, Parameters
from ingress.api.problems import Problem
from ingress.api.table import Answer, AnyEndpoint, Awaited, Call, Elsewhere, there

AGAIN_S = 1


async def done_once(
    conn: Conn, call: Call[Any, Any], work: Callable[[], Awaitable[Answer[Any]]]
) -> Answer[Any]:
    once = call.once
    if once is None:
        return await work()
    before = await first_answer(conn, call.user_id, once)
    if before is not None:
        if before.status is None or before.body is None:
            return await _of_the_release_before(conn, call, before.message_id)
        return Answer(StoredJson(before.body), before.status, before.headers or {})
    answer = await work()
    if isinstance(answer.body, Awaited | Elsewhere):  # kept by who gives it in the end
        return answer
    first = FirstAnswer(
        message_id=answer.message_id,
        contact_id=answer.contact_id,
        status=answer.status,
        headers=dict(answer.headers),
        body=kept(answer.body),
    )
    await keep_answer(conn, call.user_id, once, first)
    return answer


def fingerprint(endpoint: AnyEndpoint, parameters: Parameters, body: Body) -> bytes:
    """Of what was given and understood: spaces make no other request, nor does a field that a
    later release adds."""
    given = [
        endpoint.method,
        endpoint.path,
        parameters.model_dump(mode="json", exclude_unset=True),
        body.model_dump(mode="json", exclude_unset=True),
    ]
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).digest()


async def first_answer(conn: Conn, user_id: UserId, once: Once) -> FirstAnswer | None:
    """None: this request is the first, and holds the key until its transaction ends. Raises what
    another one's is refused with."""
    is_held = await hold_key(conn, user_id, once.key)
    found = await find_answer(conn, user_id, once.key)  # there, though held by who reads it too
    if found is None:
        if not is_held:
            raise _in_hand()
        return None
    request_hash, first = found
    if request_hash != once.request_hash:
        raise Problem(
            "idempotency_key_reused",
            "This Idempotency-Key came with another request before. Take a new one.",
        )
    if first.status is None and first.message_id is None:
        raise _in_hand()
    return first


def _in_hand() -> Problem:
    return Problem(
        "idempotency_in_progress",
        "A request with this Idempotency-Key is in hand. Repeat it in a moment for its answer.",
        headers={"Retry-After": str(AGAIN_S)},
    )


async def _of_the_release_before(
    conn: Conn, call: Call[Any, Any], message_id: MessageId | None
) -> Answer[Any]:
    """It knew messages alone, and kept no answers: the message as it is now."""
    assert message_id is not None, "a constraint of the table"
    return Answer(there(await read_message(conn, call.user_id, message_id)), 201)
