"""/v1/chatbots/{chatbot_id}/tools and /v1/tools"""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema

from db.ids import ChatbotId, ToolId
from db.pool import Conn
from db.tool_calls import ToolCall, list_calls
from db.tools import (
    NewTool,
    Tool,
    VersionedTool,
    delete_tool,
    list_tools,
    lock_tool,
    read_tool,
)
from handlers.outbound.urls import MAX_URL_CHARS, problem
from handlers.plans import Feature
from handlers.rules.tools import (
    DESCRIPTION_CHARS,
    NAME_CHARS,
    TOOLS_MAX,
    Effect,
    wrong_name,
    wrong_schema,
)
from handlers.tools import making
from ingress.api.encoding import SHOWN_ONCE
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
from ingress.api.problems import Problem
from ingress.api.resources.knowledge import OfChatbot, ours
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

# ---- what is given and answered ------------------------------------------------------------------


def _reachable(given: str, info: ValidationInfo) -> str:
    detail = problem(given, (info.context or {})["outbound"])  # read_json() gives it
    if detail is not None:
        raise wrong(detail)
    return given


def _named(given: str) -> str:
    if (detail := wrong_name(given)) is not None:
        raise wrong(detail)
    return given


def _describes(given: dict[str, Any]) -> dict[str, Any]:
    if (detail := wrong_schema(given)) is not None:
        raise wrong(detail)
    return given


Name = Annotated[
    str,
    AfterValidator(_named),
    WithJsonSchema(
        {"type": "string", "maxLength": NAME_CHARS, "pattern": r"^[a-z][a-z0-9_]{0,39}$"}
    ),
    Field(description="of the function; the model calls it own_NAME"),
]
Description = Annotated[
    str,
    Field(
        min_length=1,
        max_length=DESCRIPTION_CHARS,
        pattern=NOT_BLANK,
        description="for the model: what it does, and when to call it",
    ),
]
Schema = Annotated[
    dict[str, Any],
    AfterValidator(_describes),
    WithJsonSchema({"type": "object"}),
    Field(
        description="of the arguments: JSON Schema of an object, in the part that docs/tools.md"
        " names"
    ),
]
ToolUrl = Annotated[
    str,
    AfterValidator(_reachable),
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": MAX_URL_CHARS}),
    Field(description="where calls are posted to: https, a public address"),
]
Has = Annotated[
    Effect,
    Field(
        description="`none`: it only looks something up; `repeatable`: it knows the"
        " Idempotency-Key, so a call may be repeated; `once`: never twice"
    ),
]
Approval = Annotated[bool, Field(description="a person approves each call (actions)")]
Timeout = Annotated[
    int, Field(ge=500, le=10_000, description="for a call, in milliseconds, from its beginning")
]
Active = Annotated[bool, Field(description="false: the model is not offered it")]


class ToolMade(Body):
    name: Name
    description: Description
    parameters: Schema
    url: ToolUrl
    effect: Has = "once"
    needs_approval: Approval = False
    timeout_ms: Timeout = 5_000
    is_active: Active = True


class ToolChange(Body):
    name: Name = unless_given()
    description: Description = unless_given()
    parameters: Schema = unless_given()
    url: ToolUrl = unless_given()
    effect: Has = unless_given()
    needs_approval: Approval = unless_given()
    timeout_ms: Timeout = unless_given()
    is_active: Active = unless_given()


class ToolsAsked(OfChatbot, Paged):
    pass


class CallsAsked(OfChatbot, Paged):
    status: Annotated[
        Literal["proposed", "due", "calling", "done", "failed", "unknown", "dropped"] | None,
        Field(description="only these"),
    ] = None


class OfTool(Parameters):
    tool_id: RowId[ToolId]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolWithSecret(Tool):
    secret_token: Annotated[
        str, Field(description="signs what is sent; shown this once, and not when repeated")
    ] = field(metadata=SHOWN_ONCE)


EXAMPLE: dict[str, Any] = {
    "name": "book_table",
    "description": "Books a table. Call it when the customer has named a day.",
    "parameters": {
        "type": "object",
        "properties": {"day": {"type": "string"}, "people": {"type": "integer", "minimum": 1}},
        "required": ["day"],
    },
    "url": "https://shop.example/tools/book",
    "effect": "repeatable",
}


# ---- work ----------------------------------------------------------------------------------------


def _with_secret(found: VersionedTool, secret: str, status: int) -> Answer[ToolWithSecret]:
    row: dict[str, Any] = {f.name: getattr(found.tool, f.name) for f in fields(Tool)}
    return versioned(ToolWithSecret(**row, secret_token=secret), found.version, status)


def _refused(error: making.AtLimit | making.NameTaken) -> Problem:
    if isinstance(error, making.NameTaken):
        return Problem(
            "already_exists", "The chatbot has a tool of this name: take another, or change that."
        )
    what = (
        f"A chatbot has {error.allowed} tools at most"
        if error.limit == "tools"
        else f"Names, descriptions and schemas of a chatbot's active tools have {error.allowed}"
        f" characters at most, as they are in each prompt; these would be {error.count}"
    )
    return Problem(
        "limit_reached",
        f"{what}: delete one, switch one off, or say less.",
        limit=error.limit,
        allowed=error.allowed,
        count=error.count,
    )


async def _list(conn: Conn, call: Call[ToolsAsked, NoBody]) -> Answer[Page[Tool]]:
    asked = call.parameters
    await ours(conn, call, asked.chatbot_id)
    found = await list_tools(conn, call.user_id, asked.chatbot_id, asked.after, asked.limit)
    return page_of(found)


async def _calls(conn: Conn, call: Call[CallsAsked, NoBody]) -> Answer[Page[ToolCall]]:
    asked = call.parameters
    await ours(conn, call, asked.chatbot_id)
    page = (asked.after, asked.limit)
    return page_of(await list_calls(conn, call.user_id, asked.chatbot_id, asked.status, page))


async def _read(conn: Conn, call: Call[OfTool, Any]) -> Answer[Tool]:
    found = there(await read_tool(conn, call.user_id, call.parameters.tool_id))
    return versioned(found.tool, found.version)


async def _create(conn: Conn, call: Call[OfChatbot, ToolMade]) -> Answer[ToolWithSecret]:
    chatbot_id: ChatbotId = call.parameters.chatbot_id
    await ours(conn, call, chatbot_id)
    new = NewTool(**dict(call.body))
    try:
        tool_id, secret = await making.make(conn, call.user_id, chatbot_id, new, call.here.vault)
    except (making.AtLimit, making.NameTaken) as error:
        raise _refused(error) from None
    return _with_secret(there(await read_tool(conn, call.user_id, tool_id)), secret, 201)


async def _locked(conn: Conn, call: Call[OfTool, Any]) -> VersionedTool:
    """To be changed by this call, if it is as the client thinks it is."""
    tool_id = call.parameters.tool_id
    call.expect(there(await lock_tool(conn, call.user_id, tool_id)))
    return there(await read_tool(conn, call.user_id, tool_id))


async def _change(conn: Conn, call: Call[OfTool, ToolChange]) -> Answer[Tool]:
    found = await _locked(conn, call)
    try:
        await making.change(conn, call.user_id, found.tool, call.body.given())
    except (making.AtLimit, making.NameTaken) as error:
        raise _refused(error) from None
    return await _read(conn, call)


async def _delete(conn: Conn, call: Call[OfTool, NoBody]) -> Answer[Nothing]:
    found = await _locked(conn, call)
    await delete_tool(conn, call.user_id, found.tool.id)
    return GONE


async def _rotate(conn: Conn, call: Call[OfTool, NoBody]) -> Answer[ToolWithSecret]:
    tool_id = (await _locked(conn, call)).tool.id
    secret = await making.rotate(conn, call.user_id, tool_id, call.here.vault)
    return _with_secret(there(await read_tool(conn, call.user_id, tool_id)), secret, 200)


ENDPOINTS = (
    Endpoint(
        name="list_tools",
        method="GET",
        path="/chatbots/{chatbot_id}/tools",
        permission="chatbots:read",
        summary="A chatbot's tools of your own, newest first, without their secrets",
        parameters=ToolsAsked,
        body=NoBody,
        answers=Page[Tool],
        work=_list,
    ),
    Endpoint(
        name="create_tool",
        method="POST",
        path="/chatbots/{chatbot_id}/tools",
        permission="chatbots:write",
        summary="A function that the chatbot's model may call, at an address of yours; its secret"
        f" is in this answer alone. {TOOLS_MAX} a chatbot at most",
        parameters=OfChatbot,
        body=ToolMade,
        answers=ToolWithSecret,
        work=_create,
        statuses=MADE,
        features=(Feature.CHATBOT_MANAGEMENT,),
        once=True,
        versioned=True,
        problems=("already_exists", "limit_reached"),
        example=EXAMPLE,
    ),
    Endpoint(
        name="list_tool_calls",
        method="GET",
        path="/chatbots/{chatbot_id}/tool-calls",
        permission="chatbots:read",
        summary="What the chatbot's tools were called for, newest first, kept for 30 days; of an"
        " `unknown` one only you know whether it was done: its idempotency_key is the one sent",
        parameters=CallsAsked,
        body=NoBody,
        answers=Page[ToolCall],
        work=_calls,
    ),
    Endpoint(
        name="read_tool",
        method="GET",
        path="/tools/{tool_id}",
        permission="chatbots:read",
        summary="One tool",
        parameters=OfTool,
        body=NoBody,
        answers=Tool,
        work=_read,
        versioned=True,
    ),
    Endpoint(
        name="change_tool",
        method="PATCH",
        path="/tools/{tool_id}",
        permission="chatbots:write",
        summary="Changes what is given, from the chatbot's next answer on; `parameters` as a whole",
        parameters=OfTool,
        body=ToolChange,
        answers=Tool,
        work=_change,
        features=(Feature.CHATBOT_MANAGEMENT,),
        versioned=True,
        problems=("already_exists", "limit_reached"),
        example={"description": "Books a table for up to eight.", "timeout_ms": 8_000},
    ),
    Endpoint(
        name="delete_tool",
        method="DELETE",
        path="/tools/{tool_id}",
        permission="chatbots:write",
        summary="The chatbot has it no more; what is approved and not called yet fails",
        parameters=OfTool,
        body=NoBody,
        answers=Nothing,
        work=_delete,
        statuses=DELETED,
        features=(Feature.CHATBOT_MANAGEMENT,),
        versioned=True,
    ),
    Endpoint(
        name="rotate_tool",
        method="POST",
        path="/tools/{tool_id}/rotate",
        permission="chatbots:write",
        summary="Makes a new secret; for 24 hours what is sent has a signature by the one before as"
        " well",
        parameters=OfTool,
        body=NoBody,
        answers=ToolWithSecret,
        work=_rotate,
        features=(Feature.CHATBOT_MANAGEMENT,),
        once=True,
        versioned=True,
    ),
)
