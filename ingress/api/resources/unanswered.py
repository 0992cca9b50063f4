"""What customers asked and a chatbot did not know: /v1/chatbots/{chatbot_id}/unanswered"""

from db.ids import ChatbotId
from db.known_rows import Knowledge
from db.pool import Conn
from db.unanswered import Unanswered, UnansweredId, clear_unanswered, list_unanswered
from handlers.plans import Feature
from ingress.api.fields import NoBody, Paged, RowId
from ingress.api.problems import not_found
from ingress.api.resources.knowledge import KnowledgeMade, OfChatbot, made, ours
from ingress.api.table import (
    DELETED,
    GONE,
    MADE,
    Answer,
    Call,
    Endpoint,
    Nothing,
    Page,
    page_of,
)


class UnansweredAsked(OfChatbot, Paged):
    pass


class OfUnanswered(OfChatbot):
    unanswered_id: RowId[UnansweredId]


async def _list(conn: Conn, call: Call[UnansweredAsked, NoBody]) -> Answer[Page[Unanswered]]:
    asked = call.parameters
    await ours(conn, call, asked.chatbot_id)
    return page_of(
        await list_unanswered(conn, call.user_id, asked.chatbot_id, asked.after, asked.limit)
    )


async def _clear(
    conn: Conn, call: Call[OfUnanswered, NoBody] | Call[OfUnanswered, KnowledgeMade]
) -> ChatbotId:
    """Raises not_found."""
    chatbot_id = call.parameters.chatbot_id
    await ours(conn, call, chatbot_id)
    if not await clear_unanswered(conn, call.user_id, chatbot_id, call.parameters.unanswered_id):
        raise not_found()
    return chatbot_id


async def _answer(conn: Conn, call: Call[OfUnanswered, KnowledgeMade]) -> Answer[Knowledge]:
    return await made(conn, call.user_id, await _clear(conn, call), call.body)


async def _dismiss(conn: Conn, call: Call[OfUnanswered, NoBody]) -> Answer[Nothing]:
    await _clear(conn, call)
    return GONE


ENDPOINTS = (
    Endpoint(
        name="list_unanswered",
        method="GET",
        path="/chatbots/{chatbot_id}/unanswered",
        permission="chatbots:read",
        summary="What customers asked and the bot did not know, each question once with how often,"
        " the one that came up last first",
        parameters=UnansweredAsked,
        body=NoBody,
        answers=Page[Unanswered],
        work=_list,
    ),
    Endpoint(
        name="answer_unanswered",
        method="POST",
        path="/chatbots/{chatbot_id}/unanswered/{unanswered_id}/knowledge",
        permission="knowledge:write",
        summary="Makes a row of knowledge that answers it, and takes it off the list",
        parameters=OfUnanswered,
        body=KnowledgeMade,
        answers=Knowledge,
        work=_answer,
        statuses=MADE,
        features=(Feature.CHATBOT_MANAGEMENT,),
        once=True,
        versioned=True,
        problems=("already_exists",),
    ),
    Endpoint(
        name="dismiss_unanswered",
        method="DELETE",
        path="/chatbots/{chatbot_id}/unanswered/{unanswered_id}",
        permission="chatbots:write",
        summary="Takes it off the list; asked again, and still not known, it comes back",
        parameters=OfUnanswered,
        body=NoBody,
        answers=Nothing,
        work=_dismiss,
        statuses=DELETED,
        features=(Feature.CHATBOT_MANAGEMENT,),
    ),
)
