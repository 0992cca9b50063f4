"""Names of hosts in a text, as far as they are told from words. Pure.

WhatsApp makes a link of any name below a domain that exists (hosts.toml). A point without a space
behind it is common in chats ("ends.It is"), so a domain that alone begins with a capital letter is
a word.
"""

import tomllib
from pathlib import Path

import regex

from handlers.rules.amounts import words_of

_KNOWN = tomllib.loads((Path(__file__).parent / "hosts.toml").read_text(encoding="utf-8"))
_ENDINGS = frozenset([*_KNOWN["countries"].split(), *_KNOWN["others"].split()])
_SPELT = r"dot|punto|ponto|punkt|nokta|\u0442\u043e\u0447\u043a\u0430"
# The points of China and Japan are points of names too. One in brackets or in words hides a link,
# and so does a space before it.
DOT = (
    rf"(?:[.\u3002]|\s?[(\[{{]\s?(?:\.|{_SPELT})\s?[)\]}}]\s?|\s(?:{_SPELT})\s"
    r"|\s\.(?=(?:com|net|org|info|shop|io|in|de|br)(?![\p{L}\p{N}])))"
)
_DOT = regex.compile(DOT, regex.IGNORECASE)
# Whether a text has points that are written otherwise.
DOTTED = regex.compile(rf"\u3002|[(\[{{]\s?(?:\.|{_SPELT})|\s(?:{_SPELT})\s|\s\.(?=\w)")
_IS_SPELT = regex.compile(rf"\s(?:{_SPELT})\s", regex.IGNORECASE)
_SPELT_ENDINGS = frozenset(_KNOWN["after_words"].split())
IBANS = {  # how long they are, by country
    country: int(length)
    for length, countries in _KNOWN["ibans"].items()
    for country in countries.split()
}


_WORDS = {
    key: words_of(word.replace("_", " ") for word in _KNOWN[key]["words"].split())
    for key in ("accounts", "phones")
}
# A number behind a word for it is one though it is short: "account 12345678", "call 555-0143".
NAMED_NUMBER = regex.compile(
    rf"(?:(?P<account>{_WORDS['accounts']})|{_WORDS['phones']})"
    r"(?:(?!\d)[^\n!?,;]){0,16}(?P<number>\d(?:[ .\u2010-\u2015-]?\d){6,})(?![\p{L}\p{N}])",
    regex.IGNORECASE,
)


def host_key(host: str) -> str:
    """One spelling, with points."""
    return _DOT.sub(".", host.casefold())


def is_host(host: str, rest: str) -> int:
    """How much of it is a name; 0: nothing. `rest`: a port and a path that stand behind it."""
    dots = list(_DOT.finditer(host))
    labels = _DOT.split(host)
    if labels[0].casefold() == "www":
        return len(host)
    if all(label.isdecimal() for label in labels):
        return len(host) if len(labels) == 4 and rest[:1] in (":", "/") and len(rest) > 1 else 0
    if "/" in rest and labels[-1].isalpha() and len(labels[-1]) > 1:
        return len(host)
    for n in range(len(labels) - 1, 0, -1):
        if _ends(labels[n - 1], labels[n], spelt=_IS_SPELT.fullmatch(dots[n - 1][0]) is not None):
            return dots[n].start() if n < len(dots) else len(host)
    return 0


def _ends(before: str, ending: str, *, spelt: bool) -> bool:
    if ending.casefold() not in (_SPELT_ENDINGS if spelt else _ENDINGS):
        return False
    is_word = ending[:1].isupper() and not ending.isupper() and before[:1].islower()
    return not is_word and not (len(before) == 1 and len(ending) <= 2 and before.isalpha())
