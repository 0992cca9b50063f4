"""A tenant's questions to their own chatbots (migrations/0060_asks.sql)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from db.conversations import TurnContext
from db.ids import ChatbotId, UserId, WorkerId
from db.model_calls import Calls
from db.pool import Conn, at_commit
from db.sql import load, values

_SQL = load(__file__)


# ---- who asks ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What decides whether one more may be asked."""

    chatbot: bool  # there is this one
    in_force: bool  # a plan is
    open: int  # asks of the tenant that are in hand
    used: int  # test tokens of the day


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAsk:
    chatbot_id: ChatbotId
    question: str
    idempotency_key: str | None
    request_hash: bytes | None
    wait: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    answer: str | None  # JSON
    problem: str | None  # a word
    allowed: int | None  # test tokens a day
    used: int


async def lock_asking(conn: Conn, user_id: UserId) -> None:
    """One at a time of a tenant, until the transaction ends."""
    await conn.execute(_SQL["lock_asking"], user_id)


async def end_expired(conn: Conn, user_id: UserId) -> None:
    await conn.execute(_SQL["end_expired"], user_id)


async def asking(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> Asking | None:
    """None: there is no such tenant."""
    row = await conn.fetchrow(_SQL["asking"], user_id, chatbot_id)
    return Asking(**row) if row else None


async def create_ask(conn: Conn, user_id: UserId, new: NewAsk) -> int:
    return int(await conn.fetchval(_SQL["create_ask"], user_id, *values(new)))


async def asks_over(conn: Conn, ask_ids: Sequence[int]) -> list[int]:
    """Across tenants, and ids only: those that need not be waited for any more."""
    return [row["id"] for row in await conn.fetch(_SQL["asks_over"], ask_ids)]


async def read_outcome(conn: Conn, user_id: UserId, ask_id: int) -> Outcome | None:
    """None: it went with its chatbot."""
    row = await conn.fetchrow(_SQL["read_outcome"], user_id, ask_id)
    return Outcome(**row) if row else None


async def end_waiting(conn: Conn, user_id: UserId, ask_id: int) -> None:
    await conn.execute(_SQL["end_waiting"], user_id, ask_id)


async def withdraw_ask(conn: Conn, user_id: UserId, ask_id: int) -> None:
    await conn.execute(_SQL["withdraw_ask"], user_id, ask_id)


# ---- who answers ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AskClaim:
    user_id: UserId
    id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Taking:
    """How many asks a worker takes."""

    limit: int
    tenant_max: int  # of one tenant's, those under way counted
    term: timedelta  # a worker that has not beaten for so long is dead


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Of the day's test tokens."""

    outcome: str  # 'granted', 'held' (by others), 'reached', 'lost' (the ask)
    granted: int  # or, of what is not, how many there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    chatbot_id: ChatbotId
    usage_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    idempotency_key: str | None
    request_hash: bytes | None


async def claim_asks(
    conn: Conn, worker_id: WorkerId, held: Sequence[int], taking: Taking
) -> list[AskClaim]:
    """Across tenants. `held`: what this worker is at."""
    rows = await conn.fetch(_SQL["claim_asks"], worker_id, held, *values(taking))
    return [AskClaim(**row) for row in rows]


async def read_ask(conn: Conn, claim: AskClaim) -> tuple[str, TurnContext] | None:
    """The question, and what a turn of a conversation with nobody would know. None: it is somebody
    else's, or nobody waits any more."""
    row = await conn.fetchrow(_SQL["read_ask"], *values(claim))
    context = None if row is None else await read_bot(conn, claim.user_id, row["chatbot_id"])
    return None if row is None or context is None else (row["question"], context)


async def read_bot(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> TurnContext | None:
    """As a turn of a conversation with nobody would know it."""
    row = await conn.fetchrow(_SQL["read_bot"], user_id, chatbot_id)
    return TurnContext(**row) if row else None


async def reserve_test_tokens(conn: Conn, claim: AskClaim, least: int, most: int) -> Held:
    """So many in all for this ask."""
    row = await conn.fetchrow(_SQL["reserve_test_tokens"], *values(claim), least, most)
    assert row is not None, "the function always returns a row"
    return Held(**row)


async def bill_ask(conn: Conn, claim: AskClaim) -> Bill | None:
    """None: that is done, or it is gone."""
    row = await conn.fetchrow(_SQL["bill_ask"], *values(claim))
    return Bill(**row) if row else None


def count_test_calls(
    conn: Conn, user_id: UserId, bill: Bill, of: Calls, kind: Literal["ask", "eval"] = "ask"
) -> None:
    """With the COMMIT."""
    model = f"convert_from(decode('{of.model.encode().hex()}', 'hex'), 'UTF8')"
    at_commit(
        conn,
        f"SELECT count_test_calls({user_id:d}, {bill.chatbot_id:d}, '{bill.usage_day}', '{kind}',"
        f" {model}, {of.calls:d}, {of.input_tokens:d}, {of.cached_tokens:d}, {of.output_tokens:d})",
    )


async def let_go(conn: Conn, claim: AskClaim) -> None:
    """Of what it holds: spent by now, or given back."""
    await conn.execute(_SQL["let_go"], *values(claim))


async def put_back(conn: Conn, claim: AskClaim) -> None:
    """For another try."""
    await conn.execute(_SQL["put_back"], *values(claim))


async def settle_ask(
    conn: Conn, claim: AskClaim, answer: str | None, problem: str | None
) -> Settled | None:
    """With one of both. None: it is somebody else's, or nobody waits any more."""
    row = await conn.fetchrow(_SQL["settle_ask"], *values(claim), answer, problem)
    return Settled(**row) if row else None


async def keep_answer(conn: Conn, user_id: UserId, settled: Settled, answer: str) -> None:
    """For its Idempotency-Key, whose first answer this is."""
    await conn.execute(_SQL["keep_answer"], user_id, *values(settled), answer)


async def forget_asks(conn: Conn, after: timedelta, limit: int) -> int:
    return int(await conn.fetchval(_SQL["forget_asks"], after, limit))
