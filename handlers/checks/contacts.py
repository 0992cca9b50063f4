"""Ways to somebody in a text: links, e-mail addresses, numbers of phones and accounts. Pure.

What looks like one and is a time, a date, a quantity or an amount is none. An order's number is
none either, as far as it is shorter than a phone's or stands behind letters. Texts are looked
through as they are seen, in a time that grows as they do: the patterns never go back.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import regex

from handlers.checks.hosts import DOT, DOTTED, IBANS, NAMED_NUMBER, host_key, is_host
from handlers.rules.number_words import spelt_digits
from handlers.rules.seen import INVISIBLE, Seen, latin, plain, seen

LINK, EMAIL, PHONE, ACCOUNT = "link", "email", "phone", "account"

_LABEL = r"[\p{L}\p{N}][\p{L}\p{N}-]{0,62}+"
_SCHEME = regex.compile(
    r"(?<![a-z0-9])(?:[a-z][a-z0-9+.-]{1,20}+:(?://|\\\\)[^\s<>\"\u00ab\u00bb]++"
    r"|(?:javascript|data|tel|sms|mailto|whatsapp|intent|upi|bitcoin|ethereum):[^\s<>\"]++)",
    regex.IGNORECASE,
)
_HOST = regex.compile(
    rf"(?<![\p{{L}}\p{{N}}@.])(?P<host>{_LABEL}(?:{DOT}{_LABEL})++)"
    r"(?P<rest>(?::\d{2,5})?+(?:[/?#][^\s<>\"]*+)?+)",
    regex.IGNORECASE,
)
_IN_ADDRESS = r"\p{L}\p{N}._%+'-"
_AT = r"\s?[(\[{]\s?(?:@|at|arroba|\u00e0|chiocciola)\s?[)\]}]\s?"
_EMAIL = regex.compile(
    rf"(?<![{_IN_ADDRESS}])[{_IN_ADDRESS}]++(?:(?:@|{_AT}){_LABEL}(?:{DOT}{_LABEL})*+"
    rf"|\s?@\s?{_LABEL}(?:{DOT}{_LABEL})++|\sat\s{_LABEL}\sdot\s\p{{L}}{{2,24}}+)",
    regex.IGNORECASE,
)
_BETWEEN = regex.compile(rf"{_AT}|\s?@\s?|\sat\s", regex.IGNORECASE)
_HANDLE = regex.compile(r"(?<![\p{L}\p{N}@._-])@[a-z0-9_][a-z0-9_.]{2,29}", regex.IGNORECASE)
_IBAN = regex.compile(
    r"(?<![\p{L}\p{N}])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{1,4}){3,8}(?![\p{L}\p{N}])", regex.I
)
_SOME_IBAN = regex.compile(
    r"(?<![\p{L}\p{N}])[A-Z][\W_]{0,2}[A-Z][\W_]{0,2}\d(?:[\W_]{0,3}[A-Z0-9]){13,31}", regex.I
)
_TOKEN = regex.compile(r"(?<![\p{L}\p{N}])[A-Za-z0-9]{26,}+(?![\p{L}\p{N}])")  # of a wallet
_RUN = regex.compile(
    r"(?<![\p{L}\p{N}#])(?:\+\(?\d(?:[\s().\u2010-\u2015/*_~|\u2022\u00b7=:-]{0,3}\d)*+"
    r"|\(?\d(?:[ ()._\u2010-\u2015/-]{0,3}\d)*+)(?![\p{L}\p{N}])"
)
_BEHIND = regex.compile(r"(?<=\d{3})\s\((?=\d)")  # "+49 30 1234567 (9-18)"
_PAIR = regex.compile(r"(\d{4,6})([ -])(\d{4,6})")
_NO_PHONES = regex.compile(
    # times and dates, ranges of them, and amounts in groups; of a number with a plus they are parts
    r"(?<![+\d.,])(?:\d{1,2}[.:]\d{2}(?:[.:]\d{2})?(?:\s?[-\u2013]\s?\d{1,2}[.:]\d{2})?(?!\d)"
    r"|\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}"
    r"|\d{1,3}(?:[.,]\d{3})+(?:[.,]\d{1,2})?(?![.,]?\d)"
    r"|(?:19|20)\d{2}\s?[-\u2013/]\s?(?:19|20)?\d{2}(?!\d))"
)
_DIGIT = regex.compile(r"\d")
_SEPARATORS = regex.compile(r"[\W_]+")
_LINK_PARTS = regex.compile(r"[/?#]")
_TAIL = ".,;:!?)]}'\"*_~\u2019\u201d\u2026\u3002\uff0c\uff01\uff1f\u060c"
_MIN_PHONE, _MAX_PHONE = 7, 15
_LONG_RUN = 9  # digits in one, without a plus: shorter ones are orders' numbers
_MIN_ACCOUNT, _MAX_ACCOUNT = 15, 34


@dataclass(frozen=True, slots=True)
class Way:
    kind: str
    start: int
    end: int
    key: str  # equal for two spellings of one


def ways_in(text: str) -> list[Way]:
    """In their order; none overlap."""
    view = seen(text)
    ways = [
        Way(one.kind, *_whole(view, one, text), _key(view, one, text)) for one in _ways(view.text)
    ]
    # What is invisible joins a name for who reads it, and ends one for who makes links of names.
    if (parted := INVISIBLE.sub(" ", text)) != text:
        shown = latin(plain(parted))
        places = {place for way in ways for place in range(way.start, way.end)}
        ways += [way for way in _links(shown) if places.isdisjoint(range(way.start, way.end))]
    return sorted(ways, key=lambda way: way.start)


def _key(view: Seen, way: Way, text: str) -> str:
    """Of a link with letters that only look like Latin ones, a key that nothing told has: it does
    not lead where it seems to."""
    written = plain(text[slice(*view.place(way.start, way.end))])
    is_false = way.kind in (LINK, EMAIL) and latin(written) != written
    return f"{way.key} {written}" if is_false else way.key


def _whole(view: Seen, way: Way, text: str) -> tuple[int, int]:
    """With the marks around it, where they are its own, and what is invisible behind it."""
    start, end = view.place(way.start, way.end)
    while end < len(text) and INVISIBLE.match(text, end):
        end += 1
    while start > 0 and end < len(text) and text[start - 1] == text[end] and text[end] in "*_~`":
        start, end = start - 1, end + 1
    return start, end


def _ways(shown: str) -> list[Way]:
    found: list[Way] = []
    taken = bytearray(len(shown))
    # What stands before the host of a whole link is a user's name, and no address.
    for finder in (_whole_links, _emails, _links, _accounts, _numbers):
        for way in finder(shown):
            if not any(taken[way.start : way.end]):
                found.append(way)
                taken[way.start : way.end] = b"\x01" * (way.end - way.start)
    return found


class Named:
    """What some texts name. Most of what is looked for they do not, and that is seen at once in all
    of them; the rest is one look into a set, however many texts there are."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [_searched(seen(text).text) for text in texts]
        self._all = _Searched(
            "",
            "\n".join(one.lower for one in self._texts),
            "\n".join(one.bare for one in self._texts),
            any(one.is_dotted for one in self._texts),
        )

    def have(self, way: Way) -> bool:
        """A number may stand there with or without its country, and among other digits."""
        if not _may_name(self._all, way):
            return False
        if way.kind in (LINK, EMAIL):
            return (way.kind, way.key) in self._leads
        if not way.key.isdigit():
            return way.key in self._all.bare
        return any(_same_number(way.key, run) for run in self._runs.get(_tail(way.key), ()))

    @cached_property
    def _leads(self) -> frozenset[tuple[str, str]]:
        return frozenset(name for text in self._texts for name in _names(text.shown))

    @cached_property
    def _runs(self) -> Mapping[str, set[str]]:
        """By their last digits."""
        runs: dict[str, set[str]] = {}
        for text in self._texts:
            for run in _digits(text.shown):
                runs.setdefault(_tail(run), set()).add(run)
        return runs


def _may_name(told: "_Searched", way: Way) -> bool:
    if way.kind in (LINK, EMAIL):
        return way.key.partition("/")[0].rpartition("@")[2] in told.lower or told.is_dotted
    return _tail(way.key) in told.bare


def _tail(number: str) -> str:
    return number.lstrip("0")[-_MIN_PHONE:]


@dataclass(frozen=True, slots=True)
class _Searched:
    shown: str
    lower: str
    bare: str  # letters and digits alone
    is_dotted: bool  # with points of names that are written otherwise


@lru_cache(maxsize=1_024)
def _searched(shown: str) -> _Searched:
    lower = shown.casefold()
    return _Searched(shown, lower, _bare(shown), DOTTED.search(lower) is not None)


@lru_cache(maxsize=256)
def _names(shown: str) -> frozenset[tuple[str, str]]:
    """And of links whatever they begin with, to the end of a name."""
    ways = _ways(shown)
    return frozenset((way.kind, way.key) for way in ways) | {
        (way.kind, way.key[: end.start()])
        for way in ways
        if way.kind == LINK
        for end in _LINK_PARTS.finditer(way.key)
    }


@lru_cache(maxsize=256)
def _digits(shown: str) -> frozenset[str]:
    """Every run of digits, without separators, and every account."""
    runs = {_only_digits(match[0]) for match in _RUN.finditer(shown)}
    return frozenset(run for run in runs if len(run) >= _MIN_PHONE) | {
        _bare(match[0]) for match in _IBAN.finditer(shown)
    }


def _same_number(one: str, told: str) -> bool:
    short, long = sorted((one.lstrip("0"), told.lstrip("0")), key=len)
    return len(short) >= _MIN_PHONE and long.endswith(short)


# ---- each kind -----------------------------------------------------------------------------------


def _whole_links(shown: str) -> Iterator[Way]:
    for match in _SCHEME.finditer(shown):
        text = match[0].rstrip(_TAIL)
        if key := _link(text):
            yield Way(LINK, match.start(), match.start() + len(text), key)


def _links(shown: str) -> Iterator[Way]:
    for match in _HOST.finditer(shown):
        rest = match["rest"].rstrip(_TAIL)
        ends = is_host(match["host"], rest)
        if ends:
            end = match.start() + ends
            if ends == len(match["host"]):
                end += len(rest)
            yield Way(LINK, match.start(), end, _link(shown[match.start() : end]) or "")
    for match in _HANDLE.finditer(shown):
        text = match[0].rstrip(_TAIL)
        yield Way(LINK, match.start(), match.start() + len(text), text.casefold())


def _link(text: str) -> str:
    text = text.casefold().replace("\\", "/")
    scheme, colon, rest = text.partition(":")
    if colon and scheme.isascii() and "." not in scheme and "/" not in scheme:
        if scheme not in ("http", "https", "hxxp", "hxxps"):
            return text
        text = rest.lstrip("/")
    host, slash, path = text.partition("/")
    return (host_key(host).removeprefix("www.") + slash + path).rstrip("/")


def _emails(shown: str) -> Iterator[Way]:
    for match in _EMAIL.finditer(shown):
        key = _BETWEEN.sub("@", match[0].casefold(), count=1)
        name, _, host = key.partition("@")
        yield Way(EMAIL, *match.span(), f"{name}@{host_key(host)}")


def _accounts(shown: str) -> Iterator[Way]:
    if _DIGIT.search(shown) is None:  # each of them has some
        return
    for match in _SOME_IBAN.finditer(shown, overlapped=True):
        if (length := _checked_iban(match[0])) is not None:
            text = match[0][:length]
            yield Way(ACCOUNT, match.start(), match.start() + length, _bare(text))
    for match in _IBAN.finditer(shown):
        key = _bare(match[0])
        digits = sum(c.isdigit() for c in key)
        if _MIN_ACCOUNT <= len(key) <= _MAX_ACCOUNT and digits >= 10:
            yield Way(ACCOUNT, *match.span(), key)
    for match in _TOKEN.finditer(shown):
        if not match[0].isalpha() and not match[0].isdigit():
            yield Way(ACCOUNT, *match.span(), match[0].upper())


def _checked_iban(text: str) -> int | None:
    """How long the IBAN is that it begins with, by its country's length and its check digits: then
    whatever stands between them only hides it."""
    places = [n for n, char in enumerate(text, 1) if char.isascii() and char.isalnum()]
    spelt = _bare(text)
    length = IBANS.get(spelt[:2], _MAX_ACCOUNT + 1)
    if len(spelt) < length or len(places) != len(spelt) or not spelt[2:4].isdigit():
        return None
    turned = spelt[4:length] + spelt[:4]
    is_one = int("".join(str(int(char, 36)) for char in turned)) % 97 == 1
    return places[length - 1] if is_one else None


def _bare(text: str) -> str:
    return _SEPARATORS.sub("", text).upper()


def _numbers(shown: str) -> Iterator[Way]:
    quiet = _NO_PHONES.sub(lambda m: " " * len(m[0]), shown)
    for match in _RUN.finditer(quiet):
        if (way := _number(match)) is not None:
            yield way
    yield from (Way(PHONE, start, end, digits) for start, end, digits in spelt_digits(shown))
    for match in NAMED_NUMBER.finditer(quiet):
        digits = _only_digits(match["number"])
        if _MIN_PHONE <= len(digits) <= _MAX_ACCOUNT:
            yield Way(ACCOUNT if match["account"] else PHONE, *match.span("number"), digits)


def _only_digits(text: str) -> str:
    return regex.sub(r"\D", "", text)


def _number(match: "regex.Match[str]") -> Way | None:
    text = match[0]
    if (more := _BEHIND.search(text)) is not None:
        text = text[: more.start()]
    digits = _only_digits(text)
    groups = [len(part) for part in regex.split(r"\D+", text) if part]
    if text.startswith("+") or digits.startswith("00"):
        is_one = len(digits) >= _MIN_PHONE
    elif len(groups) == 1 or max(groups) == 1:
        is_one = len(digits) >= _LONG_RUN
    elif len(groups) == 2 and len(digits) >= _LONG_RUN and _is_pair(text):
        is_one = True
    elif _is_list(text) and not digits.startswith("0"):
        return None
    else:
        # Quantities and ranges have few groups, or none of a phone's lengths.
        is_one = len(digits) >= _LONG_RUN - 1 and len(groups) <= 6 and max(groups) <= 8
        is_one = is_one and (len(groups) > 2 or digits.startswith("0") or "(" in text)
    if not is_one:
        return None
    kind = PHONE if len(digits) <= _MAX_PHONE and not _is_card(groups, digits) else ACCOUNT
    return Way(kind, match.start(), match.start() + len(text), digits)


def _is_pair(text: str) -> bool:
    """Two groups of one number, as phones are written in India or Brazil, and no range."""
    match = _PAIR.fullmatch(text)
    return match is not None and (match[2] == " " or int(match[1]) > int(match[3]))


def _is_list(text: str) -> bool:
    """Sizes, or postcodes, each higher than the one before."""
    parts = regex.split(r"[ /]+", text)
    if len(parts) < 3 or len({*map(len, parts)}) > 1 or not all(map(str.isdigit, parts)):
        return False
    return all(int(one) < int(other) for one, other in pairwise(parts))


def _is_card(groups: list[int], digits: str) -> bool:
    return (
        13 <= len(digits) <= 19 and (len(groups) == 1 or groups[:3] == [4, 4, 4]) and _luhn(digits)
    )


def _luhn(digits: str) -> bool:
    doubled = (
        sum(divmod(2 * int(digit), 10)) if n % 2 else int(digit)
        for n, digit in enumerate(reversed(digits))
    )
    return sum(doubled) % 10 == 0
