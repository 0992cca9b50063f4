"""Who makes a call, and what they may do."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from db.api_keys import KeyOwner, read_access
from db.ids import ApiKeyId, UserId
from db.pool import Conn
from handlers.api_keys import may
from handlers.plans import Feature, Permission, Plan
from ingress.api.problems import Problem, not_authenticated, not_in_plan

ENDED = "The API key is unknown, revoked or has expired, or the account is not active."
PARSED = 1_000  # texts, of keys' permissions and tenants' plans


@dataclass(frozen=True, slots=True)
class ByApiKey:
    """A program of the tenant's, by the key that it shows."""

    api_key_id: ApiKeyId


@dataclass(frozen=True, slots=True)
class Principal:
    """Read in each call's own transaction, so that what is revoked is refused with the next one."""

    user_id: UserId
    who: ByApiKey  # or a person by a session, once people have them
    permissions: Mapping[str, Any]
    plan: Plan
    usage_day: date  # the tenant's


async def principal_of_key(conn: Conn, owner: KeyOwner) -> Principal:
    access = await read_access(conn, owner.user_id, owner.id)
    if access is None or not access.usable:
        raise not_authenticated(ENDED)
    return Principal(
        user_id=owner.user_id,
        who=ByApiKey(owner.id),
        permissions=_parsed(access.permissions),
        plan=Plan(_parsed(access.plan)),
        usage_day=access.usage_day,
    )


@functools.lru_cache(maxsize=PARSED)
def _parsed(text: str) -> Any:
    """It is the same in nearly every call. Nobody changes what comes out."""
    return json.loads(text)


def needs(principal: Principal, key: Feature | Permission) -> None:
    """Of the plan."""
    if not principal.plan.allows(key):
        raise not_in_plan(key)


def permit(
    principal: Principal, permission: str | None, features: Sequence[Feature | Permission] = ()
) -> None:
    """Raises what the call is refused with."""
    for key in (Feature.API_ACCESS, *features):
        needs(principal, key)
    if permission is not None and not may(principal.permissions, permission):
        raise Problem(
            "permission_missing",
            f"This needs a key with the permission {permission}.",
            permission=permission,
        )
