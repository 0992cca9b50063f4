"""What chatbots know: /v1/chatbots/{chatbot_id}/knowledge and /v1/knowledge"""

from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

from db.ids import ChatbotId, UserId
from db.known_rows import (
    Knowledge,
    KnowledgeId,
    NewKnowledge,
    VersionedKnowledge,
    Wanted,
    add_knowledge,
    change_knowledge,
    delete_knowledge,
    list_knowledge,
    lock_knowledge_row,
    read_knowledge_row,
    row_with_question,
)
from db.pool import Conn
from db.webhooks import chatbot_exists
from handlers.fixed.texts import MAX_TAG_CHARS, is_language
from handlers.plans import Feature
from handlers.rules.knowledge import (
    CHARS,
    MAX_ALTERNATIVES,
    MAX_CATEGORY_CHARS,
    MAX_QUESTION_CHARS,
    alternatives_of,
    text_of,
)
from ingress.api.fields import (
    NOT_BLANK,
    Body,
    NoBody,
    Paged,
    Parameters,
    RowId,
    unless_given,
    wrong,
)
from ingress.api.problems import Problem, not_found
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
    there,
    versioned,
)

SEARCH_CHARS = 200
SEARCH_WORDS = 10

# ---- what is given and answered ------------------------------------------------------------------


def _stripped(name: str, given: str) -> str:
    try:
        return text_of(name, given)
    except ValueError as problem:
        raise wrong(str(problem).removeprefix(f"{name} ")) from None


def _bounds(name: str) -> WithJsonSchema:
    bounds = {"minLength": 1, "maxLength": CHARS[name], "pattern": NOT_BLANK}
    return WithJsonSchema({"type": "string", **bounds})


def _others(given: list[str]) -> list[str]:
    try:
        return alternatives_of(given)
    except ValueError as problem:
        raise wrong(str(problem).removeprefix("alternatives ")) from None


def _tag(given: str) -> str:
    if not is_language(given):
        raise wrong("not a language tag, like es or pt-BR")
    return given


Question = Annotated[
    str,
    AfterValidator(partial(_stripped, "question")),
    _bounds("question"),
    Field(description="as customers ask; a chatbot has one row with it"),
]
Reply = Annotated[
    str,
    AfterValidator(partial(_stripped, "answer")),
    _bounds("answer"),
    Field(description="what the bot may say"),
]
Category = Annotated[
    Annotated[str, AfterValidator(partial(_stripped, "category")), _bounds("category")] | None,
    Field(description="a name of yours for some of the rows"),
]
Alternatives = Annotated[
    list[str],
    AfterValidator(_others),
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_QUESTION_CHARS,
                "pattern": NOT_BLANK,
            },
            "maxItems": MAX_ALTERNATIVES,
        }
    ),
    Field(description="other ways to ask it"),
]
Language = Annotated[
    Annotated[
        str,
        AfterValidator(_tag),
        WithJsonSchema(
            {
                "type": "string",
                "maxLength": MAX_TAG_CHARS,
                "pattern": "^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
            }
        ),
    ]
    | None,
    Field(description="of the texts, like es or pt-BR"),
]
Active = Annotated[bool, Field(description="false: kept, and not known to the bot")]


class KnowledgeMade(Body):
    question: Question
    answer: Reply
    category: Category = None
    alternatives: Alternatives = Field(default_factory=list)
    language: Language = None
    is_active: Active = True


class KnowledgeChange(Body):
    question: Question = unless_given()
    answer: Reply = unless_given()
    category: Category = None
    alternatives: Alternatives = unless_given()
    language: Language = None
    is_active: Active = unless_given()


class OfChatbot(Parameters):
    chatbot_id: RowId[ChatbotId]


class KnowledgeAsked(OfChatbot, Paged):
    category: Annotated[
        str | None,
        Field(min_length=1, max_length=MAX_CATEGORY_CHARS, description="only this one"),
    ] = None
    q: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=SEARCH_CHARS,
            pattern=r"\S",
            description="words that stand anywhere in a row; case and accents make no difference",
        ),
    ] = None


class OfKnowledge(Parameters):
    knowledge_id: RowId[KnowledgeId]


# ---- work ----------------------------------------------------------------------------------------


def _shown(found: VersionedKnowledge, status: int = 200) -> Answer[Knowledge]:
    return versioned(found.row, found.version, status)


def already_there(knowledge_id: int) -> Problem:
    return Problem(
        "already_exists",
        f"The row {knowledge_id} of this chatbot has this question: change that one.",
        knowledge_id=knowledge_id,
    )


async def ours(conn: Conn, call: Call[Any, Any], chatbot_id: ChatbotId) -> None:
    """Raises not_found."""
    if not await chatbot_exists(conn, call.user_id, chatbot_id):
        raise not_found()


async def _list(conn: Conn, call: Call[KnowledgeAsked, NoBody]) -> Answer[Page[Knowledge]]:
    asked = call.parameters
    await ours(conn, call, asked.chatbot_id)
    words = [] if asked.q is None else asked.q.split()[:SEARCH_WORDS]
    wanted = Wanted(category=asked.category, words=words, after=asked.after, limit=asked.limit)
    return page_of(await list_knowledge(conn, call.user_id, asked.chatbot_id, wanted))


async def _read(conn: Conn, call: Call[OfKnowledge, NoBody]) -> Answer[Knowledge]:
    return _shown(there(await read_knowledge_row(conn, call.user_id, call.parameters.knowledge_id)))


async def _create(conn: Conn, call: Call[OfChatbot, KnowledgeMade]) -> Answer[Knowledge]:
    chatbot_id = call.parameters.chatbot_id
    await ours(conn, call, chatbot_id)
    return await made(conn, call.user_id, chatbot_id, call.body)


async def made(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, body: KnowledgeMade
) -> Answer[Knowledge]:
    """A row of a chatbot that is there."""
    new = NewKnowledge(
        category=body.category,
        question=body.question,
        answer=body.answer,
        alternatives=body.alternatives,
        language=body.language,
        is_active=body.is_active,
    )
    added = await add_knowledge(conn, user_id, chatbot_id, new)
    if added is None:
        raise already_there(there(await row_with_question(conn, user_id, chatbot_id, new.question)))
    return _shown(there(await read_knowledge_row(conn, user_id, added)), 201)


async def _locked(conn: Conn, call: Call[OfKnowledge, Any]) -> VersionedKnowledge:
    """To be changed by this call, if it is as the client thinks it is."""
    found = there(await lock_knowledge_row(conn, call.user_id, call.parameters.knowledge_id))
    call.expect(found.version)
    return found


async def _change(conn: Conn, call: Call[OfKnowledge, KnowledgeChange]) -> Answer[Knowledge]:
    found = await _locked(conn, call)
    row, given = found.row, call.body.given()
    was = NewKnowledge(
        category=row.category,
        question=row.question,
        answer=row.answer,
        alternatives=row.alternatives,
        language=row.language,
        is_active=row.is_active,
    )
    new = replace(was, **given)
    if new == was:
        return _shown(found)
    knowledge_id = call.parameters.knowledge_id
    if new.question != was.question:
        other = await row_with_question(conn, call.user_id, row.chatbot_id, new.question)
        if other is not None:
            raise already_there(other)
    await change_knowledge(conn, call.user_id, knowledge_id, new)
    return _shown(there(await read_knowledge_row(conn, call.user_id, knowledge_id)))


async def _delete(conn: Conn, call: Call[OfKnowledge, NoBody]) -> Answer[Nothing]:
    await _locked(conn, call)
    await delete_knowledge(conn, call.user_id, call.parameters.knowledge_id)
    return GONE


ENDPOINTS = (
    Endpoint(
        name="list_knowledge",
        method="GET",
        path="/chatbots/{chatbot_id}/knowledge",
        permission="knowledge:read",
        summary="What a chatbot knows, newest first",
        parameters=KnowledgeAsked,
        body=NoBody,
        answers=Page[Knowledge],
        work=_list,
    ),
    Endpoint(
        name="create_knowledge",
        method="POST",
        path="/chatbots/{chatbot_id}/knowledge",
        permission="knowledge:write",
        summary="A question and its answer, which the bot knows from its next turn on",
        parameters=OfChatbot,
        body=KnowledgeMade,
        answers=Knowledge,
        work=_create,
        statuses=MADE,
        features=(Feature.CHATBOT_MANAGEMENT,),
        once=True,
        versioned=True,
        problems=("already_exists",),
    ),
    Endpoint(
        name="read_knowledge",
        method="GET",
        path="/knowledge/{knowledge_id}",
        permission="knowledge:read",
        summary="One row of what a chatbot knows",
        parameters=OfKnowledge,
        body=NoBody,
        answers=Knowledge,
        work=_read,
        versioned=True,
    ),
    Endpoint(
        name="change_knowledge",
        method="PATCH",
        path="/knowledge/{knowledge_id}",
        permission="knowledge:write",
        summary="Changes what is given; the bot's next turn knows it",
        parameters=OfKnowledge,
        body=KnowledgeChange,
        answers=Knowledge,
        work=_change,
        features=(Feature.CHATBOT_MANAGEMENT,),
        versioned=True,
        problems=("already_exists",),
    ),
    Endpoint(
        name="delete_knowledge",
        method="DELETE",
        path="/knowledge/{knowledge_id}",
        permission="knowledge:write",
        summary="The bot knows it no more",
        parameters=OfKnowledge,
        body=NoBody,
        answers=Nothing,
        work=_delete,
        statuses=DELETED,
        features=(Feature.CHATBOT_MANAGEMENT,),
        versioned=True,
    ),
)
