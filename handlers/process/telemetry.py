"""Log lines and metrics.

One wide line per unit of work: the event is a dotted past tense, fields carry their unit, and
neither message text nor a secret is ever a field (wamids neither: they contain a phone number).
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import structlog
from prometheus_client import Counter, Gauge, Histogram, Info

# Names, units and help texts follow Prometheus' conventions; docs/metrics.md has them all. Labels
# are few and fixed: never a tenant, a number or an id, of which there may be any number.
FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)
CALL = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45)
WAIT = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)
ENTRIES = (1, 2, 5, 10, 20, 50, 100, 200)


def _counter(name: str, text: str, label: str, *values: str) -> Counter:
    """With each value at 0 from the start: rate() and increase() do not see a series begin."""
    counter = Counter(f"swiftreplies_{name}", text, [label])
    for value in values:
        counter.labels(value)
    return counter


def _histogram(
    name: str, text: str, buckets: Sequence[float], label: str | None = None
) -> Histogram:
    return Histogram(f"swiftreplies_{name}", text, [label] if label else [], buckets=buckets)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"swiftreplies_{name}", text, labels)


BUILD = Info("swiftreplies_build", "The release that this process is of")
BUILD.info({"version": version("swiftreplies")})
READY = _gauge("ready", "1 while /readyz answers 200")
DATABASE_CONNECTIONS = _gauge(
    "database_connections", "Connections to PostgreSQL, by pool, in use or idle", "pool", "state"
)

CONNECTIONS = _gauge("http_connections", "Connections to this process's HTTP server")
CONNECTIONS_CLOSED = _counter(
    *("http_connections_closed_total", "Connections closed before their time, by why", "reason"),
    *("slow", "gave_way", "refused", "too_large", "wasteful", "unread"),
)
WEBHOOKS = _counter(
    *("webhooks_total", "Webhook POSTs, by HTTP status", "status"),
    *("200", "400", "401", "404", "408", "413", "415", "503"),
)
WEBHOOKS_IN_FLIGHT = _gauge("webhooks_in_flight", "Webhook POSTs that have no answer yet")
API_CALLS = _counter(
    *("api_requests_total", "Requests to the tenant API, by HTTP status", "status"),
    *("200", "201", "202", "204", "304", "400", "401", "403", "404", "405", "408", "409", "412"),
    *("413", "415", "422", "429", "500", "502", "503", "504"),
)
UPDATES = _counter(
    *("updates_published_total", "Updates made durable in the ingest log, by kind", "kind"),
    *("message", "status", "other"),
)
PUBLISH_SECONDS = _histogram(
    "publish_confirm_seconds", "From the first publish of a POST to its last confirm", FAST
)

CONSUMING = _gauge("ingest_subscribed", "1 while subscribed to the ingest log", "subscription")
RESUBSCRIBED = _counter(
    *("ingest_resubscribed_total", "Subscriptions made anew that had gone silent", "why"),
    *("deserted", "standstill"),
)
BATCH_RUNNING_SECONDS = _gauge(
    *("ingest_batch_running_seconds", "How long the batch in hand has been worked on"),
    "subscription",
)
BATCH_SECONDS = _histogram(
    *("ingest_batch_seconds", "Handling a batch, waits for the database not counted"),
    *(CALL, "subscription"),
)
BATCH_ENTRIES = _histogram("ingest_batch_entries", "Entries of a batch", ENTRIES, "subscription")
INGEST_SECONDS = _histogram(
    "ingest_delay_seconds", "From a message's arrival at the ingress to its record", WAIT
)
RECORDED = Counter(
    "swiftreplies_messages_recorded_total", "Inbound messages recorded for the first time"
)
DUPLICATES = Counter(
    "swiftreplies_messages_duplicate_total", "Inbound messages that were there already"
)
UNDERSTOOD = _counter(
    *("items_understood_total", "Items of customers' lanes given to a tenant, by kind", "kind"),
    *("inbound", "past", "change", "moved", "preference", "happening"),
)
PARKED = _counter(
    *("items_parked_total", "Items kept whole because nothing could be done with them", "reason"),
    *("unknown_number", "phone_number_id_of_another", "bindable", "unknown_account"),
    "number_of_another_app",
    *("unknown_message", "unknown_contact", "not_understood", "poison", "delivered_too_often"),
    "undecodable",
)
ERASED = _counter(
    *("items_erased_total", "Items dropped because whom they are of was erased, by kind", "kind"),
    *("message", "status", "other", "parked"),
)
FORGOTTEN = _counter(
    *("rows_forgotten_total", "Rows removed because of their age, by what they are", "what"),
    *("messages", "parked_items", "analytics_events", "account_events", "conversation_events"),
    *("idempotency_keys", "gone_messages", "webhook_events"),
)
JOBS = _counter(
    *("jobs_total", "Jobs, by what became of a try", "outcome"),
    *("done", "failed", "lost"),
)
FAILING = _counter(
    *("items_failing_total", "Items that could not be written, and are tried again", "stage"),
    *("set_aside", "stuck"),
)
STATUSES = _counter(
    *("statuses_total", "Delivery statuses, by what became of them", "outcome"),
    *("merged", "orphan", "matched", "parked"),
)

TURNS = _counter(
    *("turns_total", "Turns, by how they ended", "outcome"),
    *("replied", "apologised", "put_off", "silent", "nothing_to_do", "lost_lease", "outdated"),
    *("held", "told", "failed", "cancelled"),
)
TURN_SECONDS = _histogram("turn_seconds", "From a turn's start to its commit", CALL)
ASKS = _counter(
    *("asks_total", "Asks that a worker had in hand, by what came of them", "outcome"),
    *("answered", "too_late", "lost", "cancelled", "failed", "gone", "knowledge_not_ready"),
    *("limit_reached", "limit_held", "model_failed", "model_unavailable"),
)
ASK_SECONDS = _histogram("ask_seconds", "From an ask's claim to its answer", CALL)
TURNS_RUNNING = _gauge("turns_running", "Turns of this process in flight")
REPLY_SECONDS = _histogram(
    *("reply_delay_seconds", "From the last message answered, by WhatsApp's time, to the reply"),
    (1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 120, 300, 600, 1_800, 3_600),
)
MODEL_SECONDS = _histogram(
    *("model_request_seconds", "Questions to the model, repeated requests included, by outcome"),
    *(CALL, "outcome"),
)
LOOP_LATE = _gauge(
    "loop_late_seconds", "How late a worker with the role turns comes to what is due, of late"
)
MODEL_AWAY = _gauge("model_away", "1 while turns wait for the model's server to be back")
MODEL_TOKENS = _counter(
    *("model_tokens_total", "Tokens as the model's server counts them", "direction"),
    *("input", "output"),
)
TYPING = _counter(
    *("typing_total", "Calls that mark as read and show that an answer is coming", "outcome"),
    *("shown", "failed"),
)
KNOWLEDGE_BYTES = _gauge("knowledge_kept_bytes", "Memory for knowledge bases and their indexes")
KNOWLEDGE_SEARCHES = _counter(
    *("knowledge_searches_total", "Searches of big knowledge bases, by what found", "how"),
    *("index", "words", "not_ready"),
)
KNOWLEDGE_STRANGERS = Counter(
    "swiftreplies_knowledge_strangers_total", "Rows that answers cited and no model was shown"
)
KNOWLEDGE_MEANINGS = _counter(
    *("knowledge_meanings_total", "Searches that wanted the question embedded", "outcome"),
    *("used", "late", "failed", "not_loaded"),
)
KNOWLEDGE_EMBEDDED = _counter(
    *("knowledge_embedded_total", "Rows that were to be embedded, by what became of them"),
    *("outcome", "stored", "refused", "failed"),
)
KNOWLEDGE_BUILDS = _counter(
    *("knowledge_builds_total", "Indexes of big knowledge bases, by what became of them"),
    *("outcome", "built", "failed", "interrupted"),
)

SENDS = _counter(
    *("sends_total", "Sends and their settling, by outcome", "outcome"),
    *("accepted", "unknown", "retry", "waits", "failed", "not_sent", "resent", "late"),
)
UPLOADS = _counter(
    *("uploads_total", "Files uploaded to Meta before they are sent, by outcome", "outcome"),
    *("uploaded", "gone", "store", "transient", "refused", "account", "policy", "number", "app"),
    *("pair", "window"),
)
UPLOAD_SECONDS = _histogram("upload_seconds", "Uploads of files to Meta", CALL)
SENDS_RUNNING = _gauge("sends_running", "Sends of this process in flight")
SEND_WAIT_SECONDS = _histogram(
    "send_wait_seconds", "From a message's queueing to its first call of the Graph API", WAIT
)
GRAPH_API_SECONDS = _histogram(
    "graph_api_send_seconds", "Calls of the Graph API that send, their repeats included", CALL
)
PAUSES = _counter(
    *("number_pauses_total", "Numbers that may not send for a while", "reason"),
    *("account", "policy", "no_access_token", "no_phone_number_id"),
)
DEAD = _counter(
    *("sends_dead_total", "Sends put on the dead list, by reason", "reason"),
    *("tenant_inactive", "chatbot_inactive", "window_closed", "send_outcome_unknown", "too_old"),
    *("transient", "refused", "not_delivered"),
    *("file_gone", "file_refused", "file_not_taken", "file_not_read"),
)
DELIVERIES = _counter(
    *("webhook_attempts_total", "Posts to tenants' webhooks, by what became of the delivery"),
    *("outcome", "delivered", "retry", "failed"),
)
DELIVERY_SECONDS = _histogram(
    "webhook_post_seconds", "Posts to tenants' webhooks, to the end of the answer", CALL
)
DELIVERY_WAIT_SECONDS = _histogram(
    "webhook_wait_seconds", "From an event's commit to its first post to a webhook", WAIT
)
WEBHOOKS_HELD = _gauge("webhooks_held", "Webhooks to which this process delivers at the moment")
WEBHOOK_PAUSES = Counter(
    "swiftreplies_webhook_pauses_total", "Webhooks that get nothing for a while, as they fail"
)
MEDIA = _counter(
    *("media_total", "Media that customers sent, by what came of a try to fetch one", "outcome"),
    *("stored", "refused", "put_off", "lost", "interrupted", "failed"),
)
HEARD = _counter(
    *(
        "media_heard_total",
        "Voice messages and documents, by what came of a try to read one",
        "outcome",
    ),
    *("heard", "read", "nothing", "refused", "put_off", "lost", "interrupted", "failed"),
)
TAKEOVERS = _counter(
    *("leases_swept_total", "Claims taken back from dead workers, or lost sight of", "what"),
    *("conversation", "message"),
)


class Connections(Protocol):
    """What a pool says of itself."""

    def get_size(self) -> int: ...
    def get_idle_size(self) -> int: ...


def watch(pool: Connections, name: str) -> None:
    """Its connections are counted whenever somebody looks at the metrics."""
    DATABASE_CONNECTIONS.labels(name, "idle").set_function(pool.get_idle_size)
    DATABASE_CONNECTIONS.labels(name, "in_use").set_function(
        lambda: pool.get_size() - pool.get_idle_size()
    )


def named(error: BaseException) -> dict[str, str]:
    """For a line about something that is away: what it is, and why as far as we can tell. `told` is
    a text of ours, of servers and settings; nothing of a customer's gets into it."""
    told = getattr(error, "told", None)
    return {"error": type(error).__name__} | ({"cause": told} if isinstance(told, str) else {})


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
    for name in ("sqlstate", "constraint_name", "table_name", "status_code", "told"):
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


class _Lines(logging.Formatter):
    """Ours come as a dictionary that went through `shared`; libraries' lines go through it here.
    structlog's own formatter copies every record and takes a quarter longer for a line."""

    def __init__(
        self,
        shared: Sequence[structlog.typing.Processor],
        last: Sequence[structlog.typing.Processor],
    ) -> None:
        super().__init__()
        self._shared = shared
        self._last = last

    def format(self, record: logging.LogRecord) -> str:
        event: Any
        if isinstance(record.msg, dict):
            event = record.msg
            processors = self._last
        else:
            event = {"event": record.getMessage(), "_record": record, "exc_info": record.exc_info}
            processors = (*self._shared, _forget_record, *self._last)
        for process in processors:
            event = process(None, record.levelname.lower(), event)
        return str(event)


def _forget_record(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    del event["_record"]
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

    render: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if log_format == "console"
        else structlog.processors.JSONRenderer(default=str)
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
    handler.setFormatter(_Lines(shared, [name_process, render]))
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
