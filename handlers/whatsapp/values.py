"""What a customer or a business did on WhatsApp, whichever provider told us: one value each."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from db.ids import Wamid


@dataclass(frozen=True, slots=True)
class Customer:
    """The customer, by all that the item tells of them."""

    phone_number: str | None  # + and digits
    wa_id: str | None  # Meta's spelling
    bsuid: str | None
    name: str | None = None

    @property
    def is_named(self) -> bool:
        return self.phone_number is not None or self.bsuid is not None


@dataclass(frozen=True, slots=True)
class Inbound:
    """A customer wrote something that wants an answer."""

    wamid: Wamid
    sent_at: datetime
    who: Customer
    kind: str  # Meta's type
    text: str
    replies_to: Wamid | None = None  # what the customer quoted
    opaque: bool = False
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Past:
    """Was said without us: on the phone app (echo), before us (history), or is gone (revoke)."""

    source: Literal["echo", "history", "revoke"]
    wamid: Wamid
    sent_at: datetime
    who: Customer
    direction: Literal["inbound", "outbound"]
    status: str
    kind: str
    text: str | None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to a message that was sent before."""

    what: Literal["reaction", "edit", "revoke"]
    by: Literal["customer", "business"]
    wamid: Wamid  # of the change
    at: datetime
    who: Customer
    target: Wamid
    emoji: str | None = None  # of a reaction; None: taken back
    new: Inbound | None = None  # the message as it reads after an edit


@dataclass(frozen=True, slots=True)
class Moved:
    """A customer has another number, another BSUID, or both."""

    at: datetime
    before: Customer
    after: Customer


@dataclass(frozen=True, slots=True)
class Preference:
    at: datetime
    who: Customer
    choice: Literal["stop", "resume", "signup"]


@dataclass(frozen=True, slots=True)
class TemplateNews:
    """What a provider tells of a template of an account."""

    what: Literal["status", "quality", "category", "components"]
    name: str
    language: str
    status: str | None = None
    category: str | None = None
    correct_category: str | None = None  # announced, and not yet so
    quality_score: str | None = None
    rejected_reason: str | None = None
    rejection_info: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    """Known, kept whole, and nothing follows from it by itself."""

    field: str
    event: str | None
    told: bool = False  # whether the tenant is told
    throughput: bool = False  # the number may send faster from now on
    template: TemplateNews | None = None


Parsed: TypeAlias = Inbound | Past | Change | Moved | Preference | Happening


def stand_in(change: Change) -> Inbound | Past:
    """For a message that changed before it came. Its edit is the message; of a revoked one nothing
    is left, and when it comes after all it is there already, and gone."""
    if change.new is not None and change.by == "customer":
        return change.new
    new, inbound = change.new, change.by == "customer"
    return Past(
        source="revoke" if new is None else "echo",
        wamid=change.target,
        sent_at=change.at,
        who=change.who,
        direction="inbound" if inbound else "outbound",
        status="received" if inbound else "sent",
        kind="revoke" if new is None else new.kind,
        text=new.text if new is not None else None,
        details=new.details if new is not None else {"revoked": change.at.isoformat()},
    )
