"""A knowledge base is embedded, some rows at a time: what is stored is stored, whoever goes on.

A row that the model refuses is noted as such, and keeps no other from its vector; a row that is
edited meanwhile is due again. An outage ends the try, and the next comes later: also one in which
the server refuses whatever it is sent, for which no row is to blame.
"""

import time
from collections.abc import Sequence
from datetime import timedelta

import structlog

from db.embeddings import (
    Embedded,
    EmbeddingClaim,
    RowToEmbed,
    claim_embedding,
    count_embedding_calls,
    finish_embedding,
    leave_embedding,
    rows_to_embed,
    store_vectors,
    version_to_embed,
)
from db.ids import WorkerId
from db.pool import Pool, tenant
from handlers.agent.embedding import PLAIN_TEXT, Embedder, NotEmbedded, TextRefused
from handlers.agent.vectors import stored
from handlers.process import telemetry
from handlers.rules.cutting import head

log: structlog.stdlib.BoundLogger = structlog.get_logger()

ROWS_AT_ONCE = 64  # of a request
TEXT_UNITS = 4_000  # of a row: servers refuse beyond 8,192 tokens
SLICE_S = 10.0  # of one base, before another has its turn
ROWS_MAX = 50_000  # of a chatbot; what is beyond is found by words
AGAIN = timedelta(seconds=2)


class Lost(Exception):
    """The claim is somebody else's, or the chatbot wants no vectors any more."""


async def embed_one(pool: Pool, embedder: Embedder, worker_id: WorkerId, term: timedelta) -> bool:
    """A slice of the next base that is due. False: there is none."""
    async with pool.acquire() as conn:
        claim = await claim_embedding(conn, worker_id, term, embedder.model)
    if claim is None:
        return False
    wait: timedelta | None = AGAIN
    try:
        await _embed(pool, embedder, worker_id, claim)
        wait = None
    except Lost:
        wait = None
    except NotEmbedded as error:
        wait = max(AGAIN, timedelta(seconds=error.retry_after_s or 0))
        telemetry.KNOWLEDGE_EMBEDDED.labels("failed").inc()
        log.warning("knowledge.not_embedded", chatbot_id=claim.chatbot_id, why=str(error))
    finally:
        async with tenant(pool, claim.user_id) as conn:
            await leave_embedding(conn, claim, worker_id, wait)
    return True


async def _embed(
    pool: Pool, embedder: Embedder, worker_id: WorkerId, claim: EmbeddingClaim
) -> None:
    until, after = time.monotonic() + SLICE_S, 0
    async with tenant(pool, claim.user_id) as conn:
        work = await version_to_embed(conn, claim.user_id, claim.chatbot_id, embedder.model)
    if work is None:
        raise Lost
    room = ROWS_MAX - work.embedded
    while True:
        most = min(ROWS_AT_ONCE, room)
        async with tenant(pool, claim.user_id) as conn:
            rows = await rows_to_embed(conn, claim, embedder.model, after, most) if most > 0 else []
            if not rows:
                await finish_embedding(conn, claim, worker_id, work.version, embedder.model)
                return
        await _store(pool, embedder, worker_id, claim, rows)
        after, room = rows[-1].id, room - len(rows)
        if time.monotonic() > until:
            return


async def _store(
    pool: Pool,
    embedder: Embedder,
    worker_id: WorkerId,
    claim: EmbeddingClaim,
    rows: Sequence[RowToEmbed],
) -> None:
    """Of a batch that is refused each half by itself, down to the row that is."""
    try:
        found = await embedder.embed([text_of(row) for row in rows])
    except TextRefused:
        if len(rows) > 1:
            middle = len(rows) // 2
            for half in (rows[:middle], rows[middle:]):
                await _store(pool, embedder, worker_id, claim, half)
            return
        vectors: list[bytes | None] = [None]
        spent = (embedder.model, 2, await _tokens_of_proof(embedder))
        log.warning("knowledge.row_refused", chatbot_id=claim.chatbot_id, row_id=rows[0].id)
    else:
        vectors = [stored(vector) for vector in found.vectors]
        spent = (embedder.model, 1, found.tokens)
    new = [
        Embedded(row_id=row.id, text_hash=row.text_hash, vector=vector)
        for row, vector in zip(rows, vectors, strict=True)
    ]
    async with tenant(pool, claim.user_id) as conn:
        kept = await store_vectors(conn, claim, worker_id, embedder.model, new)
        count_embedding_calls(conn, claim.user_id, claim.chatbot_id, spent)  # paid in any case
    if not kept:
        raise Lost
    for vector in vectors:
        telemetry.KNOWLEDGE_EMBEDDED.labels("stored" if vector else "refused").inc()


async def _tokens_of_proof(embedder: Embedder) -> int:
    """That the server takes another text. Raises NotEmbedded when it takes none, as one does that
    has no such model: its rows would be refused one by one, and not be looked at again."""
    try:
        return (await embedder.embed([PLAIN_TEXT])).tokens
    except TextRefused as refused:
        raise NotEmbedded("refuses_everything", refused.retry_after_s) from refused


def text_of(row: RowToEmbed) -> str:
    return head("\n".join((row.question, *row.alternatives, row.answer)), TEXT_UNITS)
