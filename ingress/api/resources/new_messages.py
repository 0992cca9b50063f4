"""What a person sends to a customer: a text, a file that the tenant gave, or a template."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from db.given_media import find_given
from db.ids import ConversationId, UserId
from db.pool import Conn
from db.talks import read_conversation
from handlers.media.sendable import CAPTION_UNITS, caption_mistake, media_metadata, readable
from ingress.api.fields import NOT_BLANK, Body, MessageText, unless_given
from ingress.api.mistakes import Mistake
from ingress.api.problems import invalid, not_found
from ingress.api.resources.template_sends import TemplateSent
from ingress.api.table import there

ONE = ("content_text", "media_id", "template")
MISSING = (
    "missing: what the customer is to read; or `media_id`, the file that they are to get; or"
    " `template`"
)


class NewMessage(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "dependentRequired": {"caption": ["media_id"]},
        }
    )

    content_text: Annotated[MessageText, Field(description="what the customer is to read")] = (
        unless_given()
    )
    media_id: Annotated[
        int, Field(ge=1, le=10**18, description="of a file of yours (`POST /v1/media`), instead")
    ] = unless_given()
    caption: Annotated[
        str,
        Field(
            max_length=CAPTION_UNITS,
            pattern=NOT_BLANK,
            description="under the file; WhatsApp shows none under sound",
        ),
    ] = unless_given()
    template: Annotated[
        TemplateSent, Field(description="also where WhatsApp takes no free text")
    ] = unless_given()


@dataclass(frozen=True, slots=True)
class Said:
    """As the message's row has it."""

    text: str
    metadata: dict[str, Any]


async def said(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, body: NewMessage
) -> Said | None:
    """None: a template, which is filled when the conversation is held."""
    given = body.given()
    if len(both := [one for one in ONE if one in given]) != 1:
        instead = "a message is one of them: send another for the other"
        raise invalid([Mistake(both[-1], instead) if both else Mistake("content_text", MISSING)])
    if "media_id" not in given:
        if "caption" in given:
            raise invalid([Mistake("caption", "there is none without `media_id`")])
        if "template" in given:
            return None
        return Said(body.content_text, {})
    conversation = there(await read_conversation(conn, user_id, conversation_id))
    medium = there(await find_given(conn, user_id, body.media_id))
    if medium.contact_id not in (None, conversation.contact_id):
        raise not_found()  # it is another person's
    caption = given.get("caption")
    if (wrong := caption_mistake(medium.kind, caption)) is not None:
        raise invalid([Mistake("caption", wrong)])
    return Said(
        readable(medium.kind, medium.name, caption),
        media_metadata(medium.id, medium.kind, medium.name, caption),
    )
