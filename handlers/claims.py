"""Claims are proven: the chatbot's own token is tried with what its tenant named.

Nothing is held while Graph is asked. What it says counts for the claim as it was asked about
(`proof_seq`); who names something else meanwhile, or gives another token, is asked for anew.
"""

import asyncio
import random
from datetime import timedelta

import structlog

from db.claims import (
    Claim,
    DueProof,
    claim_proofs,
    prove_account,
    prove_number,
    read_claim,
    settle_proof,
)
from db.pool import Conn, Pool, tenant
from handlers.ingest.unparking import unpark_all
from handlers.process.secrets import Undecryptable, Vault, access_token_of
from handlers.process.sweeps import Sweep
from handlers.rules.claims import (
    AWAY,
    TAKEN,
    UNREADABLE,
    Away,
    Denied,
    Look,
    Told,
    account_problem,
    again,
    number_problem,
    told_number,
)
from handlers.whatsapp.cloud_api.graph_api import GraphApi

log: structlog.stdlib.BoundLogger = structlog.get_logger()

AT_ONCE = 20  # that a worker asks about
LEASE = timedelta(seconds=8)  # longer than both looks take; then another worker asks
NUMBER_FIELDS = "id,display_phone_number"


async def prove_due(pool: Pool, graph: GraphApi, vault: Vault, sweep: Sweep[DueProof]) -> None:
    """All that are due at this moment."""

    async def prove(due: DueProof) -> None:
        await prove_one(pool, graph, vault, due)

    while True:
        async with pool.acquire() as conn:
            claims = await claim_proofs(conn, AT_ONCE, LEASE)
        async with asyncio.TaskGroup() as group:
            for due in claims:
                group.create_task(sweep.each([due], prove))
        if len(claims) < AT_ONCE:
            return


async def prove_one(pool: Pool, graph: GraphApi, vault: Vault, due: DueProof) -> None:
    async with tenant(pool, due.user_id) as conn:
        claim = await read_claim(conn, due)
        if claim is None:
            return
        token = _token(vault, claim)
        if token is None:
            await settle_proof(conn, due, UNREADABLE, None)
            return
    number, account = await asyncio.gather(
        _look_at_number(graph, token, claim), _look_at_account(graph, token, claim)
    )
    async with tenant(pool, due.user_id) as conn:
        told, again_in = await _settled(conn, due, claim, number, account)
        # Who dies before all that waited is brought up is followed by another look.
        await settle_proof(conn, due, told, again_in or LEASE)
    await unpark_all(pool, due.user_id, due.chatbot_id)
    if again_in is None:
        async with tenant(pool, due.user_id) as conn:
            await settle_proof(conn, due, told, None)


def _token(vault: Vault, claim: Claim) -> str | None:
    """Its own. The installation's proves nothing."""
    if claim.access_token is None:
        return None
    try:
        return vault.decrypt(claim.access_token, access_token_of(claim.id))
    except Undecryptable as error:
        log.error("credential.undecryptable", chatbot_id=claim.id, reason=str(error))
        return None


async def _look_at_number(graph: GraphApi, token: str, claim: Claim) -> Look | None:
    """None: nothing of it is claimed."""
    wanted = claim.claimed_phone_number_id or claim.phone_number_id
    if claim.claimed_number is None and claim.claimed_phone_number_id is None:
        return None
    if wanted is None:
        return Denied("give phone_number_id as well")
    return await graph.look(wanted, token, NUMBER_FIELDS, "phone_number_id")


async def _look_at_account(graph: GraphApi, token: str, claim: Claim) -> Look | None:
    if claim.claimed_waba_id is None:
        return None
    return await graph.look(claim.claimed_waba_id, token, "id", "waba_id")


async def _settled(
    conn: Conn, due: DueProof, claim: Claim, number: Look | None, account: Look | None
) -> tuple[str | None, timedelta | None]:
    """What the tenant is told, and after which time it is looked at again."""
    busy, problem = await _number_settled(conn, due, claim, number)
    problems = [problem, await _account_settled(conn, due, claim, account)]
    away = busy or Away in (type(number), type(account))
    if away and claim.too_late:
        problems.append(AWAY)
        away = False
    told = "; ".join(filter(None, problems)) or None
    log.info(
        "claim.looked_at",
        user_id=due.user_id,
        chatbot_id=due.chatbot_id,
        proven=told is None and not away,
        away=away,
    )
    return told, again(claim.proof_tries, random.random()) if away else None


async def _number_settled(
    conn: Conn, due: DueProof, claim: Claim, look: Look | None
) -> tuple[bool, str | None]:
    """Whether it has to be tried again, and what is wrong with it."""
    if isinstance(look, Denied):
        return False, look.why
    if not isinstance(look, Told):
        return False, None
    wanted = claim.claimed_phone_number_id or claim.phone_number_id or ""
    problem = number_problem(look, wanted, claim.claimed_number or claim.whatsapp_phone_number)
    if problem is not None:
        return False, problem
    outcome = await prove_number(conn, due.chatbot_id, due.proof_seq, told_number(look))
    return outcome == "busy", TAKEN.get(outcome)


async def _account_settled(
    conn: Conn, due: DueProof, claim: Claim, look: Look | None
) -> str | None:
    if isinstance(look, Denied):
        return look.why
    if not isinstance(look, Told):
        return None
    problem = account_problem(look, claim.claimed_waba_id or "")
    if problem is None:
        await prove_account(conn, due.user_id, due.chatbot_id, due.proof_seq)
    return problem
