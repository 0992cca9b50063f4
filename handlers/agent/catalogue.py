"""What a tenant sells, as it is searched: kept by the process for as long as it is current.

The index has names, skus and descriptions. Prices and stock are read when they are told."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from weakref import WeakValueDictionary

from db.ids import ProductId, UserId
from db.pool import Pool, tenant
from db.products import Searched, catalogue_version, searched_products
from handlers.agent.knowledge import INLINE_ROWS, asked
from handlers.agent.retrieval import Index, index_of
from handlers.rules.products import EVERYTHING

SEARCHED_MAX = 5_000  # products of a tenant, the newest; any other is found by its sku
KEPT_BYTES = 64 * 1024 * 1024  # of all tenants' indexes in a process
ROW_BYTES = 400  # of a product besides the index: its id and places


@dataclass(frozen=True, slots=True)
class Catalogue:
    version: int
    ids: tuple[ProductId, ...]
    index: Index

    @property
    def nbytes(self) -> int:
        return self.index.nbytes + ROW_BYTES * (1 + len(self.ids))

    async def search(self, query: str, limit: int) -> list[ProductId]:
        """Best first; of everything the newest."""
        if query.strip() == EVERYTHING:
            return list(self.ids[:limit])
        if len(self.ids) <= INLINE_ROWS:
            hits = self.index.search(asked(query), limit)
        else:
            hits = await asyncio.to_thread(self.index.search, asked(query), limit)
        return [self.ids[hit.place] for hit in hits]


class Catalogues:
    """Of the tenants that were asked last; one for the process."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[UserId, Catalogue] = OrderedDict()
        self._loading: WeakValueDictionary[UserId, asyncio.Lock] = WeakValueDictionary()

    async def of(self, pool: Pool, user_id: UserId, version: int) -> Catalogue:
        """Of this version, or a later one that came meanwhile."""
        lock = self._loading.setdefault(user_id, asyncio.Lock())
        async with lock:  # a hundred turns that miss together load once
            kept = self._kept.get(user_id)
            if kept is None or kept.version < version:
                kept = await _loaded(pool, user_id)
                self._kept[user_id] = kept
            self._kept.move_to_end(user_id)
            self._make_room()
            return kept

    def _make_room(self) -> None:
        used = sum(one.nbytes for one in self._kept.values())
        while used > self._kept_bytes and len(self._kept) > 1:
            used -= self._kept.popitem(last=False)[1].nbytes


async def _loaded(pool: Pool, user_id: UserId) -> Catalogue:
    async with tenant(pool, user_id) as conn:
        version = await catalogue_version(conn, user_id)  # first: what comes after it is newer
        rows = await searched_products(conn, user_id, SEARCHED_MAX)
    if len(rows) <= INLINE_ROWS:
        index = _indexed(rows)
    else:
        index = await asyncio.to_thread(_indexed, rows)
    return Catalogue(version, tuple(row.id for row in rows), index)


def _indexed(rows: list[Searched]) -> Index:
    """The name counts twice: it is what customers say."""
    return index_of(f"{row.name} {row.name} {row.sku} {row.description or ''}" for row in rows)
