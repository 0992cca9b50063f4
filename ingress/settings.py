"""What the ingress process needs from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from handlers.media_store.place import Keys
from handlers.outbound.addresses import NOTHING, Allow
from handlers.process.configuration import GRAPH_URL, GRAPH_VERSION, Environment
from handlers.process.http.bounds import PRIVATE, Bounds, Network
from ingress.api.pace import CALLS_PER_MINUTE


@dataclass(frozen=True, slots=True)
class Settings:
    database_url: str = field(repr=False)
    log_url: str = field(repr=False)
    app_secrets: tuple[str, ...] = field(repr=False)
    verify_token: str = field(repr=False)
    secrets_keys: tuple[str, ...] = field(repr=False)
    host: str
    port: int
    log_level: str
    log_format: str
    trusted_proxies: tuple[Network, ...] = Bounds().trusted
    outbound_allow: Allow = NOTHING
    media_store: str = ""
    media_keys: Keys | None = field(repr=False, default=None)
    ask_wait: timedelta = timedelta(seconds=60)  # for a worker's answer
    api_calls_per_minute: int = CALLS_PER_MINUTE  # of a key
    graph_url: str = GRAPH_URL
    graph_version: str = GRAPH_VERSION


def read(values: Mapping[str, str]) -> Settings:
    """Raises BadConfiguration with every problem."""
    env = Environment(values)
    log_level, log_format = env.logging()
    settings = Settings(
        database_url=env.database_url(),
        log_url=env.log_url(),
        media_store=env.media_store(),
        media_keys=env.media_keys(),
        app_secrets=env.names(
            "WHATSAPP_APP_SECRET",
            what="the Meta app's secret, which signs webhooks (during a rotation new,old)",
        ),
        verify_token=env.text(
            "WHATSAPP_VERIFY_TOKEN",
            what="any text; the same one is typed into the Meta app's webhook settings",
        ),
        secrets_keys=env.secrets_keys(),
        host=env.text("HOST", "0.0.0.0", what="address to listen on"),  # noqa: S104 - a server
        port=env.number("PORT", 8080, low=0, high=65_535, what="to listen on") or 0,
        log_level=log_level,
        log_format=log_format,
        trusted_proxies=env.networks(
            "TRUSTED_PROXIES",
            PRIVATE,
            what="networks of proxies, which may have any number of connections; none: there are"
            " none",
        ),
        outbound_allow=env.outbound_allow(),
        graph_url=env.graph_url(),
        graph_version=env.graph_version(),
        api_calls_per_minute=env.number(
            "API_CALLS_PER_MINUTE",
            CALLS_PER_MINUTE,
            low=1,
            high=1_000_000,
            what="calls of the tenant API that a key may make in a minute; all keys of a tenant"
            " together have twice as many",
        )
        or CALLS_PER_MINUTE,
    )
    env.check()
    return settings
