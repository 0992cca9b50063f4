"""What tokens cost: the operator's prices, which are no tenant's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from db.ids import UserId
from db.pool import Conn
from db.sql import columns, load

_SQL = load(__file__)
ANY_KIND = "*"  # every kind without a price of its own
KINDS = ("turn", "ask", "eval", "embedding", "transcription")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """For a million tokens, in the operator's currency."""

    model: str
    kind: str
    valid_from: date
    input_price: Decimal
    cached_price: Decimal
    output_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a model costs now, for a million tokens."""

    input_price: Decimal
    cached_price: Decimal
    output_price: Decimal


async def rates(conn: Conn, user_id: UserId, models: Sequence[str], kind: str) -> dict[str, Rate]:
    """On the tenant's day; of those that have a price."""
    rows = await conn.fetch(_SQL["rates"], user_id, models, kind)
    return {
        row["model"]: Rate(
            input_price=row["input_price"],
            cached_price=row["cached_price"],
            output_price=row["output_price"],
        )
        for row in rows
    }


async def import_prices(conn: Conn, prices: Sequence[Price]) -> list[bool]:
    """Which of them are new; the others take the place of one."""
    rows = await conn.fetch(_SQL["import_prices"], *columns(Price, prices))
    return [row["inserted"] for row in rows]
