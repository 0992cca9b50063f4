"""What customers send besides texts, as Meta's webhooks tell it."""

from typing import Any, Literal, get_args

from simulator.media import Medium
from simulator.samples import sample

Kind = Literal[
    "text", "image", "video", "audio", "document", "sticker", "location", "contacts", "button",
    "button_reply", "list_reply", "order", "reaction", "edit", "revoke", "unsupported", "echo",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

MEDIA = ("image", "video", "audio", "document", "sticker")


def content(
    kind: Kind,
    text: str | None,
    target: str | None,
    medium: Medium | None = None,
    *,
    choice: str | None = None,
    items: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """`type` and what goes with it. `target` is the wamid that it is about, `choice` the id of what
    is pressed, `items` what is in a cart."""
    about = {"context": {"id": target}} if target else {}
    match kind:
        case "text" | "echo":
            return {**about, "type": "text", "text": {"body": text or "Hello"}}
        case "image" | "video" | "audio" | "document" | "sticker":
            return {**about, "type": kind, kind: _media(kind, text, medium)}
        case "location":
            place = {"name": text, "address": text} if text else {}
            spot = {"latitude": 40.4167, "longitude": -3.7033, **place}
            return {**about, "type": kind, kind: spot}
        case "contacts":
            name = text or "Ada Byron"
            return {**about, "type": kind, kind: [_card(name)]}
        case "button":
            return {**about, "type": kind, kind: _quick_reply(choice, text)}
        case "button_reply" | "list_reply":
            row = {"id": choice or "choice:1", "title": text or "Yes"}
            return {**about, "type": "interactive", "interactive": {"type": kind, kind: row}}
        case "order":
            return {**about, "type": kind, kind: _cart(text, items)}
        case "reaction":
            emoji = {"emoji": text or "\U0001f44d"} if text != "" else {}  # "" takes it back
            return {"type": kind, kind: {"message_id": target, **emoji}}
        case "edit":
            new = {"context": {"id": "M0"}, "type": "text", "text": {"body": text or "Edited"}}
            return {"type": kind, kind: {"original_message_id": target, "message": new}}
        case "revoke":
            return {"type": kind, kind: {"original_message_id": target}}
        case "unsupported":
            error = {
                "code": 131051,
                "title": "Message type unknown",
                "message": "Message type unknown",
                "error_data": {"details": "Message type is currently not supported."},
            }
            return {"type": kind, "errors": [error], kind: {"type": "poll_creation"}}


def _card(name: str) -> dict[str, Any]:
    return {
        "name": {"formatted_name": name, "first_name": name},
        "phones": [{"phone": "+1 202-555-0199", "wa_id": "12025550199", "type": "WORK"}],
    }


def _quick_reply(payload: str | None, text: str | None) -> dict[str, Any]:
    return {"payload": payload or "PAYLOAD", "text": text or "Yes"}


def _cart(text: str | None, items: list[dict[str, Any]] | None) -> dict[str, Any]:
    item = {
        "product_retailer_id": "CAKE-LEMON-20",
        "quantity": 2,
        "item_price": 24.5,
        "currency": "EUR",
    }
    return {
        "catalog_id": "772015583301144",
        "text": text or "",
        "product_items": [item] if items is None else items,
    }


def _media(kind: str, caption: str | None, medium: Medium | None) -> dict[str, Any]:
    if medium is None:  # of whom nobody knows anything
        medium = Medium(*sample(kind))
    more: dict[str, Any] = {}
    if caption and kind in ("image", "video", "document"):
        more["caption"] = caption
    if kind == "document":
        more["filename"] = "a file.pdf"
    if kind == "audio":
        more["voice"] = True
    if kind == "sticker":
        more["animated"] = False
    return {
        "mime_type": medium.mime_type,
        "sha256": medium.told_hash,
        "id": medium.id,
        "url": f"https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid={medium.id}",
        **more,
    }
