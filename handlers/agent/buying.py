"""What a line wants to order, or asks of what there is to order, without a model. Pure, and no more
than rules: buying.toml has them.

Words are never guessed: besides those that say nothing, all of them have to be one product's. "I
want a refund for my lemon cake" names more than a product, so it is no order. Nothing is ordered by
a mistake either: the customer presses a button.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import regex

from handlers.agent.courtesy import QUOTE
from handlers.agent.follow_ups import telling
from handlers.agent.phrases import READ_CHARS, divided, spelt
from handlers.rules.products import EVERYTHING
from handlers.rules.quotes import stock_word

_CHOSEN = regex.compile(r'\A\[chose "([^"\]]*)"\]\Z')  # handlers/turns/presses.py
_SEPARATOR = regex.compile(r"\s*(?:[&+;\n]|,(?=\s*\d))\s*")
_COUNT = regex.compile(r"(\d{1,4})x?")
_ENDINGS = ("", "s", "es", "e", "n", "en")  # of a word in the plural, and of one that is not
_STEM = 3  # letters of a word that are left at least


@dataclass(frozen=True, slots=True)
class Wish:
    query: str  # for find_products
    orders: bool  # else it asks what there is
    parts: tuple[tuple[str, ...], ...] = ()  # the words of each product; none: all products
    chosen: str | None = None  # the title that was pressed


@dataclass(frozen=True, slots=True)
class Product:
    """As find_products tells it."""

    sku: str
    name: str
    price: str
    stock: str

    @property
    def is_left(self) -> bool:
        return self.stock != stock_word(0)


@dataclass(frozen=True, slots=True)
class Sale:
    items: tuple[tuple[Product, int], ...] = ()  # to be quoted
    shown: tuple[Product, ...] = ()  # to be chosen from


def wish_of(text: str) -> Wish | None:
    text = QUOTE.sub("", text)
    chosen = _CHOSEN.match(text.strip())
    if chosen is not None:
        return Wish(chosen[1], True, chosen=chosen[1]) if chosen[1].strip() else None
    if len(text) > READ_CHARS:
        return None
    said = spelt(_SEPARATOR.sub(" and ", text))
    if not said or _matches("never", said):
        return None
    parts = tuple(_parts(said))
    query = " ".join(dict.fromkeys(word for part in parts for word in _counted(part)[1]))
    orders = _matches("order", said) or (_begins_with_a_count(said) and "?" not in text)
    if not query:
        wants_all = _matches("all", said) or (orders and _matches("shop", said))
        return Wish(EVERYTHING, False) if wants_all else None
    if orders or _matches("all", said) or _matches("some", said):
        return Wish(query, orders, parts)
    return None


def products_in(result: str) -> list[Product]:
    """Of what find_products said; none, where it found none."""
    try:
        rows = json.loads(result)
    except ValueError:
        return []
    return [Product(row["sku"], row["name"], row["price"], row["stock"]) for row in rows]


def sale_of(wish: Wish, found: Sequence[Product], before: Wish | None = None) -> Sale | None:
    """None: it is about something else. `before`: what was wanted when there was a choice, which
    says how many."""
    if wish.chosen is not None:
        named = [one for one in found if spelt(one.name) == spelt(wish.chosen)]
        return Sale(items=((named[0], _many(before, named[0])),)) if named else None
    if not wish.parts:
        return Sale(shown=tuple(found)) if found else None
    whole = [word for part in wish.parts for word in part]
    for parts in ([whole], wish.parts):
        counted = [_counted(part) for part in parts]
        fitting = [_fitting(words, found) for _, words in counted]
        if not all(fitting):
            continue
        if wish.orders and all(len(one) == 1 for one in fitting):
            pairs = zip(fitting, counted, strict=True)
            return Sale(items=tuple((of[0], count) for of, (count, _) in pairs))
        return Sale(shown=tuple(dict.fromkeys(one for of in fitting for one in of)))
    return None


def _fitting(words: Sequence[str], found: Sequence[Product]) -> list[Product]:
    """Those whose names have all of it. What else is said of them may be the knowledge base's."""
    by_name = [one for one in found if _are_in(words, f"{one.name} {one.sku}")]
    exact = [one for one in by_name if _are_in(spelt(one.name).split(), " ".join(words))]
    if len(exact) == 1:
        return exact
    return by_name


def _are_in(words: Sequence[str], text: str) -> bool:
    there = {stem for word in spelt(text).split() for stem in _stems(word)}
    return bool(words) and all(there & _stems(word) for word in words)


def _stems(word: str) -> set[str]:
    return {
        word.removesuffix(ending)
        for ending in _ENDINGS
        if word.endswith(ending) and len(word) - len(ending) >= min(_STEM, len(word))
    }


def _many(before: Wish | None, product: Product) -> int:
    """As many as were asked for before there was a choice."""
    if before is None or not before.orders or len(before.parts) != 1:
        return 1
    count, words = _counted(before.parts[0])
    return count if _are_in(words, f"{product.name} {product.sku}") else 1


def _parts(said: str) -> Iterator[tuple[str, ...]]:
    """Of what is wanted, the words that say something and how many."""
    part: list[str] = []
    for word in (*said.split(), None):
        if word is None or word in _set("between"):
            if any(one.isdigit() or not _is_count(one) for one in part):
                yield tuple(part)
                part = []
        elif word in _numbers():
            if not part or all(map(_is_count, part)):
                part.append(word)  # later ones are small words: a cake for two
        elif word not in _set("small") and telling(word):
            part.append(word)


def _counted(part: Sequence[str]) -> tuple[int, list[str]]:
    """How many, and of what; two dozen are 24."""
    counts = []
    rest = list(part)
    while len(rest) > 1 and _is_count(rest[0]):
        counts.append(_count(rest.pop(0)))
    # Of two products in one the second one's number is no word of the first one's name.
    return max(1, prod(counts)), [word for word in rest if word not in _numbers()]


def _is_count(word: str) -> bool:
    return word in _numbers() or _COUNT.fullmatch(word) is not None


def _count(word: str) -> int:
    number = _COUNT.fullmatch(word)
    return int(number[1]) if number else _numbers()[word]


def _begins_with_a_count(said: str) -> bool:
    """Also "two": but "a" begins many a line that orders nothing."""
    first = said.split()[0]
    return _is_count(first) and _numbers().get(first) != 1


def _matches(kind: str, said: str) -> bool:
    return any(pattern.search(said) for pattern in _patterns()[kind])


@cache
def _told() -> dict[str, dict[str, str]]:
    told = tomllib.loads((Path(__file__).parent / "buying.toml").read_text(encoding="utf-8"))
    return dict(told)


@cache
def _patterns() -> Mapping[str, Sequence["regex.Pattern[str]"]]:
    kinds = ("order", "shop", "all", "some", "never")
    return {kind: [regex.compile(one) for one in _told()[kind].values()] for kind in kinds}


@cache
def _set(kind: str) -> frozenset[str]:
    return frozenset(word for of in _told()[kind].values() for word in divided(of))


@cache
def _numbers() -> Mapping[str, int]:
    return {word: int(n) for n, of in _told()["numbers"].items() for word in divided(of)}
