"""Rows whose subject a person decides, and what is owed when an answer rests on one. Pure."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from handlers.agent.prompt import Row

NEEDS_HUMAN: Final = "needs_human"  # their category


def needs_human(row: Row) -> bool:
    return (row.category or "").casefold() == NEEDS_HUMAN


def owed(cited: Collection[int], rows: Iterable[Row], requests: int) -> Row | None:
    """The row of those that an answer cites for which a person is still to be asked: whoever made a
    request in the turn owes none."""
    if requests:
        return None
    return next((row for row in rows if row.id in cited and needs_human(row)), None)


def request_for(row: Row, asked: Sequence[str]) -> dict[str, Any]:
    """As the tool takes it."""
    return {
        "type": row.question,
        "details": " / ".join(asked) or row.question,
        "context": {"kb_id": row.id},
    }
