"""The mark by which statuses are known to be merged.

That no status of a send came says something only when every status of that time is merged, and
after an outage they may wait in the log for longer than a send waits for its status. So a mark with
the database's time goes through the statuses' lane like a status does. Order is kept there, so when
the mark is handled, everything that was durable before that time has been.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

_PREFIX = b'{"fence":'  # an envelope begins otherwise


def mark(at: datetime) -> bytes:
    return _PREFIX + json.dumps(at.isoformat()).encode() + b"}"


def parted(bodies: Sequence[bytes]) -> tuple[list[bytes], datetime | None]:
    """The envelopes of a batch, and the time of the last mark among them."""
    envelopes: list[bytes] = []
    last: datetime | None = None
    for body in bodies:
        at = _time_of(body)
        if at is None:
            envelopes.append(body)
        else:
            last = at
    return envelopes, last


def _time_of(body: bytes) -> datetime | None:
    if not body.startswith(_PREFIX):
        return None
    try:
        at = datetime.fromisoformat(json.loads(body)["fence"])
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None  # kept as an undecodable envelope, like anything else that is none
