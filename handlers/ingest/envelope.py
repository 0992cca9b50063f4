"""What crosses the ingest log: updates that share a lane, in the payload's order, as JSON."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import zip_longest
from typing import Any, get_args

from db.ids import AppId
from handlers.ingest_log.port import LANES, PARTITIONS, Lane
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.wire import Kind, Update

VERSION = 1
MAX_TRACE_CHARS = 64
MAX_VERSION_CHARS = 20  # of one that is none of ours, in a parked item's reason
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
    # Whose webhook it was; None: the environment's app, of which nothing is written.
    app_id: AppId | None = None
    # Of what was read: updates that are none, each as an envelope by itself, and why.
    spoilt: tuple[tuple[bytes, str], ...] = ()


def lane_of(update: Update) -> Lane:
    """A customer's messages, and what the business writes to them, share a lane, in which order is
    kept; nothing else needs order."""
    if update.kind == "message" or update.is_echo:
        key = f"{update.phone_number_id}:{update.customer}".encode("utf-8", "replace")
        return LANES[zlib.crc32(key) % PARTITIONS]
    return "status" if update.kind == "status" else "other"


def encode(envelope: Envelope) -> bytes:
    app = {} if envelope.app_id is None else {"app": envelope.app_id}
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
            **app,
        }
    ).encode()


def decode(body: bytes) -> Envelope:
    """One update that is none never takes its neighbours along, and what stands beside them are
    notes, which may be missing. Raises Malformed when nothing of it is an update."""
    try:
        value: Any = json.loads(body)
        if value["v"] != VERSION:
            raise Malformed(f"version {str(value['v'])[:MAX_VERSION_CHARS]!r}")
        updates, accounts = value["updates"], value.get("accounts")
        if not isinstance(updates, list):
            raise Malformed("updates are no list")
        beside = accounts if isinstance(accounts, list) else []
        good: list[Update] = []
        spoilt: list[tuple[bytes, str]] = []
        for update, account in zip_longest(updates, beside[: len(updates)]):
            try:
                good.append(_update(update, account))
            except (Malformed, TypeError) as error:
                alone = {**value, "updates": [update], "accounts": [account]}
                why = str(error) if isinstance(error, Malformed) else type(error).__name__
                spoilt.append((_json(alone).encode(), why))
        if spoilt and not good:
            raise Malformed(spoilt[0][1])
        return Envelope(
            trace_id=storable(_note(value.get("trace_id")))[:MAX_TRACE_CHARS],
            received_at=_note(value.get("received_at")),
            updates=tuple(good),
            tenants=_tenants(value.get("tenants")),
            app_id=_app(value.get("app")),
            spoilt=tuple(spoilt),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(type(error).__name__) from error


def _update(value: Any, beside: Any) -> Update:
    """An update of the wrong form would fail its whole batch, again and again."""
    waba_id, entry_time = _account(beside)
    update = Update(**value, waba_id=waba_id, entry_time=entry_time)
    if update.kind not in _KINDS:
        raise Malformed("kind")
    _text(update.field)
    for text in (update.phone_number_id, update.display_number):
        if text is not None:
            _text(text)
    return update


def _account(beside: Any) -> tuple[str | None, int | None]:
    if not isinstance(beside, list) or len(beside) != len(_BESIDE):
        return None, None
    waba_id, time = beside
    if not isinstance(waba_id, str | None) or isinstance(time, bool):
        return None, None
    if time is not None and not (isinstance(time, int) and 0 <= time < 2**63):
        return None, None
    return waba_id, time


def _note(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _tenants(value: Any) -> dict[str, int]:
    return value if isinstance(value, dict) else {}


def _app(value: Any) -> AppId | None:
    """No note: what is none of ours is not taken for the environment's app."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63:
        raise Malformed("app")
    return AppId(value)


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
