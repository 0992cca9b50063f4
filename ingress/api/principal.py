"""Who makes a call, and what they may do."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from db.api_keys import KeyOwner, read_access
from db.ids import ApiKeyId, UserId
from db.pool import Conn
from handlers.api_keys import may
from handlers.plans import Feature, Plan
from ingress.api.problems import Problem, not_authenticated, not_in_plan


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
        raise not_authenticated(
            "The API key is revoked or has expired, or the account is not active."
        )
    return Principal(
        user_id=owner.user_id,
        who=ByApiKey(owner.id),
        permissions=access.permissions,
        plan=Plan(access.plan),
        usage_day=access.usage_day,
    )


def permit(principal: Principal, permission: str) -> None:
    """Raises what the call is refused with."""
    if not principal.plan.allows(Feature.API_ACCESS):
        raise not_in_plan(Feature.API_ACCESS)
    if not may(principal.permissions, permission):
        raise Problem(
            "permission_missing",
            f"This needs a key with the permission {permission}.",
            permission=permission,
        )
