"""Counters against the rows that they count (docs/usage.md says which counts which)."""

from dataclasses import dataclass

from db.ids import UserId
from db.pool import Conn, tenant_transaction
from db.sql import load

_SQL = load(__file__)
# What no row stands behind.
UNCOUNTABLE = {("usage_tracking", "api_calls_made"): "no rows are kept of it"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recounted:
    """A counter that is not what its rows say, or, with a `why`, that they cannot tell."""

    period: str  # a day, a month, and of model_usage what else there is a row for
    counter: str
    counted: str
    recounted: str
    why: str | None


@dataclass(frozen=True, slots=True)
class Found:
    user_id: UserId
    table: str
    what: Recounted


async def recount_days(conn: Conn, user_id: UserId) -> list[Recounted]:
    return await _rows(conn, "recount_days", user_id)


async def recount_months(conn: Conn, user_id: UserId) -> list[Recounted]:
    return await _rows(conn, "recount_months", user_id)


async def recount_figures(conn: Conn, user_id: UserId) -> list[Recounted]:
    return await _rows(conn, "recount_figures", user_id)


async def recount_contacts(conn: Conn, user_id: UserId) -> list[Recounted]:
    return await _rows(conn, "recount_contacts", user_id)


async def recount_model_usage(conn: Conn, user_id: UserId) -> list[Recounted]:
    return await _rows(conn, "recount_model_usage", user_id)


async def _rows(conn: Conn, name: str, user_id: UserId) -> list[Recounted]:
    return [Recounted(**row) for row in await conn.fetch(_SQL[name], user_id)]


async def recount(conn: Conn, user_id: UserId) -> list[Found]:
    """All of one tenant's, as they were at one moment: each counter moves in the transaction of
    what it counts, so that they agree at any. Outside of a transaction."""
    found: list[Found] = []
    async with tenant_transaction(conn, user_id, snapshot=True):
        for table, counted in (
            ("usage_tracking", recount_days),
            ("monthly_usage_summary", recount_months),
            ("monthly_usage_summary", recount_figures),
            ("model_usage", recount_model_usage),
            ("contact_counts", recount_contacts),
        ):
            found += [Found(user_id, table, one) for one in await counted(conn, user_id)]
    return found


async def every_tenant(conn: Conn) -> list[UserId]:
    return [row["user_id"] for row in await conn.fetch(_SQL["every_tenant"])]
