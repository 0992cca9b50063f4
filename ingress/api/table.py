"""What an endpoint is, and what its handler gets and answers.

An endpoint takes a JSON object that is read whole, works in one transaction and answers a row. What
is more than that has its place here. A header that calls of several nouns have is a field of
Endpoint, which the door reads, and a field of Call: so is `once`. What an answer says beside its
row is a field of Answer, and `statuses` lists what it may be. What streams in or out has neither
one body nor one transaction: that is another kind of endpoint, beside this one in the table.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from pydantic import Field

from db.idempotency import Once
from db.ids import UserId
from db.pages import Listed
from db.pool import Conn
from ingress.api.fields import Body, Parameters
from ingress.api.principal import Principal
from ingress.api.problems import not_found

P = TypeVar("P", bound=Parameters)
B = TypeVar("B", bound=Body)
R = TypeVar("R")  # the row that is answered

IDEMPOTENCY_CHARS = 255

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

DONE: Mapping[int, str] = MappingProxyType({200: "done"})
MADE: Mapping[int, str] = MappingProxyType(
    {201: "made", 200: "made before with this Idempotency-Key"}
)


@dataclass(frozen=True, slots=True)
class Call(Generic[P, B]):
    """One request, found valid."""

    principal: Principal
    parameters: P
    body: B
    once: Once | None
    now: datetime

    @property
    def user_id(self) -> UserId:
        return self.principal.user_id


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    body: R
    status: int = 200


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Of a list."""

    data: list[R]
    next: Annotated[str | None, Field(description="`after` of the next page; null: there is none")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[P, B, R]):
    name: str  # operationId: what a generated client calls it, so it stays
    method: Method
    path: str  # below /v1; {names} are fields of `parameters`
    permission: str
    summary: str
    parameters: type[P]
    body: type[B]  # read where the method has one
    answers: type[R]
    work: Callable[[Conn, Call[P, B]], Awaitable[Answer[R]]]
    statuses: Mapping[int, str] = field(default_factory=lambda: DONE)
    once: bool = False  # knows the Idempotency-Key
    problems: tuple[str, ...] = ()  # beside those that any may have

    @property
    def path_names(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    @property
    def has_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH")


AnyEndpoint: TypeAlias = Endpoint[Any, Any, Any]


class Numbered(Protocol):
    @property
    def id(self) -> int: ...


N = TypeVar("N", bound=Numbered)


def there(row: R | None) -> R:
    if row is None:
        raise not_found()
    return row


def page_of(listed: Listed[N]) -> Answer[Page[N]]:
    return Answer(Page(listed.rows, str(listed.rows[-1].id) if listed.more else None))
