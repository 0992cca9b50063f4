"""What replaces a message outside WhatsApp's window: one of the chatbot's templates, filled."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from db.ids import UserId
from db.pool import Conn
from db.templates import read_template, template_of_chatbot
from handlers.templates.filling import Filled, NotSendable, To, Wanted, fill
from handlers.templates.parameters import OF_DECISION, OF_ORDER, OF_REPLY
from handlers.templates.rendering import Rendered, render

ANY = (*OF_REPLY, *OF_ORDER, *OF_DECISION)  # checked when it was given

log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def replacement(
    conn: Conn, user_id: UserId, template: Mapping[str, Any] | None, to: To
) -> Filled | None:
    """None: there is none, or none that can be sent."""
    if template is None:
        return None
    if "template_id" not in template:
        return await _without_parameters(conn, user_id, template, to)
    wanted = Wanted(template["template_id"], template.get("parameters", {}))
    try:
        return await fill(conn, user_id, wanted, replace(to, fields=ANY))
    except NotSendable as why:
        log.warning(
            "template.not_sendable",
            user_id=user_id,
            template_id=wanted.template_id,
            reason=why.reason,
            places=[one.place for one in why.wrong],
        )
        return None


async def _without_parameters(
    conn: Conn, user_id: UserId, template: Mapping[str, Any], to: To
) -> Filled:
    """By name and language; its text is known where the account was listed. Whether it is approved
    Meta says: it may be one that nobody listed yet."""
    name, language = template["name"], template["language"]
    text = f"[template {name}]"
    known = await template_of_chatbot(conn, user_id, to.chatbot_id, name, language)
    row = None if known is None else await read_template(conn, user_id, known)
    if row is not None and isinstance(filled := render(row.template, {}, {}), Rendered):
        text = filled.text
    frozen = {"name": name, "language": language}
    if known is not None:
        frozen["template_id"] = known
    return Filled(text, {"template": frozen})
