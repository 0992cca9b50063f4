"""`swiftreplies tenant list, show, update, suspend, resume`: the tenants' lives, without SQL."""

import argparse
import asyncio
import json
import os
import re
from dataclasses import asdict, astuple
from typing import Any

import asyncpg

from cli.command import Refused, Verbs, described_row, one_line, row_id, show, verb
from cli.operating import as_owner
from cli.tenant_plans import Terms, change_plan, declare_options, refuse, terms_of
from cli.timezones import zone_problem
from db.ids import UserId
from db.pool import Conn, tenant_transaction
from db.subscriptions import past_subscriptions, read_subscription, read_uses
from db.tenants import (
    User,
    UserChange,
    all_tenants,
    lock_user,
    read_user,
    set_active,
    update_user,
)
from handlers.fixed.texts import is_language
from handlers.process.configuration import Environment
from handlers.subscriptions import Shown, shown

MAX_TEXT_CHARS = 255  # as the columns have it
MAX_PHONE_CHARS = 50
# What is left of one that is erased, and how it is known: nobody else may be called so.
ERASED = re.compile(r"erased-[0-9]+@invalid", re.IGNORECASE)


def declare(of: Verbs) -> None:
    listing = verb(of, "list", "every tenant, with the plan")
    listing.set_defaults(run=_list)
    one = verb(of, "show", "a tenant: who it is, the plan in force and what is used, history")
    one.add_argument("id", type=row_id, metavar="ID")
    one.set_defaults(run=_show)
    update = verb(of, "update", "what is named of a tenant; of the plan too, as `plan` does it")
    update.add_argument("id", type=row_id, metavar="ID")
    update.add_argument("--email")
    update.add_argument("--name", help="of the person")
    update.add_argument("--company", help="of the business")
    update.add_argument("--phone", help="of the person")
    update.add_argument("--timezone", metavar="Area/City")
    update.add_argument("--language", metavar="TAG")
    update.add_argument(
        "--currency", metavar="USD", help="while no product has a price and no order is open"
    )
    declare_options(update)
    update.set_defaults(run=_update)
    suspend = verb(of, "suspend", "messages are recorded and not answered; safe to repeat")
    suspend.add_argument("id", type=row_id, metavar="ID")
    suspend.set_defaults(run=_suspend)
    resume = verb(of, "resume", "answers again, also what has waited for less than 12 hours")
    resume.add_argument("id", type=row_id, metavar="ID")
    resume.set_defaults(run=_resume)


def _list(args: argparse.Namespace) -> None:
    found = asyncio.run(tenant_list(Environment(os.environ)))
    lines = [
        f"{one['user_id']:>6}  {'active   ' if one['is_active'] else 'suspended'}  {one['email']}"
        f"  {one['subscription_name'] or 'no plan'}{'' if one['in_force'] else ' (not in force)'}"
        for one in found["tenants"]
    ]
    show(args, found, "\n".join(lines) or "there is no tenant: see `swiftreplies tenant create`")


def _show(args: argparse.Namespace) -> None:
    found = asyncio.run(tenant_show(Environment(os.environ), args.id))
    own = {key: value for key, value in found.items() if not isinstance(value, list | dict)}
    lines = [described_row(own)]
    plan = found["subscription"] or {}
    lines += [f"  {key}: {one_line(value)}" for key, value in plan.items()]
    lines += [f"  before: {one_line(one)}" for one in found["history"]]
    show(args, found, "\n".join(lines))


def _update(args: argparse.Namespace) -> None:
    terms, problems = terms_of(args)
    change = UserChange(
        email=args.email,
        full_name=args.name,
        company_name=args.company,
        phone=args.phone,
        timezone=args.timezone,
        language=args.language,
        currency=args.currency,
    )
    problems = [
        *person_problems(args.email, args.timezone, args.language),
        *too_long("--name", args.name),
        *too_long("--company", args.company),
        *too_long("--phone", args.phone, MAX_PHONE_CHARS),
        *currency_problems(args.currency),
        *problems,
    ]
    if not any(value is not None for value in astuple(change)) and terms.are_none and not problems:
        problems.append("nothing is named that would change: see --help")
    refuse(problems)
    updated = asyncio.run(tenant_update(Environment(os.environ), args.id, change, terms))
    show(args, updated, f"tenant {args.id} is updated")


def _suspend(args: argparse.Namespace) -> None:
    done = asyncio.run(tenant_switch(Environment(os.environ), args.id, active=False))
    show(args, done, f"tenant {args.id} is suspended: messages are recorded and not answered")


def _resume(args: argparse.Namespace) -> None:
    done = asyncio.run(tenant_switch(Environment(os.environ), args.id, active=True))
    show(args, done, f"tenant {args.id} is active")


def too_long(option: str, text: str | None, most: int = MAX_TEXT_CHARS) -> list[str]:
    if text is None or len(text) <= most:
        return []
    return [f"{option} is longer than {most} characters"]


def person_problems(email: str | None, timezone: str | None, language: str | None) -> list[str]:
    """Of what was named."""
    problems = []
    if email is not None and (not re.fullmatch(r"[^@\s]+@[^@\s]+", email) or len(email) > 255):
        problems.append(f"--email is not an e-mail address: {email!r}")
    elif email is not None and ERASED.fullmatch(email):
        problems.append(f"--email is what an erased tenant has: {email!r}")
    if timezone is not None and (problem := zone_problem(timezone)) is not None:
        problems.append(f"--timezone: {problem}")
    if language is not None and not is_language(language):
        problems.append(f"--language is no language tag like es or pt-BR: {language!r}")
    return problems


def currency_problems(currency: str | None) -> list[str]:
    if currency is None or re.fullmatch(r"[A-Z]{3}", currency):
        return []
    return [f"--currency is no currency like USD: {currency!r}"]


async def tenant_list(env: Environment) -> dict[str, Any]:
    async with as_owner(env) as conn:
        return {
            "tenants": [one for id_ in await all_tenants(conn) if (one := await _one(conn, id_))]
        }


async def _one(conn: Conn, user_id: UserId) -> dict[str, Any] | None:
    async with tenant_transaction(conn, user_id):
        user, plan = await read_user(conn, user_id), await read_subscription(conn, user_id)
    if user is None:
        return None
    end = plan.contract_end_date if plan else None
    return {
        "user_id": user.id,
        "email": user.email,
        "full_name": user.full_name,
        "company_name": user.company_name,
        "is_active": user.is_active,
        "subscription_name": plan.subscription_name if plan else None,
        "in_force": bool(plan and plan.in_force),
        "contract_start_date": plan.contract_start_date.isoformat() if plan else None,
        "contract_end_date": end.isoformat() if end else None,
    }


async def tenant_show(env: Environment, user_id: int) -> dict[str, Any]:
    owner = UserId(user_id)
    async with as_owner(env) as conn, tenant_transaction(conn, owner, snapshot=True):
        user = await read_user(conn, owner)
        if user is None:
            raise _no_tenant(user_id)
        plan, uses = await read_subscription(conn, owner), await read_uses(conn, owner)
        history = await past_subscriptions(conn, owner)
    assert uses is not None, "the tenant is there"
    return {
        **_person(user),
        "subscription": _plan(shown(plan, uses, billing=True)) if plan else None,
        "history": [plain(asdict(one)) for one in history],
    }


def _person(user: User) -> dict[str, Any]:
    fields = asdict(user)
    return {"user_id": fields.pop("id"), **plain(fields)}


def _plan(plan: Shown) -> dict[str, Any]:
    return {**plain(asdict(plan)), "custom_settings": json.loads(plan.custom_settings)}


def plain(value: Any) -> Any:
    """As JSON takes it."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


async def tenant_update(
    env: Environment, user_id: int, change: UserChange, terms: Terms
) -> dict[str, Any]:
    owner = UserId(user_id)
    async with as_owner(env) as conn:
        try:
            async with tenant_transaction(conn, owner):
                if not await lock_user(conn, owner):
                    raise _no_tenant(user_id)
                await update_user(conn, owner, change)
                if not terms.are_none:
                    await change_plan(conn, owner, terms)
                user = await read_user(conn, owner)
        except asyncpg.UniqueViolationError:
            raise Refused(f"there is a tenant with the e-mail {change.email} already") from None
        except asyncpg.InvalidParameterValueError:
            raise Refused(f"--timezone: the database does not know {change.timezone}") from None
        except asyncpg.CheckViolationError as error:
            if error.constraint_name != "users_currency_fixed":
                raise
            raise Refused(
                "--currency: it is fixed while a product has a price or an order is open"
            ) from None
    assert user is not None, "it is locked"
    return _person(user)


async def tenant_switch(env: Environment, user_id: int, *, active: bool) -> dict[str, Any]:
    owner = UserId(user_id)
    async with as_owner(env) as conn, tenant_transaction(conn, owner):
        if not await lock_user(conn, owner):
            raise _no_tenant(user_id)
        changed = await set_active(conn, owner, active)
    return {"user_id": user_id, "is_active": active, "changed": bool(changed)}


def _no_tenant(user_id: int) -> Refused:
    return Refused(f"there is no tenant {user_id}, or it is erased: see `swiftreplies tenant list`")
