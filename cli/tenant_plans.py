"""`swiftreplies tenant plan`: another plan for a tenant; what `create` and `update` say of one."""

import argparse
import asyncio
import json
import os
import re
from dataclasses import asdict, dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from cli.command import Refused, Verbs, count, row_id, show, verb
from cli.operating import as_owner
from cli.plan_file import read_plan_file
from db.ids import UserId
from db.pool import Conn, tenant_transaction
from db.subscriptions import (
    NewSubscription,
    Subscription,
    close_subscription,
    open_subscription,
    read_subscription,
)
from db.tenants import lock_user, today_of
from handlers.plan_schema import plan_schema
from handlers.plans import SUBSCRIPTION_NAME, Plan
from handlers.process.configuration import Environment

CYCLES = ("monthly", "quarterly", "yearly")
MAX_AMOUNT = Decimal("99999999.99")  # as the column has it
LIMITS = (
    ("daily_messages", "daily_message_limit", 100),
    ("monthly_messages", "monthly_message_limit", 3_000),
    ("daily_campaigns", "daily_campaign_limit", 5),
    ("monthly_campaigns", "monthly_campaign_limit", 150),
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What was named of a plan, by the names of the columns."""

    config: dict[str, Any] | None
    columns: dict[str, Any]

    @property
    def are_none(self) -> bool:
        return self.config is None and not self.columns


NO_TERMS = Terms(None, {})


def declare_options(parser: argparse.ArgumentParser) -> None:
    """Of a plan. What is not named has its default, or stays."""
    parser.add_argument(
        "--config", type=Path, metavar="plan.json", help="features, limits, permissions, settings"
    )
    parser.add_argument("--subscription", metavar="NAME", help="the plan's name")
    for option, _, default in LIMITS:
        flag = f"--{option.replace('_', '-')}"
        parser.add_argument(flag, type=count, metavar="N", help=f"a new tenant's: {default}")
    parser.add_argument("--start", metavar="DATE", help="its first day (default: today)")
    parser.add_argument("--end", metavar="DATE", help="its last day (default: it has none)")
    parser.add_argument(
        "--auto-renew",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="on its last day it goes on for another billing cycle",
    )
    parser.add_argument("--billing-cycle", metavar="|".join(CYCLES))
    parser.add_argument("--billing-amount", metavar="38.50")
    parser.add_argument("--billing-currency", metavar="USD")


def declare(of: Verbs) -> None:
    plan = verb(of, "plan", "gives a tenant another plan; what is not named stays as it is")
    plan.add_argument("id", type=row_id, nargs="?", metavar="ID")
    plan.add_argument("--schema", action="store_true", help="print the JSON Schema of plan.json")
    declare_options(plan)
    plan.set_defaults(run=_plan)


def _plan(args: argparse.Namespace) -> None:
    if args.schema:
        print(json.dumps(plan_schema(), indent=2))
        return
    if args.id is None:
        raise Refused("tenant plan needs the tenant's ID, or --schema")
    terms, problems = terms_of(args)
    if terms.are_none and not problems:
        problems.append("nothing is named that would change: see --help")
    refuse(problems)
    changed = asyncio.run(tenant_plan(Environment(os.environ), args.id, terms))
    text = "has the plan already" if not changed["changed"] else "has another plan"
    when = f"from {changed['contract_start_date']} to {changed['contract_end_date'] or 'no end'}"
    if not changed["in_force"]:
        when += ", which today is not in: messages are recorded and not answered"
    show(args, changed, f"tenant {args.id} {text}, {changed['subscription_name']}, {when}")


def refuse(problems: list[str]) -> None:
    if problems:
        raise Refused("\n".join(problems))


async def tenant_plan(env: Environment, user_id: int, terms: Terms) -> dict[str, Any]:
    owner = UserId(user_id)
    async with as_owner(env) as conn, tenant_transaction(conn, owner):
        if not await lock_user(conn, owner):
            raise Refused(
                f"there is no tenant {user_id}, or it is erased: see `swiftreplies tenant list`"
            )
        return await change_plan(conn, owner, terms)


# ---- what is named ------------------------------------------------------------------------------


def terms_of(args: argparse.Namespace) -> tuple[Terms, list[str]]:
    """And everything that is wrong with it."""
    problems: list[str] = []
    config = None
    if args.config is not None:
        config, found = read_plan_file(args.config)
        problems += found
    given = {
        "subscription_name": _name(args.subscription, problems),
        **{column: getattr(args, option) for option, column, _ in LIMITS},
        "contract_start_date": _day(args.start, "--start", problems),
        "contract_end_date": _day(args.end, "--end", problems),
        "auto_renew": args.auto_renew,
        "billing_cycle": _cycle(args.billing_cycle, problems),
        "billing_amount": _amount(args.billing_amount, problems),
        "billing_currency": _currency(args.billing_currency, problems),
    }
    start, end = given["contract_start_date"], given["contract_end_date"]
    if start and end and end < start:
        problems.append(f"--end {end} is before --start {start}")
    return Terms(config, {k: v for k, v in given.items() if v is not None}), problems


def _name(text: str | None, problems: list[str]) -> str | None:
    if text is not None and not SUBSCRIPTION_NAME.kind.takes(text):
        problems.append(f"--subscription {SUBSCRIPTION_NAME.kind.problem}")
    return text


def _day(text: str | None, option: str, problems: list[str]) -> date | None:
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    problems.append(f"{option} is no day like 2026-12-31: {text!r}")
    return None


def _cycle(text: str | None, problems: list[str]) -> str | None:
    if text is not None and text not in CYCLES:
        problems.append(f"--billing-cycle is none of {', '.join(CYCLES)}: {text!r}")
    return text


def _amount(text: str | None, problems: list[str]) -> Decimal | None:
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,2})?", text):
        return Decimal(text)
    problems.append(f"--billing-amount is no amount like 38.50, up to {MAX_AMOUNT}: {text!r}")
    return None


def _currency(text: str | None, problems: list[str]) -> str | None:
    if text is not None and not re.fullmatch("[A-Z]{3}", text):
        problems.append(f"--billing-currency is no currency like USD: {text!r}")
    return text


# ---- what becomes of it -------------------------------------------------------------------------


def first_plan(terms: Terms, today: date) -> NewSubscription:
    config = terms.config or {}
    defaults: dict[str, Any] = {column: default for _, column, default in LIMITS} | {
        "subscription_name": Plan(config).get(SUBSCRIPTION_NAME),
        "subscription_config": config,
        "billing_amount": None,
        "billing_currency": "USD",
        "billing_cycle": "monthly",
        "contract_start_date": today,
        "contract_end_date": None,
        "auto_renew": False,
    }
    return NewSubscription(**defaults | terms.columns)


def next_plan(now: Subscription | None, terms: Terms, today: date) -> NewSubscription:
    """What is not named stays; of a contract whose days are over, or yet to come, they do not."""
    if now is None:
        return first_plan(terms, today)
    kept = _as_new(now)
    if not now.in_force:
        kept = replace(kept, contract_end_date=None, auto_renew=False)
    kept = replace(kept, contract_start_date=today)
    if terms.config is not None:
        name = terms.config.get("subscription_name", now.subscription_name)
        kept = replace(kept, subscription_config=terms.config, subscription_name=name)
    return replace(kept, **terms.columns)


async def change_plan(conn: Conn, user_id: UserId, terms: Terms) -> dict[str, Any]:
    """By who holds the tenant's row. Repeated, it changes nothing."""
    today = await today_of(conn, user_id)
    now = await read_subscription(conn, user_id)
    wanted = next_plan(now, terms, today)
    start, end = wanted.contract_start_date, wanted.contract_end_date
    if end is not None and end < start:
        raise Refused(f"--end {end} is before its first day, {start}: see --start")
    if now is not None and _is_already(now, wanted, terms):
        return _told(user_id, now, closed=None)
    if now is not None:
        await close_subscription(conn, user_id, now.id, start)
    await open_subscription(conn, user_id, wanted)
    opened = await read_subscription(conn, user_id)
    assert opened is not None, "it was just opened"
    return _told(user_id, opened, closed=now.id if now else None, changed=True)


def _as_new(now: Subscription) -> NewSubscription:
    fields = asdict(now) | {"subscription_config": now.subscription_config}
    return NewSubscription(**{k: v for k, v in fields.items() if k not in ("id", "in_force")})


def _is_already(now: Subscription, wanted: NewSubscription, terms: Terms) -> bool:
    same = _as_new(now)
    if "contract_start_date" not in terms.columns and now.in_force:
        same = replace(same, contract_start_date=wanted.contract_start_date)
    return same == wanted


def _told(
    user_id: UserId, plan: Subscription, *, closed: int | None, changed: bool = False
) -> dict[str, Any]:
    end = plan.contract_end_date
    return {
        "user_id": user_id,
        "subscription_id": plan.id,
        "subscription_name": plan.subscription_name,
        "changed": changed,
        "closed_subscription_id": closed,
        "in_force": plan.in_force,
        "contract_start_date": plan.contract_start_date.isoformat(),
        "contract_end_date": end.isoformat() if end else None,
        "auto_renew": plan.auto_renew,
    }
