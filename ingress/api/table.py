"""What an endpoint is, and what it gets and answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from db.api_keys import Access
from db.idempotency import Once
from db.ids import ApiKeyId, UserId
from db.pool import Conn
from ingress.api.fields import Field
from ingress.api.problems import Problem

PAGE, PAGE_MAX = 50, 200
LIMIT = Field("limit", "count", "how many a page holds", most=PAGE_MAX, default=PAGE)
AFTER = Field("after", "cursor", "`next` of the page before")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, found valid."""

    user_id: UserId
    key_id: ApiKeyId
    access: Access
    id: int  # of the path; 0 where it has none
    query: dict[str, Any]
    body: dict[str, Any]
    once: Once | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Of a list; `next` is the last id where there may be more."""

    data: list[Any]
    next: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    body: Any
    status: int = 200


Work = Callable[[Conn, Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    method: Literal["GET", "POST"]
    path: str  # below /v1
    permission: str
    summary: str
    work: Work
    answers: type  # the row, or with page=True the rows of a page
    page: bool = False
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()
    creates: bool = False  # answers 201, and knows the Idempotency-Key
    problems: tuple[str, ...] = field(default=())  # beside those that any may have

    @property
    def has_id(self) -> bool:
        return "{id}" in self.path


def there(row: Any) -> Any:
    if row is None:
        raise Problem("not_found", "There is nothing with this id, or it is not yours.")
    return row


def page_of(rows: list[Any], limit: int) -> Answer:
    """One more than asked for was read, to know whether there is a next page."""
    more = len(rows) > limit
    return Answer(Page(rows[:limit], str(rows[limit - 1].id) if more else None))
