"""What a reply may look like on WhatsApp. Pure."""

import regex

from handlers.rules.cutting import head, places, units
from handlers.rules.texts import storable

MAX_CHARS = 4096

# Where a text of any script may end, best first: at the end of a sentence or line, of a part of a
# sentence, of a word. By Unicode's properties (UAX #29), so that the dandas of Hindi, the question
# mark of Arabic and the full stops of Chinese, Amharic, Armenian, Khmer or Burmese count. A full
# stop does not within 3.14 and b.example, nor after the number of a list's line. Where a script has
# no mark for it (Thai, Lao), sentences end with a space.
_CLOSING = r"""[\p{M}\p{Cf}]* [\p{Pe}\p{Pf}\p{Pi}"'*_~`]* [\p{M}\p{Cf}]*"""
_ENDS = tuple(
    regex.compile(pattern, regex.VERSION1 | regex.VERBOSE)
    for pattern in (
        rf"""
        (?: [[\p{{Sentence_Break=STerm}}--[!?]]\u2025\u2026\u0e5a\u0e5b]
          | [\p{{Terminal_Punctuation}}&&\p{{Script=Tibetan}}]
          | [!?] (?! [!?\p{{M}}\p{{Cf}}]{{0,9}} [A-Za-z0-9/=&%\#_-] )
          | (?<! (?:^|\n) [ \t]* \p{{Nd}}{{1,3}} ) \p{{Sentence_Break=ATerm}}
            (?! [\p{{Lu}}\p{{Ll}}\p{{Lt}}\p{{Nd}}/_-] )
        )+ {_CLOSING}
        | \n
        """,
        rf"[\p{{Terminal_Punctuation}}--[.]] (?! [\p{{L}}\p{{N}}/] ) {_CLOSING}",
        r"\s+",
    )
)
_CONTEXT = 100  # characters after a cut that tell whether a sentence ended before it
_SPAN_MAX = 400  # characters between two marks; also what bounds looking for them
_SPANS = tuple(
    regex.compile(rf"(?<!\w){mark}(?=\S)[^\n]{{1,{_SPAN_MAX}}}?(?<=\S){mark}(?!\w)")
    for mark in (r"\*", "_", "~", "`")
)
_FENCE = "```"


def fits(text: str) -> bool:
    """One message, as it is. WhatsApp counts UTF-16 units, of which an emoji has two."""
    return units(text) <= MAX_CHARS and storable(text) == text


def fitted(text: str, shortened: str, *, cut: bool = False) -> str:
    """One message, storable: one that is too long, or was `cut` where it stops, ends with a whole
    sentence (one that is too long: if there is one in the second half of what fits), and then says
    so."""
    text = storable(text)
    if cut:
        text = _whole_words(text)
    elif units(text) <= MAX_CHARS:
        return text
    said = f"\n\n{shortened}"
    spare = units(f"\n{_FENCE}") if _FENCE in text else 0
    room = MAX_CHARS - units(said) - spare
    if units(text) <= room:  # it was cut
        end = max((m.end() for m in _ENDS[0].finditer(text)), default=len(text))
    else:
        allowed = places(text, room)
        end = _end(text, allowed[-1], set(allowed)) or len(head(text, room))
    return _whole_marks(text, text[:end].rstrip()) + said


def _whole_words(text: str) -> str:
    """Without its last word, unless a sentence ends there: it may be half a word, or half a number
    ("38." of 38.50)."""
    before, *last = text.rsplit(maxsplit=1)
    tail = text[-_CONTEXT:]
    ends = [m.end() for m in _ENDS[0].finditer(tail)]
    whole = bool(ends) and ends[-1] == len(tail) and not regex.search(r"\p{Nd}\.$", tail)
    return text if whole or not last else before


def sentences(text: str) -> list[str]:
    """A text in its sentences and lines, without empty ones."""
    found, start = [], 0
    for match in _ENDS[0].finditer(text):
        found.append(text[start : match.end()].strip())
        start = match.end()
    return [sentence for sentence in (*found, text[start:].strip()) if sentence]


def _end(text: str, most: int, allowed: set[int]) -> int | None:
    """The last good end up to `most`, in the second half of it."""
    seen = text[: most + _CONTEXT]
    for pattern in _ENDS:
        ends = [m.end() for m in pattern.finditer(seen) if m.end() <= most and m.end() in allowed]
        if ends and ends[-1] >= most // 2:
            return ends[-1]
    return None


def _whole_marks(text: str, cut: str) -> str:
    """No mark of WhatsApp's stays open: it would show as a star."""
    if cut.count(_FENCE) % 2:
        return f"{cut}\n{_FENCE}"
    begin = max(cut.rfind("\n") + 1, len(cut) - _SPAN_MAX - 2)
    line, place = text[begin : len(cut) + _SPAN_MAX + 2], len(cut) - begin
    opened = {
        begin + match.start()
        for pattern in _SPANS
        for match in pattern.finditer(line)
        if match.start() < place < match.end()
    }
    return "".join(c for n, c in enumerate(cut) if n not in opened) if opened else cut
