"""How the simulated world is: whose numbers there are, where webhooks go, what Meta does."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args
from urllib.parse import urlsplit

from simulator import fields
from simulator.fields import Fields, Unfit, read_list
from simulator.lies import Lies, read_lies
from simulator.quirks import Quirks, read_quirks

ACCOUNT_ID = "330021987654321"  # the WhatsApp Business account of numbers that name no other

Status = Literal["sent", "delivered", "read", "played", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class Number:
    phone_number_id: str
    display_phone_number: str
    token: str | None = None
    account_id: str = ACCOUNT_ID


@dataclass(frozen=True, slots=True)
class Settings:
    webhook_urls: tuple[str, ...] = ()  # of several, attempts take them in turns
    app_secret: str = "simulated-app-secret"  # noqa: S105 - nobody's
    numbers: Mapping[str, Number] = field(default_factory=dict)
    status_delay_ms: int = 30
    statuses: tuple[Status, ...] = ("sent", "delivered")
    model_latency_ms: int = 0
    embedding_latency_ms: int = 0
    embedding_status: int = 200
    transcription_latency_ms: int = 0
    transcription_status: int = 200
    embedding_refuses: "re.Pattern[str] | None" = None  # an expression: texts that fit are refused
    webhook_retry: bool = False
    templates: tuple[str, ...] = ()  # those that are approved; none: any is taken
    template_review: str = "approve"  # what becomes of one that is made or edited
    template_review_ms: int = 300
    template_calls: int | None = None  # of an account until 80008; None: without end
    lies: Lies = field(default_factory=Lies)
    model_quirks: Quirks = field(default_factory=Quirks)
    subscribed: bool = True  # the account's webhooks reach the app

    def number(self, phone_number_id: str) -> Number:
        return self.numbers.get(phone_number_id) or Number(phone_number_id, phone_number_id)


def merge_settings(settings: Settings, value: object) -> Settings:
    given = Fields("config", value)
    merged = replace(
        settings,
        webhook_urls=given.take("webhook_url", _urls, settings.webhook_urls),
        app_secret=given.take("app_secret", fields.filled, settings.app_secret),
        numbers={**settings.numbers, **given.take("numbers", _numbers, {})},
        status_delay_ms=given.take(
            "status_delay_ms", fields.milliseconds, settings.status_delay_ms
        ),
        statuses=given.take("statuses", read_statuses, settings.statuses),
        model_latency_ms=given.take(
            "model_latency_ms", fields.milliseconds, settings.model_latency_ms
        ),
        embedding_latency_ms=given.take(
            "embedding_latency_ms", fields.milliseconds, settings.embedding_latency_ms
        ),
        embedding_status=given.take(
            "embedding_status", fields.http_status, settings.embedding_status
        ),
        transcription_latency_ms=given.take(
            "transcription_latency_ms", fields.milliseconds, settings.transcription_latency_ms
        ),
        transcription_status=given.take(
            "transcription_status", fields.http_status, settings.transcription_status
        ),
        embedding_refuses=given.take("embedding_refuses", fields.regex, settings.embedding_refuses),
        webhook_retry=given.take("webhook_retry", fields.flag, settings.webhook_retry),
        templates=given.take("templates", fields.texts, settings.templates),
        template_review=given.take("template_review", _review, settings.template_review),
        template_review_ms=given.take(
            "template_review_ms", fields.milliseconds, settings.template_review_ms
        ),
        template_calls=given.take("template_calls", fields.milliseconds, settings.template_calls),
        lies=_lies(given, settings.lies),
        model_quirks=given.take(
            "model_quirks",
            lambda value: read_quirks(settings.model_quirks, value),
            settings.model_quirks,
        ),
        subscribed=given.take("subscribed", fields.flag, settings.subscribed),
    )
    given.done()
    return merged


def read_statuses(value: object) -> tuple[Status, ...]:
    names = fields.texts(value)
    known = tuple(status for name in names for status in STATUSES if status == name)
    if len(known) != len(names):
        raise Unfit(f"must be a list of {', '.join(STATUSES)}")
    return known


def _review(value: object) -> str:
    if value not in ("approve", "reject", "never"):
        raise Unfit("must be approve, reject or never")
    return str(value)


def _numbers(value: object) -> dict[str, Number]:
    numbers = read_list("numbers", value, _number)
    return {number.phone_number_id: number for number in numbers}


def _number(where: str, value: object) -> Number:
    given = Fields(where, value)
    number = Number(
        phone_number_id=given.need("phone_number_id", fields.filled, ""),
        display_phone_number=given.need("display_phone_number", fields.digits, ""),
        token=given.take("token", fields.filled, None),
        account_id=given.take("account_id", fields.filled, ACCOUNT_ID),
    )
    given.done()
    return number


def _lies(given: Fields, lies: Lies) -> Lies:
    """`lies` may be null, which ends them all."""

    def read(value: object) -> Lies:
        return read_lies(lies, value)

    return given.take("lies", read, lies)


def _url(value: object) -> str:
    parts = urlsplit(url := fields.text(value))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Unfit("must be an http or https URL")
    return url


def _urls(value: object) -> tuple[str, ...]:
    """One, or a list of them."""
    if not isinstance(value, list):
        return (_url(value),)
    if not value:
        raise Unfit("must be a URL or a list of them")
    return tuple(_url(item) for item in value)
