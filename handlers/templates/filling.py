"""A stored template becomes a message: looked up, filled with what is known, and frozen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from db.ids import ChatbotId, ContactId, TemplateId, UserId
from db.pool import Conn
from db.templates import Sendable, contact_values, sendable_template
from handlers.templates.anatomy import MARKETING, SENDABLE
from handlers.templates.parameters import Wrong, mistakes, of_contact
from handlers.templates.rendering import Missing, render


@dataclass(frozen=True, slots=True)
class Wanted:
    template_id: TemplateId
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filled:
    text: str  # as the customer sees it
    metadata: dict[str, Any]  # of the message


class NotSendable(Exception):
    """`reason`: template_not_found, template_not_approved, wrong_parameters, missing_parameter,
    opted_out."""

    def __init__(self, reason: str, wrong: list[Wrong] | None = None, status: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.wrong = wrong or []
        self.status = status


@dataclass(frozen=True, slots=True)
class To:
    chatbot_id: ChatbotId
    contact_id: ContactId
    # What is known beside the contact: `reply`, `order.status` and so on, and what may be named.
    values: Mapping[str, str] = field(default_factory=dict)
    fields: Sequence[str] = ()


async def fill(conn: Conn, user_id: UserId, wanted: Wanted, to: To) -> Filled:
    """Raises NotSendable."""
    template = await sendable_template(conn, user_id, to.chatbot_id, wanted.template_id)
    if template is None:
        raise NotSendable("template_not_found")
    if template.status != SENDABLE:
        raise NotSendable("template_not_approved", status=template.status)
    if found := mistakes(template.components, wanted.parameters, to.fields):
        raise NotSendable("wrong_parameters", found)
    contact = await contact_values(conn, user_id, to.contact_id)
    known = dict(to.values)
    if contact is not None and contact.opted_out and template.category == MARKETING:
        raise NotSendable("opted_out")
    if contact is not None:
        known |= of_contact(contact.name, contact.phone_number, contact.custom_fields)
    filled = render(template, wanted.parameters, known)
    if isinstance(filled, Missing):
        detail = 'nothing is known for it, and it has no "else"'
        raise NotSendable("missing_parameter", [Wrong(p, detail) for p in filled.places])
    return Filled(filled.text, {"template": _frozen(template, filled.components)})


def _frozen(template: Sendable, components: list[dict[str, Any]]) -> dict[str, Any]:
    """Every try sends the same, whatever becomes of the template and of the contact."""
    return {
        "template_id": template.id,
        "name": template.name,
        "language": template.language,
        "components": components,
    }
