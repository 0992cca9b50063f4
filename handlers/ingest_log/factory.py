"""Which adapter keeps the ingest log: the only place that knows there are two."""

from urllib.parse import urlsplit

from handlers.ingest_log.port import Adapter


def adapter(log_url: str) -> Adapter:
    """By the URL's scheme, and so by INGEST_LOG, which chooses the URL."""
    if urlsplit(log_url).scheme in ("amqp", "amqps"):
        from handlers.ingest_log import rabbitmq

        return rabbitmq
    from handlers.ingest_log import postgres

    return postgres
