"""Pages of rows, bounded by how many and by how much: a row may hold megabytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import asyncpg

R = TypeVar("R")

PAGE_BYTES = 256 * 1024  # of rows as text; the first is there whatever it has


@dataclass(frozen=True, slots=True)
class Listed(Generic[R]):
    rows: list[R]
    more: bool  # there are others after these


def listed(row_of: Callable[..., R], records: Sequence[asyncpg.Record]) -> Listed[R]:
    """The statement says `more` in every record."""
    rows = [dict(record) for record in records]
    more = [bool(row.pop("more")) for row in rows]
    return Listed([row_of(**row) for row in rows], any(more))


class StoredJson(str):
    """JSON as PostgreSQL wrote it: who only hands it on neither reads nor writes it again."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """For the API's description: an object."""
        from pydantic_core import core_schema

        return core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())


class StoredValue(StoredJson):
    """Of a column that may have any JSON, from before somebody saw to it that it is an object."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.any_schema()
