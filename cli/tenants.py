"""`swiftreplies tenant`: the businesses that use this installation, each with its plan."""

import argparse
import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import asyncpg

from cli.command import Refused, count, show, verb, verbs
from cli.operating import as_owner
from db.pool import tenant_transaction
from db.tenants import create_subscription, create_user, next_user_id
from handlers.process.configuration import Environment
from handlers.rules.reply import MAX_CHARS, fitted

NO_LOGIN = "!"  # no password hash looks like this
MAX_EXPIRY_HOURS = 8_760  # a year


def declare(noun: argparse.ArgumentParser) -> None:
    create = verb(verbs(noun), "create", "a tenant with an active subscription")
    create.add_argument("--email", required=True)
    create.add_argument("--name", help="of the person")
    create.add_argument(
        "--config", type=Path, metavar="plan.json", help="the plan's features and limits"
    )
    create.add_argument("--daily-messages", type=count, metavar="N", default=100)
    create.add_argument("--monthly-messages", type=count, metavar="N", default=3_000)
    create.set_defaults(run=_create)


def _create(args: argparse.Namespace) -> None:
    created = asyncio.run(
        tenant_create(
            Environment(os.environ),
            email=args.email,
            name=args.name,
            plan=args.config,
            daily_messages=args.daily_messages,
            monthly_messages=args.monthly_messages,
        )
    )
    show(args, created, f"tenant {created['user_id']} created")


async def tenant_create(
    env: Environment,
    *,
    email: str,
    name: str | None,
    plan: Path | None,
    daily_messages: int,
    monthly_messages: int,
) -> dict[str, Any]:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", email) or len(email) > 255:
        raise Refused(f"--email is not an e-mail address: {email!r}")
    config = _plan(plan)
    async with as_owner(env) as conn:
        user_id = await next_user_id(conn)
        try:
            async with tenant_transaction(conn, user_id):
                await create_user(conn, user_id, email, NO_LOGIN, name)
                await create_subscription(
                    conn,
                    user_id,
                    str(config.get("subscription_name", "standard"))[:255],
                    config,
                    daily_messages,
                    monthly_messages,
                )
        except asyncpg.UniqueViolationError:
            raise Refused(f"there is a tenant with the e-mail {email} already") from None
    return {"user_id": user_id}


def _plan(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        plan = json.loads(file.read_text())
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{file} is not JSON: {error}") from error
    if not isinstance(plan, dict):
        raise Refused(f"{file} is not a JSON object")
    limits = plan.get("limits", {})
    if not isinstance(limits, dict):
        raise Refused(f"{file}: limits is not a JSON object")
    problems = [
        f"limits.{name} is not a whole number from 0"
        for name, value in limits.items()
        if name.startswith(("max_", "message_history")) and not _is_count(value)
    ]
    if limits.get("on_message_limit", "refuse") not in ("refuse", "overage"):
        problems.append("limits.on_message_limit is neither refuse nor overage")
    if "message_limit_notice" in limits and not _is_message(limits["message_limit_notice"]):
        problems.append(f"limits.message_limit_notice is not a text of 1 to {MAX_CHARS} characters")
    hours = limits.get("action_expiry_hours", 24)
    if not _is_count(hours) or not 1 <= hours <= MAX_EXPIRY_HOURS:
        problems.append(
            f"limits.action_expiry_hours is not a whole number from 1 to {MAX_EXPIRY_HOURS}"
        )
    if problems:
        raise Refused(f"{file}: " + "; ".join(problems))
    return plan


def _is_message(value: Any) -> bool:
    """As WhatsApp takes it whole."""
    return isinstance(value, str) and bool(value.strip()) and fitted(value) == value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
