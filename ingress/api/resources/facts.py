"""/v1/contacts/{id}/facts and /v1/facts"""

from typing import Any

from db.facts import Fact, list_facts, read_fact
from db.ids import BEYOND, ContactId, FactId
from db.pool import Conn
from handlers import facts
from handlers.plans import Feature
from ingress.api.fields import NoBody, Paged, Parameters, RowId
from ingress.api.table import (
    DELETED,
    GONE,
    Answer,
    Call,
    Endpoint,
    Nothing,
    Page,
    page_of,
    there,
)


class FactsAsked(Paged):
    contact_id: RowId[ContactId]


class OfFact(Parameters):
    fact_id: RowId[FactId]


async def _list(conn: Conn, call: Call[FactsAsked, NoBody]) -> Answer[Page[Fact]]:
    asked = call.parameters
    before = BEYOND if asked.after is None else asked.after
    found = await list_facts(conn, call.user_id, asked.contact_id, before, asked.limit)
    return page_of(there(found))


async def _read(conn: Conn, call: Call[OfFact, Any]) -> Answer[Fact]:
    return Answer(there(await read_fact(conn, call.user_id, call.parameters.fact_id)))


async def _delete(conn: Conn, call: Call[OfFact, NoBody]) -> Answer[Nothing]:
    there(await facts.forget(conn, call.user_id, call.parameters.fact_id))
    return GONE


ENDPOINTS = (
    Endpoint(
        name="list_facts",
        method="GET",
        path="/contacts/{contact_id}/facts",
        permission="contacts:read",
        summary="What chatbots noted about a contact from what it wrote, newest first",
        parameters=FactsAsked,
        body=NoBody,
        answers=Page[Fact],
        work=_list,
    ),
    Endpoint(
        name="read_fact",
        method="GET",
        path="/facts/{fact_id}",
        permission="contacts:read",
        summary="One fact, and the message that it was learnt from",
        parameters=OfFact,
        body=NoBody,
        answers=Fact,
        work=_read,
    ),
    Endpoint(
        name="delete_fact",
        method="DELETE",
        path="/facts/{fact_id}",
        permission="contacts:write",
        summary="No chatbot is told it any more",
        parameters=OfFact,
        body=NoBody,
        answers=Nothing,
        work=_delete,
        statuses=DELETED,
        features=(Feature.CONTACT_MANAGEMENT,),
    ),
)
