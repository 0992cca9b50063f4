"""/v1/subscription"""

from db.pool import Conn
from db.subscriptions import read_subscription, read_uses
from handlers.plans import Permission
from handlers.subscriptions import Shown, shown
from ingress.api.fields import NoBody, NoParameters
from ingress.api.problems import Problem
from ingress.api.table import Answer, Call, Endpoint, there


async def _read(conn: Conn, call: Call[NoParameters, NoBody]) -> Answer[Shown]:
    plan = await read_subscription(conn, call.user_id)
    if plan is None:
        raise Problem("not_found", "There is no subscription: ask the operator for one.")
    uses = there(await read_uses(conn, call.user_id))
    billing = call.principal.plan.allows(Permission.MANAGE_BILLING)
    return Answer(shown(plan, uses, billing=billing))


ENDPOINTS = (
    Endpoint(
        name="read_subscription",
        method="GET",
        path="/subscription",
        permission="subscription:read",
        summary="The plan: features, limits with their use, permissions, contract, settings",
        parameters=NoParameters,
        body=NoBody,
        answers=Shown,
        work=_read,
        problems=("not_found",),
    ),
)
