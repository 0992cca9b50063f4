"""Files with erased people in them: what they sent, exports that were made before, and what was
being imported. Of an erased tenant all."""

from db.exports import clear_erased, erased_files, made_now
from db.ids import UserId
from db.imports import files_in_use
from db.pool import Pool, tenant
from handlers.bulk.files import folder_of as imports_of
from handlers.exports.content import file_key, folder_of
from handlers.media.removal import remove_files_of
from handlers.media_store.port import Store


async def remove_files(pool: Pool, store: Store, user_id: UserId) -> None:
    """Whatever is no export's of today: also what a worker wrote, or half wrote, that died before
    it could say so. Looked for before the rows, so that what begins meanwhile is not among it; and
    the file goes before its row: a row without one is forgotten, a file without a row would
    stay."""
    there = await store.keys_below(folder_of(user_id))
    async with tenant(pool, user_id) as conn:
        erased = await erased_files(conn, user_id)
        kept = {file_key(user_id, *one) for one in await made_now(conn, user_id)}
    for key in {*there, *erased} - kept:
        await store.remove(key)
    await _remove_imports(pool, store, user_id)
    await remove_files_of(pool, store, user_id)
    if erased:
        async with tenant(pool, user_id) as conn:
            await clear_erased(conn, user_id, erased)


async def _remove_imports(pool: Pool, store: Store, user_id: UserId) -> None:
    """Of those that are at their end, or were ended: no worker is at them any more."""
    there = await store.keys_below(imports_of(user_id))
    if there:
        async with tenant(pool, user_id) as conn:
            used = await files_in_use(conn, user_id)
        for key in set(there) - set(used):
            await store.remove(key)
