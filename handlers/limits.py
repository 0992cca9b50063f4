"""What a plan bounds by number: a place for one more is held under the tenant's lock, so that any
number of clients at once get exactly as many as there are."""

from collections.abc import Awaitable, Callable
from typing import Final

from db.api_keys import count_usable_keys
from db.chatbots import count_chatbots
from db.ids import UserId
from db.pool import Conn
from db.subscriptions import tell_limit
from db.tenants import lock_user, read_plan
from handlers.plans import Feature, Limit, Permission, Plan

COUNTED: Final[dict[Limit, Callable[[Conn, UserId], Awaitable[int]]]] = {
    Limit.MAX_CHATBOTS: count_chatbots,
    Limit.MAX_API_KEYS: count_usable_keys,
}
# What else making one of it needs.
NEEDS: Final[dict[Limit, Feature | Permission]] = {
    Limit.MAX_CHATBOTS: Feature.CHATBOT_MANAGEMENT,
    Limit.MAX_API_KEYS: Permission.CONFIGURE_INTEGRATIONS,
}


class NotInPlan(Exception):
    def __init__(self, key: Feature | Permission) -> None:
        super().__init__(key)
        self.key = key


class NoRoom(Exception):
    """The plan has no place for one more. tell_no_room() says so to the tenant, after the
    transaction that this ends."""

    def __init__(self, key: Limit | Feature, most: int, used: int) -> None:
        super().__init__(key)
        self.key = key
        self.most = most
        self.used = used


async def hold_place(conn: Conn, user_id: UserId, limit: Limit) -> bool:
    """For one more, which this transaction makes. False: there is no such tenant."""
    if not await lock_user(conn, user_id):
        return False
    plan = Plan(await read_plan(conn, user_id))
    if not plan.allows(NEEDS[limit]):
        raise NotInPlan(NEEDS[limit])
    used = await COUNTED[limit](conn, user_id)
    if limit is Limit.MAX_CHATBOTS and used >= 1 and not plan.allows(Feature.MULTI_CHATBOT):
        raise NoRoom(Feature.MULTI_CHATBOT, 1, used)
    most = plan.limit(limit)
    if most is None:
        return True
    if used >= most:
        raise NoRoom(limit, most, used)
    await tell_limit(conn, user_id, _name(limit), used + 1, most, False)
    return True


async def tell_no_room(conn: Conn, user_id: UserId, key: Limit | Feature, most: int) -> None:
    """Once a day."""
    await tell_limit(conn, user_id, _name(key), most, most, True)


def _name(key: Limit | Feature) -> str:
    return key.rsplit(".", 1)[-1]
