"""`swiftreplies tenant`: the businesses that use this installation, each with its plan."""

import argparse
import asyncio
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from cli.command import Refused, count, show, verb, verbs
from cli.operating import as_owner
from cli.timezones import zone_problem
from db.pool import tenant_transaction
from db.tenants import NewUser, create_subscription, create_user, next_user_id
from handlers.fixed.texts import is_language
from handlers.plans import SUBSCRIPTION_NAME, Plan, validate
from handlers.process.configuration import Environment

NO_LOGIN = "!"  # no password hash looks like this


def declare(noun: argparse.ArgumentParser) -> None:
    create = verb(verbs(noun), "create", "a tenant with an active subscription")
    create.add_argument("--email", required=True)
    create.add_argument("--name", help="of the person")
    create.add_argument(
        "--timezone",
        metavar="Area/City",
        default="UTC",
        help="whose days limits are counted on, e.g. Europe/Madrid (default: UTC)",
    )
    create.add_argument(
        "--language",
        metavar="TAG",
        help="of the texts that are said without a model, e.g. es (default: the customer's, or en)",
    )
    create.add_argument(
        "--config", type=Path, metavar="plan.json", help="the plan's features and limits"
    )
    create.add_argument("--daily-messages", type=count, metavar="N", default=100)
    create.add_argument("--monthly-messages", type=count, metavar="N", default=3_000)
    create.set_defaults(run=_create)


def _create(args: argparse.Namespace) -> None:
    wanted = NewTenant(
        email=args.email,
        name=args.name,
        plan=args.config,
        daily_messages=args.daily_messages,
        monthly_messages=args.monthly_messages,
        timezone=args.timezone,
        language=args.language,
    )
    created = asyncio.run(tenant_create(Environment(os.environ), wanted))
    show(args, created, f"tenant {created['user_id']} created")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTenant:
    email: str
    name: str | None = None
    plan: Path | None = None
    daily_messages: int
    monthly_messages: int
    timezone: str = "UTC"
    language: str | None = None


async def tenant_create(env: Environment, wanted: NewTenant) -> dict[str, Any]:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", wanted.email) or len(wanted.email) > 255:
        raise Refused(f"--email is not an e-mail address: {wanted.email!r}")
    if (problem := zone_problem(wanted.timezone)) is not None:
        raise Refused(f"--timezone: {problem}")
    if wanted.language is not None and not is_language(wanted.language):
        raise Refused(f"--language is no language tag like es or pt-BR: {wanted.language!r}")
    config = _plan(wanted.plan)
    user = NewUser(
        email=wanted.email,
        password_hash=NO_LOGIN,
        full_name=wanted.name,
        timezone=wanted.timezone,
        language=wanted.language,
    )
    async with as_owner(env) as conn:
        user_id = await next_user_id(conn)
        try:
            async with tenant_transaction(conn, user_id):
                await create_user(conn, user_id, user)
                await create_subscription(
                    conn,
                    user_id,
                    Plan(config).get(SUBSCRIPTION_NAME),
                    config,
                    wanted.daily_messages,
                    wanted.monthly_messages,
                )
        except asyncpg.UniqueViolationError:
            raise Refused(f"there is a tenant with the e-mail {wanted.email} already") from None
        except asyncpg.InvalidParameterValueError:
            raise Refused(f"--timezone: the database does not know {wanted.timezone}") from None
    return {"user_id": user_id}


def _plan(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        plan: dict[str, Any] = json.loads(file.read_text())
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{file} is not JSON: {error}") from error
    if problems := validate(plan):
        raise Refused(f"{file}: " + "; ".join(problems))
    return plan
