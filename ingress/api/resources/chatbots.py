"""/v1/chatbots"""

from typing import Any

from db.chatbots import (
    Chatbot,
    VersionedChatbot,
    list_chatbots,
    lock_settings,
    read_chatbot,
)
from db.ids import ChatbotId
from db.pool import Conn
from handlers import chatbots
from handlers.limits import NoRoom, NotInPlan
from handlers.plans import Feature
from ingress.api.fields import NoBody, NoParameters, Paged, Parameters, RowId
from ingress.api.mistakes import Mistake
from ingress.api.problems import (
    Problem,
    invalid,
    not_authenticated,
    not_in_plan,
)
from ingress.api.resources.budget_bodies import BudgetsChange, BudgetsMade
from ingress.api.resources.chatbot_bodies import (
    ChatbotChange,
    ChatbotMade,
    FilledTemplate,
    Template,
    TemplateChange,
)
from ingress.api.resources.model_bodies import ModelChange, ModelMade, given_of
from ingress.api.room import no_room
from ingress.api.table import (
    MADE,
    Answer,
    Call,
    Endpoint,
    Page,
    page_of,
    there,
    versioned,
)


class OfChatbot(Parameters):
    chatbot_id: RowId[ChatbotId]


# ---- work ----------------------------------------------------------------------------------------


def _given(body: ChatbotMade | ChatbotChange) -> dict[str, Any]:
    given = body.given()
    if isinstance(given.get("budgets"), BudgetsMade | BudgetsChange):
        given["budgets"] = given["budgets"].given()
    model = given.get("model")
    if isinstance(model, ModelMade | ModelChange):
        given["model"] = given_of(model)
    for member in chatbots.TEMPLATES:
        template = given.get(member)
        if isinstance(template, Template | TemplateChange | FilledTemplate):
            given[member] = template.given()
    return given


def _taken(taken: chatbots.Taken) -> Problem:
    return Problem(
        "number_taken",
        f"Another chatbot has proven that {' and '.join(taken.members)} is its own. If it is yours,"
        " take it from that chatbot, or ask the operator.",
        errors=[Mistake(member, "proven by another chatbot") for member in taken.members],
    )


def _unfit(unfit: chatbots.Unfit) -> Problem:
    return invalid([Mistake(place, detail) for place, detail in unfit.mistakes.items()])


def _shown(found: VersionedChatbot | None, status: int = 200) -> Answer[Chatbot]:
    row = there(found)
    return versioned(row.chatbot, row.version, status)


async def _list(conn: Conn, call: Call[Paged, NoBody]) -> Answer[Page[Chatbot]]:
    asked = call.parameters
    return page_of(await list_chatbots(conn, call.user_id, asked.after, asked.limit))


async def _read(conn: Conn, call: Call[OfChatbot, Any]) -> Answer[Chatbot]:
    return _shown(await read_chatbot(conn, call.user_id, call.parameters.chatbot_id))


async def _create(conn: Conn, call: Call[NoParameters, ChatbotMade]) -> Answer[Chatbot]:
    try:
        made = await chatbots.make(conn, call.user_id, _given(call.body), call.here.vault)
    except chatbots.Gone:
        raise not_authenticated("The account is not active.") from None
    except NotInPlan as why:
        raise not_in_plan(why.key) from None
    except NoRoom as full:
        raise no_room(call.user_id, full.key, full.most, full.used) from None
    except chatbots.Taken as taken:
        raise _taken(taken) from None
    except chatbots.Unfit as unfit:
        raise _unfit(unfit) from None
    return _shown(await read_chatbot(conn, call.user_id, made), 201)


async def _change(conn: Conn, call: Call[OfChatbot, ChatbotChange]) -> Answer[Chatbot]:
    chatbot_id = call.parameters.chatbot_id
    has = there(await lock_settings(conn, call.user_id, chatbot_id))
    call.expect(has.version)
    given = _given(call.body)
    try:
        await chatbots.change(conn, call.user_id, chatbot_id, has, given, call.here.vault)
    except chatbots.Taken as taken:
        raise _taken(taken) from None
    except chatbots.Unfit as unfit:
        raise _unfit(unfit) from None
    return await _read(conn, call)


ENDPOINTS = (
    Endpoint(
        name="list_chatbots",
        method="GET",
        path="/chatbots",
        permission="chatbots:read",
        summary="Chatbots, newest first, without their access tokens",
        parameters=Paged,
        body=NoBody,
        answers=Page[Chatbot],
        work=_list,
    ),
    Endpoint(
        name="create_chatbot",
        method="POST",
        path="/chatbots",
        permission="chatbots:write",
        summary="A chatbot; its number is proven within seconds by its own `access_token`"
        " (`number_confirmed_at`), or `number_problem` says why not",
        parameters=NoParameters,
        body=ChatbotMade,
        answers=Chatbot,
        work=_create,
        statuses=MADE,
        features=(Feature.CHATBOT_MANAGEMENT,),
        once=True,
        versioned=True,
        problems=("limit_reached", "number_taken"),
    ),
    Endpoint(
        name="read_chatbot",
        method="GET",
        path="/chatbots/{chatbot_id}",
        permission="chatbots:read",
        summary="One chatbot, without its access token",
        parameters=OfChatbot,
        body=NoBody,
        answers=Chatbot,
        work=_read,
        versioned=True,
    ),
    Endpoint(
        name="change_chatbot",
        method="PATCH",
        path="/chatbots/{chatbot_id}",
        permission="chatbots:write",
        summary="Changes what is given. Another number is a claim: the one that is proven goes on"
        " until the other is",
        parameters=OfChatbot,
        body=ChatbotChange,
        answers=Chatbot,
        work=_change,
        features=(Feature.CHATBOT_MANAGEMENT,),
        versioned=True,
        problems=("number_taken",),
    ),
)
