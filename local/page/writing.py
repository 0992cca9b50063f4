"""The customer presses send, or a button: words, a file, a voice message, a cart."""

import base64
import binascii
import time
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from local.page.files import FILE_MAX, File, menu, picture, sniffed, tune
from local.page.phone import PHONE, Phone, bot_of, bsuid, object_of
from simulator.customers import customer_key
from simulator.kinds import Kind, content
from simulator.media import Medium
from simulator.meta import new_wamid

TEXT_MAX = 4096
SPOKEN_MAX = 300  # characters of a voice message that is made here
NAME_MAX = 100
CART_MAX = 30
CUSTOMER_NAME = "Noor Haddad"
# What a customer can send with one press, and with which words.
SAMPLES: dict[str, tuple[Kind, str]] = {
    "location": ("location", "Dam Square"),
    "reaction": ("reaction", "\N{THUMBS UP SIGN}"),
}
PRESSES: dict[str, Kind] = {"button_reply": "button_reply", "list_reply": "list_reply"}


@dataclass(frozen=True, slots=True)
class Sent:
    kind: Kind
    text: str = ""
    file: File | None = None
    says: str | None = None  # what is heard in it
    more: dict[str, Any] = field(default_factory=dict)  # for the simulator, and to be shown


async def write(request: web.Request) -> web.Response:
    """The bubble is there at once; the webhook may take its time."""
    phone = request.app[PHONE]
    asked = await object_of(request)
    bot = bot_of(request, asked.get("bot"))
    digits = customer_key(str(asked.get("customer", "")))
    if not 7 <= len(digits) <= 15:
        raise web.HTTPBadRequest(text="a customer has 7 to 15 digits")
    sent = sent_of(asked)
    about = asked.get("about")
    target = about if isinstance(about, str) and about else None
    wamid = new_wamid()
    medium = await _kept(phone, sent)
    shown = {"id": wamid, **content(sent.kind, sent.text or None, target, medium, **sent.more)}
    given: dict[str, Any] = {"text": sent.text, "target": target, **sent.more}
    if medium is not None and sent.file is not None:
        given |= {"media": medium.id}
        if sent.kind == "document":
            given |= {"filename": sent.file.name}
            shown["document"]["filename"] = sent.file.name
    phone.chats.know(bsuid(digits), digits)  # no webhook may tell it
    phone.chats.wrote(bot.phone_number_id, digits, shown, time.time())
    more = {name: value for name, value in given.items() if value}
    told = await phone.simulator.do(
        bot.phone_number_id, digits, sent.kind, name=CUSTOMER_NAME, wamid=wamid, **more
    )
    return web.json_response({"wamid": wamid, "answer": told["answer"]["status"]})


def sent_of(asked: dict[str, Any]) -> Sent:
    kind = str(asked.get("kind") or "text")
    match kind:
        case "photo":
            return Sent("image", "Is this the lemon cake?", picture())
        case "menu":
            return Sent("document", "", menu())
        case "picture":
            file = _file(asked.get("file"))
            is_image = file.mime in ("image/jpeg", "image/png")
            return Sent("image" if is_image else "document", _text(asked, 0, 1_024), file)
        case "voice":
            says = _text(asked, 0, SPOKEN_MAX)
            recorded = asked.get("file")
            file = tune(says) if recorded is None else _file(recorded)
            if not file.mime.startswith("audio/"):
                raise web.HTTPBadRequest(text="that is no sound")
            return Sent("audio", "", file, says)
        case "cart":
            return Sent("order", more={"items": _items(asked.get("items"))})
        case "button_reply" | "list_reply":
            choice = asked.get("choice")
            if not isinstance(choice, str) or not choice:
                raise web.HTTPBadRequest(text="nothing was pressed")
            return Sent(PRESSES[kind], _text(asked, 1, TEXT_MAX), more={"choice": choice})
        case _ if kind in SAMPLES:
            return Sent(*SAMPLES[kind])
        case _:
            return Sent("text", _text(asked, 1, TEXT_MAX))


async def _kept(phone: Phone, sent: Sent) -> Medium | None:
    """The file as Meta has it, under its id."""
    if sent.file is None:
        return None
    data, mime = sent.file.data, sent.file.mime
    heard = {} if sent.says is None else {"says": sent.says}
    media_id = await phone.simulator.media(data, mime_type=mime, **heard)
    return Medium(data, mime, id=media_id)


def _text(asked: dict[str, Any], least: int, most: int) -> str:
    text = asked.get("text") or ""
    if not isinstance(text, str) or not least <= len(text) <= most:
        raise web.HTTPBadRequest(text=f"a message has {least} to {most} characters")
    return text


def _file(given: object) -> File:
    told = given if isinstance(given, dict) else {}
    name, data = told.get("name"), told.get("data")
    try:
        read = base64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        read = b""
    if not 0 < len(read) <= FILE_MAX:
        raise web.HTTPBadRequest(text=f"a file has 1 to {FILE_MAX} bytes")
    named = " ".join(str(name or "").split())[-NAME_MAX:] or "file"
    return File(named, sniffed(read), read)


def _items(given: object) -> list[dict[str, Any]]:
    """As a phone's catalogue sends them: prices are what it showed, whatever they are by now."""
    listed = given if isinstance(given, list) else []
    items = []
    for one in listed[:CART_MAX]:
        sku = one.get("sku") if isinstance(one, dict) else None
        count = one.get("quantity") if isinstance(one, dict) else None
        try:
            price = float(Decimal(str(one["price"])))
        except (TypeError, KeyError, InvalidOperation):
            price = -1.0
        whole = isinstance(count, int) and not isinstance(count, bool) and 0 < count < 1_000
        if not isinstance(sku, str) or not 0 < len(sku) <= 100 or not whole or not 0 <= price < 1e9:
            raise web.HTTPBadRequest(text="a cart has items with sku, quantity and price")
        currency = str(one.get("currency") or "EUR")[:3]
        told = {"quantity": count, "item_price": price, "currency": currency}
        items.append({"product_retailer_id": sku, **told})
    if not items or len(listed) > CART_MAX:
        raise web.HTTPBadRequest(text=f"a cart has 1 to {CART_MAX} products")
    return items
