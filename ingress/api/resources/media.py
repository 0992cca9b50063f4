"""/v1/media"""

from typing import Annotated, Any

from pydantic import Field

from db.given_media import GivenMedium, NewFile, delete_given, list_given
from db.ids import ChatbotId, ContactId
from db.media import find_medium
from db.pool import Conn
from handlers.media import giving
from handlers.media.sendable import FORMS, TITLE_CHARS, name_of
from handlers.media.sniffing import TYPES, ending
from handlers.plans import Feature
from ingress.api.fields import NOT_BLANK, NoBody, NoParameters, Paged, Parameters, RowId
from ingress.api.mistakes import Mistake
from ingress.api.principal import permit
from ingress.api.problems import Problem, invalid, not_found
from ingress.api.table import (
    DELETED,
    GONE,
    MADE,
    Answer,
    Call,
    Endpoint,
    Nothing,
    Page,
    StoredFile,
    Upload,
    page_of,
    there,
)
from ingress.api.uploads import Kept


class OfMedium(Parameters):
    medium_id: RowId[int]


class MediaAsked(Paged):
    chatbot_id: Annotated[
        RowId[ChatbotId] | None, Field(description="only those of this chatbot")
    ] = None


class GivenFields(Parameters):
    """Beside the file."""

    chatbot_id: Annotated[
        RowId[ChatbotId] | None, Field(description="whose it is: it goes with this chatbot")
    ] = None
    title: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=TITLE_CHARS,
            pattern=NOT_BLANK,
            description="what the chatbot is told that it is, like `Menu of this week`: it then"
            " sends it by itself. Needs `chatbot_id`, and a key with `chatbots:write`",
        ),
    ] = None
    contact_id: Annotated[
        RowId[ContactId] | None,
        Field(
            description="whom it is about, like an invoice: it is sent to nobody else, and erased"
            " with them"
        ),
    ] = None


async def _may(conn: Conn, call: Call[NoParameters, NoBody]) -> Answer[Any]:  # noqa: ARG001
    """Whoever has the permission."""
    return Answer(None)


async def _keep(
    conn: Conn, call: Call[NoParameters, NoBody], fields: Parameters, kept: Kept
) -> Answer[GivenMedium]:
    assert isinstance(fields, GivenFields), "of this endpoint"
    if fields.title is not None:
        permit(call.principal, "chatbots:write", (Feature.CHATBOT_MANAGEMENT,))
        if fields.chatbot_id is None:
            raise invalid([Mistake("chatbot_id", "missing: whose bot is to send it by its title")])
        if fields.contact_id is not None:
            detail = "what is about one person is sent by a person: leave one of the two out"
            raise invalid([Mistake("title", detail)])
    new = NewFile(
        kind=kept.kind,
        file=kept.file,
        content_type=kept.content_type,
        bytes=kept.bytes,
        name=name_of(kept.name, ending(kept.content_type)),
        title=fields.title and " ".join(fields.title.split()),
        chatbot_id=fields.chatbot_id,
        contact_id=fields.contact_id,
    )
    try:
        given = await giving.give(conn, call.user_id, new)
    except giving.NoRoom as full:
        raise _no_room(full) from None
    except giving.TooLate:
        raise Problem("request_timeout", "The file took too long to be stored.") from None
    except giving.NotThere:
        named = [one for one in ("chatbot_id", "contact_id") if getattr(fields, one) is not None]
        raise invalid([Mistake(one, "you have none with this id") for one in named]) from None
    return Answer(given, 201, contact_id=fields.contact_id)


_ROOM = {
    "files": "Files to be sent: {most} at once. Delete what is not sent any more.",
    "bytes": "Files to be sent have {most} bytes together. Delete what is not sent any more.",
    "today": "{most} files were given today. The day is your account's.",
}


def _no_room(full: giving.NoRoom) -> Problem:
    return Problem(
        "limit_reached",
        _ROOM[full.what].format(most=full.most),
        limit=f"media_{full.what}",
        allowed=full.most,
        count=full.held,
    )


async def _list(conn: Conn, call: Call[MediaAsked, NoBody]) -> Answer[Page[GivenMedium]]:
    asked = call.parameters
    return page_of(await list_given(conn, call.user_id, asked.after, asked.limit, asked.chatbot_id))


async def _file(conn: Conn, call: Call[OfMedium, NoBody]) -> Answer[StoredFile]:
    found = there(await find_medium(conn, call.user_id, call.parameters.medium_id))
    if found.status == "removed":  # taken back by who sent it
        raise not_found()
    if found.status != "stored" or found.file is None or found.content_type is None:
        raise Problem("not_ready", f"The file is {found.status}.", status_now=found.status)
    name = f"{found.kind}-{found.id}.{ending(found.content_type)}"
    return Answer(StoredFile(found.file, name, found.bytes or 0, found.content_type))


async def _delete(conn: Conn, call: Call[OfMedium, NoBody]) -> Answer[Nothing]:
    if not await delete_given(conn, call.user_id, call.parameters.medium_id):
        raise not_found()
    return GONE


ENDPOINTS = (
    Endpoint(
        name="list_media",
        method="GET",
        path="/media",
        permission="conversations:read",
        summary="Files that you gave, to be sent, newest first",
        parameters=MediaAsked,
        body=NoBody,
        answers=Page[GivenMedium],
        work=_list,
    ),
    Upload(
        name="create_media",
        method="POST",
        path="/media",
        permission="conversations:write",
        summary=f"Gives a file, to be sent: {FORMS}. What it is its bytes say",
        parameters=NoParameters,
        body=NoBody,
        fields=GivenFields,
        answers=GivenMedium,
        work=_may,
        keeps=_keep,
        statuses=MADE,
        once=True,
        problems=("limit_reached",),
    ),
    Endpoint(
        name="read_media",
        method="GET",
        path="/media/{medium_id}",
        permission="conversations:read",
        summary="The file: what a customer sent, as `content_url` of its message names it, or what"
        " you gave",
        parameters=OfMedium,
        body=NoBody,
        answers=StoredFile,
        work=_file,
        features=(Feature.MESSAGE_HISTORY,),
        problems=("not_ready",),
        file_types=TYPES,
    ),
    Endpoint(
        name="delete_media",
        method="DELETE",
        path="/media/{medium_id}",
        permission="conversations:write",
        summary="Takes away a file that you gave: what waits to be sent with it is not sent. What"
        " customers sent goes with its message",
        parameters=OfMedium,
        body=NoBody,
        answers=Nothing,
        work=_delete,
        statuses=DELETED,
    ),
)
