"""What Meta would refuse mechanically of a template's buttons. Pure."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from handlers.templates.anatomy import VARIABLE, Json, text_of, word
from handlers.templates.parameters import CODE_CHARS, Wrong

BUTTONS_MAX, LABEL_CHARS, URL_CHARS, NUMBER_CHARS = 10, 25, 2_000, 20
MOST: Final[Mapping[str, int]] = {
    "QUICK_REPLY": 10,
    "URL": 2,
    "PHONE_NUMBER": 1,
    "COPY_CODE": 1,
    "FLOW": 1,
    "CATALOG": 1,
    "MPM": 1,
    "VOICE_CALL": 1,
}
_NUMBER = re.compile(r"\+?[0-9 ()-]{5,20}")


def button_mistakes(given: Json, at: str) -> Iterator[Wrong]:
    if not isinstance(given, list) or not 1 <= len(given) <= BUTTONS_MAX:
        yield Wrong(at, f"not a list of 1 to {BUTTONS_MAX} buttons")
        return
    kinds = [word(one.get("type")) if isinstance(one, dict) else "" for one in given]
    for kind, count in Counter(kinds).items():
        if kind in MOST and count > MOST[kind]:
            yield Wrong(at, f"has {count} of {kind}, {MOST[kind]} at most")
    replies = [n for n, kind in enumerate(kinds) if kind == "QUICK_REPLY"]
    if replies and replies[-1] - replies[0] >= len(replies):
        yield Wrong(at, "quick replies stand together, before or after the others")
    elif replies and replies[0] > 0 and replies[-1] < len(kinds) - 1:
        yield Wrong(at, "quick replies stand before or after all others")
    for n, one in enumerate(given):
        if kinds[n] not in MOST:
            yield Wrong(f"{at}[{n}].type", f"none of {', '.join(MOST)}")
        elif isinstance(one, dict):
            yield from _button(one, kinds[n], f"{at}[{n}]")


def _button(one: Mapping[str, Json], kind: str, at: str) -> Iterator[Wrong]:
    label = one.get("text")
    if kind != "COPY_CODE":  # its label is Meta's
        if not isinstance(label, str) or not label.strip():
            yield Wrong(f"{at}.text", "empty: what stands on the button")
        elif len(label) > LABEL_CHARS:
            yield Wrong(f"{at}.text", f"has {len(label)} characters, {LABEL_CHARS} at most")
        elif VARIABLE.search(label):
            yield Wrong(f"{at}.text", "a button's label has no variables")
    match kind:
        case "URL":
            yield from _url(one, at)
        case "PHONE_NUMBER":
            number = text_of(one, "phone_number")
            if not _NUMBER.fullmatch(number):
                yield Wrong(f"{at}.phone_number", "not a number like +12025550143")
        case "COPY_CODE":
            example = one.get("example")
            code = example[0] if isinstance(example, list) and len(example) == 1 else example
            if not isinstance(code, str) or not 1 <= len(code) <= CODE_CHARS:
                yield Wrong(f"{at}.example", f"not a code of 1 to {CODE_CHARS} characters")
        case _:
            pass


def _url(one: Mapping[str, Json], at: str) -> Iterator[Wrong]:
    url = text_of(one, "url")
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fits = False
    if not fits or len(url) > URL_CHARS:
        yield Wrong(f"{at}.url", f"not an http or https address of at most {URL_CHARS} characters")
        return
    found = VARIABLE.findall(url)
    if not found:
        return
    if len(found) > 1 or not url.endswith("}}"):
        yield Wrong(f"{at}.url", "has one variable at most, at its very end")
    example = one.get("example")
    if not (
        isinstance(example, list)
        and len(example) == 1
        and isinstance(example[0], str)
        and example[0].startswith(("http://", "https://"))
    ):
        yield Wrong(f"{at}.example", "not a list of one whole address")
