"""A campaign before it starts: what is wrong with it, and its times as moments."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from db.ids import ChatbotId, TemplateId, UserId
from db.pool import Conn
from db.templates import account_of_chatbot, template_fields
from handlers.campaigns.clock import moment_of
from handlers.templates.parameters import Wrong, mistakes


async def wrong_with(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, variants: Sequence[dict[str, Any]]
) -> list[Wrong]:
    """All of it: `place` is that of a field."""
    account = await account_of_chatbot(conn, user_id, chatbot_id)
    if account is None:
        return [Wrong("chatbot_id", "there is no chatbot with this id, or it is not yours")]
    ids = [TemplateId(one["template_id"]) for one in variants]
    templates = {t.template.id: t.template for t in await template_fields(conn, user_id, ids)}
    found = []
    for n, one in enumerate(variants):
        at = f"variants.{n}." if len(variants) > 1 else ""
        template = templates.get(TemplateId(one["template_id"]))
        if template is None:
            found.append(Wrong(f"{at}template_id", "there is no template with this id"))
        elif template.waba_id != account.waba_id:
            found.append(Wrong(f"{at}template_id", "of another account than the chatbot's"))
        else:
            found += [
                Wrong(f"{at}parameters.{wrong.place}", wrong.detail)
                for wrong in mistakes(template.components, one["parameters"], ())
            ]
    return found


def as_moment(given: datetime | None, zone: str) -> datetime | None:
    """A wall clock's time is one of this zone."""
    if given is None:
        return None
    return given.astimezone(UTC) if given.tzinfo is not None else moment_of(given, ZoneInfo(zone))
