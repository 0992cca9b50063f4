"""What an endpoint is, and what its handler gets and answers.

An endpoint takes a JSON object that is read whole, works in one transaction and answers a row. What
is more than that has its place here. A header that calls of several nouns have is a field of
Endpoint, which the door reads, and a field of Call. What an answer says beside its row is a field
of Answer, and `statuses` lists what it may be. A StoredFile is streamed when the transaction is
over; what is Awaited comes from a worker, then too, and what is Elsewhere from who is asked then.
What streams has neither one body nor one transaction: an Intake takes a file of any length, an
Outflow gives one and an Upload takes one beside fields. Their `work` is the transaction before: may
they, and of what; the rest is ingress/api/streams.py and uploads.py.

For whoever adds a noun:

- A POST that makes something is `once=True`: it knows the Idempotency-Key, `ingress/api/once.py`
  does the rest. A member that is shown this one time has SHOWN_ONCE in its field's metadata: it is
  in the first answer and not in what is kept of it. Where the answer has a customer's text, say
  what it goes with (`Answer.message_id`, `Answer.contact_id`).
- What can be changed is `versioned=True`, and its table has a `version` that every change raises.
  Each answer with the row has `version=`, which is its ETag. PATCH, PUT, DELETE, and POST
  that is not `once`, then know If-Match: lock the row, and `call.expect(version)` before anything
  is changed.
- PATCH is a JSON merge patch (RFC 7396). Its body's fields are `= unless_given()` and have null
  only where the row may have none; `call.body.given()` is what was given. An object within the row
  is merged by the noun.
- DELETE answers GONE.
- What takes longer than a request makes a job, and its answer is `begun(body, job)`; its statuses
  are BEGUN.
- A problem of its own has its place in PROBLEMS, its further members in `problem_schemas.MEMBERS`.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from pydantic import Field

from db.idempotency import Once
from db.ids import ChatbotId, ContactId, MessageId, UserId
from db.pages import Listed
from db.pool import Conn
from handlers.bulk.nouns import What
from handlers.outbound.addresses import Allow
from handlers.plans import Feature, Permission
from handlers.process.secrets import Vault
from handlers.templates.account import Meta
from ingress.api.fields import Body, Parameters
from ingress.api.preconditions import IfMatch, etag, precondition_failed
from ingress.api.principal import Principal
from ingress.api.problems import not_found

P = TypeVar("P", bound=Parameters)
B = TypeVar("B", bound=Body)
R = TypeVar("R")  # the row that is answered
S = TypeVar("S")  # what somebody else said

IDEMPOTENCY_CHARS = 255
ASK_WAIT = timedelta(seconds=60)

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

DONE: Mapping[int, str] = MappingProxyType({200: "done"})
MADE: Mapping[int, str] = MappingProxyType(
    {201: "made; or made before with this Idempotency-Key, then this is the first answer"}
)
ACCEPTED: Mapping[int, str] = MappingProxyType({202: "taken on: it is done in a moment"})
BEGUN: Mapping[int, str] = MappingProxyType(
    {202: "begun, `Location` is its job; or begun before with this Idempotency-Key"}
)
DELETED: Mapping[int, str] = MappingProxyType({204: "gone"})
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Installation:
    """What a handler needs to know of where it runs."""

    vault: Vault
    outbound: Allow
    ask_wait: timedelta = ASK_WAIT  # for a worker's answer
    meta: Meta | None = None  # None: nobody asks it from here


@dataclass(frozen=True, slots=True)
class Call(Generic[P, B]):
    """One request, found valid."""

    principal: Principal
    parameters: P
    body: B
    once: Once | None
    if_match: IfMatch | None
    now: datetime
    here: Installation

    @property
    def user_id(self) -> UserId:
        return self.principal.user_id

    def expect(self, version: int) -> None:
        """Raises when the client wants to change another version than this one."""
        if self.if_match is not None and not self.if_match.admits(version):
            raise precondition_failed(version)


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    body: R
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    message_id: MessageId | None = None  # whose text it has: what is kept of it goes with that
    contact_id: ContactId | None = None  # whom it shows: likewise


@dataclass(frozen=True, slots=True)
class Nothing:
    """An answer without a body."""


GONE = Answer(Nothing(), 204)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Streamed from the media store, after the transaction."""

    key: str
    name: str
    bytes: int
    content_type: str = "application/zip"


@dataclass(frozen=True, slots=True)
class Awaited:
    """A worker gives the answer, after the transaction and with nothing held. It also keeps it for
    the Idempotency-Key, which is noted with what it answers."""

    ask_id: int


@dataclass(frozen=True, slots=True)
class Elsewhere(Generic[S, R]):
    """Somebody else is asked after the transaction, with nothing held; `finish` is another one, of
    the same tenant, in which nothing of before is certain any more. It raises what is refused."""

    ask: Callable[[], Awaitable[S]]
    finish: Callable[[Conn, S], Awaitable[Answer[R]]]
    call: Call[Any, Any]


def begun(body: R, job_id: int) -> Answer[R]:
    return Answer(body, 202, {"Location": f"/v1/jobs/{job_id}"})


def versioned(
    body: R, version: int, status: int = 200, *, contact_id: ContactId | None = None
) -> Answer[R]:
    return Answer(body, status, {"ETag": etag(version)}, contact_id=contact_id)


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
    permission: str | None  # None: any key may call it, and is shown what it may read
    summary: str
    parameters: type[P]
    body: type[B]  # read where the method has one
    answers: type[R]
    work: Callable[
        [Conn, Call[P, B]],
        Awaitable[Answer[R] | Answer[Awaited] | Answer[Elsewhere[Any, R]]],
    ]
    statuses: Mapping[int, str] = field(default_factory=lambda: DONE)
    features: tuple[Feature | Permission, ...] = ()  # that the plan has to allow
    once: bool = False  # knows the Idempotency-Key
    versioned: bool = False  # what it answers or changes has an ETag
    problems: tuple[str, ...] = ()  # beside those that any may have
    file_types: tuple[str, ...] = ("application/zip",)  # of a StoredFile
    example: Mapping[str, Any] | None = None  # of its body; None: one is made of the schema

    @property
    def path_names(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    @property
    def has_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH")

    @property
    def conditional(self) -> bool:
        """Knows If-Match: it changes something, and makes nothing."""
        return self.versioned and self.method != "GET" and not self.once

    @property
    def begins_job(self) -> bool:
        return self.statuses is BEGUN

    @property
    def takes(self) -> tuple[str, ...]:
        """Content types."""
        return (MERGE_PATCH, JSON) if self.method == "PATCH" else (JSON,)


CSV, JSONL = "text/csv", "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Rows:
    """What a file has, or is to have, rows of."""

    what: What
    chatbot_id: ChatbotId | None
    format: Literal["csv", "jsonl"] | None = None  # of an Outflow; None: by Accept


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake(Endpoint[P, B, R]):
    """A file comes in; it is a job that the request waits for. `later`: its answer when that takes
    longer."""

    later: type
    documents: tuple[str, ...] = ()  # types of files that are no rows yet

    @property
    def takes(self) -> tuple[str, ...]:
        return (CSV, JSONL, *self.documents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outflow(Endpoint[P, B, R]):
    """A file goes out, as it is read."""


FORM = "multipart/form-data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload(Endpoint[P, B, R]):
    """A file comes in beside fields, and is kept as it is (ingress/api/uploads.py). `work` is the
    transaction before: may they; `keeps` the one after."""

    fields: type[Parameters]  # beside `file`
    keeps: Callable[[Conn, Call[P, B], Parameters, Any], Awaitable[Answer[R]]]

    @property
    def takes(self) -> tuple[str, ...]:
        return (FORM,)


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
