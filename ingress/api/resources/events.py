"""/v1/events"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from db.events import events_since, newest_events
from db.pages import StoredJson
from db.pool import Conn
from handlers.deliveries.described import Described, described
from handlers.deliveries.signing import event_name
from handlers.deliveries.wishes import names, unknown
from ingress.api.fields import Moment, NoBody, NoParameters, Paged, wrong
from ingress.api.table import Answer, Call, Endpoint, Page


def _known(given: str) -> str:
    detail = unknown(given, names())
    if detail is not None:
        raise wrong(detail)
    return given


class EventsAsked(Paged):
    type: Annotated[
        Annotated[
            str,
            AfterValidator(_known),
            WithJsonSchema({"type": "string", "enum": names()}),
        ]
        | None,
        Field(description="only these"),
    ] = None
    since: Annotated[
        Moment | None, Field(description="of then and later, oldest first; missing: newest first")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    id: str
    type: str
    timestamp: datetime
    data: StoredJson


async def _list(conn: Conn, call: Call[EventsAsked, NoBody]) -> Answer[Page[Event]]:
    asked = call.parameters
    page = asked.after, asked.limit
    if asked.since is None:
        found = await newest_events(conn, call.user_id, asked.type, *page)
    else:
        found = await events_since(conn, call.user_id, asked.type, asked.since, *page)
    rows = [
        Event(id=event_name(one.id), type=one.type, timestamp=one.timestamp, data=one.data)
        for one in found.rows
    ]
    return Answer(Page(rows, str(found.rows[-1].id) if found.more else None))


async def _catalogue(_: Conn, __: Call[NoParameters, NoBody]) -> Answer[Page[Described]]:
    return Answer(Page(described(), None))


ENDPOINTS = (
    Endpoint(
        name="list_events",
        method="GET",
        path="/events",
        permission="events:read",
        summary="What was told and is kept: newest first, or with `since` oldest first",
        parameters=EventsAsked,
        body=NoBody,
        answers=Page[Event],
        work=_list,
    ),
    Endpoint(
        name="read_event_catalogue",
        method="GET",
        path="/events/catalogue",
        permission="events:read",
        summary="Every event that there is, with its schema and a sample",
        parameters=NoParameters,
        body=NoBody,
        answers=Page[Described],
        work=_catalogue,
    ),
)
