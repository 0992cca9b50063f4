"""Whether something stands in a text, in whatever spelling: by other means than the product's."""

import re
import unicodedata

LINKS = re.compile(r"(?:https?://|www\.)[^\s]+")
OURS = ("https://shop.example/menu",)


def stands(word: str, text: str) -> bool:
    if (digits := _digits(word)) and not re.search(r"[^\W\d]", word):
        return digits in _digits(text)
    return _skeleton(word) in _skeleton(text)


def foreign_links(text: str) -> list[str]:
    return [link for link in LINKS.findall(_visible(text)) if link.rstrip(".,!") not in OURS]


def _visible(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in folded if unicodedata.category(c) not in ("Cf", "Mn", "Me"))


def _skeleton(text: str) -> str:
    """Without what only stands between letters."""
    return re.sub(r"[\s*_~`]", "", "".join(_digit(c) for c in _visible(text)))


def _digits(text: str) -> str:
    """Numbers, each by itself, without what stands between digits."""
    shown = "".join(_digit(c) for c in _visible(text))
    return " ".join(
        re.sub(r"\D", "", run) for run in re.findall(r"\d(?:[\s.,'()+-]{0,2}\d)*", shown)
    )


def _digit(char: str) -> str:
    value = unicodedata.digit(char, None)
    return char if value is None else str(value)
