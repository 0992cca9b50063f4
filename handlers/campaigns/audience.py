"""What is sent to an audience, as far as it decides who gets it, and which variant."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from db.audiences import Sending
from db.campaigns import Campaign
from db.ids import ChatbotId, TemplateId, UserId
from db.pool import Conn
from db.templates import Template, template_fields
from handlers.campaigns.deciding import Variant, drawn
from handlers.campaigns.us_numbers import US_AREA_CODES
from handlers.templates.anatomy import MARKETING


def variants_of(campaign: Campaign) -> list[Variant]:
    return [Variant(**one) for one in campaign.variants]


def drawn_for(variants: Sequence[Variant], contact_id: int, campaign_id: int) -> int:
    """The same for the same person, so that a repeat draws the same."""
    return drawn(variants, contact_id * 2_654_435_761 + campaign_id)


async def templates_of(
    conn: Conn, user_id: UserId, variants: Sequence[Variant]
) -> dict[int, Template]:
    ids = [TemplateId(one.template_id) for one in variants]
    found = await template_fields(conn, user_id, ids)
    return {one.template.id: one.template for one in found}


def sending_of(
    chatbot_id: ChatbotId,
    variants: Sequence[Variant],
    templates: dict[int, Template],
    now: datetime,
) -> Sending:
    return Sending(
        chatbot_id=chatbot_id,
        marketing=is_marketing(templates),
        fields=tuple(sorted(needed(variants))),
        closed_area_codes=US_AREA_CODES,
        now=now,
    )


def is_marketing(templates: dict[int, Template]) -> bool:
    """Where one variant is, all are: who stopped advertising draws none."""
    return any(one.category == MARKETING for one in templates.values())


def needed(variants: Sequence[Variant]) -> set[str]:
    """The fields of a contact without which no variant can be sent."""
    fields = [set(_fields(one.parameters)) for one in variants]
    return set.intersection(*fields) if fields else set()


def _fields(given: Any) -> Sequence[str]:
    if isinstance(given, dict):
        if isinstance(given.get("field"), str):
            return [] if given.get("else") else [given["field"]]
        return [name for one in given.values() for name in _fields(one)]
    return [name for one in given for name in _fields(one)] if isinstance(given, list) else []
