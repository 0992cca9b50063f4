"""Rows out of what spreadsheets save as CSV. Pure.

Every program and country writes another CSV, and people edit it by hand. What can only be meant in
one way is read; what could be meant in two is refused with its line, and never becomes a row: a
quote that is not doubled ends its cell in the middle, and the lines of text behind it look like
questions.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from handlers.rules.texts import searched

DELIMITERS = (",", ";", "\t", "|")
HEADER_RECORDS = 20  # the columns' names stand in one of the first
CELL_MAX = 10_000  # characters; a cell that would be longer has ended before
ABOVE = "stands above the names of the columns"
DOUBLE_IT = "a quote inside a quoted value: write it twice"
_BOMS = (  # the longer ones first: UTF-32's begins as UTF-16's does
    *((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")),
    *((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16")),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_LINE_END = re.compile(r"\r\n|\r|\n")
_RULE = re.compile(r"|:?-{2,}:?")
_UNDOUBLED = re.compile(r'(?:[^"]|"")*+"')
_SEP = re.compile(r'\A"?sep=(.)"?[ ,;|\t]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)


class Unclear(Exception):
    """The whole file, and why."""


@dataclass(frozen=True, slots=True)
class Columns:
    """That a file may have, and must."""

    names: Sequence[str]
    needed: Sequence[str]


@dataclass(frozen=True, slots=True)
class Unreadable:
    why: str


@dataclass(frozen=True, slots=True)
class Record:
    line: int
    values: list[str]
    end: int  # where the next one begins
    broken: str | None = None  # why it is none


@dataclass(frozen=True, slots=True)
class Shape:
    """What a row has to look like, as far as the names of the columns say."""

    columns: list[str]
    wanted: Columns

    @property
    def named(self) -> int:
        return 1 + max(n for n, name in enumerate(self.columns) if name)

    @property
    def needed(self) -> int:
        return 1 + max(self.columns.index(name) for name in self.wanted.needed)

    def too_many(self, values: Sequence[str]) -> str | None:
        filled = max((n for n, value in enumerate(values, start=1) if value.strip()), default=0)
        if filled <= self.named:
            return None
        # Most often a comma in an answer without quotes: half of it would be imported.
        return f"{filled} values for {self.named} columns: quote values with commas"


@dataclass(frozen=True, slots=True)
class _Cells:
    found: list[tuple[str, bool]]  # each with whether it was quoted
    end: int  # where the next line begins
    opened: int | None = None  # behind the quote of a cell that is none


def decoded(data: bytes) -> str:
    """Raises Unclear."""
    encoding = encoding_of(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unclear(misspelt(encoding, error.start)) from error


def misspelt(encoding: str, byte: int) -> str:
    return f"is not {encoding.removesuffix('-sig').upper()} (byte {byte}): save it as UTF-8"


def encoding_of(data: bytes) -> str:
    """Of a file that begins so. Raises Unclear."""
    if data.startswith(_WORKBOOKS):
        raise Unclear("is a workbook: save it as CSV (UTF-8)")
    return next((name for bom, name in _BOMS if data.startswith(bom)), None) or _guessed(data)


def _guessed(data: bytes) -> str:
    """UTF-16 that does not say so: every second byte of Latin letters is 0."""
    some = data[:4_000]
    even, odd = some[::2].count(0), some[1::2].count(0)
    if max(even, odd) > len(some) / 8 and min(even, odd) < max(even, odd) / 8:
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8"


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above the rows."""

    delimiter: str
    columns: list[str]  # as the file names them, in our spelling
    end: int  # where the rows begin
    above: list[int]  # lines before the columns' names that are none


Row = dict[str, str] | Unreadable


def records(text: str, wanted: Columns) -> Iterator[tuple[int, Row]]:
    """Where each begins, and its values by column; or what is wrong with it. Raises Unclear."""
    head = head_of(text, wanted)
    for line in head.above:
        yield line, Unreadable(ABOVE)
    shape = Shape(head.columns, wanted)
    for record in Reader(text, head.delimiter).read(head.end, shape):
        found = row_of(record, shape)
        if found is not None:
            yield record.line, found


def head_of(text: str, wanted: Columns) -> Head:
    """Of a text that begins so. Raises Unclear."""
    start, delimiters = 0, list(DELIMITERS)
    if (sep := _SEP.match(text)) is not None:
        start, delimiters = sep.end(), [sep[1], *DELIMITERS]
    delimiter, before, header = _header(text, start, delimiters, wanted)
    above = [
        record.line
        for record in before
        if record.broken or sum(1 for value in record.values if value.strip()) > 1
    ]
    return Head(delimiter, [_name(value) for value in header.values], header.end, above)


def row_of(record: Record, shape: Shape) -> Row | None:
    if record.broken is not None:
        return Unreadable(record.broken)
    values, columns = record.values, shape.columns
    if all(_RULE.fullmatch(value.strip()) for value in values):  # nothing, or a table's rule
        return None
    if (why := shape.too_many(values)) is not None:
        return Unreadable(why)
    if [_name(value) for value in values[: shape.named]] == columns[: shape.named]:
        return Unreadable("the names of the columns once more")
    return {
        name: value
        for name, value in zip(columns, values, strict=False)
        if name in shape.wanted.names
    }


def _name(value: str) -> str:
    """Of a column: case, width, and spaces that nobody sees make no difference."""
    return searched(value).strip()


def _header(
    text: str, start: int, delimiters: Sequence[str], wanted: Columns
) -> tuple[str, list[Record], Record]:
    """How to read it, what stands above the names of the columns, and the names."""
    missing: list[list[str]] = []
    first: Record | None = None
    for delimiter in dict.fromkeys(delimiters):
        reader = Reader(text, delimiter)
        above: list[Record] = []
        for record in islice(reader.read(start), HEADER_RECORDS):
            first = first or record
            names = [_name(value) for value in record.values]
            lacks = sorted(set(wanted.needed) - set(names))
            if not lacks and not record.broken:
                twice = [name for name in wanted.names if names.count(name) > 1]
                if twice:
                    why = f"has two columns {twice[0]} (line {record.line}): rename one"
                    raise Unclear(why)
                return delimiter, above, record
            above.append(record)
            missing.append(lacks)
    if first is not None and first.broken:
        raise Unclear(f"is not CSV in line {first.line}: {first.broken}")
    lacks = min(missing, key=len, default=sorted(wanted.needed))
    raise Unclear(f"has no column {' and no column '.join(lacks)}")


@dataclass(frozen=True, slots=True)
class _Rest:
    end: int  # where the next line begins
    behind: int  # cells that follow on the last line


class Reader:
    """Records of a text with one delimiter."""

    def __init__(self, text: str, delimiter: str) -> None:
        d = re.escape(delimiter)
        self._text = text
        self._delimiter = delimiter
        # Spaces around quotes are no text. Possessive: what does not fit fails at once.
        self._quoted = re.compile(rf' *+"((?:[^"]|"")*+)" *+(?={d}|\r|\n|\Z)')
        self._opened = re.compile(r' *+"')
        self._plain = re.compile(rf"[^{d}\r\n]*+")
        self._closer = re.compile(rf'(?<!")" *+(?={d}|\r|\n|\Z)')
        self._line_of = self.line_of = _Lines(text)
        self._last = (-1, _Cells([], 0))
        self._looked = (0, 0)  # between these, no cell of the lines before ends

    def read(self, at: int, shape: Shape | None = None) -> Iterator[Record]:
        while at < len(self._text):
            record = self._record(at, shape)
            yield record
            at = record.end

    def _record(self, at: int, shape: Shape | None) -> Record:
        line = self._line_of(at)
        cells = self._cells(at)
        if cells.opened is not None:
            return self._broken(line, cells.opened)
        record = Record(line, [text for text, _ in cells.found], cells.end)
        if shape is None or not any(quoted for _, quoted in cells.found):
            return record
        return self._doubted(record, cells, shape) or record

    def _doubted(self, record: Record, cells: _Cells, shape: Shape) -> Record | None:
        """A quoted value may have ended too soon, at a quote that was meant as text."""
        plain = [text for text, quoted in cells.found if not quoted]
        why = shape.too_many(record.values)
        if any('"' in text for text in plain):
            why = f"not CSV: {DOUBLE_IT}"
        if why is not None:
            ended = any(text.rstrip(" ").endswith('"') for text in plain)
            rest = None if ended else self._rest(cells.end)
            return self._left_out(record.line, cells.end if rest is None else rest.end, why)
        rest = self._rest(cells.end, as_one_cell=True)
        if rest is None:
            return None
        last = max(n for n, (_, quoted) in enumerate(cells.found) if quoted)
        if not shape.needed <= last + 1 + rest.behind <= shape.named:
            return None  # read as one cell the lines are no row
        why = f"not CSV: {DOUBLE_IT}, or open the value whose end is closed"
        return self._left_out(record.line, rest.end, why)

    def _cells(self, at: int) -> _Cells:
        if self._last[0] != at:  # the next line is looked at before it is read
            self._last = (at, self._split(at))
        return self._last[1]

    def _split(self, at: int) -> _Cells:
        text = self._text
        found: list[tuple[str, bool]] = []
        while True:
            if (match := self._quoted.match(text, at)) is not None:
                found.append((match[1].replace('""', '"'), True))
            elif (match := self._opened.match(text, at)) is not None:
                return _Cells(found, match.end(), match.end())
            else:
                match = self._plain.match(text, at)
                assert match is not None, "it fits anything"
                found.append((match[0], False))
            at = match.end()
            if text[at : at + 1] != self._delimiter:
                return _Cells(found, self._next_line(at))
            at += 1

    def _broken(self, line: int, opened: int) -> Record:
        """A cell begins at `opened` and does not end as one does."""
        end = self._end_of_broken(opened)
        if end is None:
            why = "not CSV: a quote that is opened here is never closed"
            return self._left_out(line, len(self._text), why)
        return self._left_out(line, end, f"not CSV: {DOUBLE_IT}")

    def _end_of_broken(self, opened: int, *, alone: bool = False) -> int | None:
        """Behind the last line of a record with a cell that begins at `opened`, and does not end as
        one does. None: it may be all the rest. `alone`: nobody looks whether it goes on."""
        while (inner := _UNDOUBLED.match(self._text, opened)) is not None:
            end = self._next_line(inner.end())
            closer = self._closer.search(self._text, inner.end(), end)
            if closer is None:
                rest = None if alone else self._rest(end)
                return end if rest is None else rest.end
            if not self._text.startswith(self._delimiter, closer.end()):
                return end
            cells = self._cells(closer.end() + 1)  # which may go over more lines
            if cells.opened is None:
                return cells.end
            opened = cells.opened
        return None

    def _left_out(self, line: int, end: int, why: str) -> Record:
        last = self._line_of(end) - (self._text[end - 1] in "\r\n")
        also = f"; lines {line} to {last} are left out" if last > line else ""
        return Record(line, [], end, why + also)

    def _rest(self, at: int, *, as_one_cell: bool = False) -> _Rest | None:
        """Where a cell ends that goes on over the next lines: behind a closing quote that nothing
        on its own line has opened. None: there is none, so it did not go on."""
        begin = at
        if not as_one_cell and self._looked[0] <= at <= self._looked[1]:
            at = self._looked[1]  # many broken lines would look at each other
        while at < len(self._text) and at - begin < CELL_MAX:
            cells = self._cells(at)
            filled = [n for n, (text, _) in enumerate(cells.found) if text.strip()]
            for n in filled:
                text, quoted = cells.found[n]
                if quoted and as_one_cell:
                    return None
                if not quoted and text.rstrip(" ").endswith('"') and text.count('"') % 2:
                    return _Rest(cells.end, filled[-1] - n)
            if cells.opened is None:
                at = cells.end
                continue
            end = self._end_of_broken(cells.opened, alone=True)
            if as_one_cell:  # a line that begins with a doubled quote begins inside of a value
                inside = not cells.found and self._text.startswith('"', cells.opened)
                return _Rest(end or len(self._text), 0) if inside else None
            if end is None:
                break
            at = end
        if not as_one_cell:
            self._looked = (begin, at)
        return None

    def _next_line(self, at: int) -> int:
        end = _LINE_END.search(self._text, at)
        return len(self._text) if end is None else end.end()


class _Lines:
    """Which line a place is in, for places that mostly grow."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._plain = "\r" not in text
        self._at, self._line = 0, 1

    def __call__(self, at: int) -> int:
        if at < self._at:
            self._at, self._line = 0, 1
        if self._plain:
            self._line += self._text.count("\n", self._at, at)
        else:
            self._line += sum(1 for _ in _LINE_END.finditer(self._text, self._at, at))
        self._at = at
        return self._line
