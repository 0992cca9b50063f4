"""What crosses the ingest log: updates that share a lane, in the payload's order, as JSON."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from handlers.ingest_log.port import LANES, PARTITIONS, Lane
from handlers.whatsapp.wire import Update

VERSION = 1


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
    """A customer's messages share a lane, in which order is kept; nothing else needs order."""
    match update.kind:
        case "message":
            key = f"{update.phone_number_id}:{update.customer}".encode("utf-8", "replace")
            return LANES[zlib.crc32(key) % PARTITIONS]
        case "status":
            return "status"
        case "other":
            return "other"


def encode(envelope: Envelope) -> bytes:
    return json.dumps(
        {
            "v": VERSION,
            "trace_id": envelope.trace_id,
            "received_at": envelope.received_at,
            "tenants": envelope.tenants,
            "updates": [asdict(update) for update in envelope.updates],
        },
        separators=(",", ":"),
    ).encode()


def decode(body: bytes) -> Envelope:
    """Raises Malformed."""
    try:
        value: Any = json.loads(body)
        if value["v"] != VERSION:
            raise Malformed(f"version {value['v']!r}")
        return Envelope(
            trace_id=value["trace_id"],
            received_at=value["received_at"],
            updates=tuple(Update(**update) for update in value["updates"]),
            tenants=value["tenants"],
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed(type(error).__name__) from error


def grouped(updates: Sequence[Update]) -> dict[Lane, list[Update]]:
    """By lane; within one, the payload's order."""
    lanes: dict[Lane, list[Update]] = {}
    for update in updates:
        lanes.setdefault(lane_of(update), []).append(update)
    return lanes
