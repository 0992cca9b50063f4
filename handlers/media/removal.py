"""Files that no row names any more are removed."""

from datetime import timedelta

from db.ids import UserId
from db.media import DueFile, due_files, file_to_remove, files_of_tenant, note_removed
from db.pool import Pool, tenant
from handlers.media_store.port import Store
from handlers.process.sweeps import Sweep

FILES_AT_ONCE = 200  # of a look
# A store in which a file comes to be when its writer ends may get one after it was removed here:
# who writes has ended by now.
ONCE_MORE = timedelta(minutes=10)


async def remove_due_files(pool: Pool, store: Store, sweep: Sweep[DueFile]) -> None:
    async def remove(due: DueFile) -> None:
        async with tenant(pool, due.user_id) as conn:
            file = await file_to_remove(conn, due)
        if file is None:  # another worker was here
            return
        await store.remove(file)
        async with tenant(pool, due.user_id) as conn:
            await note_removed(conn, due.user_id, [due.id], ONCE_MORE)

    async with pool.acquire() as conn:
        found = await due_files(conn, sweep.limit(FILES_AT_ONCE))
    await sweep.each(found, remove)


async def remove_files_of(pool: Pool, store: Store, user_id: UserId) -> None:
    """All that are due, before an erasure goes on."""
    while True:
        async with tenant(pool, user_id) as conn:
            found = await files_of_tenant(conn, user_id, FILES_AT_ONCE)
        if not found:
            return
        for one in found:
            await store.remove(one.file)
        async with tenant(pool, user_id) as conn:
            await note_removed(conn, user_id, [one.id for one in found], ONCE_MORE)
