"""A person sends a template: in conversations/{id}/messages, whether the window is open or not."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

from db.ids import ConversationId, MessageId, TemplateId
from db.messages import NewText
from db.pool import Conn
from handlers import takeover
from handlers.templates.filling import Filled, NotSendable, To, Wanted, fill
from handlers.whatsapp.cloud_api.details import plain
from ingress.api.fields import Body, RowId, wrong
from ingress.api.mistakes import Mistake
from ingress.api.problems import Problem, invalid
from ingress.api.table import Call

_V = {"type": "object"}
_OF_MESSAGE = {
    "header": _V,
    "body": {"type": "object", "additionalProperties": _V},
    "buttons": {"type": "object", "additionalProperties": _V},
}


def _shaped(given: dict[str, Any]) -> dict[str, Any]:
    """As the schema says. What fits the template is looked at when that is read."""
    known = (*_OF_MESSAGE, "expiry", "cards")
    if unknown := sorted(given.keys() - {*known}):
        raise wrong(f"has {unknown[0][:40]!r}; there are {', '.join(known)}")
    for name, value in given.items():
        inner = value.values() if name in ("body", "buttons") and isinstance(value, dict) else ()
        many = value if isinstance(value, list) else None
        if (name == "cards") != (many is not None) or not all(
            isinstance(one, dict) for one in (*inner, *(many if many is not None else [value]))
        ):
            raise wrong(f"{name} is not of its kind: docs/templates.md")
    try:
        fits = plain(given) == given
    except RecursionError:
        fits = False
    if not fits:
        raise wrong("has characters or numbers that cannot be stored")
    return given


PARAMETERS_SCHEMA = {
    "type": "object",
    "properties": {**_OF_MESSAGE, "expiry": _V, "cards": {"type": "array", "items": _V}},
    "additionalProperties": False,
}
Parameters = Annotated[
    dict[str, Any],
    AfterValidator(_shaped),
    Field(description="what fills it: docs/templates.md"),
    WithJsonSchema(PARAMETERS_SCHEMA),
]


class TemplateSent(Body):
    template_id: Annotated[RowId[TemplateId], Field(description="an approved one")]
    parameters: Parameters = Field(default_factory=dict)


async def queue_template(
    conn: Conn,
    call: Call[Any, Any],
    conversation_id: ConversationId,
    sent: TemplateSent,
    metadata: dict[str, Any],
) -> MessageId:
    """Raises takeover.NotDone, and what is wrong with it."""
    user_id = call.user_id
    conversation = await takeover.hold_for_person(conn, user_id, conversation_id)
    try:
        filled: Filled = await fill(
            conn,
            user_id,
            Wanted(sent.template_id, sent.parameters),
            To(conversation.chatbot_id, conversation.contact_id),
        )
    except NotSendable as why:
        raise not_sendable(why, "template.") from None
    message = NewText(
        content_text=filled.text, metadata=metadata | filled.metadata, is_from_human=True
    )
    return await takeover.queue_of_person(conn, user_id, conversation_id, conversation, message)


def not_sendable(why: NotSendable, where: str) -> Problem:
    match why.reason:
        case "template_not_found":
            detail = "no template of the chatbot's account has this id"
            return invalid([Mistake(f"{where}template_id", detail)])
        case "template_not_approved":
            return Problem(
                "template_not_approved",
                f"Only APPROVED templates are sent; this one is {why.status}.",
                template_status=why.status,
            )
        case "opted_out":
            return Problem(
                "opted_out",
                "The contact wants no marketing, and the template's category is MARKETING: write"
                " free text when they have written, or take a UTILITY template.",
            )
        case _:
            return invalid([Mistake(f"{where}parameters.{w.place}", w.detail) for w in why.wrong])
