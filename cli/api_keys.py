"""`swiftreplies apikey`: keys of the tenant API, made, listed, revoked."""

import argparse
import asyncio
import os
from typing import Any

from cli.command import Refused, show, verb, verbs
from cli.operating import as_owner
from db.api_keys import (
    api_key_owner,
    count_usable_keys,
    create_api_key,
    list_api_keys,
    revoke_api_key,
)
from db.ids import ApiKeyId, UserId
from db.pool import tenant_transaction
from db.tenants import lock_user, read_plan
from handlers.api_keys import PERMISSIONS, SHOWN_CHARS, hash_of, new_key
from handlers.plans import Limit, Plan
from handlers.process.configuration import Environment

MAX_NAME_CHARS = 100


def declare(noun: argparse.ArgumentParser) -> None:
    keys = verbs(noun)
    create = verb(keys, "create", "a key; it is shown once, and stored as a hash only")
    create.add_argument("--user", type=int, required=True, metavar="ID", help="the tenant")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument(
        "--permissions",
        metavar="a,b",
        help="e.g. actions:read,actions:write (default: all; a wrong one prints the list)",
    )
    create.set_defaults(run=_create)
    listing = verb(keys, "list", "the keys of a tenant, without the keys themselves")
    listing.add_argument("--user", type=int, required=True, metavar="ID", help="the tenant")
    listing.set_defaults(run=_list)
    revoke = verb(keys, "revoke", "closes a key at once, for good; safe to repeat")
    revoke.add_argument("id", type=int, metavar="ID")
    revoke.set_defaults(run=_revoke)


def _create(args: argparse.Namespace) -> None:
    created = asyncio.run(
        apikey_create(
            Environment(os.environ),
            user_id=args.user,
            name=args.name,
            permissions=args.permissions,
        )
    )
    text = f"API key {created['api_key_id']} created. It is shown this once:\n{created['api_key']}"
    show(args, created, text)


def _list(args: argparse.Namespace) -> None:
    found = asyncio.run(apikey_list(Environment(os.environ), user_id=args.user))
    show(args, found, described(found["api_keys"]) or "there is no API key")


def _revoke(args: argparse.Namespace) -> None:
    revoked = asyncio.run(apikey_revoke(Environment(os.environ), key_id=args.id))
    show(args, revoked, f"API key {args.id} is revoked")


async def apikey_create(
    env: Environment, *, user_id: int, name: str, permissions: str | None
) -> dict[str, Any]:
    granted = _permissions(permissions)
    if not name.strip() or len(name) > MAX_NAME_CHARS:
        raise Refused(f"--name is not a text of 1 to {MAX_NAME_CHARS} characters")
    owner = UserId(user_id)
    key = new_key()
    hashed = hash_of(key)
    assert hashed is not None, "a new key has the form of one"
    async with as_owner(env) as conn, tenant_transaction(conn, owner):
        if not await lock_user(conn, owner):
            raise Refused(f"there is no tenant {user_id}: see `swiftreplies tenant create`")
        limit = Plan(await read_plan(conn, owner)).limit(Limit.MAX_API_KEYS)
        if limit is not None and await count_usable_keys(conn, owner) >= limit:
            raise Refused(
                f"the plan of tenant {user_id} allows {limit} API keys"
                " (limits.max_api_keys), and it has them: see `swiftreplies apikey revoke`"
            )
        key_id = await create_api_key(
            conn, owner, name, hashed, key[:SHOWN_CHARS], dict.fromkeys(granted, True)
        )
    return {"api_key": key, "api_key_id": key_id}


async def apikey_list(env: Environment, *, user_id: int) -> dict[str, Any]:
    owner = UserId(user_id)
    async with as_owner(env) as conn, tenant_transaction(conn, owner):
        if not await lock_user(conn, owner):
            raise Refused(f"there is no tenant {user_id}")
        found = await list_api_keys(conn, owner)
    return {
        "api_keys": [
            {
                "api_key_id": key.id,
                "key_name": key.key_name,
                "key_prefix": key.key_prefix,
                "permissions": sorted(p for p, given in key.permissions.items() if given is True),
                "usable": key.usable,
                "last_used": key.last_used.isoformat() if key.last_used else None,
                "created_at": key.created_at.isoformat(),
            }
            for key in found
        ]
    }


def described(keys: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{key['api_key_id']:>6}  {key['key_prefix'] or '?'}...  "
        f"{'usable ' if key['usable'] else 'revoked'}  last used {key['last_used'] or 'never'}  "
        f"{key['key_name']}  {','.join(key['permissions'])}"
        for key in keys
    )


async def apikey_revoke(env: Environment, *, key_id: int) -> dict[str, Any]:
    async with as_owner(env) as conn:
        owner = await api_key_owner(conn, ApiKeyId(key_id))
        if owner is None:
            raise Refused(f"there is no API key {key_id}: see `swiftreplies apikey list`")
        async with tenant_transaction(conn, owner):
            await revoke_api_key(conn, owner, ApiKeyId(key_id))
    return {"api_key_id": key_id, "revoked": True}


def _permissions(text: str | None) -> tuple[str, ...]:
    if text is None:
        return PERMISSIONS
    granted = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [one for one in granted if one not in PERMISSIONS]
    if unknown or not granted:
        raise Refused(
            f"no such permission: {', '.join(unknown) or '(none given)'}; there are"
            f" {', '.join(PERMISSIONS)}"
        )
    return granted
