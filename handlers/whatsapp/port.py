"""What becomes of a call that sends a message, whichever provider it goes to."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from db.ids import Wamid

RefusalKind: TypeAlias = Literal[
    "transient",  # not taken; soon again
    "pair",  # too fast for this customer; others are not concerned
    "number",  # too fast for this number
    "app",  # too many calls of the whole app; minutes
    "window",  # 24 hours after the customer's last message only a template is taken
    "account",  # nothing of this number is taken until somebody mends it
    "policy",  # Meta has blocked the account for a while; trying makes it worse
    "refused",  # this message, for good
]


@dataclass(frozen=True, slots=True)
class Accepted:
    wamid: Wamid


@dataclass(frozen=True, slots=True)
class Refused:
    """Certainly not sent."""

    kind: RefusalKind
    error: dict[str, Any]  # code, title, details


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request went out and no answer that tells came back."""

    reason: str


Outcome: TypeAlias = Accepted | Refused | Unknown
