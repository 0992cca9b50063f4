"""/v1/api-keys"""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

from db.api_keys import (
    ApiKey,
    FoundKey,
    count_usable_keys,
    list_api_keys,
    lock_api_key,
    read_api_key,
    revoke_api_key,
)
from db.ids import ApiKeyId
from db.pool import Conn
from handlers.api_keys import PERMISSIONS, lacks_reading
from handlers.key_making import MAX_NAME_CHARS, make_key, maker_now
from handlers.limits import NoRoom, NotInPlan, hold_place
from handlers.plans import Limit
from ingress.api.encoding import SHOWN_ONCE
from ingress.api.fields import (
    Body,
    MomentAhead,
    NoBody,
    NoParameters,
    Paged,
    Parameters,
    RowId,
    wrong,
)
from ingress.api.mistakes import Mistake
from ingress.api.principal import ENDED
from ingress.api.problems import Problem, invalid, not_authenticated, not_in_plan
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

# ---- what is given and answered ------------------------------------------------------------------


def _name(given: str) -> str:
    if not given.strip():
        raise wrong("empty")
    return given


def _known(given: list[str]) -> list[str]:
    unknown = [one for one in dict.fromkeys(given) if one not in PERMISSIONS]
    if unknown:
        named = ", ".join(repr(one[:50]) for one in unknown[:5])
        raise wrong(f"no such permission: {named}; there are {', '.join(PERMISSIONS)}")
    if not given:
        raise wrong(f"none is given; there are {', '.join(PERMISSIONS)}")
    granted = sorted(set(given))
    if (lacks := lacks_reading(granted)) is not None:
        raise wrong(lacks)
    return granted


class ApiKeyMade(Body):
    key_name: Annotated[
        str,
        Field(min_length=1, max_length=MAX_NAME_CHARS, description="what the key is for"),
        AfterValidator(_name),
    ]
    permissions: Annotated[
        list[str],
        AfterValidator(_known),
        WithJsonSchema(
            {
                "type": "array",
                "items": {"type": "string", "enum": list(PERMISSIONS)},
                "minItems": 1,
                "maxItems": len(PERMISSIONS) * 2,
            }
        ),
        Field(
            max_length=len(PERMISSIONS) * 2,
            description="what it may do; nothing that the key which makes it may not",
        ),
    ]
    expires_at: Annotated[
        MomentAhead | None,
        Field(description="not after the key that makes it; null: when that one ends"),
    ] = None


class OfApiKey(Parameters):
    api_key_id: RowId[ApiKeyId]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyWithKey(ApiKey):
    api_key: Annotated[
        str, Field(description="the key; shown this once, and not when repeated")
    ] = field(metadata=SHOWN_ONCE)


# ---- work ----------------------------------------------------------------------------------------


async def _list(conn: Conn, call: Call[Paged, NoBody]) -> Answer[Page[ApiKey]]:
    asked = call.parameters
    return page_of(await list_api_keys(conn, call.user_id, asked.after, asked.limit))


async def _read(conn: Conn, call: Call[OfApiKey, NoBody]) -> Answer[ApiKey]:
    found = there(await read_api_key(conn, call.user_id, call.parameters.api_key_id))
    there(found if found.is_active else None)
    return versioned(found.key, found.version)


async def _create(conn: Conn, call: Call[NoParameters, ApiKeyMade]) -> Answer[ApiKeyWithKey]:
    await _hold_place(conn, call)
    maker = await maker_now(conn, call.user_id, call.principal.who.api_key_id)
    if maker is None:  # revoked while this waited for another
        raise not_authenticated(ENDED)
    body = call.body
    expires_at = body.expires_at or maker.expires_at
    if expires_at is not None and maker.expires_at is not None and expires_at > maker.expires_at:
        detail = f"after the key that makes it, which ends {maker.expires_at.isoformat()}"
        raise invalid([Mistake("expires_at", detail)])
    beyond = [one for one in body.permissions if one not in maker.permissions]
    if beyond:
        raise Problem(
            "permission_missing",
            f"A key gives no permission that it has not itself: {', '.join(beyond)}.",
            permission=beyond[0],
        )
    key_id, key = await make_key(
        conn, call.user_id, body.key_name, body.permissions, expires_at, maker.id
    )
    return _with_key(there(await read_api_key(conn, call.user_id, key_id)), key)


async def _hold_place(conn: Conn, call: Call[Any, Any]) -> None:
    try:
        if not await hold_place(conn, call.user_id, Limit.MAX_API_KEYS):
            raise not_authenticated(ENDED)
    except NotInPlan as why:
        raise not_in_plan(why.key) from None
    except NoRoom as why:
        count = await count_usable_keys(conn, call.user_id)
        raise no_room(call.user_id, Limit.MAX_API_KEYS, why.most, count) from None


def _with_key(found: FoundKey, key: str) -> Answer[ApiKeyWithKey]:
    row: dict[str, Any] = {f.name: getattr(found.key, f.name) for f in fields(ApiKey)}
    return versioned(ApiKeyWithKey(**row, api_key=key), found.version, 201)


async def _revoke(conn: Conn, call: Call[OfApiKey, NoBody]) -> Answer[Nothing]:
    """Whatever the plan says: a key that leaked must go."""
    key_id = call.parameters.api_key_id
    call.expect(there(await lock_api_key(conn, call.user_id, key_id)))
    await revoke_api_key(conn, call.user_id, key_id)
    return GONE


ENDPOINTS = (
    Endpoint(
        name="list_api_keys",
        method="GET",
        path="/api-keys",
        permission="api-keys:read",
        summary="The keys that are not revoked, without the keys themselves, newest first",
        parameters=Paged,
        body=NoBody,
        answers=Page[ApiKey],
        work=_list,
    ),
    Endpoint(
        name="create_api_key",
        method="POST",
        path="/api-keys",
        permission="api-keys:write",
        summary="Makes a key that may do what is named, and nothing that the one of this request"
        " may not; the key is in this one answer",
        parameters=NoParameters,
        body=ApiKeyMade,
        answers=ApiKeyWithKey,
        work=_create,
        statuses=MADE,
        once=True,
        versioned=True,
        problems=("limit_reached",),
    ),
    Endpoint(
        name="read_api_key",
        method="GET",
        path="/api-keys/{api_key_id}",
        permission="api-keys:read",
        summary="One key that is not revoked",
        parameters=OfApiKey,
        body=NoBody,
        answers=ApiKey,
        work=_read,
        versioned=True,
    ),
    Endpoint(
        name="revoke_api_key",
        method="DELETE",
        path="/api-keys/{api_key_id}",
        permission="api-keys:write",
        summary="Closes a key for good, with all that it made and those made; the next request"
        " with one of them is refused. A key may close itself",
        parameters=OfApiKey,
        body=NoBody,
        answers=Nothing,
        work=_revoke,
        statuses=DELETED,
        versioned=True,
    ),
)
