"""A chatbot that is deleted is in no answer at once, soon in no row, and gets nothing any more."""

from db.deletions import DueDeletion
from db.pool import Conn, Pool
from handlers.deletion.work import step


async def due(owner: Conn) -> list[DueDeletion]:
    rows = await owner.fetch("SELECT user_id, id FROM chatbot_deletions WHERE settled_at IS NULL")
    return [DueDeletion(**row) for row in rows]


async def finish(pool: Pool, owner: Conn) -> int:
    """As the scheduler does it, without the waits. How many transactions it took."""
    steps = 0
    await owner.execute(
        "UPDATE chatbot_deletions SET created_at = created_at - interval '1 minute'"
        " WHERE settled_at IS NULL"
    )
    for one in await due(owner):
        while await owner.fetchval(
            "SELECT settled_at IS NULL FROM chatbot_deletions WHERE id = $1", one.id
        ):
            await step(pool, one)
            steps += 1
    return steps
