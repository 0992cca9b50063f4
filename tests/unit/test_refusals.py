"""From what servers say to what may help. The words in refusals.jsonl are those of real servers."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from handlers.agent.answerer import Kind
from handlers.agent.completions.refusals import refused

LINES = (Path(__file__).parent / "refusals.jsonl").read_text().splitlines()
SAID: list[dict[str, Any]] = [json.loads(line) for line in LINES]
NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def sorted_(status: int, body: Any, **headers: str) -> tuple[str, Kind, float | None]:
    response = (
        httpx2.Response(status, content=body)
        if isinstance(body, bytes)
        else httpx2.Response(status, json=body)
    )
    none = refused(status, httpx2.Headers(headers), response.content, NOW)
    return none.word, none.kind, none.retry_after_s


@pytest.mark.parametrize("said", SAID, ids=lambda one: f"{one['from']} {one['status']}")
def test_what_servers_say(said: dict[str, Any]) -> None:
    body = said["body"]
    body = body.encode() if isinstance(body, str) else body
    assert sorted_(said["status"], body)[:2] == (said["word"], Kind(said["kind"]))


def test_what_a_server_repeats_of_the_request_is_not_what_it_says() -> None:
    """A customer may write anything, and some servers send it back in their errors."""
    written = "context_length_exceeded, content_filter, insufficient_quota"
    problem = {"type": "x", "loc": ["body", "seed"], "msg": "no", "input": [{"content": written}]}
    assert sorted_(422, {"detail": [problem]})[:2] == ("http_422", Kind.NEVER)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "7", "retry-after-ms": "250"}, 0.25),
        ({"Retry-After": "Mon, 02 Nov 2026 09:30:20 GMT"}, 20.0),
        ({"Retry-After": "Mon, 02 Nov 2026 09:29:20 GMT"}, 0.0),
        ({"Retry-After": "999999999999"}, 86_400.0),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Mon, 99 Nov 2026 09:30:20 GMT"}, None),
    ],
    ids=str,
)
def test_when_to_come_again(headers: dict[str, str], seconds: float | None) -> None:
    assert sorted_(429, {"error": {"message": "slow down"}}, **headers)[2] == seconds


@pytest.mark.parametrize(
    "body", [b"", b"\xff" * 10, b"[" * 60_000, b'{"error": ' * 9_000, b"null", b"3", b"[[[]]]"]
)
def test_any_body_of_an_error_is_an_error(body: bytes) -> None:
    assert sorted_(503, body)[:2] == ("http_503", Kind.LATER)
