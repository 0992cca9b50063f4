"""What tenants name and nobody has proven yet: numbers, their ids, accounts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from db.ids import ChatbotId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)

# 'stale': named anew meanwhile; 'busy': somebody holds it, try again; the last two: another chatbot
# has proven that.
Outcome: TypeAlias = Literal["proven", "stale", "busy", "number", "phone_number_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DueProof:
    user_id: UserId
    chatbot_id: ChatbotId
    proof_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    id: ChatbotId
    claimed_number: str | None
    claimed_phone_number_id: str | None
    claimed_waba_id: str | None
    whatsapp_phone_number: str | None  # proven, as the next
    phone_number_id: str | None
    access_token: str | None  # encrypted
    proof_tries: int
    too_late: bool  # to go on asking


async def numbers_taken(
    conn: Conn, chatbot_id: ChatbotId | None, number: str | None, phone_number_id: str | None
) -> set[Outcome]:
    """Across tenants."""
    rows = await conn.fetch(_SQL["numbers_taken"], chatbot_id, number, phone_number_id)
    return {row["what"] for row in rows}


async def seek_proof(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, patience: timedelta, problem: str | None
) -> None:
    """`problem`: why nobody is asked."""
    await conn.execute(_SQL["seek_proof"], user_id, chatbot_id, patience, problem, problem is None)


async def rest_proof(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> None:
    """Nothing is claimed any more."""
    await conn.execute(_SQL["seek_proof"], user_id, chatbot_id, timedelta(0), None, False)


async def name_numbers(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    number: str | None,
    phone_number_id: str | None,
) -> int:
    """Its proof_seq."""
    seq = await conn.fetchval(_SQL["name_numbers"], user_id, chatbot_id, number, phone_number_id)
    return int(seq)


async def claim_proofs(conn: Conn, limit: int, lease: timedelta) -> list[DueProof]:
    """Across tenants."""
    return [DueProof(**row) for row in await conn.fetch(_SQL["claim_proofs"], limit, lease)]


async def read_claim(conn: Conn, due: DueProof) -> Claim | None:
    """None: it was named anew, or is gone."""
    row = await conn.fetchrow(_SQL["read_claim"], due.user_id, due.chatbot_id, due.proof_seq)
    return Claim(**row) if row else None


async def prove_number(
    conn: Conn, chatbot_id: ChatbotId, proof_seq: int, number: str | None
) -> Outcome:
    """Of the transaction's tenant. `number` is as Graph tells it; None: as it is named."""
    outcome: Outcome = await conn.fetchval(_SQL["prove_number"], chatbot_id, proof_seq, number)
    return outcome


async def prove_account(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, proof_seq: int) -> None:
    await conn.execute(_SQL["prove_account"], user_id, chatbot_id, proof_seq)


async def settle_proof(
    conn: Conn, due: DueProof, problem: str | None, again_in: timedelta | None
) -> None:
    await conn.execute(
        _SQL["settle_proof"], due.user_id, due.chatbot_id, due.proof_seq, problem, again_in
    )


async def unpark(conn: Conn, chatbot_id: ChatbotId, limit: int) -> int:
    """Of the transaction's tenant: how many items are tried again that came for its number before
    it was proven."""
    return int(await conn.fetchval(_SQL["unpark"], chatbot_id, limit))


async def number_confirmed_at(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId
) -> datetime | None:
    since: datetime | None = await conn.fetchval(_SQL["number_confirmed_at"], user_id, chatbot_id)
    return since
