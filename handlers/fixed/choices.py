"""Whether a message is nothing but a word by which advertising is ended, or begun again. Pure."""

import re
import tomllib
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from handlers.rules.texts import searched, words

Choice: TypeAlias = Literal["stop", "resume"]  # as contacts.marketing_choice has it
MAX_CHARS = 80  # of such a message
WORDS_MAX, WORD_CHARS = 50, 40  # that a tenant may add
_QUOTE = re.compile(r"\A\[in reply to [^\]]*\]\n")  # ours, before what answers a message


def choice_of(text: str | None, own: Sequence[str] = ()) -> Choice | None:
    """`own`: what the chatbot's tenant takes for a stop beside ours."""
    if not text:
        return None
    said = _QUOTE.sub("", text)
    if len(said) > MAX_CHARS or not (bare := spelling(said)):
        return None
    known = _known()
    if bare in known["stop"] or any(bare == spelling(word) for word in own):
        return "stop"
    return "resume" if bare in known["resume"] else None


def spelling(text: str) -> str:
    """Without case, punctuation, and the accents of Latin letters; a word that is only repeated
    once, and one that is spelled letter by letter in one."""
    said = words(_bare(searched(text).replace("_", " ")))
    if len(said) > 2 and all(len(word) == 1 and word.isascii() for word in said):
        return "".join(said)
    return " ".join(said[:1] if len(set(said)) == 1 else said)


def _bare(text: str) -> str:
    """The vowels of other scripts are marks too, and stay."""
    if text.isascii():
        return text
    letters: list[str] = []
    for letter in unicodedata.normalize("NFD", text.replace("\u0131", "i").replace("\u00df", "ss")):
        if unicodedata.combining(letter) and letters and letters[-1].isascii():
            continue
        letters.append(letter)
    return unicodedata.normalize("NFC", "".join(letters))


@cache
def _known() -> dict[str, frozenset[str]]:
    told = tomllib.loads((Path(__file__).parent / "choices.toml").read_text(encoding="utf-8"))
    return {choice: frozenset(map(spelling, told[choice])) for choice in ("stop", "resume")}
