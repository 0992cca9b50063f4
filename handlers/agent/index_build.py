"""`python -m handlers.agent.index_build`: makes the index of one knowledge base and stores it.

A process of its own, at a low priority: Python's interpreter belongs to one thread at a time,
and a worker that built an index in a thread let everybody wait for seconds. It ends when whoever
started it does, by the end of its standard input.
"""

import asyncio
import os
import sys
import threading

from db.ids import ChatbotId, UserId, WorkerId
from db.knowledge import (
    Build,
    finish_build,
    forget_changes,
    forget_index,
    lock_base,
    rows_to_build,
    store_part,
    version_to_build,
)
from db.pool import Conn, connect_runtime, tenant_transaction
from handlers.agent.building import Builder, TooBig, pieces
from handlers.agent.knowledge import indexed_text
from handlers.agent.segment import Segment

PART_BYTES = 1024 * 1024
NICE = 5
STORED, LOST, TOO_BIG = 0, 3, 4  # exit codes


async def build_index(
    conn: Conn, build: Build, worker_id: WorkerId, most_bytes: int | None = None
) -> int:
    """An exit code. Raises whatever the database does."""
    try:
        version, segment = await _segment(conn, build, most_bytes)
        async with tenant_transaction(conn, build.user_id):
            await _store(conn, build, version, segment, worker_id)
    except TooBig:
        return TOO_BIG
    except _Lost:
        return LOST
    return STORED


class _Lost(Exception):
    """Another worker has the claim by now, or there is no such chatbot: nothing is written."""


async def _segment(conn: Conn, build: Build, most_bytes: int | None) -> tuple[int, Segment]:
    builder = Builder(most_bytes)
    async with tenant_transaction(conn, build.user_id, snapshot=True):
        version = await version_to_build(conn, build.user_id, build.chatbot_id)
        if version is None:
            raise _Lost
        async for rows in rows_to_build(conn, build.user_id, build.chatbot_id):
            builder.add(
                (row.id, indexed_text(row.question, row.alternatives, row.answer)) for row in rows
            )
    return version, builder.segment()


async def _store(
    conn: Conn, build: Build, version: int, segment: Segment, worker_id: WorkerId
) -> None:
    """In the place of the one before; who reads that meanwhile reads it to its end."""
    of = (build.user_id, build.chatbot_id)
    await forget_index(conn, *of)
    for part, data in enumerate(pieces(segment, PART_BYTES)):
        await store_part(conn, *of, version, part, data)
    await lock_base(conn, *of)
    await forget_changes(conn, *of, version)
    if not await finish_build(conn, *of, version, worker_id):
        raise _Lost


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: a thread in its lock cannot be ended
        pass
    os._exit(1)


async def _main(user: str, chatbot: str, worker: str, most_bytes: str) -> int:
    conn = await connect_runtime(os.environ["DATABASE_URL"], "swiftreplies index")
    try:
        build = Build(user_id=UserId(int(user)), chatbot_id=ChatbotId(int(chatbot)))
        return await build_index(conn, build, WorkerId(int(worker)), int(most_bytes))
    finally:
        conn.terminate()


if __name__ == "__main__":
    os.nice(NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(asyncio.run(_main(*sys.argv[1:])))
