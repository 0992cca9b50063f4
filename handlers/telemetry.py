"""Log lines and metrics.

One wide line per unit of work: the event is a dotted past tense, fields carry their unit, and
neither message text nor a secret is ever a field (wamids neither: they contain a phone number).
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram

WEBHOOKS = Counter("wa_webhooks_total", "Webhook POSTs, by HTTP status", ["status"])
API_CALLS = Counter("api_calls_total", "Requests to the tenant API, by HTTP status", ["status"])
UPDATES = Counter("wa_updates_total", "Updates published to the ingest log", ["kind"])
PUBLISH_SECONDS = Histogram(
    "wa_publish_confirm_seconds",
    "From the first publish of a POST to its last confirm",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
)
RECORDED = Counter("wa_messages_recorded_total", "Inbound messages recorded for the first time")
DUPLICATES = Counter("wa_messages_duplicate_total", "Inbound messages that were there already")
UNDERSTOOD = Counter("wa_items_understood_total", "Items given to a tenant, by kind", ["kind"])
PARKED = Counter(
    "wa_items_parked_total", "Items kept whole because nothing could be done with them", ["reason"]
)
TURNS = Counter("wa_turns_total", "Turns, by how they ended", ["outcome"])
TURN_SECONDS = Histogram(
    "wa_turn_seconds",
    "From claim to commit",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45, 90),
)
SENDS = Counter("wa_sends_total", "Calls to the Graph API, by outcome", ["outcome"])
TYPING = Counter(
    "wa_typing_total", "Calls that mark as read and show that an answer is coming", ["outcome"]
)
PAUSES = Counter("wa_number_pauses_total", "Numbers that may not send for a while", ["reason"])
STATUSES = Counter("wa_statuses_total", "Delivery statuses, by what became of them", ["outcome"])
TAKEOVERS = Counter(
    "wa_leases_swept_total", "Claims taken back from dead workers, or lost sight of", ["what"]
)
TURNS_RUNNING = Gauge("wa_turns_running", "Turns of this process in flight")
CONSUMING = Gauge("wa_ingest_consuming", "1 while subscribed to the ingest log", ["role"])
RESUBSCRIBED = Counter(
    "wa_ingest_resubscribed_total", "Subscriptions made anew because they had gone silent", ["why"]
)
BATCH_SECONDS = Gauge(
    "wa_batch_running_seconds", "How long the batch in hand has been worked on", ["role"]
)

MAX_FRAMES = 12  # of a traceback: enough to see who called


def describe_error(error: BaseException) -> dict[str, Any]:
    """What went wrong and where, without the error's own text.

    That text quotes what it choked on: asyncpg puts the failing row into its DETAIL, a ValueError
    the customer's words.
    """
    described: dict[str, Any] = {
        "type": type(error).__name__,
        "at": [
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
        ],
    }
    for name in ("sqlstate", "constraint_name", "table_name", "status_code"):
        value = getattr(error, name, None)
        if value is not None:
            described[name] = value
    if isinstance(error, BaseExceptionGroup):
        described["errors"] = [describe_error(e) for e in error.exceptions[:5]]
    if error.__cause__ is not None:
        described["cause"] = describe_error(error.__cause__)
    return described


def _exceptions(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record = event.get("_record")
    if record is not None and record.name == "asyncio":
        # Below its first line asyncio prints the task, and with it the error's text.
        event["event"] = event["event"].partition("\n")[0]
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["error"] = describe_error(error)
    return event


def configure(level: str, log_format: str, process: str) -> None:
    """One formatter for our lines and the libraries'."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exceptions,
    ]

    def name_process(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    renderer: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if log_format == "console"
        else [structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                name_process,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *renderer,
            ],
        )
    )
    # No line says these, and to find them out costs a webhook 4 % of its CPU.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # as logging's documentation advises
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Libraries that log every request or put payloads into their lines.
    for noisy in ("aio_pika", "aiormq", "httpx", "httpx2", "openai", "aiohttp.access", "langchain"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # On a lost connection these log what our own loop reports, with a traceback, as errors.
    for silent in ("aio_pika.connection", "aiormq.connection", "aio_pika.channel"):
        logging.getLogger(silent).setLevel(logging.CRITICAL)
