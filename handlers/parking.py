"""A parked item's bytes, and its way back into the ingest log. Pure."""

import base64
import json
from datetime import datetime
from typing import get_args

from handlers.envelope import Envelope, encode, lane_of
from handlers.ingest_log.port import Entry
from handlers.whatsapp.wire import Kind, Update


def parked_raw(update: Update) -> bytes:
    """What is kept of an update; the rest of it are the parked row's columns. These bytes tell an
    item from another, so the number is among them."""
    kept = {
        "field": update.field,
        "phone_number_id": update.phone_number_id,
        "item": update.raw,
        "contact": update.contact,
    }
    return json.dumps(kept, separators=(",", ":")).encode()


def entry_of(
    *,
    kind: str,
    phone_number_id: str | None,
    display_number: str | None,
    trace_id: str | None,
    raw: bytes,
    now: datetime,
) -> Entry:
    """The item as the ingress would publish it today, under its first trace id."""
    if kind not in get_args(Kind):  # bytes that were no envelope: as they came
        return Entry("other", raw)
    kept = json.loads(raw)
    known: dict[str, Kind] = {k: k for k in get_args(Kind)}
    update = Update(
        known[kind], kept["field"], phone_number_id, display_number, kept["item"], kept["contact"]
    )
    envelope = Envelope(trace_id or "", now.isoformat(), (update,))
    return Entry(lane_of(update), encode(envelope))


def readable(raw: bytes) -> object:
    """For people: the JSON that it is, or base64."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return {"base64": base64.b64encode(raw).decode()}
