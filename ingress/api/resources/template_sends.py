"""A person sends a template: in conversations/{id}/messages, whether the window is open or not."""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from db.ids import ConversationId, MessageId, TemplateId
from db.messages import NewText
from db.pool import Conn
from handlers import takeover
from handlers.templates.filling import Filled, NotSendable, To, Wanted, fill
from ingress.api.fields import Body, RowId
from ingress.api.mistakes import Mistake
from ingress.api.problems import Problem, invalid
from ingress.api.table import Call

_V = {"type": "object"}
_OF_MESSAGE = {
    "header": _V,
    "body": {"type": "object", "additionalProperties": _V},
    "buttons": {"type": "object", "additionalProperties": _V},
}
Parameters = Annotated[
    dict[str, Any],
    Field(description="what fills it: docs/templates.md"),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {**_OF_MESSAGE, "expiry": _V, "cards": {"type": "array", "items": _V}},
            "additionalProperties": False,
        }
    ),
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
