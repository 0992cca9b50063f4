"""`swiftreplies usage`: are the counters what their rows say?"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from typing import Any

from cli.command import Refused, row_id, show, verb, verbs
from cli.operating import as_owner
from db.ids import UserId
from db.reconcile import UNCOUNTABLE, Found, every_tenant, recount
from handlers.process.configuration import Environment


def declare(noun: argparse.ArgumentParser) -> None:
    reconcile = verb(
        verbs(noun),
        "reconcile",
        "counts everything again from the rows and prints each difference; changes nothing;"
        " exit code 1 when there is one",
    )
    reconcile.add_argument("--user", type=row_id, metavar="ID", help="this tenant only")
    reconcile.set_defaults(run=_reconcile)


def _reconcile(args: argparse.Namespace) -> None:
    report = asyncio.run(usage_reconcile(Environment(os.environ), user_id=args.user))
    show(args, report, described(report))
    if report["differences"]:
        raise Refused(f"{len(report['differences'])} counters are not what their rows say")


async def usage_reconcile(env: Environment, *, user_id: int | None) -> dict[str, Any]:
    async with as_owner(env) as conn:
        tenants = await every_tenant(conn)
        if user_id is not None:
            if user_id not in tenants:
                raise Refused(f"there is no tenant {user_id}")
            tenants = [UserId(user_id)]
        found = [one for tenant in tenants for one in await recount(conn, tenant)]
    return {
        "tenants": len(tenants),
        "differences": [_difference(one) for one in found if one.what.why is None],
        "left_out": left_out(found),
    }


def _difference(found: Found) -> dict[str, Any]:
    what = found.what
    return {
        "user_id": found.user_id,
        "table": found.table,
        "counter": what.counter,
        "period": what.period,
        "counted": what.counted,
        "recounted": what.recounted,
    }


def left_out(found: Sequence[Found]) -> list[dict[str, Any]]:
    """A line for each tenant, counter and reason, whatever the number of days."""
    lines: list[dict[str, Any]] = [
        {"user_id": None, "table": table, "counter": counter, "periods": None, "why": why}
        for (table, counter), why in UNCOUNTABLE.items()
    ]
    groups: dict[tuple[int, str, str, str], list[str]] = {}
    for one in found:
        if one.what.why is not None:
            group = (one.user_id, one.table, one.what.counter, one.what.why)
            groups.setdefault(group, []).append(one.what.period)
    for (user_id, table, counter, why), periods in groups.items():
        lines.append(
            {
                "user_id": user_id,
                "table": table,
                "counter": counter,
                "periods": sorted(periods),
                "why": why,
            }
        )
    return lines


def described(report: dict[str, Any]) -> str:
    lines = [
        f"tenant {d['user_id']}: {d['table']}.{d['counter']} of {d['period']} is {d['counted']},"
        f" the rows say {d['recounted']}"
        for d in report["differences"]
    ]
    for one in report["left_out"]:
        who = "" if one["user_id"] is None else f"tenant {one['user_id']}: "
        when = ""
        if periods := one["periods"]:
            when = f" of {periods[0]}" + (f" to {periods[-1]}" if len(periods) > 1 else "")
            when += f" ({len(periods)})" if len(periods) > 1 else ""
        lines.append(f"left out: {who}{one['table']}.{one['counter']}{when}: {one['why']}")
    lines.append(f"{report['tenants']} tenants, {len(report['differences'])} differences")
    return "\n".join(lines)
