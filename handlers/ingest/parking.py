"""A parked item's bytes, and its way back into the ingest log. Pure."""

import base64
import json
from datetime import datetime
from typing import get_args

from db.ids import AppId
from handlers.ingest.envelope import Envelope, Malformed, decode, encode, lane_of
from handlers.ingest_log.port import Entry, Lane
from handlers.whatsapp.cloud_api.wire import Kind, Update


def parked_raw(update: Update, app_id: AppId | None) -> bytes:
    """What is kept of an update; the rest of it are the parked row's columns. These bytes tell an
    item from another, so the number is among them, and whose webhook it was."""
    kept = {
        "field": update.field,
        "phone_number_id": update.phone_number_id,
        "item": update.raw,
        "contact": update.contact,
    }
    if update.waba_id is not None:
        kept |= {"waba_id": update.waba_id, "entry_time": update.entry_time}
    if app_id is not None:
        kept |= {"app": app_id}
    return json.dumps(kept, separators=(",", ":")).encode()


def parked_app(raw: bytes) -> AppId | None:
    """Of the webhook; None: the environment's."""
    app: AppId | None = json.loads(raw).get("app")
    return app


def parked_update(
    kind: Kind, phone_number_id: str | None, display_number: str | None, raw: bytes
) -> Update:
    """The other way round."""
    kept = json.loads(raw)
    return Update(
        kind,
        kept["field"],
        phone_number_id,
        display_number,
        kept["item"],
        kept["contact"],
        kept.get("waba_id"),
        kept.get("entry_time"),
    )


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
    known: dict[str, Kind] = {k: k for k in get_args(Kind)}
    if kind not in known:  # a whole entry: as it came
        return Entry(_lane_of_entry(raw), raw)
    update = parked_update(known[kind], phone_number_id, display_number, raw)
    envelope = Envelope(trace_id or "", now.isoformat(), (update,), app_id=parked_app(raw))
    return Entry(lane_of(update), encode(envelope))


def _lane_of_entry(body: bytes) -> Lane:
    """All of an envelope's updates share a lane; what is no envelope goes where it is parked."""
    try:
        return lane_of(decode(body).updates[0])
    except (Malformed, IndexError):
        return "other"


def readable(raw: bytes) -> object:
    """For people: the JSON that it is, or base64."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return {"base64": base64.b64encode(raw).decode()}
