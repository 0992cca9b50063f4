"""The environment, read once at the door: every problem is collected, then all are told at once."""

import contextlib
import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from db.urls import BadUrl, read
from handlers.media_store.place import KEY_ID, SECRET, BadPlace, Keys, is_bucket, place_of
from handlers.outbound.addresses import Allow, read_allow
from handlers.rules.brokers import brokers

GRAPH_URL, GRAPH_VERSION = "https://graph.facebook.com", "v25.0"
MIN_KEY_CHARS = 16  # of SECRETS_KEY: shorter ones are passwords, which HKDF lets be guessed


class BadConfiguration(Exception):
    """Carries every problem that was found, each with what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Environment:
    """Reads values and remembers what is wrong with them; `check()` raises if anything is."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.problems: list[str] = []

    def check(self) -> None:
        if self.problems:
            raise BadConfiguration(self.problems)

    def optional(self, name: str) -> str | None:
        return self._values.get(name, "").strip() or None

    def text(self, name: str, default: str | None = None, *, what: str) -> str:
        value = self.optional(name) or default
        if value is None:
            self.problems.append(f"{name} is missing: {what}")
            return ""
        return value

    def names(self, name: str, *, what: str) -> tuple[str, ...]:
        """A comma-separated list with at least one entry."""
        entries = tuple(e for e in (p.strip() for p in self.text(name, what=what).split(",")) if e)
        if not entries and self.optional(name):
            self.problems.append(f"{name} has only commas in it: {what}")
        return entries

    def networks(
        self, name: str, default: tuple[str, ...], *, what: str
    ) -> tuple[IPv4Network | IPv6Network, ...]:
        """A comma-separated list, of which `none` is the empty one."""
        given = self.optional(name)
        texts = default if given is None else tuple(p.strip() for p in given.split(","))
        if texts == ("none",):
            return ()
        networks = []
        for text in texts:
            try:
                networks.append(ip_network(text))
            except ValueError as error:
                self.problems.append(
                    f"{name} has {text[:60]!r}, which is no network like 10.0.0.0/8 or"
                    f" 2001:db8::/32 ({str(error)[:100]}): {what}"
                )
        return tuple(networks)

    def url(
        self, name: str, schemes: tuple[str, ...], default: str | None = None, *, what: str
    ) -> str:
        value = self.text(name, default, what=what)
        if value:
            self._check_url(name, value, schemes, " is", what)
        return value

    def _check_url(
        self, name: str, value: str, schemes: tuple[str, ...], which: str, what: str
    ) -> None:
        try:
            parts = urlsplit(value)
            valid = parts.scheme in schemes and bool(parts.hostname)
            _ = parts.port  # raises on a port that is no number
        except ValueError:
            valid = False
        if not valid:
            # Not the value: URLs carry passwords.
            expected = " or ".join(f"{s}://..." for s in schemes)
            self.problems.append(f"{name}{which} not a valid URL ({expected} expected): {what}")

    def number(
        self, name: str, default: int | None, *, low: int, high: int, what: str
    ) -> int | None:
        value = self.optional(name)
        if value is None:
            return default
        if not re.fullmatch(r"\d{1,9}", value) or not low <= int(value) <= high:
            self.problems.append(f"{name} is not a whole number from {low} to {high}: {what}")
            return default
        return int(value)

    def milliseconds(self, name: str, default: int, *, high: int, what: str) -> timedelta:
        value = self.number(name, default, low=0, high=high, what=what)
        return timedelta(milliseconds=default if value is None else value)

    def choice(
        self,
        name: str,
        options: tuple[str, ...],
        default: str,
        *,
        what: str,
        any_case: bool = False,
    ) -> str:
        value = self.optional(name) or default
        if any_case:
            value = value.lower()
        if value not in options:
            self.problems.append(f"{name} is none of {', '.join(options)}: {what}")
            return default
        return value

    # ---- what several processes read -----------------------------------------------------------

    def _database(self, name: str, what: str) -> str:
        value = self.text(name, what=what)
        try:
            if value:
                read(value)
        except BadUrl as bad:
            self.problems.append(f"{name} is not a valid URL ({bad}): {what}")
        return value

    def database_url(self) -> str:
        return self._database(
            "DATABASE_URL",
            "the PostgreSQL database, e.g. postgresql://user:password@host/swiftreplies",
        )

    def owner_url(self, default: str) -> str:
        if self.optional("MIGRATION_DATABASE_URL") is None:
            return default
        return self._database(
            "MIGRATION_DATABASE_URL",
            "the same database as its owner; without it DATABASE_URL is used",
        )

    @property
    def owner_name(self) -> str:
        """The variable that `owner_url` reads."""
        given = self.optional("MIGRATION_DATABASE_URL") is not None
        return "MIGRATION_DATABASE_URL" if given else "DATABASE_URL"

    def log_url(self) -> str:
        """Of the server that keeps the ingest log; its scheme says which kind that is. Of RabbitMQ
        it may be several, see `brokers`."""
        log = self.choice(
            "INGEST_LOG",
            ("rabbitmq", "postgres"),
            "rabbitmq",
            what="the log that webhooks are kept in",
        )
        if log == "rabbitmq":
            return self._brokers()
        if self.optional("INGEST_LOG_URL") is None:
            return self.optional("DATABASE_URL") or ""  # its problems are database_url()'s
        return self._database(
            "INGEST_LOG_URL",
            "the same database as the ingest log's own login; without it DATABASE_URL is used",
        )

    def _brokers(self) -> str:
        what = "the RabbitMQ broker, e.g. amqp://user:pw@host/; or set INGEST_LOG=postgres"
        value = self.text("AMQP_URL", what=what)
        found = brokers(value)
        for place, url in enumerate(found, start=1):
            which = f" (number {place} of {len(found)})" if len(found) > 1 else ""
            if "," in url.rpartition("@")[2].partition("?")[0]:
                self.problems.append(
                    f"AMQP_URL{which} has a comma in it: of several brokers each has its amqp://"
                )
            else:
                self._check_url("AMQP_URL", url, ("amqp", "amqps"), f"{which} is", what)
        if value and not found:
            self.problems.append(f"AMQP_URL has only commas in it: {what}")
        return value

    def secrets_keys(self) -> tuple[str, ...]:
        """The first encrypts what is kept of credentials, all decrypt."""
        what = (
            "encrypts stored credentials; a random text, e.g. from `openssl rand -base64 32`"
            " (during a rotation new,old)"
        )
        keys = self.names("SECRETS_KEY", what=what)
        if any(len(key) < MIN_KEY_CHARS for key in keys):
            self.problems.append(f"SECRETS_KEY is shorter than {MIN_KEY_CHARS} characters: {what}")
        return keys

    def outbound_allow(self) -> Allow:
        allow, problems = read_allow(self.optional("OUTBOUND_ALLOW") or "")
        what = "what URLs of tenants may reach although it is private"
        self.problems += [f"OUTBOUND_ALLOW {problem}: {what}" for problem in problems]
        return allow

    def graph_url(self) -> str:
        what = "where the WhatsApp Cloud API is"
        return self.url("WHATSAPP_API_URL", ("https", "http"), GRAPH_URL, what=what)

    def graph_version(self) -> str:
        return self.text("WHATSAPP_API_VERSION", GRAPH_VERSION, what="e.g. v25.0")

    def media_store(self) -> str:
        """A URL of a directory or of a bucket; without one it is below the working directory."""
        what = "where files are kept that ingress and workers share, e.g. file:///var/lib/media"
        value = self.optional("MEDIA_STORE") or (Path.cwd() / "data").as_uri()
        parts = urlsplit(value)
        if parts.scheme == "s3":
            try:
                place_of(value)
            except BadPlace as bad:
                self.problems.append(f"MEDIA_STORE {bad}")
        elif parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
            self.problems.append(
                f"MEDIA_STORE is not a URL like file:///path or s3://bucket/prefix: {what}"
            )
        return value

    def media_keys(self) -> Keys | None:
        """Of a MEDIA_STORE that is a bucket."""
        if not is_bucket(self.optional("MEDIA_STORE") or ""):
            return None
        what = "what MEDIA_STORE's bucket is reached with"
        return Keys(self.text(KEY_ID, what=what), self.text(SECRET, what=what))

    def logging(self) -> tuple[str, str]:
        level = self.choice(
            "LOG_LEVEL",
            ("debug", "info", "warning", "error"),
            "info",
            what="how much is logged",
            any_case=True,
        )
        return level, self.choice("LOG_FORMAT", ("json", "console"), "json", what="of the log")


def left_out(values: Mapping[str, str]) -> list[str]:
    """What databases' URLs ask for and do not get, each with the reason."""
    told = []
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL", "INGEST_LOG_URL"):
        with contextlib.suppress(BadUrl):
            if value := values.get(name, "").strip():
                told += [f"{name}: without {one}" for one in read(value).ignored]
    return told
