"""What Meta is told to deliver: what somebody writes or does, or a body as it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from simulator import fields
from simulator.customers import bsuid
from simulator.fields import Fields, Unfit
from simulator.kinds import KINDS, Kind


@dataclass(frozen=True, slots=True)
class Inbound:
    """Texts that one customer writes to one business number."""

    phone_number_id: str
    digits: str | None
    user_id: str | None
    name: str | None
    texts: tuple[str, ...]
    wamids: tuple[str, ...] | None
    timestamp: str | None
    one_post: bool

    @property
    def customer(self) -> str:
        return self.digits or self.user_id or ""

    @classmethod
    def read(cls, value: object) -> Self:
        given = Fields("message", value)
        number = given.take("from", fields.digits, None)
        derived = f"US.{number}" if number and not given.has("user_id") else None
        inbound = cls(
            phone_number_id=given.need("phone_number_id", fields.filled, ""),
            digits=number,
            user_id=given.take("user_id", bsuid, None) or derived,
            name=given.take("name", fields.text, "Customer" if not given.has("name") else None),
            texts=given.need("texts", fields.texts, ()),
            wamids=given.take("wamids", fields.texts, None),
            timestamp=given.take("timestamp", _timestamp, None),
            one_post=given.take("one_post", fields.flag, True),
        )
        if not inbound.customer:
            given.complain("needs `from`, `user_id` or both")
        if not inbound.texts:
            given.complain("needs at least one text in `texts`")
        if inbound.wamids is not None and len(inbound.wamids) != len(inbound.texts):
            given.complain("needs as many `wamids` as `texts`")
        given.done()
        return inbound


@dataclass(frozen=True, slots=True)
class Doing:
    """What a customer does, or the owner on the phone (an echo), that is no plain text."""

    by: Inbound
    kind: Kind
    text: str | None  # caption, new text, emoji, title
    target: str | None  # the wamid that it is about; None: the last one that fits
    filename: str | None = None  # of a document
    choice: str | None = None  # the id of the button or row that is pressed
    items: list[dict[str, Any]] | None = None  # of a cart
    media: str | None = None  # the id of a file; None: a small one of the kind

    @classmethod
    def read(cls, value: object) -> Self:
        given = Fields("update", value)
        kind = given.need("kind", _kind, KINDS[0])
        text = given.take("text", fields.text, None)
        target = given.take("target", fields.filled, None)
        filename = given.take("filename", fields.filled, None)
        choice = given.take("choice", fields.filled, None)
        items = given.take("items", _items, None)
        media = given.take("media", fields.filled, None)
        names = ("phone_number_id", "from", "user_id", "name", "timestamp", "wamid")
        who = {name: given.take(name, lambda v: v, None) for name in names if given.has(name)}
        given.done()
        wamid = who.pop("wamid", None)
        by = Inbound.read(
            {**who, "texts": [text or kind], **({"wamids": [wamid]} if wamid else {})}
        )
        return cls(by, kind, text, target, filename, choice, items, media)


def _items(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Unfit("must be a list of objects")
    return value


def _kind(value: object) -> Kind:
    for kind in KINDS:
        if kind == value:
            return kind
    raise Unfit(f"must be one of {', '.join(KINDS)}")


@dataclass(frozen=True, slots=True)
class RawPost:
    payload: object
    body: str | None
    signed: bool
    signature: str | None
    secret: str | None
    headers: Mapping[str, str]

    @classmethod
    def read(cls, value: object) -> Self:
        given = Fields("raw", value)
        if given.has("payload") == given.has("body"):
            given.complain("needs either `payload` or `body`")
        post = cls(
            payload=given.take("payload", lambda anything: anything, None),
            body=given.take("body", fields.text, None),
            signed=not given.has("signature"),
            signature=given.take("signature", fields.text, None),
            secret=given.take("secret", fields.filled, None),
            headers=given.take("headers", fields.headers, {}),
        )
        given.done()
        return post


def _timestamp(value: object) -> str:
    if not re.fullmatch(r"[0-9]{1,12}", stamp := str(value)):
        raise Unfit("must be unix seconds")
    return stamp
