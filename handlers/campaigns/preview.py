"""Whom a campaign would reach, and what they would read. Writes nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.audiences import people_of, reach
from db.campaigns import read_room, read_standing
from db.ids import ChatbotId, ContactId, UserId
from db.pool import Conn
from handlers.campaigns.audience import drawn_for, sending_of, templates_of
from handlers.campaigns.criteria import Criteria
from handlers.campaigns.deciding import SHARE, SLOW_RATE, Variant
from handlers.templates.parameters import of_contact
from handlers.templates.rendering import Rendered, render

EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    matched: int
    sendable: int
    skipped: dict[str, int]
    examples: list[tuple[ContactId, str]]
    room_today: int
    minutes: float


async def look(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    given: tuple[Criteria, list[dict[str, Any]], float | None],
    now: datetime,
) -> Preview:
    """`given`: criteria, variants, rate."""
    criteria, written, rate = given
    variants = [Variant(**one) for one in written]
    templates = await templates_of(conn, user_id, variants)
    sending = sending_of(chatbot_id, variants, templates, now)
    reached = await reach(conn, user_id, criteria.audience(now), sending, examples=EXAMPLES)
    examples = []
    for one in await people_of(conn, user_id, reached.examples):
        variant = variants[drawn_for(variants, one.id, 0)]
        values = of_contact(one.name, one.phone_number, one.custom_fields)
        made = render(templates[variant.template_id], variant.parameters, values)
        if isinstance(made, Rendered):
            examples.append((one.id, made.text))
    standing = await read_standing(conn, user_id, chatbot_id, [])
    room = await read_room(conn, user_id, lock=False)
    pace = min(rate or SLOW_RATE, SHARE * standing.number_rate)
    return Preview(
        matched=reached.matched,
        sendable=reached.sendable,
        skipped=reached.skipped,
        examples=examples,
        room_today=room.room,
        minutes=round(reached.sendable / pace / 60, 1),
    )
