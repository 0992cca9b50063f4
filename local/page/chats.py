"""What is on customers' phones, read from the simulator's journal. No I/O."""

import contextlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from simulator.customers import customer_key
from simulator.journal import remember

Tick: TypeAlias = Literal["waiting", "sent", "delivered", "read", "failed"]

TYPING_S = 25.0  # WhatsApp shows the indicator for that long, or until a message comes
MAX_CHATS = 1_000
MAX_LINES = 300  # a chat; the page shows them all
RANK = {"accepted": 0, "sent": 1, "failed": 2, "delivered": 3, "read": 4, "played": 5}
FILES = ("image", "sticker", "audio", "video", "document")
LABELS = {
    "image": "Photo",
    "audio": "Voice message",
    "location": "Location",
    "sticker": "Sticker",
    "video": "Video",
    "document": "Document",
    "contacts": "Contact",
    "unsupported": "Something WhatsApp does not pass on",
}


@dataclass(slots=True)
class Line:
    """One bubble. A customer's tick is what their phone shows, a bot's what Meta told us."""

    wamid: str
    sender: Literal["customer", "bot"]
    kind: str
    text: str
    at: float
    tick: str
    quotes: str | None = None
    reactions: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return {
            "wamid": self.wamid,
            "from": self.sender,
            "kind": self.kind,
            "text": self.text,
            "at": self.at,
            "tick": self.tick,
            "quotes": self.quotes,
            "reactions": self.reactions,
            "details": self.details,
        }


@dataclass(slots=True)
class Chat:
    lines: OrderedDict[str, Line] = field(default_factory=OrderedDict)
    typing_since: float | None = None

    def add(self, line: Line) -> Line:
        known = self.lines.get(line.wamid)
        if known is not None:
            return known
        remember(self.lines, line.wamid, line, MAX_LINES)
        return line

    def types(self, now: float) -> bool:
        return self.typing_since is not None and now - self.typing_since < TYPING_S


class Chats:
    """By number of the business and customer. One who has shown a phone number is known by it."""

    def __init__(self) -> None:
        self._chats: OrderedDict[tuple[str, str], Chat] = OrderedDict()
        self._numbers: OrderedDict[str, str] = OrderedDict()  # of BSUIDs
        self._wamids: OrderedDict[str, Chat] = OrderedDict()
        self.last_seq = 0

    def of(self, phone_number_id: str, customer: str) -> Chat:
        key = customer_key(customer)
        at = (phone_number_id, self._numbers.get(key, key))
        if at not in self._chats:
            remember(self._chats, at, Chat(), MAX_CHATS)
        return self._chats[at]

    def know(self, user_id: str, number: str) -> None:
        remember(self._numbers, user_id, customer_key(number), MAX_CHATS)

    def wrote(
        self, phone_number_id: str, customer: str, message: dict[str, Any], at: float
    ) -> None:
        """A customer pressed send, or a webhook shows that they did."""
        chat = self.of(phone_number_id, customer)
        kind = str(message.get("type"))
        content = message.get(kind)
        if not isinstance(content, dict):
            content = {}
        if kind in ("reaction", "edit", "revoke"):
            _change(chat, kind, content)
            return
        context = message.get("context")
        line = Line(
            wamid=str(message["id"]),
            sender="customer",
            kind=kind,
            text=_text(kind, content),
            at=at,
            tick="waiting",
            quotes=context.get("id") if isinstance(context, dict) else None,
            details=_details(kind, content),
        )
        self._place(chat, line)

    def take(self, entry: Mapping[str, Any]) -> None:
        """The next entry of the journal."""
        self.last_seq = int(entry["seq"])
        kind = str(entry["kind"])
        if kind == "send":
            self._sent(entry)
        elif kind == "read":
            self._read(entry)
        elif kind == "webhook":
            # Webhooks may be spoilt on purpose; such a message is on no phone.
            with contextlib.suppress(LookupError, TypeError, AttributeError):
                self._told(entry)

    def _place(self, chat: Chat, line: Line) -> None:
        chat.add(line)
        remember(self._wamids, line.wamid, chat, MAX_CHATS * 10)

    def _line(self, wamid: str) -> Line | None:
        chat = self._wamids.get(wamid)
        return chat.lines.get(wamid) if chat else None

    def _sent(self, entry: Mapping[str, Any]) -> None:
        if entry["outcome"] != "accepted":
            return
        body = entry["body"]
        kind = str(body.get("type"))
        content = body.get(kind)
        chat = self.of(entry["phone_number_id"], entry["to"] or entry["recipient"])
        text = _text(kind, content if isinstance(content, dict) else {})
        chat.typing_since = None
        self._place(
            chat,
            Line(
                wamid=entry["wamid"],
                sender="bot",
                kind=kind,
                text=text,
                at=entry["at"],
                tick="accepted",
                quotes=entry["context"],
                details=_choices(kind, content) or _details(kind, content),
            ),
        )

    def _read(self, entry: Mapping[str, Any]) -> None:
        """The business has read this message, so also all before it."""
        chat = self._wamids.get(entry["message_id"])
        if chat is None:
            return
        if entry["typing"]:
            chat.typing_since = entry["at"]
        for line in chat.lines.values():
            if line.sender == "customer":
                line.tick = "read"
            if line.wamid == entry["message_id"]:
                break

    def _told(self, entry: Mapping[str, Any]) -> None:
        for number, value in _values(entry["body"]):
            for message in value.get("messages") or ():
                self._told_message(number, message, entry)
            for status in value.get("statuses") or ():
                line = self._line(str(status.get("id")))
                told = str(status.get("status"))
                if line is not None and RANK.get(told, -1) > RANK.get(line.tick, -1):
                    line.tick = told

    def _told_message(self, number: str, message: dict[str, Any], entry: Mapping[str, Any]) -> None:
        digits, user_id = message.get("from"), message.get("from_user_id")
        if digits and user_id:
            self.know(user_id, digits)
        self.wrote(number, str(digits or user_id), message, entry["at"])
        line = self._line(str(message["id"]))
        if line is None or line.tick == "read":
            return
        # 200 is Meta's "delivered": the business has it. Anything else is repeated.
        if entry["status"] == 200:
            line.tick = "delivered"
        elif line.tick == "waiting":
            line.tick = "sent"


def _change(chat: Chat, kind: str, content: Mapping[str, Any]) -> None:
    target = chat.lines.get(str(content.get("message_id") or content.get("original_message_id")))
    if target is None:
        return
    if kind == "reaction":
        emoji = content.get("emoji")
        target.reactions = [str(emoji)] if emoji else []
    elif kind == "edit":
        target.text = str(content["message"]["text"]["body"])
    else:
        target.kind, target.text = "deleted", "This message was deleted"


def _values(body: str) -> list[tuple[str, dict[str, Any]]]:
    """Of a webhook: whose number, and what. Nothing of one that was spoilt on purpose."""
    try:
        payload = json.loads(body)
        return [
            (str(change["value"]["metadata"]["phone_number_id"]), change["value"])
            for each in payload["entry"]
            for change in each["changes"]
            if change["field"] == "messages"
        ]
    except (ValueError, KeyError, TypeError):
        return []


def _text(kind: str, content: Mapping[str, Any]) -> str:
    if kind == "text":
        return str(content.get("body", ""))
    if kind == "interactive" and isinstance(inner := content.get("body"), dict):
        return str(inner.get("text", ""))
    if kind == "interactive" and isinstance(inner := content.get(str(content.get("type"))), dict):
        return str(inner.get("title", ""))
    if kind == "order" and isinstance(items := content.get("product_items"), list):
        found = (f"{one.get('quantity')} x {one.get('product_retailer_id')}" for one in items)
        return f"Cart: {', '.join(found)}"
    if kind == "template":
        return f"[template {content.get('name')}]"
    named = content.get("caption") or content.get("filename") or content.get("name")
    return str(named or LABELS.get(kind, kind))


def _choices(kind: str, content: object) -> dict[str, Any]:
    """What can be pressed under a bot's message."""
    action = content.get("action") if isinstance(content, dict) else None
    if kind != "interactive" or not isinstance(action, dict):
        return {}
    if "buttons" in action:
        return {"reply": "button_reply", "choices": [one["reply"] for one in action["buttons"]]}
    if "sections" in action:
        rows = [row for section in action["sections"] for row in section["rows"]]
        return {"reply": "list_reply", "choices": rows, "opens": str(action.get("button"))}
    return {"link": action.get("parameters")}


def _details(kind: str, content: object) -> dict[str, Any]:
    if not isinstance(content, dict):
        return {}
    if kind == "location":
        return {name: content.get(name) for name in ("latitude", "longitude", "address")}
    if kind in FILES and isinstance(content.get("id"), str):
        return {"medium": content["id"], "name": str(content.get("filename") or "")}
    return {}
