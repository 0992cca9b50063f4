"""What the worker process needs from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from handlers.media_store.place import Keys
from handlers.outbound.addresses import Allow
from handlers.process.configuration import Environment

OFFLINE_MODEL = "offline"
KNOWLEDGE_MEMORY_MB = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Of whoever asks a model."""

    openai_key: str | None = field(repr=False)
    openai_url: str | None
    openai_model: str
    embedding_model: str | None  # None: rows are found by their words alone
    transcription_model: str | None  # None: voice messages are not heard
    secrets_keys: tuple[str, ...] = field(repr=False)
    knowledge_bytes: int
    outbound_allow: Allow


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ModelSettings):
    database_url: str = field(repr=False)
    log_url: str = field(repr=False)
    graph_url: str
    graph_version: str
    shared_token: str | None = field(repr=False)
    debounce: timedelta
    debounce_max: timedelta
    send_unknown: timedelta
    host: str
    metrics_port: int | None
    log_level: str
    log_format: str
    media_store: str
    media_keys: Keys | None = field(repr=False, default=None)


def read(values: Mapping[str, str]) -> Settings:
    """Raises BadConfiguration with every problem."""
    env = Environment(values)
    log_level, log_format = env.logging()
    model = read_model(env)
    settings = Settings(
        database_url=env.database_url(),
        log_url=env.log_url(),
        media_store=env.media_store(),
        media_keys=env.media_keys(),
        graph_url=env.graph_url(),
        graph_version=env.graph_version(),
        shared_token=env.optional("WHATSAPP_ACCESS_TOKEN"),
        openai_key=model.openai_key,
        openai_url=model.openai_url,
        openai_model=model.openai_model,
        embedding_model=model.embedding_model,
        transcription_model=model.transcription_model,
        secrets_keys=model.secrets_keys,
        debounce=env.milliseconds(
            "DEBOUNCE_MS", 1_500, high=60_000, what="quiet after which a burst is over"
        ),
        debounce_max=env.milliseconds(
            "DEBOUNCE_MAX_MS", 8_000, high=600_000, what="longest that a burst may last"
        ),
        send_unknown=env.milliseconds(
            "SEND_UNKNOWN_MS",
            60_000,
            high=3_600_000,
            what="how long a send with unknown outcome waits for a status",
        ),
        knowledge_bytes=model.knowledge_bytes,
        outbound_allow=model.outbound_allow,
        host=env.text("HOST", "127.0.0.1", what="address to listen on"),
        metrics_port=env.number(
            "METRICS_PORT", None, low=0, high=65_535, what="for /metrics, /healthz and /readyz"
        ),
        log_level=log_level,
        log_format=log_format,
    )
    if settings.debounce_max < settings.debounce:
        env.problems.append("DEBOUNCE_MAX_MS is less than DEBOUNCE_MS: a burst would end before it")
    env.check()
    return settings


def read_model(env: Environment) -> ModelSettings:
    """What is wrong is among the environment's problems."""
    key, model = _model(env)
    return ModelSettings(
        openai_key=key,
        openai_url=_model_url(env),
        openai_model=model,
        embedding_model=_of_the_server(env, "EMBEDDING_MODEL"),
        transcription_model=_of_the_server(env, "TRANSCRIPTION_MODEL"),
        secrets_keys=env.secrets_keys(),
        knowledge_bytes=_knowledge_bytes(env),
        outbound_allow=env.outbound_allow(),
    )


def _model(env: Environment) -> tuple[str | None, str]:
    key = env.optional("OPENAI_API_KEY")
    model = env.optional("OPENAI_MODEL") or "gpt-4.1-mini"
    if key is None and model != OFFLINE_MODEL:
        env.problems.append(
            "OPENAI_API_KEY is missing: the key of the model server; or set OPENAI_MODEL=offline"
            " for the built-in answerer, which copies knowledge-base answers"
        )
    return key, model


def _model_url(env: Environment) -> str | None:
    if env.optional("OPENAI_BASE_URL") is None:
        return None
    return env.url("OPENAI_BASE_URL", ("https", "http"), what="of the model server")


def _of_the_server(env: Environment, name: str) -> str | None:
    model = env.optional(name)
    if model is not None and env.optional("OPENAI_API_KEY") is None:
        env.problems.append(
            f"OPENAI_API_KEY is missing: {name} is asked for at the model server, with its"
            f" key; or leave {name} empty"
        )
    return model


def _knowledge_bytes(env: Environment) -> int:
    what = "memory for knowledge bases and their indexes"
    value = env.number("KNOWLEDGE_MEMORY_MB", KNOWLEDGE_MEMORY_MB, low=16, high=65_536, what=what)
    return (value or KNOWLEDGE_MEMORY_MB) * 1024 * 1024
