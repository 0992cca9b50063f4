"""Requests to a person: when two are one, and what an earlier decision approves by itself. Pure."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from handlers.rules.amounts import amounts_in
from handlers.rules.products import PRICE_MAX
from handlers.rules.texts import searched

APPROVES_FOR: Final = timedelta(days=30)  # unless the decision says otherwise
EQUAL_A_DAY: Final = 20  # that a decision without an amount approves; more are for a person
_CURRENCY = re.compile("[A-Z]{3}")
_AROUND_WORDS = ".,;:!?()[]\"'\u2019\u201c\u201d\u00ab\u00bb\u00bf\u00a1\u3002\uff01"


@dataclass(frozen=True, slots=True)
class Money:
    amount: Decimal  # above 0, two decimals at most
    currency: str


class NoMoney(ValueError):
    """What a model gave as an amount is none; the message says why."""


def money_of(amount: object, currency: object, usual: str) -> Money | None:
    """Of a tool's arguments; None: none is meant. Raises NoMoney."""
    if amount is None or amount == "":
        return None
    if isinstance(amount, bool) or not isinstance(amount, int | float | str):
        raise NoMoney("amount is no number")
    try:
        value = Decimal(str(amount).strip())
    except InvalidOperation:
        raise NoMoney('amount is no number like "38.50"') from None
    if not value.is_finite() or not 0 < value <= PRICE_MAX:
        raise NoMoney("amount is not above 0, or too big")
    cents = value.quantize(Decimal("0.01"))
    if cents != value:
        raise NoMoney("amount has more than two decimals")
    code = str(currency or usual).strip().upper()
    if not _CURRENCY.fullmatch(code):
        raise NoMoney("currency is no code like EUR")
    return Money(cents, code)


def request_key(request_type: str, details: str, money: Money | None) -> str:
    """Equal for requests that differ in nothing but case, spaces, punctuation around words, and how
    Unicode spells a letter."""
    told = (word.strip(_AROUND_WORDS) for word in searched(details).split())
    parts = [request_type, " ".join(word for word in told if word)]
    if money is not None:
        parts += [f"{money.amount:.2f}", money.currency]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Bound:
    """Of what a decision approves from now on."""

    max_amount: Decimal | None  # None with max_per_day: only equal requests
    max_per_day: Decimal | None
    any_contact: bool


class Unbounded(Exception):
    """`field` is wrong."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(field, why)
        self.field = field
        self.why = why


def bound_of(
    money: Money | None, max_amount: Decimal | None, max_per_day: Decimal | None, any_contact: bool
) -> Bound:
    """Of a decision about a request of so much money. Raises Unbounded."""
    if money is None:
        for field, value in (("max_amount", max_amount), ("max_per_day", max_per_day)):
            if value is not None:
                raise Unbounded(field, "the action has no amount: only equal ones can be approved")
        return Bound(None, None, any_contact)
    most = money.amount if max_amount is None else max_amount
    a_day = most if max_per_day is None else max_per_day
    if most <= 0:
        raise Unbounded("max_amount", "not above 0")
    if a_day < most:
        raise Unbounded("max_per_day", f"below max_amount, which is {most:.2f}")
    return Bound(most, a_day, any_contact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approving:
    """A decision that approves similar requests, for the contact in question and still in force."""

    id: int
    request_type: str
    request_key: str
    context: Any  # as it was requested, without what the customer wrote
    currency: str | None
    max_amount: Decimal | None


def approving(
    decisions: Sequence[Approving],
    *,
    request_type: str,
    key: str,
    context: Any,
    money: Money | None,
    details: str,
) -> list[Approving]:
    """Those that approve a request, the youngest first; of one with an amount, as far as their day
    has room. Type, details and context are a model's words, and a model can be talked into words:
    without an amount all of them have to be equal, with one the amount decides."""
    return [
        one
        for one in sorted(decisions, key=lambda one: -one.id)
        if one.request_type == request_type
        and (
            _within(one, money) and says_no_other(details, money)
            if money is not None
            else one.max_amount is None and one.request_key == key and one.context == context
        )
    ]


def says_no_other(details: str, money: Money) -> bool:
    """Whether every amount of money that the words name is the one that is asked for."""
    return all(
        money.amount in amount.values and amount.may_be(money.currency)
        for amount in amounts_in(details)
    )


def _within(one: Approving, money: Money) -> bool:
    return (
        one.currency == money.currency
        and one.max_amount is not None
        and money.amount <= one.max_amount
    )
