"""Log lines: one JSON object each, and never what somebody wrote."""

import asyncio
import contextlib
import contextvars
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from handlers.process import telemetry
from handlers.process.telemetry import describe_error

WORDS = "my PIN is 4711"


class Refused(Exception):
    sqlstate = "23505"
    constraint_name = "one_of_each"
    detail = f"Key (text)=({WORDS}) already exists."


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        if cause is not None:
            raise error from cause
        raise error
    except BaseException as caught:  # noqa: BLE001 - cancellation is an error here too
        return caught


@pytest.mark.parametrize(
    "error",
    [
        raised(ValueError(WORDS)),
        raised(Refused(WORDS)),
        raised(KeyError(WORDS), raised(ValueError(WORDS))),
        raised(
            ExceptionGroup(WORDS, [ValueError(WORDS), ExceptionGroup(WORDS, [KeyError(WORDS)])])
        ),
        UnicodeDecodeError("utf-8", WORDS.encode(), 0, 1, WORDS),
        raised(asyncio.CancelledError(WORDS)),
    ],
)
def test_an_error_is_described_without_its_text(error: BaseException) -> None:
    described = json.dumps(describe_error(error))
    assert WORDS not in described
    assert type(error).__name__ in described


def test_an_error_says_where_and_what_the_database_said() -> None:
    described = describe_error(raised(Refused(WORDS), raised(ValueError(WORDS))))
    assert described["sqlstate"] == "23505"
    assert described["constraint_name"] == "one_of_each"
    assert described["at"][-1].startswith("test_telemetry.py:")
    assert described["cause"]["type"] == "ValueError"


@pytest.fixture
def stderr() -> Iterator[io.StringIO]:
    """Where the log goes; the logging of the suite itself is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    before = structlog.get_config()
    written = io.StringIO()
    configure(written, "debug", "json")
    yield written
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**before)


def configure(written: io.StringIO, level: str, log_format: str) -> None:
    with contextlib.redirect_stderr(written):
        telemetry.configure(level, log_format, "worker")


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    assert WORDS not in written.getvalue()
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_our_lines_are_json(stderr: io.StringIO) -> None:
    log = structlog.get_logger()
    log.info("batch.recorded", entries=3, text="caf\u00e9\n\U0001f34b", odd={1, 2}, raw=b"\xff")
    (line,) = lines(stderr)
    assert line["event"] == "batch.recorded"
    assert (line["entries"], line["process"], line["level"]) == (3, "worker", "info")
    assert line["timestamp"].endswith("Z")


def test_exceptions_become_a_field(stderr: io.StringIO) -> None:
    log = structlog.get_logger()
    try:
        raise ValueError(WORDS) from KeyError(WORDS)
    except ValueError as error:
        log.exception("turn.failed")
        log.warning("turn.failed", exc_info=error)
        log.warning("turn.failed", exc_info=True)
    described = [line.get("error", {}).get("type") for line in lines(stderr)]
    assert described == ["ValueError"] * 3


def test_lines_of_libraries_are_json_without_tracebacks(stderr: io.StringIO) -> None:
    library = logging.getLogger("some.library")
    try:
        raise ValueError(WORDS)
    except ValueError as error:
        library.exception("cannot %s", "connect")
        library.error("again", exc_info=error)
        library.warning("once more", exc_info=True, stack_info=False)
    found = lines(stderr)
    assert [line["event"] for line in found] == ["cannot connect", "again", "once more"]
    assert {line["error"]["type"] for line in found} == {"ValueError"}


async def test_a_task_that_nobody_waits_for_tells_nothing(stderr: io.StringIO) -> None:
    async def fails() -> None:
        raise ValueError(WORDS)

    task = asyncio.get_running_loop().create_task(fails(), context=contextvars.Context())
    await asyncio.wait({task})
    del task
    (line,) = [entry for entry in lines(stderr) if "never retrieved" in entry["event"]]
    assert line["error"]["type"] == "ValueError"


def test_lines_below_the_level_are_left_out(stderr: io.StringIO) -> None:
    configure(stderr, "warning", "json")
    structlog.get_logger().info("not.this")
    logging.getLogger("library").info("nor this")
    structlog.get_logger().warning("but.this")
    assert [line["event"] for line in lines(stderr)] == ["but.this"]


def test_the_console_format_hides_the_same(stderr: io.StringIO) -> None:
    configure(stderr, "info", "console")
    try:
        raise ValueError(WORDS)
    except ValueError:
        structlog.get_logger().exception("turn.failed")
        logging.getLogger("library").exception("failed")
    assert "turn.failed" in stderr.getvalue()
    assert WORDS not in stderr.getvalue()
