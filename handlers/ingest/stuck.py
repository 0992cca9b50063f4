"""Items that failed alone, for a reason that is not their data: set aside, to be tried again."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import structlog

from db.ids import UserId
from db.pool import Pool, tenant
from db.stuck import Aside, set_aside
from handlers.ingest.batch import Failing
from handlers.process import telemetry

log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def put_aside(pool: Pool, failing: Sequence[Failing[Any]]) -> None:
    by_tenant: dict[UserId, list[Aside]] = defaultdict(list)
    for one in failing:
        error = type(one.error).__name__
        parked = one.item.arrived.parked("stuck", error)
        log.error("item.failing", user_id=one.user_id, exc_info=one.error)
        by_tenant[one.user_id].append(
            Aside(
                item_key=parked.key,
                kind=parked.kind,
                phone_number_id=parked.phone_number_id,
                display_number=parked.display_number,
                trace_id=parked.trace_id,
                raw=parked.raw,
                error=error,
            )
        )
    for user_id, items in sorted(by_tenant.items()):
        once = {item.item_key: item for item in items}
        async with tenant(pool, user_id) as conn:
            await set_aside(conn, user_id, [once[key] for key in sorted(once)])
        telemetry.FAILING.labels("set_aside").inc(len(once))
