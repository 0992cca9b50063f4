"""/v1/contacts"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from db.ids import BEYOND, ChatbotId, ContactId
from db.pages import Listed
from db.people import (
    Contact,
    NewPerson,
    VersionedContact,
    list_people,
    lock_person,
    people_with_number,
    read_person,
    search_people,
)
from db.pool import Conn
from handlers import contacts
from handlers.erasure.begin import erase_contact, lock_to_erase
from handlers.fixed.texts import MAX_TAG_CHARS, is_language
from handlers.plans import Feature, Limit, Permission
from handlers.rules.contact_fields import (
    FIELDS_BYTES,
    TAG_CHARS,
    TAGS_MAX,
    fields_problem,
    tag_problems,
)
from handlers.rules.numbers import normalised, variants
from ingress.api.fields import (
    NOT_BLANK,
    Body,
    NoBody,
    NoParameters,
    Paged,
    Parameters,
    RowId,
    unless_given,
    wrong,
)
from ingress.api.mistakes import Mistake
from ingress.api.problems import Problem, invalid
from ingress.api.room import no_room
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

NAME_CHARS = 255
NUMBER_CHARS = 40
SEARCH_CHARS = 100
SPELLED = r"^\+?[ ()./-]*[1-9]([ ()./-]*[0-9]){6,14}[ ()./-]*$"

# ---- what is given and answered ------------------------------------------------------------------


def _number(given: str) -> str:
    number = normalised(given) if len(given) <= NUMBER_CHARS else None
    if number is None:
        raise wrong("not a phone number with its country code, like +12025550143")
    return number


def _named(given: str) -> str:
    if len(given) > NAME_CHARS:
        raise wrong(f"has {len(given)} characters, {NAME_CHARS} at most")
    if not given.strip():
        raise wrong("empty")
    return given.strip()


def _tagged(given: list[str]) -> list[str]:
    if problems := tag_problems(given):
        raise wrong("; ".join(problems))
    return list(dict.fromkeys(tag.strip() for tag in given))


def _bounded(given: dict[str, Any]) -> dict[str, Any]:
    if (problem := fields_problem(given)) is not None:
        raise wrong(problem)
    return given


def _tag(given: str) -> str:
    if not is_language(given):
        raise wrong("not a language tag, like es or pt-BR")
    return given


_SOME = {"type": "string", "minLength": 1, "pattern": NOT_BLANK}
PhoneNumber = Annotated[
    str,
    AfterValidator(_number),
    WithJsonSchema({"type": "string", "maxLength": NUMBER_CHARS, "pattern": SPELLED}),
    Field(description="with its country code, like +12025550143"),
]
Name = Annotated[
    Annotated[str, AfterValidator(_named), WithJsonSchema({**_SOME, "maxLength": NAME_CHARS})]
    | None,
    Field(description="given by you, it stays; null: as WhatsApp tells it"),
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
    Field(description="that the bot speaks to them, like es or pt-BR; null: what they write"),
]
Tags = Annotated[
    list[str],
    AfterValidator(_tagged),
    WithJsonSchema(
        {
            "type": "array",
            "items": {**_SOME, "maxLength": TAG_CHARS},
            "maxItems": TAGS_MAX,
        }
    ),
    Field(description="your own words for them; each once, in this order"),
]
Status = Annotated[
    Literal["active", "blocked"],
    Field(description="blocked: what they write is recorded, and not answered"),
]
Paused = Annotated[bool, Field(description="true: no bot answers them")]
_OWN = f"your own, {FIELDS_BYTES // 1024} KiB at most as JSON"


class ContactMade(Body):
    phone_number: PhoneNumber
    name: Name = None
    language: Language = None
    tags: Tags = Field(default_factory=list)
    custom_fields: Annotated[
        dict[str, Any], AfterValidator(_bounded), Field(description=f"fields of {_OWN}")
    ] = Field(default_factory=dict)
    contact_status: Status = "active"
    chatbot_id: Annotated[
        RowId[ChatbotId] | None, Field(description="the chatbot that they belong to")
    ] = None


class ContactChange(Body):
    name: Name = unless_given()
    language: Language = unless_given()
    tags: Tags = unless_given()
    custom_fields: Annotated[
        dict[str, Any],
        Field(description=f"merged into what there is; null takes a member away; {_OWN}"),
    ] = unless_given()
    contact_status: Status = unless_given()
    conversation_paused: Paused = unless_given()


class ContactsAsked(Paged):
    phone_number: Annotated[
        PhoneNumber | None, Field(description="whole, in any of its spellings")
    ] = None
    tag: Annotated[
        str | None, Field(min_length=1, max_length=TAG_CHARS, description="exactly this tag")
    ] = None
    q: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=SEARCH_CHARS,
            description="beginnings of words of the name, without case and accents, 12 letters of"
            " each; or the first digits of the number, or four and more of its last",
        ),
    ] = None
    chatbot_id: Annotated[
        RowId[ChatbotId] | None, Field(description="only those of this chatbot")
    ] = None


class OfContact(Parameters):
    contact_id: RowId[ContactId]


# ---- work ----------------------------------------------------------------------------------------


def _shown(found: VersionedContact, status: int = 200) -> Answer[Contact]:
    return versioned(found.contact, found.version, status, contact_id=found.contact.id)


async def _list(conn: Conn, call: Call[ContactsAsked, NoBody]) -> Answer[Page[Contact]]:
    asked = call.parameters
    if asked.phone_number is not None:
        rows = await _with_number(conn, call)
        return page_of(Listed(rows[: asked.limit], len(rows) > asked.limit))
    if asked.q is None and asked.tag is None and asked.chatbot_id is None:
        return page_of(await list_people(conn, call.user_id, asked.after, asked.limit))
    sought = await contacts.sought(conn, asked.q, asked.tag, asked.chatbot_id)
    if sought is None:
        return Answer(Page([], None))
    found = await search_people(conn, call.user_id, sought, asked.after, asked.limit)
    return Answer(Page(found.rows, None if found.after is None else str(found.after)))


async def _with_number(conn: Conn, call: Call[ContactsAsked, NoBody]) -> list[Contact]:
    """Few, if any: the other conditions are looked at one by one."""
    asked = call.parameters
    assert asked.phone_number is not None, "the caller looked"
    spellings = (asked.phone_number, *variants(asked.phone_number))
    ids = await people_with_number(conn, call.user_id, spellings)
    if asked.q is not None or asked.tag is not None or asked.chatbot_id is not None:
        sought = await contacts.sought(conn, asked.q, asked.tag, asked.chatbot_id)
        if sought is None:
            return []
        hits = [await search_people(conn, call.user_id, sought, one + 1, 1) for one in ids]
        found = {row.id for hit in hits for row in hit.rows}
        ids = [one for one in ids if one in found]
    read = [await read_person(conn, call.user_id, one) for one in ids]
    before = BEYOND if asked.after is None else asked.after
    rows = [one.contact for one in read if one is not None and one.contact.id < before]
    return sorted(rows, key=lambda row: -row.id)


async def _read(conn: Conn, call: Call[OfContact, Any]) -> Answer[Contact]:
    return _shown(there(await read_person(conn, call.user_id, call.parameters.contact_id)))


async def _create(conn: Conn, call: Call[NoParameters, ContactMade]) -> Answer[Contact]:
    body = call.body
    new = NewPerson(
        phone_number=body.phone_number,
        name=body.name,
        language=body.language,
        tags=body.tags,
        custom_fields=body.custom_fields,
        contact_status=body.contact_status,
        chatbot_id=body.chatbot_id,
    )
    try:
        contact_id = await contacts.make(conn, call.user_id, new)
    except contacts.NoSuchChatbot:
        raise no_such_chatbot() from None
    except contacts.AtLimit as at:
        raise no_room(call.user_id, Limit.MAX_CONTACTS, at.limit, at.count) from None
    except contacts.IsThere as one:
        raise Problem(
            "already_exists",
            f"The contact {one.contact_id} has this number: change that one.",
            contact_id=one.contact_id,
        ) from None
    return _shown(there(await read_person(conn, call.user_id, contact_id)), 201)


async def _change(conn: Conn, call: Call[OfContact, ContactChange]) -> Answer[Contact]:
    contact_id = call.parameters.contact_id
    call.expect(there(await lock_person(conn, call.user_id, contact_id)))
    was = there(await read_person(conn, call.user_id, contact_id)).contact
    given = call.body.given()
    problem = fields_problem(contacts.merged_fields(was, given)) if given else None
    if problem is not None and "custom_fields" in given:
        raise invalid([Mistake("custom_fields", f"merged, it {problem}")])
    await contacts.change(conn, call.user_id, was, given)
    return await _read(conn, call)


async def _erase(conn: Conn, call: Call[OfContact, NoBody]) -> Answer[Nothing]:
    contact_id = call.parameters.contact_id
    if call.if_match is not None:
        call.expect(there(await lock_to_erase(conn, call.user_id, contact_id)))
    there(await erase_contact(conn, call.user_id, contact_id) or None)
    return GONE


def no_such_chatbot() -> Problem:
    return invalid([Mistake("chatbot_id", "you have no chatbot with this id")])


ENDPOINTS = (
    Endpoint(
        name="list_contacts",
        method="GET",
        path="/contacts",
        permission="contacts:read",
        summary="Contacts, newest first; those that all the filters given match. A page may have"
        " fewer than `limit`: go on while there is a `next`",
        parameters=ContactsAsked,
        body=NoBody,
        answers=Page[Contact],
        work=_list,
    ),
    Endpoint(
        name="create_contact",
        method="POST",
        path="/contacts",
        permission="contacts:write",
        features=(Feature.CONTACT_MANAGEMENT,),
        summary="Makes a contact before they write; a number is a contact once",
        parameters=NoParameters,
        body=ContactMade,
        answers=Contact,
        work=_create,
        statuses=MADE,
        once=True,
        versioned=True,
        problems=("already_exists", "limit_reached"),
    ),
    Endpoint(
        name="read_contact",
        method="GET",
        path="/contacts/{contact_id}",
        permission="contacts:read",
        summary="One contact",
        parameters=OfContact,
        body=NoBody,
        answers=Contact,
        work=_read,
        versioned=True,
    ),
    Endpoint(
        name="change_contact",
        method="PATCH",
        path="/contacts/{contact_id}",
        permission="contacts:write",
        features=(Feature.CONTACT_MANAGEMENT,),
        summary="Changes what is given; of `custom_fields` the members that are given",
        parameters=OfContact,
        body=ContactChange,
        answers=Contact,
        work=_change,
        versioned=True,
    ),
    Endpoint(
        name="erase_contact",
        method="DELETE",
        path="/contacts/{contact_id}",
        permission="contacts:write",
        summary="Erases a person and all that they wrote; there is no way back",
        parameters=OfContact,
        body=NoBody,
        answers=Nothing,
        work=_erase,
        statuses=DELETED,
        versioned=True,
        features=(Permission.DELETE_CONVERSATIONS,),
    ),
)
