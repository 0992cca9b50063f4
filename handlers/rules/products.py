"""What a product may be, by whatever way it comes: a call of the API or a line of a file. Pure.

Each function says what is wrong in words for whoever sent it, or None.
"""

import re
from decimal import Decimal

from handlers.outbound.addresses import NOTHING
from handlers.outbound.urls import MAX_URL_CHARS, problem

NAME_CHARS = 255  # as the columns have it
SKU_CHARS = 100
EVERYTHING = "*"  # looked for: whatever there is
IMAGE_URL_CHARS = MAX_URL_CHARS
DESCRIPTION_CHARS = 10_000
PRICE_MAX = Decimal("9999999999999999.99")  # numeric(18,2)
STOCK_MAX = 1_000_000_000

_PRICE = re.compile(r"[0-9]{1,16}(\.[0-9]{1,2})?")


def name_problem(name: str) -> str | None:
    return _text_problem(name, NAME_CHARS)


def sku_problem(sku: str) -> str | None:
    """A product without one has null, and no empty text."""
    wrong = _text_problem(sku, SKU_CHARS)
    if wrong is None and sku != sku.strip():
        wrong = "begins or ends with a space"
    return wrong


def description_problem(description: str) -> str | None:
    if len(description) > DESCRIPTION_CHARS:
        return f"has {len(description)} characters, {DESCRIPTION_CHARS} at most"
    return None


def image_url_problem(url: str) -> str | None:
    """It is stored and shown, and never fetched by us: https, and a host of the internet."""
    return problem(url, NOTHING)


def price_problem(price: Decimal) -> str | None:
    if price.is_signed():
        return "less than 0"
    if price > PRICE_MAX:
        return f"{PRICE_MAX} at most"
    if price != price.quantize(Decimal("0.01")):
        return "has more than 2 digits after the point"
    return None


def stock_problem(stock: int) -> str | None:
    return None if 0 <= stock <= STOCK_MAX else f"not between 0 and {STOCK_MAX}"


def price_of(text: str) -> Decimal | None:
    """Of a text like 38.50, in a file. None: it is no price."""
    return Decimal(text) if _PRICE.fullmatch(text) else None


def _text_problem(text: str, chars: int) -> str | None:
    if not text.strip():
        return "empty"
    if len(text) > chars:
        return f"has {len(text)} characters, {chars} at most"
    return None
