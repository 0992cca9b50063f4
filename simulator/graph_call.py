"""Reading a call to send a message: whether the Graph API would take it, and what it says."""

import json
import re
from dataclasses import dataclass
from typing import Any

from simulator.customers import customer_key, is_bsuid
from simulator.graph_errors import Refused, invalid
from simulator.interactive import interactive_text
from simulator.sent_media import KINDS, check_sent
from simulator.state import State
from simulator.templates import filled

TEXT_MAX = 4096  # characters
OPAQUE_MAX = 512  # characters
PHONE_DIGITS = range(7, 16)
MESSAGE_TYPES = (
    "audio",
    "contacts",
    "document",
    "image",
    "interactive",
    "location",
    "reaction",
    "sticker",
    "template",
    "text",
    "video",
)
TEMPLATE_NAME = re.compile(r"[a-z0-9_]{1,512}")
LANGUAGE = re.compile(r"[a-z]{2,3}([_-][A-Za-z]{2,4})?")
COMPONENTS = ("header", "body", "button", "carousel", "limited_time_offer")


@dataclass(frozen=True, slots=True)
class Asked:
    """One POST, as it came."""

    phone_number_id: str
    request_id: str
    body: dict[str, Any]
    marketing: bool = False  # by the endpoint that takes nothing else


@dataclass(frozen=True, slots=True)
class Call:
    """One message as asked for, found valid."""

    asked: Asked
    to: str | None
    recipient: str | None
    text: str | None
    context: str | None
    opaque: str | None

    @property
    def customer(self) -> str:
        return customer_key(self.to or self.recipient or "")

    @property
    def vanishes(self) -> bool:
        """A BSUID in `to` is answered 200 and never delivered."""
        return self.to is not None and is_bsuid(self.to)


def authorize(state: State, phone_number_id: str, header: str) -> None:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused(401, 190, "Invalid OAuth access token - Cannot parse access token")
    numbers = state.settings.numbers
    if numbers and phone_number_id not in numbers:
        message = (
            f"Unsupported post request. Object with ID '{phone_number_id}' does not exist, "
            "cannot be loaded due to missing permissions, or does not support this operation."
        )
        raise Refused(400, 33, message, kind="GraphMethodException")
    expected = state.settings.number(phone_number_id).token
    if expected is not None and token.strip() != expected:
        raise Refused(401, 190, "Error validating access token: Session has expired.")


def read_object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise invalid("The request body must be a JSON object.")
    return body


def read_call(state: State, asked: Asked) -> Call:
    body = asked.body
    check_product(body)
    if body.get("recipient_type", "individual") != "individual":
        raise invalid("Param recipient_type must be one of {INDIVIDUAL}.")
    kind = body.get("type")
    if kind not in MESSAGE_TYPES:
        raise invalid(f"Param type must be one of {{{', '.join(MESSAGE_TYPES)}}}.")
    content = body.get(kind)
    if not isinstance(content, list if kind == "contacts" else dict) or not content:
        raise invalid(f"The parameter {kind} is required.")
    opaque = body.get("biz_opaque_callback_data")
    if opaque is not None and not (isinstance(opaque, str) and len(opaque) <= OPAQUE_MAX):
        raise invalid(f"biz_opaque_callback_data must be a string of at most {OPAQUE_MAX}.")
    to, recipient = _addressee(body)
    if kind in KINDS:
        check_sent(state, asked.phone_number_id, kind, content)
    return Call(
        asked=asked,
        to=to,
        recipient=recipient,
        text=_text(content) if kind == "text" else _caption(state, asked, kind, content),
        context=_context(body),
        opaque=opaque,
    )


def check_product(body: dict[str, Any]) -> None:
    if body.get("messaging_product") != "whatsapp":
        raise invalid("The parameter messaging_product is required and must be whatsapp.")


def _addressee(body: dict[str, Any]) -> tuple[str | None, str | None]:
    """`to` wins when both are given."""
    to, recipient = body.get("to"), body.get("recipient")
    if to is not None:
        if not isinstance(to, str) or not (is_bsuid(to) or _is_phone(to)):
            raise invalid("Param to must be a phone number: + and digits.")
        return to, None
    if not isinstance(recipient, str) or not is_bsuid(recipient):
        raise invalid("The parameter to is required, or recipient with a valid user id.")
    return None, recipient


def _is_phone(value: str) -> bool:
    number = value.removeprefix("+")
    plain = number.isascii() and number.isdigit() and not number.startswith("0")
    return value.startswith("+") and plain and len(number) in PHONE_DIGITS


def _text(content: Any) -> str:
    body = content.get("body")
    if not isinstance(body, str) or not body:
        raise invalid("The parameter text['body'] is required.")
    if len(body) > TEXT_MAX:
        raise invalid(f"Param text['body'] must be at most {TEXT_MAX} characters long.")
    if not isinstance(content.get("preview_url", False), bool):
        raise invalid("Param text['preview_url'] must be a boolean.")
    return body


def _caption(state: State, asked: Asked, kind: str, content: Any) -> str:
    """How a message that is not plain text appears in the conversation."""
    if kind == "template":
        name = _template_name(state, content)
        account = state.settings.number(asked.phone_number_id).account_id
        kept = state.templates.check_send(account, content)
        if asked.marketing and kept is not None and kept.category != "MARKETING":
            raise invalid("Only MARKETING templates are sent here.")
        return f"[template {name}]" if kept is None else filled(kept, content)
    if kind == "interactive":
        return interactive_text(content)
    caption = content.get("caption") if isinstance(content, dict) else None
    return f"[{kind}] {caption}" if caption else f"[{kind}]"


def _template_name(state: State, content: dict[str, Any]) -> str:
    name, language = content.get("name"), content.get("language")
    code = language.get("code") if isinstance(language, dict) else None
    if not isinstance(name, str) or not isinstance(code, str):
        raise invalid("The parameters template['name'] and template['language'] are required.")
    if not TEMPLATE_NAME.fullmatch(name) or not LANGUAGE.fullmatch(code):
        raise invalid("Param template['name'] or template['language']['code'] is not valid.")
    components = content.get("components", [])
    if not isinstance(components, list) or not all(
        isinstance(one, dict) and one.get("type") in COMPONENTS for one in components
    ):
        raise invalid(f"Param template['components'] must be a list of {', '.join(COMPONENTS)}.")
    known = state.settings.templates
    if known and name not in known:
        details = f"template name ({name}) does not exist in {code}"
        raise Refused(404, 132001, "(#132001) Template name does not exist", details)
    return name


def _context(body: dict[str, Any]) -> str | None:
    context = body.get("context")
    if context is None:
        return None
    wamid = context.get("message_id") if isinstance(context, dict) else None
    if not isinstance(wamid, str) or not wamid:
        raise invalid("The parameter context['message_id'] is required.")
    return wamid
