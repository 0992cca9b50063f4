"""A web page as text: what a reader sees of it, without scripts, menus and forms."""

import codecs
import re
from collections.abc import Iterator
from html.parser import HTMLParser

from handlers.documents.blocks import Block, Refused

_LEFT_OUT = frozenset(
    [
        *("script", "style", "template", "noscript", "svg", "math", "iframe", "object", "head"),
        *("nav", "form", "button", "select", "textarea"),
    ]
)
_BLOCKS = frozenset(
    [
        *("p", "div", "section", "article", "main", "header", "footer", "aside", "ul", "ol", "li"),
        *("dl", "dt", "dd", "table", "tr", "blockquote", "pre", "figure", "figcaption", "address"),
        *("hr", "br", "h1", "h2", "h3", "h4", "h5", "h6", "body", "html", "title"),
    ]
)
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
HEAD_BYTES = 4_096
PIECE_CHARS = 64 * 1024
OPEN_CHARS = 1024 * 1024  # of one tag or comment


def blocks(data: bytes) -> Iterator[Block]:
    """Raises Refused."""
    text = _decoded(data)
    reader = _Reader()
    for at in range(0, len(text), PIECE_CHARS):
        reader.feed(text[at : at + PIECE_CHARS])
        # What has not ended is read again with each piece.
        if len(reader.rawdata) > OPEN_CHARS:
            raise Refused(f"it has a tag or a comment of more than {OPEN_CHARS:,} characters")
        yield from reader.ready()
    reader.close()
    reader.end_block()
    yield from reader.ready()


def _decoded(data: bytes) -> str:
    if b"\0" in data[:HEAD_BYTES] and not data.startswith(
        (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    ):
        raise Refused("it is no text")
    named = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if named is None:
        found = _CHARSET.search(data[:HEAD_BYTES])
        named = found[1].decode() if found else "utf-8"
    try:
        return data.decode(codecs.lookup(named).name, "replace")
    except (LookupError, ValueError, UnicodeError):
        return data.decode("utf-8", "replace")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._said: list[str] = []
        self._level = 0
        self._left_out: str | None = None  # inside of this, which is counted
        self._deep = 0
        self._ready: list[Block] = []

    def ready(self) -> list[Block]:
        ready, self._ready = self._ready, []
        return ready

    def end_block(self) -> None:
        text = "".join(self._said)
        if text.strip():
            self._ready.append(Block(text, self._level))
        self._said = []

    def handle_starttag(
        self,
        tag: str,
        attrs: list[tuple[str, str | None]],  # noqa: ARG002 - as the parser calls it
    ) -> None:
        if self._left_out is not None:
            self._deep += tag == self._left_out
            return
        if tag in _LEFT_OUT:
            self._left_out, self._deep = tag, 1
        elif tag in _BLOCKS:
            self.end_block()
            self._level = int(tag[1]) if re.fullmatch(r"h[1-6]", tag) else 0
        elif tag in ("td", "th"):
            self._said.append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._left_out is None and tag not in _LEFT_OUT:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._left_out is not None:
            self._deep -= tag == self._left_out
            if not self._deep:
                self._left_out = None
            return
        if tag in _BLOCKS:
            self.end_block()
            self._level = 0

    def handle_data(self, data: str) -> None:
        if self._left_out is None:
            self._said.append(data)
