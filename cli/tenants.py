"""`swiftreplies tenant`: the businesses that use this installation, each with its plan."""

import argparse
import asyncio
import os
from dataclasses import dataclass
from typing import Any

import asyncpg

from cli import erase_tenant, tenant_lives, tenant_plans
from cli.apps import app_named
from cli.command import Refused, show, verb, verbs
from cli.operating import as_owner
from cli.tenant_lives import currency_problems, person_problems, too_long
from cli.tenant_plans import NO_TERMS, Terms, change_plan, declare_options, refuse, terms_of
from db.apps import put_user_on_app
from db.pool import tenant_transaction
from db.tenants import NewUser, create_user, next_user_id
from handlers.process.configuration import Environment

NO_LOGIN = "!"  # no password hash looks like this


def declare(noun: argparse.ArgumentParser) -> None:
    tenants = verbs(noun)
    create = verb(tenants, "create", "a tenant with an active subscription")
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
        "--currency", default="USD", help="of prices and orders, e.g. EUR (default: USD)"
    )
    create.add_argument(
        "--app",
        metavar="NAME",
        help="that the tenant's chatbots are on (default: the environment's)",
    )
    declare_options(create)
    create.set_defaults(run=_create)
    tenant_lives.declare(tenants)
    tenant_plans.declare(tenants)
    erase_tenant.declare(tenants)


def _create(args: argparse.Namespace) -> None:
    terms, problems = terms_of(args)
    wanted = NewTenant(
        email=args.email,
        name=args.name,
        terms=terms,
        timezone=args.timezone,
        language=args.language,
        currency=args.currency,
        app=args.app,
    )
    refuse(
        [
            *person_problems(wanted.email, wanted.timezone, wanted.language),
            *too_long("--name", wanted.name),
            *currency_problems(wanted.currency),
            *problems,
        ]
    )
    created = asyncio.run(tenant_create(Environment(os.environ), wanted))
    show(args, created, f"tenant {created['user_id']} created")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTenant:
    email: str
    name: str | None = None
    terms: Terms = NO_TERMS
    timezone: str = "UTC"
    language: str | None = None
    currency: str = "USD"
    app: str | None = None  # its name; None: the environment's


async def tenant_create(env: Environment, wanted: NewTenant) -> dict[str, Any]:
    user = NewUser(
        email=wanted.email,
        password_hash=NO_LOGIN,
        full_name=wanted.name,
        timezone=wanted.timezone,
        language=wanted.language,
        currency=wanted.currency,
    )
    async with as_owner(env) as conn:
        user_id = await next_user_id(conn)
        try:
            async with tenant_transaction(conn, user_id):
                await create_user(conn, user_id, user)
                if wanted.app is not None:
                    await put_user_on_app(conn, user_id, await app_named(conn, wanted.app))
                await change_plan(conn, user_id, wanted.terms)
        except asyncpg.UniqueViolationError:
            raise Refused(f"there is a tenant with the e-mail {wanted.email} already") from None
        except asyncpg.InvalidParameterValueError:
            raise Refused(f"--timezone: the database does not know {wanted.timezone}") from None
    return {"user_id": user_id}
