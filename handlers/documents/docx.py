"""A DOCX, by its XML as it is unpacked: no tree, no entities, no more than it may have."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import IO
from xml.parsers import expat

from handlers.documents.blocks import PARTS, UNPACKED_BYTES, Block, Refused

_DOCUMENT = "word/document.xml"
_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_STRICT = "http://purl.oclc.org/ooxml/wordprocessingml/main"
_LEVEL = re.compile(
    r"(?:heading|berschrift|titre|titolo|t.tulo|rubrik|kop)\s*([1-6])$", re.IGNORECASE
)
DEPTH = 200
PIECE_BYTES = 64 * 1024
OPEN_PIECES = 32  # of one tag or comment: it is read again with each


def blocks(data: bytes) -> Iterator[Block]:
    """Raises Refused."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as packed:
            infos = packed.infolist()
            if len(infos) > PARTS:
                raise Refused(f"it has more than {PARTS:,} parts")
            if _DOCUMENT not in packed.NameToInfo:
                raise Refused("it is no DOCX: it has no word/document.xml")
            if packed.getinfo(_DOCUMENT).flag_bits & 1:
                raise Refused("it is locked by a password")
            with packed.open(_DOCUMENT) as part:
                yield from _read(part)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise Refused("it is no DOCX, or is damaged") from error


def _read(part: IO[bytes]) -> Iterator[Block]:
    reader = _Reader()
    unpacked = 0
    # By what comes out, not by what the file says of itself.
    while piece := part.read(PIECE_BYTES):
        unpacked += len(piece)
        if unpacked > UNPACKED_BYTES:
            raise Refused(f"unpacked it has more than {UNPACKED_BYTES:,} bytes")
        yield from reader.takes(piece)
    yield from reader.takes(b"", is_last=True)


class _Reader:
    def __init__(self) -> None:
        self._parser = expat.ParserCreate(namespace_separator="|")
        self._parser.StartDoctypeDeclHandler = self._no_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._depth = 0
        self._in_text = False
        self._deleted = 0  # what was struck out by who keeps track of changes
        self._said: list[str] = []
        self._level = 0
        self._ready: list[Block] = []
        self._open = 0

    def takes(self, piece: bytes, *, is_last: bool = False) -> list[Block]:
        before = self._parser.CurrentByteIndex
        try:
            self._parser.Parse(piece, is_last)
        except expat.ExpatError as error:
            raise Refused(f"its XML is damaged ({expat.ErrorString(error.code)})") from error
        self._open = self._open + 1 if self._parser.CurrentByteIndex == before else 0
        if self._open > OPEN_PIECES:
            raise Refused(f"it has a tag of more than {OPEN_PIECES * PIECE_BYTES:,} bytes")
        ready, self._ready = self._ready, []
        return ready

    def _no_doctype(self, *_: object) -> None:
        raise Refused("it declares entities, which no DOCX does")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH:
            raise Refused(f"its XML is nested more than {DEPTH} deep")
        match _local(name):
            case "t":
                self._in_text = not self._deleted
            case "tab" | "br" | "cr" | "noBreakHyphen":
                self._said.append(" ")
            case "tc":
                self._said.append(" ")
            case "del" | "moveFrom":
                self._deleted += 1
            case "pStyle" | "outlineLvl":
                self._style(_local(name), attributes)
            case _:
                pass

    def _style(self, name: str, attributes: dict[str, str]) -> None:
        value = next((v for key, v in attributes.items() if _local(key) == "val"), "")
        if name == "outlineLvl":
            self._level = int(value) + 1 if value.isdecimal() and int(value) < 6 else self._level
        elif value.lower() == "title":
            self._level = 1
        elif (found := _LEVEL.search(value)) is not None:
            self._level = int(found[1])

    def _text(self, text: str) -> None:
        if self._in_text:
            self._said.append(text)

    def _end(self, name: str) -> None:
        self._depth -= 1
        match _local(name):
            case "t":
                self._in_text = False
            case "del" | "moveFrom":
                self._deleted -= 1
            case "p":
                text = "".join(self._said)
                if text.strip():
                    self._ready.append(Block(text, self._level))
                self._said, self._level = [], 0
            case _:
                pass


def _local(name: str) -> str:
    """Of Word's own namespaces."""
    namespace, _, local = name.rpartition("|")
    return local if namespace in (_W, _STRICT) else ""
