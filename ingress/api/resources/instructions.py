"""/v1/conversations/{id}/instructions and /v1/instructions"""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

from db.contacts import lock_contacts
from db.ids import BEYOND, ConversationId, InstructionId
from db.instructions import (
    Between,
    Instruction,
    VersionedInstruction,
    change_instruction,
    conversation_exists,
    count_instructions,
    create_instruction,
    delete_instruction,
    list_instructions,
    lock_instruction,
    read_between,
    read_instruction,
)
from db.pages import PAGE_BYTES
from db.pool import Conn
from handlers.plans import Feature
from ingress.api.fields import (
    Body,
    MomentAhead,
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

# All that are active are in each prompt, so their number and length bound it; read_turn knows both.
TEXT_CHARS = 2_000
INSTRUCTIONS_MAX = 20  # of a conversation

# ---- what is given -------------------------------------------------------------------------------


def _says_something(given: str) -> str:
    if not given.strip():
        raise wrong("empty")
    if len(given) > TEXT_CHARS:
        raise wrong(f"has {len(given)} characters, {TEXT_CHARS} at most")
    return given


InstructionText = Annotated[
    str,
    AfterValidator(_says_something),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": TEXT_CHARS}),
    Field(description="what the bot is told in this conversation alone"),
]
ExpiresAt = Annotated[
    MomentAhead | None, Field(description="from when on it does not hold any more; null: never")
]
Active = Annotated[bool, Field(description="false: the bot is not told it")]


class InstructionMade(Body):
    instruction_text: InstructionText
    expires_at: ExpiresAt = None


class InstructionChange(Body):
    instruction_text: InstructionText = unless_given()
    expires_at: ExpiresAt = None
    is_active: Active = unless_given()


class OfConversation(Parameters):
    conversation_id: RowId[ConversationId]


class InstructionsAsked(OfConversation, Paged):
    pass


class OfInstruction(Parameters):
    instruction_id: RowId[InstructionId]


# ---- work ----------------------------------------------------------------------------------------


def _answer(found: VersionedInstruction, status: int = 200) -> Answer[Instruction]:
    return versioned(found.instruction, found.version, status)


async def _be_there(conn: Conn, call: Call[Any, Any]) -> None:
    """The conversation."""
    if not await conversation_exists(conn, call.user_id, call.parameters.conversation_id):
        raise not_found()


async def _list(conn: Conn, call: Call[InstructionsAsked, NoBody]) -> Answer[Page[Instruction]]:
    asked = call.parameters
    await _be_there(conn, call)
    before = BEYOND if asked.after is None else asked.after
    return page_of(
        await list_instructions(
            *(conn, call.user_id, asked.conversation_id), before, asked.limit, PAGE_BYTES
        )
    )


async def _with_the_contact_locked(
    conn: Conn, call: Call[OfConversation, InstructionMade]
) -> Between:
    """Of several who make one at once, each counts what the others made. What was there before the
    wait is looked at again: the contact may be erased by now, or the chatbot deleted."""
    conversation_id = call.parameters.conversation_id
    await _be_there(conn, call)
    of = there(await read_between(conn, call.user_id, conversation_id))
    await lock_contacts(conn, call.user_id, [of.contact_id])
    await _be_there(conn, call)
    return of


async def _create(conn: Conn, call: Call[OfConversation, InstructionMade]) -> Answer[Instruction]:
    of = await _with_the_contact_locked(conn, call)
    count = await count_instructions(conn, call.user_id, of)
    if count >= INSTRUCTIONS_MAX:
        raise Problem(
            "limit_reached",
            f"A conversation has {INSTRUCTIONS_MAX} instructions at most, and this one has {count}:"
            " delete one, or change it.",
            limit="instructions",
            allowed=INSTRUCTIONS_MAX,
            count=count,
        )
    made = await create_instruction(
        conn, call.user_id, of, call.body.instruction_text, call.body.expires_at
    )
    found = there(await read_instruction(conn, call.user_id, made))
    return replace(_answer(found, 201), contact_id=of.contact_id)


async def _read(conn: Conn, call: Call[OfInstruction, Any]) -> Answer[Instruction]:
    return _answer(
        there(await read_instruction(conn, call.user_id, call.parameters.instruction_id))
    )


async def _locked(conn: Conn, call: Call[OfInstruction, Any]) -> Instruction:
    """To be changed by this call, if it is as the client thinks it is."""
    instruction_id = call.parameters.instruction_id
    version = await lock_instruction(conn, call.user_id, instruction_id)
    # Of a conversation that is not shown, the row is not either.
    found = there(await read_instruction(conn, call.user_id, instruction_id))
    call.expect(there(version))
    return found.instruction


async def _change(conn: Conn, call: Call[OfInstruction, InstructionChange]) -> Answer[Instruction]:
    was = await _locked(conn, call)
    new = replace(was, **call.body.given())
    if new != was:
        await change_instruction(conn, call.user_id, new)
    return await _read(conn, call)


async def _delete(conn: Conn, call: Call[OfInstruction, NoBody]) -> Answer[Nothing]:
    await delete_instruction(conn, call.user_id, (await _locked(conn, call)).id)
    return GONE


ENDPOINTS = (
    Endpoint(
        name="list_instructions",
        method="GET",
        path="/conversations/{conversation_id}/instructions",
        permission="instructions:read",
        summary="What the bot is told in this conversation alone, newest first",
        parameters=InstructionsAsked,
        body=NoBody,
        answers=Page[Instruction],
        work=_list,
    ),
    Endpoint(
        name="create_instruction",
        method="POST",
        path="/conversations/{conversation_id}/instructions",
        permission="instructions:write",
        summary="Tells the bot something for this conversation alone, from its next answer on;"
        f" {INSTRUCTIONS_MAX} a conversation at most",
        parameters=OfConversation,
        body=InstructionMade,
        answers=Instruction,
        work=_create,
        statuses=MADE,
        features=(Feature.CHATBOT_MANAGEMENT,),
        once=True,
        versioned=True,
        problems=("limit_reached",),
    ),
    Endpoint(
        name="read_instruction",
        method="GET",
        path="/instructions/{instruction_id}",
        permission="instructions:read",
        summary="One instruction",
        parameters=OfInstruction,
        body=NoBody,
        answers=Instruction,
        work=_read,
        versioned=True,
    ),
    Endpoint(
        name="change_instruction",
        method="PATCH",
        path="/instructions/{instruction_id}",
        permission="instructions:write",
        summary="Changes what is given; `is_active: false` keeps it and tells the bot nothing",
        parameters=OfInstruction,
        body=InstructionChange,
        answers=Instruction,
        work=_change,
        features=(Feature.CHATBOT_MANAGEMENT,),
        versioned=True,
    ),
    Endpoint(
        name="delete_instruction",
        method="DELETE",
        path="/instructions/{instruction_id}",
        permission="instructions:write",
        summary="The bot is not told it any more",
        parameters=OfInstruction,
        body=NoBody,
        answers=Nothing,
        work=_delete,
        statuses=DELETED,
        features=(Feature.CHATBOT_MANAGEMENT,),
        versioned=True,
    ),
)
