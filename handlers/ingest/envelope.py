"""What crosses the ingest log: updates that share a lane, in the payload's order, as JSON."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import zip_longest
from typing import Any, get_args

from handlers.ingest_log.port import LANES, PARTITIONS, Lane
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.wire import Kind, Update

VERSION = 1
MAX_TRACE_CHARS = 64
# Of which account each update is travels beside the updates: a worker of the release before refuses
# an update with a key that it does not know, and ignores what stands beside.
_BESIDE = ("waba_id", "entry_time")
_KINDS = get_args(Kind)
_json = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps() would make one every time
_FIELDS = tuple(f.name for f in fields(Update) if f.name not in _BESIDE)


class Malformed(Exception):
    """These bytes are not an envelope."""


@dataclass(frozen=True, slots=True)
class Envelope:
    trace_id: str
    received_at: str  # ISO 8601, by the ingress's clock: for people and metrics, never for order
    updates: tuple[Update, ...]
    # phone_number_id -> tenant as the ingress knew it, for those who look at a queue. Ingest asks
    # the database again, which alone decides.
    tenants: dict[str, int] = field(default_factory=dict)


def lane_of(update: Update) -> Lane:
    """A customer's messages, and what the business writes to them, share a lane, in which order is
    kept; nothing else needs order."""
    if update.kind == "message" or update.is_echo:
        key = f"{update.phone_number_id}:{update.customer}".encode("utf-8", "replace")
        return LANES[zlib.crc32(key) % PARTITIONS]
    return "status" if update.kind == "status" else "other"


def encode(envelope: Envelope) -> bytes:
    return _json(
        {
            "v": VERSION,
            "trace_id": envelope.trace_id,
            "received_at": envelope.received_at,
            "tenants": envelope.tenants,
            # Not asdict(): it copies by recursion and gives up on nesting that JSON still carries.
            "updates": [
                {name: getattr(update, name) for name in _FIELDS} for update in envelope.updates
            ],
            "accounts": [[getattr(u, name) for name in _BESIDE] for u in envelope.updates],
        }
    ).encode()


def decode(body: bytes) -> Envelope:
    """Raises Malformed."""
    try:
        value: Any = json.loads(body)
        if value["v"] != VERSION:
            raise Malformed(f"version {value['v']!r}")
        return Envelope(
            trace_id=storable(_text(value["trace_id"]))[:MAX_TRACE_CHARS],
            received_at=_text(value["received_at"]),
            updates=tuple(
                _update(update, beside)
                for update, beside in zip_longest(value["updates"], value.get("accounts", ()))
            ),
            tenants=value["tenants"],
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed(type(error).__name__) from error


def _update(value: Any, beside: Any) -> Update:
    """An update of the wrong form would fail its whole batch, again and again."""
    waba_id, entry_time = beside or (None, None)
    if not isinstance(waba_id, str | None) or not isinstance(entry_time, int | None):
        raise Malformed("account")
    update = Update(**value, waba_id=waba_id, entry_time=entry_time)
    if update.kind not in _KINDS:
        raise Malformed("kind")
    _text(update.field)
    for text in (update.phone_number_id, update.display_number):
        if text is not None:
            _text(text)
    return update


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed("not a text")
    return value


def grouped(updates: Sequence[Update]) -> dict[Lane, list[Update]]:
    """By lane; within one, the payload's order."""
    lanes: dict[Lane, list[Update]] = {}
    for update in updates:
        lanes.setdefault(lane_of(update), []).append(update)
    return lanes
