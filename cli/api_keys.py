"""`swiftreplies apikey`: keys of the tenant API, made, listed, revoked, and recognised."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from cli.command import Refused, moment, one_line, row_id, show, verb, verbs
from cli.operating import as_owner, with_place
from db.api_keys import (
    ApiKey,
    api_key_owner,
    every_api_key,
    find_api_keys,
    give_permissions,
    hold_maker,
    lock_api_key,
    read_api_key,
    revoke_api_key,
    take_from_made,
)
from db.ids import ApiKeyId, UserId
from db.pool import Conn, tenant_transaction
from db.tenants import lock_user
from handlers.api_keys import PERMISSIONS, Form, form_of, hash_of, lacks_reading
from handlers.key_making import MAX_NAME_CHARS, make_key
from handlers.plans import Limit
from handlers.process.configuration import Environment
from handlers.rules.texts import storable


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    user_id: int
    name: str
    permissions: str | None = None
    expires: datetime | None = None


def declare(noun: argparse.ArgumentParser) -> None:
    keys = verbs(noun)
    create = verb(keys, "create", "a key; it is shown once, and stored as a hash only")
    create.add_argument("--user", type=row_id, required=True, metavar="ID", help="the tenant")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument(
        "--permissions",
        metavar="a,b",
        help="e.g. actions:read,actions:write (default: all; a wrong one prints the list)",
    )
    create.add_argument(
        "--expires",
        type=moment,
        metavar="2030-01-31T17:00:00Z",
        help="when it ends by itself (default: never)",
    )
    create.set_defaults(run=_create)
    listing = verb(keys, "list", "the keys of a tenant, without the keys themselves")
    listing.add_argument("--user", type=row_id, required=True, metavar="ID", help="the tenant")
    listing.set_defaults(run=_list)
    update = verb(keys, "update", "what a key may do; the key itself stays; safe to repeat")
    update.add_argument("id", type=row_id, metavar="ID")
    update.add_argument(
        "--permissions",
        required=True,
        metavar="a,b",
        help="these and no others, or all; keys that it made keep none that it has not",
    )
    update.set_defaults(run=_update)
    revoke = verb(
        keys, "revoke", "closes a key at once, for good, with all that it made; safe to repeat"
    )
    revoke.add_argument("id", type=row_id, metavar="ID")
    revoke.set_defaults(run=_revoke)
    check = verb(keys, "check", "whether a text that was found is a key, and whose")
    check.add_argument(
        "key",
        nargs="?",
        metavar="KEY",
        help="without it, or as -, it is read from stdin, where other users of the machine do not"
        " see it",
    )
    check.set_defaults(run=_check)


def _create(args: argparse.Namespace) -> None:
    wanted = Wanted(
        user_id=args.user, name=args.name, permissions=args.permissions, expires=args.expires
    )
    created = asyncio.run(apikey_create(Environment(os.environ), wanted))
    text = f"API key {created['api_key_id']} created. It is shown this once:\n{created['api_key']}"
    show(args, created, text)


def _list(args: argparse.Namespace) -> None:
    found = asyncio.run(apikey_list(Environment(os.environ), user_id=args.user))
    show(args, found, described(found["api_keys"]) or "there is no API key")


def _update(args: argparse.Namespace) -> None:
    key = asyncio.run(
        apikey_update(Environment(os.environ), key_id=args.id, permissions=args.permissions)
    )
    show(args, key, f"API key {args.id} may do {len(key['permissions'])} things from now on")


def _revoke(args: argparse.Namespace) -> None:
    revoked = asyncio.run(apikey_revoke(Environment(os.environ), key_id=args.id))
    show(args, revoked, f"API key {args.id} is revoked, with all that it made")


def _check(args: argparse.Namespace) -> None:
    key = sys.stdin.readline() if args.key in (None, "-") else args.key
    found = asyncio.run(apikey_check(Environment(os.environ), key.strip()))
    show(args, found, told(found))


async def apikey_create(env: Environment, wanted: Wanted) -> dict[str, Any]:
    mistakes = [
        *_name_mistakes(wanted.name),
        *_permission_mistakes(wanted.permissions),
        *_expiry_mistakes(wanted.expires),
    ]
    if mistakes:
        raise Refused("\n".join(mistakes))
    owner = UserId(wanted.user_id)
    granted = PERMISSIONS if wanted.permissions is None else _named(wanted.permissions)
    async with as_owner(env) as conn, with_place(conn, owner, Limit.MAX_API_KEYS):
        key_id, key = await make_key(conn, owner, wanted.name, granted, wanted.expires)
    return {"api_key": key, "api_key_id": key_id}


async def apikey_list(env: Environment, *, user_id: int) -> dict[str, Any]:
    owner = UserId(user_id)
    async with as_owner(env) as conn, tenant_transaction(conn, owner):
        if not await lock_user(conn, owner):
            raise Refused(f"there is no tenant {user_id}")
        found = await every_api_key(conn, owner)
    return {"api_keys": [_shown(key) for key in found]}


def _shown(key: ApiKey) -> dict[str, Any]:
    row = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(key).items()
    }
    return {"api_key_id": row.pop("id"), **row}


def described(keys: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{key['api_key_id']:>6}  {key['key_prefix'] or '?'}...  {_state(key):<8}"
        f"  last used {key['last_used'] or 'never'}  ends {key['expires_at'] or 'never'}"
        f"{_made_by(key)}  {one_line(key['key_name'])}  {','.join(key['permissions'])}"
        for key in keys
    )


def _state(key: dict[str, Any]) -> str:
    if key["usable"]:
        return "usable"
    ended = key["expires_at"] and datetime.fromisoformat(key["expires_at"]) <= datetime.now(UTC)
    return "expired" if ended else "revoked"


def _made_by(key: dict[str, Any]) -> str:
    return f"  made by {key['created_by']}" if key["created_by"] else ""


async def apikey_revoke(env: Environment, *, key_id: int) -> dict[str, Any]:
    async with as_owner(env) as conn:
        owner = await api_key_owner(conn, ApiKeyId(key_id))
        if owner is None:
            raise Refused(f"there is no API key {key_id}: see `swiftreplies apikey list`")
        async with tenant_transaction(conn, owner):
            await revoke_api_key(conn, owner, ApiKeyId(key_id))
    return {"api_key_id": key_id, "revoked": True}


async def apikey_update(env: Environment, *, key_id: int, permissions: str) -> dict[str, Any]:
    if permissions != "all" and (mistakes := _permission_mistakes(permissions)):
        raise Refused("\n".join(mistakes))
    granted = PERMISSIONS if permissions == "all" else tuple(sorted({*_named(permissions)}))
    this = ApiKeyId(key_id)
    async with as_owner(env) as conn:
        owner = await api_key_owner(conn, this)
        if owner is None:
            raise Refused(f"there is no API key {key_id}: see `swiftreplies apikey list`")
        async with tenant_transaction(conn, owner):
            await _hold(conn, owner, this, granted)
            await give_permissions(conn, owner, this, dict.fromkeys(granted, True))
            makers = [this]
            while makers := await take_from_made(conn, owner, makers, granted):
                pass  # no key can do more than the one that made it
    return {"api_key_id": key_id, "permissions": list(granted)}


async def _hold(conn: Conn, owner: UserId, key_id: ApiKeyId, granted: Sequence[str]) -> None:
    """Its maker, as it stays meanwhile, and then the key: who makes a key locks it first, too."""
    found = await read_api_key(conn, owner, key_id)
    made_by = found.key.created_by if found is not None else None
    if made_by is not None:
        await hold_maker(conn, owner, made_by)
        maker = await read_api_key(conn, owner, made_by)
        beyond = [one for one in granted if maker and one not in maker.key.permissions]
        if beyond:
            raise Refused(
                f"API key {made_by}, which made it, may not do {', '.join(beyond)}: a key can do no"
                " more than its maker. Give it to that one first"
            )
    if await lock_api_key(conn, owner, key_id) is None:
        raise Refused(f"API key {key_id} is revoked, for good: make another")


async def apikey_check(env: Environment, key: str) -> dict[str, Any]:
    """`key` in what is answered is who it is, where there is a database to ask."""
    form = form_of(key)
    if form is Form.NONE:
        raise Refused("this is no key of ours: it has not the form of one")
    if form is Form.MISTYPED:
        raise Refused("this is no key: its checksum is wrong, so it was mistyped or made up")
    hashed = hash_of(key)
    if hashed is None or env.optional("DATABASE_URL") is None:
        return {"form": str(form), "asked": False, "user_id": None, "key": None}
    async with as_owner(env) as conn:
        for owner in await find_api_keys(conn, [hashed]):
            async with tenant_transaction(conn, owner.user_id):
                found = await read_api_key(conn, owner.user_id, owner.id)
            if found is not None:
                row = _shown(found.key)
                return {"form": str(form), "asked": True, "user_id": owner.user_id, "key": row}
    return {"form": str(form), "asked": True, "user_id": None, "key": None}


def told(found: dict[str, Any]) -> str:
    if found["key"] is not None:
        key_id = found["key"]["api_key_id"]
        return (
            f"a key of tenant {found['user_id']}:\n{described([found['key']])}\n"
            f"If others may know it: swiftreplies apikey revoke {key_id}"
        )
    if found["asked"]:
        return "it has the form of a key, and the database knows none that is it"
    return "it has the form of a key; set DATABASE_URL to be told whose"


# ---- what is wrong with what was typed -----------------------------------------------------------


def _name_mistakes(name: str) -> list[str]:
    if not name.strip() or len(name) > MAX_NAME_CHARS or storable(name) != name:
        return [f"--name is not a text of 1 to {MAX_NAME_CHARS} characters"]
    return []


def _expiry_mistakes(expires: datetime | None) -> list[str]:
    past = expires is not None and expires <= datetime.now(UTC)
    return ["--expires is in the past"] if past else []


def _named(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _permission_mistakes(text: str | None) -> list[str]:
    if text is None:
        return []
    granted = _named(text)
    unknown = [one for one in granted if one not in PERMISSIONS]
    if unknown or not granted:
        named = ", ".join(unknown) or "(none given)"
        return [f"no such permission: {named}; there are {', '.join(PERMISSIONS)}"]
    lacks = lacks_reading(granted)
    return [] if lacks is None else [lacks]
