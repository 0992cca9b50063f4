"""/v1/templates"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from db.ids import ChatbotId, TemplateId
from db.pool import Conn
from db.templates import (
    Template,
    Told,
    VersionedTemplate,
    Wanted,
    add_templates,
    chatbots_of_account,
    delete_template,
    list_templates,
    lock_template,
    named_template,
    note_edited,
    read_template,
)
from handlers.templates import checking
from handlers.templates.parameters import Wrong
from handlers.templates.sync import TOKENS_MAX, store
from handlers.whatsapp.cloud_api.management import (
    NOT_FOUND,
    Called,
    Declined,
    Done,
    NoAnswer,
)
from handlers.whatsapp.cloud_api.templates import word
from ingress.api.fields import Body, NoBody, NoParameters, Paged, Parameters, RowId
from ingress.api.mistakes import Mistake
from ingress.api.problems import Problem, invalid
from ingress.api.resources.template_bodies import (
    Category,
    Components,
    Language,
    Name,
    ParameterFormat,
    Word,
)
from ingress.api.resources.template_calls import Asked, asked_of, of_chatbot, refused, unclear
from ingress.api.table import (
    DELETED,
    GONE,
    MADE,
    Answer,
    Call,
    Elsewhere,
    Endpoint,
    Nothing,
    Page,
    page_of,
    there,
    versioned,
)

REVIEWED = "PENDING"
OfChatbot = Annotated[RowId[ChatbotId], Field(description="by whose token, in whose account")]


class TemplatesAsked(Paged):
    chatbot_id: Annotated[
        RowId[ChatbotId] | None, Field(description="only those of this chatbot's account")
    ] = None
    status: Annotated[Word | None, Field(description="only these: Meta's word")] = None
    category: Annotated[Word | None, Field(description="only these: Meta's word")] = None
    name: Annotated[Name | None, Field(description="only those with exactly this name")] = None


class OfTemplate(Parameters):
    template_id: RowId[TemplateId]


class TemplateMade(Body):
    chatbot_id: OfChatbot
    name: Name
    language: Language
    category: Category
    parameter_format: ParameterFormat = "POSITIONAL"
    components: Components


class TemplateChange(Body):
    components: Components


class SyncAsked(Body):
    chatbot_id: OfChatbot


@dataclass(frozen=True, slots=True)
class Synced:
    new: int
    changed: int
    gone: int


def _wrong(found: Sequence[Wrong]) -> Problem:
    return invalid([Mistake(one.place, one.detail) for one in found])


# ---- work ----------------------------------------------------------------------------------------


async def _list(conn: Conn, call: Call[TemplatesAsked, NoBody]) -> Answer[Page[Template]]:
    asked = call.parameters
    wanted = Wanted(
        chatbot_id=asked.chatbot_id,
        status=asked.status,
        category=asked.category,
        name=asked.name,
    )
    return page_of(await list_templates(conn, call.user_id, wanted, asked.after, asked.limit))


async def _read(conn: Conn, call: Call[OfTemplate, Any]) -> Answer[Template]:
    return _shown(await read_template(conn, call.user_id, call.parameters.template_id))


def _shown(found: VersionedTemplate | None, status: int = 200) -> Answer[Template]:
    row = there(found)
    return versioned(row.template, row.version, status)


async def _create(
    conn: Conn, call: Call[NoParameters, TemplateMade]
) -> Answer[Elsewhere[Called, Template]]:
    body = call.body
    given = checking.Definition(
        name=body.name,
        language=body.language,
        category=body.category,
        parameter_format=body.parameter_format,
        components=body.components,
    )
    if found := checking.mistakes(given):
        raise _wrong(found)
    asked, _ = await of_chatbot(conn, call, body.chatbot_id)
    before = await named_template(conn, call.user_id, asked.waba_id, given.name, given.language)
    has = None if before is None else await read_template(conn, call.user_id, before)
    if has is not None and has.template.status != "DELETED":
        raise _exists(has.template.id)

    async def ask() -> Called:
        return await asked.meta.make(asked.waba_id, asked.tokens[0], given)

    async def finish(conn: Conn, said: Called) -> Answer[Template]:
        if not isinstance(said, Done):
            raise unclear(call, asked.waba_id, said)
        made = Told(
            meta_id=word(said.fields.get("id")) or "unknown",
            name=given.name,
            language=given.language,
            status=word(said.fields.get("status")) or REVIEWED,
            category=word(said.fields.get("category")) or given.category,
            parameter_format=given.parameter_format,
            components=given.components,
        )
        (template_id,) = await add_templates(conn, call.user_id, asked.waba_id, [made])
        return _shown(await read_template(conn, call.user_id, template_id), 201)

    return Answer(Elsewhere(ask, finish, call))


def _exists(template_id: TemplateId) -> Problem:
    return Problem(
        "already_exists",
        "The account has a template with this name in this language: change that one.",
        template_id=template_id,
    )


async def _found(conn: Conn, call: Call[OfTemplate, Any]) -> tuple[Template, Asked]:
    row = there(await read_template(conn, call.user_id, call.parameters.template_id))
    call.expect(row.version)
    waba_id = row.template.waba_id
    accounts = await chatbots_of_account(conn, call.user_id, waba_id, TOKENS_MAX)
    return row.template, asked_of(call, waba_id, accounts)


async def _change(
    conn: Conn, call: Call[OfTemplate, TemplateChange]
) -> Answer[Elsewhere[Called, Template]]:
    template, asked = await _found(conn, call)
    components = call.body.components
    wrong = checking.component_mistakes(template.category, template.parameter_format, components)
    if wrong:
        raise _wrong(wrong)

    async def ask() -> Called:
        return await asked.meta.edit(template.meta_id, asked.tokens[0], components)

    async def finish(conn: Conn, said: Called) -> Answer[Template]:
        if not isinstance(said, Done):
            raise unclear(call, asked.waba_id, said)
        there(await lock_template(conn, call.user_id, template.id))
        await note_edited(conn, call.user_id, template.id, components, REVIEWED)
        return await _read(conn, call)

    return Answer(Elsewhere(ask, finish, call))


async def _delete(conn: Conn, call: Call[OfTemplate, NoBody]) -> Answer[Elsewhere[Called, Nothing]]:
    template, asked = await _found(conn, call)

    async def ask() -> Called:
        token = asked.tokens[0]
        return await asked.meta.delete(asked.waba_id, token, template.name, template.meta_id)

    async def finish(conn: Conn, said: Called) -> Answer[Nothing]:
        gone = isinstance(said, Declined) and said.subcode in NOT_FOUND
        if not isinstance(said, Done) and not gone:
            raise unclear(call, asked.waba_id, said)
        await delete_template(conn, call.user_id, template.id)
        return GONE

    return Answer(Elsewhere(ask, finish, call))


async def _sync(
    conn: Conn, call: Call[NoParameters, SyncAsked]
) -> Answer[Elsewhere[list[Told] | Declined | NoAnswer, Synced]]:
    asked, asked_at = await of_chatbot(conn, call, call.body.chatbot_id)

    async def ask() -> list[Told] | Declined | NoAnswer:
        return await asked.meta.list_all(asked.waba_id, asked.tokens)

    async def finish(conn: Conn, said: list[Told] | Declined | NoAnswer) -> Answer[Synced]:
        if not isinstance(said, list):
            raise refused(said)
        done = await store(conn, call.user_id, asked.waba_id, said, asked_at)
        # None: somebody who asked later was here before.
        return Answer(Synced(done.new, done.changed, done.gone) if done else Synced(0, 0, 0))

    return Answer(Elsewhere(ask, finish, call))


EXAMPLE = {
    "chatbot_id": 1,
    "name": "order_ready",
    "language": "en_US",
    "category": "UTILITY",
    "components": [
        {
            "type": "BODY",
            "text": "Hi {{1}}, order {{2}} is ready.",
            "example": {"body_text": [["Noor", "8841"]]},
        }
    ],
}
OF_META = ("no_account", "refused_by_meta", "meta_limit", "too_many_requests")

ENDPOINTS = (
    Endpoint(
        name="list_templates",
        method="GET",
        path="/templates",
        permission="templates:read",
        summary="Templates of your accounts, as Meta told of them last; newest first",
        parameters=TemplatesAsked,
        body=NoBody,
        answers=Page[Template],
        work=_list,
    ),
    Endpoint(
        name="create_template",
        method="POST",
        path="/templates",
        permission="templates:write",
        summary="A template, which Meta reviews. What it would refuse mechanically is said here",
        parameters=NoParameters,
        body=TemplateMade,
        answers=Template,
        work=_create,
        statuses=MADE,
        once=True,
        versioned=True,
        problems=("already_exists", *OF_META),
        example=EXAMPLE,
    ),
    Endpoint(
        name="sync_templates",
        method="POST",
        path="/templates/sync",
        permission="templates:write",
        summary="Lists a chatbot's account at Meta now; it is done hourly anyway. Safe to repeat",
        parameters=NoParameters,
        body=SyncAsked,
        answers=Synced,
        work=_sync,
        problems=OF_META,
    ),
    Endpoint(
        name="read_template",
        method="GET",
        path="/templates/{template_id}",
        permission="templates:read",
        summary="One template",
        parameters=OfTemplate,
        body=NoBody,
        answers=Template,
        work=_read,
        versioned=True,
    ),
    Endpoint(
        name="change_template",
        method="PATCH",
        path="/templates/{template_id}",
        permission="templates:write",
        summary="Other components, all of them: it is reviewed anew, and cannot be sent meanwhile",
        parameters=OfTemplate,
        body=TemplateChange,
        answers=Template,
        work=_change,
        versioned=True,
        problems=OF_META,
        example={"components": EXAMPLE["components"]},
    ),
    Endpoint(
        name="delete_template",
        method="DELETE",
        path="/templates/{template_id}",
        permission="templates:write",
        summary="Gone at Meta in this language; its name is blocked there for 30 days",
        parameters=OfTemplate,
        body=NoBody,
        answers=Nothing,
        work=_delete,
        statuses=DELETED,
        versioned=True,
        problems=OF_META,
    ),
)
