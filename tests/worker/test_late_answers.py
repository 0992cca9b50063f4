"""A worker that was taken for dead in the middle of a call hears of the call's end in the end."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from db.ids import MessageId, Wamid, WorkerId
from db.pool import Conn, Pool
from db.sends import Pace, SendClaim, claim_sends
from db.status_fence import move_fence
from db.workers import sweep_dead_workers
from handlers.process.secrets import Vault
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from handlers.whatsapp.port import Accepted, Outcome, Refused, Unknown
from tests.factories import make_conversation, make_message, make_tenant

FIRST, SECOND, THIRD = WorkerId(1), WorkerId(2), WorkerId(3)
WAIT = timedelta(minutes=1)
PACE = Pace(every=timedelta(seconds=6), burst=30)
TOKENS = Tokens(Vault(("a key of the tests",)), "a token")
ERROR = {"code": 131016, "title": None, "details": None}


class Meta:
    """Calls that are answered when the test says so."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[asyncio.Future[Outcome]] = asyncio.Queue()

    async def send(
        self, phone_number_id: str, token: str, body: dict[str, Any], *, marketing: bool = False
    ) -> Outcome:
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.calls.put_nowait(answer)
        return await answer


async def claimed(pool: Pool, worker: WorkerId) -> list[SendClaim]:
    async with pool.acquire() as conn:
        return await claim_sends(conn, worker, 10, 10, PACE, timedelta(hours=24))


async def state(owner: Conn, message_id: MessageId) -> tuple[Any, ...]:
    row = await owner.fetchrow(
        "SELECT status, send_attempts, send_owner, message_id FROM messages WHERE id = $1",
        message_id,
    )
    return tuple(row or ())


@pytest.mark.parametrize(
    "late",
    [Refused("transient", ERROR), Refused("refused", ERROR), Unknown("TimeoutError")],
    ids=["refused for a while", "refused for good", "no answer"],
)
async def test_it_says_nothing_of_the_send_that_followed(
    pool: Pool, owner: Conn, late: Outcome
) -> None:
    """Else the second send, which is under way, would be repeated, given up or waited for."""
    user = await make_tenant(owner)
    message = await make_message(owner, user, *await make_conversation(owner, user))
    meta = Meta()
    sender = Sender(pool, cast("GraphApi", meta), TOKENS)

    (claim,) = await claimed(pool, FIRST)
    first = asyncio.create_task(sender.send(FIRST, claim))
    first_call = await meta.calls.get()
    async with pool.acquire() as conn:
        await sweep_dead_workers(conn, timedelta(seconds=4))  # none of them ever beat
    await owner.execute("UPDATE messages SET unknown_at = unknown_at - interval '1 h'")
    await move_fence(owner, await owner.fetchval("SELECT now()"), timedelta(minutes=5))
    await sender.settle_unknown(claim, WAIT)
    (again,) = await claimed(pool, SECOND)
    second = asyncio.create_task(sender.send(SECOND, again))
    second_call = await meta.calls.get()

    first_call.set_result(late)
    await first
    assert await state(owner, message) == ("sending", 2, SECOND, None)
    await owner.execute("UPDATE messages SET send_after = NULL")
    assert await claimed(pool, THIRD) == []
    second_call.set_result(Accepted(Wamid("w.second")))
    await second
    assert await state(owner, message) == ("accepted", 2, None, "w.second")


async def test_that_meta_took_it_counts_whichever_send_it_was(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    message = await make_message(owner, user, *await make_conversation(owner, user))
    meta = Meta()
    sender = Sender(pool, cast("GraphApi", meta), TOKENS)
    (claim,) = await claimed(pool, FIRST)
    first = asyncio.create_task(sender.send(FIRST, claim))
    call = await meta.calls.get()
    async with pool.acquire() as conn:
        await sweep_dead_workers(conn, timedelta(seconds=4))
    await owner.execute("UPDATE messages SET unknown_at = unknown_at - interval '1 h'")
    await move_fence(owner, await owner.fetchval("SELECT now()"), timedelta(minutes=5))
    await sender.settle_unknown(claim, WAIT)
    call.set_result(Accepted(Wamid("w.first")))
    await first
    assert await state(owner, message) == ("accepted", 1, None, "w.first")
    assert await claimed(pool, SECOND) == []
