"""Ways to somebody in a text: links, e-mail addresses, numbers of phones and accounts. Pure.

What looks like one and is a time, a date, a quantity or an amount is none. An order's number is
none either, as far as it is shorter than a phone's or stands behind letters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import regex

from handlers.rules.amounts import plain

LINK, EMAIL, PHONE, ACCOUNT = "link", "email", "phone", "account"

# Without a scheme a name is a link only below these, since a point without a space behind it is
# common in chats ("see you.bye").
_ENDINGS = (
    "com|net|org|info|biz|shop|store|online|site|xyz|club|app|dev|click|icu|vip|website|tech|cloud"
    "|io|co|ly|gl|gg|cc|tv|ai|eu|uk|de|fr|es|pt|br|mx|ar|cl|nl|ch|pl|cz|ru|ua|tr|cn|jp|kr|sa|ae"
    "|eg|za|ng|ke|au|nz|ca|dk|fi|gr|hu|tk|ml|ga|cf|gq|pw|ws|sh"
)
_LABEL = r"[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,62})"
_LINK = regex.compile(
    r"(?:[a-z][a-z0-9+.-]{1,20}:(?://|\\\\)[^\s<>\"\u00ab\u00bb]+"
    r"|(?:javascript|data|tel|sms|mailto|whatsapp|intent):[^\s<>\"]+"
    rf"|(?<![\p{{L}}\p{{N}}@.])(?:www\.(?:{_LABEL}\.)*{_LABEL}|(?:{_LABEL}\.)+(?:{_ENDINGS}))"
    r"(?![\p{L}\p{N}@-])(?::\d{2,5})?(?:[/?#][^\s<>\"]*)?"
    rf"|(?<![\p{{L}}\p{{N}}@.])(?:{_LABEL}\.)+[\p{{L}}]{{2,24}}/[^\s<>\"]*"
    r"|(?<!\d)(?:\d{1,3}\.){3}\d{1,3}(?::\d{2,5})?/[^\s<>\"]*)",
    regex.IGNORECASE | regex.VERSION1,
)
_EMAIL = regex.compile(
    rf"[\p{{L}}\p{{N}}._%+'-]+\s?(?:@|\(at\)|\[at\])\s?(?:{_LABEL}\.)+\p{{L}}{{2,24}}",
    regex.IGNORECASE | regex.VERSION1,
)
_SIGN_OF_LINK = regex.compile(
    r"://|:\\\\|(?:javascript|data|tel|sms|mailto|whatsapp|intent):|www\.|\.\p{L}"
    r"|\.\d{1,3}(?::\d{2,5})?/",
    regex.IGNORECASE | regex.VERSION1,
)
_SIGN_OF_EMAIL = regex.compile(r"@|\(at\)|\[at\]", regex.IGNORECASE | regex.VERSION1)
_SIGN_OF_IBAN = regex.compile(r"\d{2}")
_IBAN = regex.compile(
    r"(?<![\p{L}\p{N}])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{1,4}){3,8}(?![\p{L}\p{N}])", regex.I
)
_RUN = regex.compile(r"(?<![\p{L}\p{N}#])\+?\(?\d(?:[ ().\u2010-\u2015/-]{0,3}\d)*(?![\p{L}\p{N}])")
_NO_PHONES = regex.compile(
    # times and dates, ranges of them, and amounts in groups
    r"\d{1,2}[.:]\d{2}(?:[.:]\d{2})?(?:\s?[-\u2013]\s?\d{1,2}[.:]\d{2})?(?!\d)"
    r"|\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}"
    r"|\d{1,3}(?:[.,]\d{3})+(?:[.,]\d{1,2})?(?!\d)"
    r"|(?:19|20)\d{2}\s?[-\u2013/]\s?(?:19|20)?\d{2}(?!\d)"
)
_SEPARATORS = regex.compile(r"[ ().\u2010-\u2015/-]")
_BEFORE, _BEHIND = 100, 100  # characters around a name in which all of a link or address stands
_TAIL = ".,;:!?)]}'\"*_~\u2019\u201d\u2026\u3002\uff0c\uff01\uff1f\u060c"
_MIN_PHONE, _MAX_PHONE = 7, 15
_LONG_RUN = 9  # digits in one, without a plus: shorter ones are orders' numbers
_MAX_ACCOUNT = 34


@dataclass(frozen=True, slots=True)
class Way:
    kind: str
    start: int
    end: int
    key: str  # equal for two spellings of one


def ways_in(text: str) -> list[Way]:
    """In their order; none overlap."""
    shown = plain(text)
    found: list[Way] = []
    taken = bytearray(len(text))
    for kind, sign, pattern, key in _KINDS:
        if sign.search(shown) is None:
            continue
        for match in pattern.finditer(shown):
            end = match.start() + len(match[0].rstrip(_TAIL)) if kind == LINK else match.end()
            if any(taken[match.start() : end]):
                continue
            if (spelt := key(shown[match.start() : end])) is not None:
                found.append(Way(kind, match.start(), end, spelt))
                taken[match.start() : end] = b"\x01" * (end - match.start())
    quiet = _NO_PHONES.sub(lambda m: " " * len(m[0]), shown)
    numbers = (_number(match) for match in _RUN.finditer(quiet))
    found += [one for one in numbers if one is not None and not any(taken[one.start : one.end])]
    return sorted(found, key=lambda way: way.start)


def is_in(way: Way, text: str) -> bool:
    """Whether a text names it; a number may stand there with or without its country, and among
    other digits. Most texts do not, and that is seen at once."""
    shown = plain(text)
    if way.kind in (LINK, EMAIL):
        lower = shown.casefold()
        first = way.key.partition("/")[0].rpartition("@")[2]
        at = lower.find(first)
        while at >= 0:
            near = shown[max(0, at - _BEFORE) : at + len(way.key) + _BEHIND]
            if any(one.kind == way.kind and _same_link(way.key, one.key) for one in ways_in(near)):
                return True
            at = lower.find(first, at + 1)
        return False
    end = way.key.lstrip("0")[-_MIN_PHONE:]
    if end not in _SEPARATORS.sub("", shown).upper():
        return False
    return any(_same_number(way.key, run) for run in _digits(shown))


def _digits(shown: str) -> set[str]:
    """Every run of digits, without separators, and every account."""
    runs = {_only_digits(match[0]) for match in _RUN.finditer(shown)}
    return {run for run in runs if len(run) >= _MIN_PHONE} | {
        match[0].replace(" ", "").replace("-", "").upper() for match in _IBAN.finditer(shown)
    }


def _same_link(one: str, told: str) -> bool:
    return one == told or (told.startswith(one) and told[len(one)] in "/?#")


def _same_number(one: str, told: str) -> bool:
    short, long = sorted((one.lstrip("0"), told.lstrip("0")), key=len)
    return len(short) >= _MIN_PHONE and long.endswith(short)


def _link(text: str) -> str | None:
    text = text.casefold().replace("\\", "/")
    scheme, colon, rest = text.partition(":")
    if colon and scheme.isascii() and "." not in scheme and "/" not in scheme:
        if scheme not in ("http", "https"):
            return text
        text = rest.lstrip("/")
    return text.removeprefix("www.").rstrip("/") or None


def _email(text: str) -> str | None:
    folded = regex.sub(r"\s?(?:@|\(at\)|\[at\])\s?", "@", text.casefold())
    return folded or None


def _iban(text: str) -> str | None:
    plain_text = text.replace(" ", "").replace("-", "").upper()
    if not 15 <= len(plain_text) <= _MAX_ACCOUNT or sum(c.isdigit() for c in plain_text) < 10:
        return None
    return plain_text


def _only_digits(text: str) -> str:
    return regex.sub(r"\D", "", text)


def _number(match: "regex.Match[str]") -> Way | None:
    text, digits = match[0], _only_digits(match[0])
    groups = [len(part) for part in regex.split(r"\D+", text) if part]
    if text.startswith("+") or digits.startswith("00"):
        is_one = len(digits) >= _MIN_PHONE
    elif len(groups) == 1:
        is_one = len(digits) >= _LONG_RUN
    else:
        # Quantities and ranges have few groups, or none of a phone's lengths.
        is_one = len(digits) >= _LONG_RUN - 1 and len(groups) <= 6 and max(groups) <= 8
        is_one = is_one and (len(groups) > 2 or digits.startswith("0") or "(" in text)
    if not is_one:
        return None
    kind = PHONE if len(digits) <= _MAX_PHONE and not _is_card(groups, digits) else ACCOUNT
    return Way(kind, match.start(), match.end(), digits)


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


# With what none is without, which is found in no time: most answers have none.
_KINDS: tuple[
    tuple[str, "regex.Pattern[str]", "regex.Pattern[str]", Callable[[str], str | None]], ...
] = (
    (EMAIL, _SIGN_OF_EMAIL, _EMAIL, _email),
    (LINK, _SIGN_OF_LINK, _LINK, _link),
    (ACCOUNT, _SIGN_OF_IBAN, _IBAN, _iban),
)
