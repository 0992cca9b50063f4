"""Marks among the statuses, and when a worker may judge."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from handlers.ingest.envelope import Envelope, encode
from handlers.ingest.fence import mark, parted
from worker.intake import has_listened

ENVELOPE = encode(Envelope("trace", "2026-11-22T10:00:00+00:00", ()))
AT = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)


def test_a_batch_without_a_mark_is_left_as_it_is() -> None:
    assert parted([ENVELOPE, b"no envelope"]) == ([ENVELOPE, b"no envelope"], None)


def test_marks_are_taken_out_and_the_last_one_counts() -> None:
    later = AT + timedelta(seconds=1)
    assert parted([mark(AT), ENVELOPE, mark(later), ENVELOPE]) == ([ENVELOPE, ENVELOPE], later)


def test_a_mark_keeps_the_moment_to_the_microsecond() -> None:
    assert parted([mark(AT)]) == ([], AT)
    assert parted([mark(AT.astimezone(timezone(timedelta(hours=5))))]) == ([], AT)


@pytest.mark.parametrize(
    "body",
    [
        *(b'{"fence":', b'{"fence":1}', b'{"fence":"x"}', b'{"fence":"2026-11-22T10:00:00"}'),
        b'{"fence":' + b"[" * 100_000,
        b'{"fence":"0001-01-01T00:00:00+23:59"}',
        b'{"fence":"9999-12-31T23:59:59-23:59"}',
    ],
)
def test_what_only_begins_like_a_mark_is_kept(body: bytes) -> None:
    assert parted([body]) == ([body], None)


@pytest.mark.parametrize(
    ("subscribed", "steady", "expected"),
    [
        (40.0, 30.0, True),
        (40.1, 30.0, False),  # subscribed too late
        (30.0, 40.1, False),  # the database was away meanwhile
        (None, 0.0, False),
        (0.0, None, False),
    ],
)
def test_who_judges_has_listened_all_the_time(
    subscribed: float | None, steady: float | None, expected: bool
) -> None:
    assert has_listened(subscribed, steady, now=100.0, for_s=60.0) is expected
