"""What the simulator saw, in order, and the conversations as their customers see them."""

import json
import time
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple, TypeVar, get_args

MAX_ENTRIES = 200_000
MAX_BYTES = 256 * 1024 * 1024
MAX_CONVERSATIONS = 50_000
MAX_LINES = 500  # a conversation

Kind = Literal[
    "send", "read", "typing", "webhook", "model", "embedding", "endpoint", "media",
    "transcription", "upload", "template",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Entry(NamedTuple):
    kind: Kind
    encoded: bytes


class Journal:
    """Bounded; entries are kept encoded, which takes a tenth of the memory of live objects."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._last = 0

    def add(self, kind: Kind, **fields: object) -> None:
        self._last += 1
        record = {"seq": self._last, "at": time.time(), "kind": kind, **fields}
        entry = Entry(kind, json.dumps(record).encode())
        self._entries.append(entry)
        self._bytes += len(entry.encoded)
        while len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES:
            self._bytes -= len(self._entries.popleft().encoded)

    def since(self, seq: int, kinds: Iterable[Kind]) -> bytes:
        """The entries after `seq` of these kinds, as one JSON list."""
        wanted = frozenset(kinds)
        first = self._last - len(self._entries) + 1
        tail = islice(self._entries, max(0, seq + 1 - first), None)
        return b"[" + b",".join(entry.encoded for entry in tail if entry.kind in wanted) + b"]"

    def clear(self) -> None:
        """Empties the journal; numbers go on, so that a reader's `since` stays valid."""
        self._entries.clear()
        self._bytes = 0


@dataclass(slots=True)
class Line:
    sender: Literal["customer", "bot"]
    text: str
    wamid: str
    at: float
    status: str | None = None

    def as_json(self) -> dict[str, object]:
        return {
            "from": self.sender,
            "text": self.text,
            "at": self.at,
            "status": self.status,
            "wamid": self.wamid,
        }


class Conversations:
    def __init__(self) -> None:
        self._lines: OrderedDict[tuple[str, str], deque[Line]] = OrderedDict()

    def add(self, phone_number_id: str, customer: str, line: Line) -> None:
        key = (phone_number_id, customer)
        lines = self._lines.get(key)
        if lines is None:
            lines = deque(maxlen=MAX_LINES)
            remember(self._lines, key, lines, MAX_CONVERSATIONS)
        if all(line.wamid != known.wamid for known in lines):
            lines.append(line)

    def last(self, phone_number_id: str, customer: str, sender: str) -> str | None:
        """The wamid of the newest line of one side."""
        lines = self._lines.get((phone_number_id, customer), ())
        return next((line.wamid for line in reversed(lines) if line.sender == sender), None)

    def has_read(self, phone_number_id: str, customer: str, wamid: str) -> None:
        """The business has: this line of the customer's and all before it."""
        lines = list(self._lines.get((phone_number_id, customer), ()))
        places = [place for place, line in enumerate(lines) if line.wamid == wamid]
        for line in lines[: places[-1] + 1] if places else []:
            if line.sender == "customer":
                line.status = "read"

    def of(self, phone_number_id: str, customer: str) -> list[dict[str, object]]:
        return [line.as_json() for line in self._lines.get((phone_number_id, customer), ())]

    def clear(self) -> None:
        self._lines.clear()


def remember(store: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    store[key] = value
    if len(store) > limit:
        store.popitem(last=False)
