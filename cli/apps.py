"""`swiftreplies app`: Meta apps beside the environment's, each with a webhook path of its own."""

import argparse
import asyncio
import os
import re
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from cli.command import Refused, show, verb, verbs
from cli.operating import as_owner, vault_of
from db.apps import (
    chatbots_of_app,
    count_apps,
    create_app,
    delete_app,
    end_rotation,
    find_app,
    list_apps,
    lock_app,
    lock_apps,
    next_app_id,
    rotate_app,
)
from db.ids import AppId
from db.pool import Conn
from handlers.process.configuration import Environment
from handlers.process.secrets import Undecryptable, app_secret_of, verify_token_of

APPS_MAX = 1_000  # the ingress reads them whole, every 5 s
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
SECRET_MAX_CHARS = 200
KEEP_H = 24  # the secrets before a rotation; Meta repeats with the old signature for longer, rarely
KEEP_MAX_H = 7 * 24  # as long as Meta repeats a webhook
PATH = "/webhooks/whatsapp/"


def declare(noun: argparse.ArgumentParser) -> None:
    apps = verbs(noun)
    create = verb(apps, "create", "an app, whose webhooks come to /webhooks/whatsapp/NAME")
    create.add_argument("--name", required=True, help="a-z, 0-9 and -, as in its path")
    create.add_argument("--app-secret", required=True, metavar="S", help="Meta's; signs webhooks")
    create.add_argument(
        "--verify-token", required=True, metavar="T", help="typed into the app's webhook settings"
    )
    create.set_defaults(run=_create)
    verb(apps, "list", "every app, and the chatbots on it").set_defaults(run=_list)
    rotate = verb(apps, "rotate", "another secret or verify token; those before hold for a while")
    rotate.add_argument("name", metavar="NAME")
    rotate.add_argument("--app-secret", metavar="S")
    rotate.add_argument("--verify-token", metavar="T")
    rotate.add_argument(
        "--keep",
        type=_hours,
        metavar="HOURS",
        help=f"how long those before are taken as well (default {KEEP_H}, at most {KEEP_MAX_H});"
        " 0 by itself ends that now",
    )
    rotate.set_defaults(run=_rotate)
    delete = verb(apps, "delete", "an app that no chatbot and no tenant is on")
    delete.add_argument("name", metavar="NAME")
    delete.set_defaults(run=_delete)


def _hours(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > KEEP_MAX_H:
        raise argparse.ArgumentTypeError(f"not a whole number from 0 to {KEEP_MAX_H}: {text!r}")
    return int(text)


def _create(args: argparse.Namespace) -> None:
    env = Environment(os.environ)
    created = asyncio.run(app_create(env, args.name, args.app_secret, args.verify_token))
    show(args, created, f"app {args.name} created; its webhooks come to {created['path']}")


def _list(args: argparse.Namespace) -> None:
    found = asyncio.run(app_list(Environment(os.environ)))
    show(args, found, "\n".join(_line(app) for app in found["apps"]) or "there is no app")


def _line(app: dict[str, Any]) -> str:
    chatbots = ", ".join(str(one) for one in app["chatbots"]) or "none"
    rotates = f"  secrets before hold until {app['old_until']}" if app["old_until"] else ""
    return f"{app['path']}  chatbots: {chatbots}{rotates}"


def _rotate(args: argparse.Namespace) -> None:
    rotated = asyncio.run(
        app_rotate(
            Environment(os.environ), args.name, args.app_secret, args.verify_token, args.keep
        )
    )
    until = rotated["old_until"]
    text = f"those before hold until {until}" if until else "those before hold no more"
    show(args, rotated, f"app {args.name}: {text}")


def _delete(args: argparse.Namespace) -> None:
    deleted = asyncio.run(app_delete(Environment(os.environ), args.name))
    show(args, deleted, f"app {args.name} deleted")


def _mistakes(**secrets: str | None) -> list[str]:
    return [
        f"--{option.replace('_', '-')} is empty, longer than {SECRET_MAX_CHARS} characters or not"
        " printable"
        for option, secret in secrets.items()
        if secret is not None
        and not (0 < len(secret) <= SECRET_MAX_CHARS and secret.isprintable() and secret.strip())
    ]


async def app_create(
    env: Environment, name: str, app_secret: str, verify_token: str
) -> dict[str, Any]:
    mistakes = _mistakes(app_secret=app_secret, verify_token=verify_token)
    if not NAME.fullmatch(name):
        wrong = f"--name is not 1 to 63 of a-z, 0-9 and -, without - before it: {name[:100]!r}"
        mistakes.insert(0, wrong)
    if mistakes:
        raise Refused("\n".join(mistakes))
    keys = vault_of(env)
    async with as_owner(env) as conn:
        try:
            async with conn.transaction():
                await lock_apps(conn)
                if await count_apps(conn) >= APPS_MAX:
                    raise Refused(f"there are {APPS_MAX} apps, and no more are read")
                app_id = await next_app_id(conn)
                sealed = keys.encrypt(app_secret, app_secret_of(app_id))
                token = keys.encrypt(verify_token, verify_token_of(app_id))
                await create_app(conn, app_id, name, sealed, token)
        except asyncpg.UniqueViolationError:
            raise Refused(
                f"there is an app {name} already: see `swiftreplies app rotate`"
            ) from None
    return {"app_id": app_id, "name": name, "path": PATH + name}


async def app_list(env: Environment) -> dict[str, Any]:
    async with as_owner(env) as conn:
        return {
            "apps": [
                {
                    "app_id": app.id,
                    "name": app.name,
                    "path": PATH + app.name,
                    "created_at": app.created_at.isoformat(),
                    "old_until": _told(app.old_until),
                    "chatbots": await chatbots_of_app(conn, app.id),
                }
                for app in await list_apps(conn)
            ]
        }


def _told(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


async def app_rotate(
    env: Environment,
    name: str,
    app_secret: str | None,
    verify_token: str | None,
    keep_h: int | None,
) -> dict[str, Any]:
    """Repeated with the same secrets, it changes nothing: those before would be gone sooner."""
    ends = keep_h == 0 and app_secret is None and verify_token is None
    if app_secret is None and verify_token is None and not ends:
        raise Refused("name a new --app-secret or --verify-token; or only --keep 0")
    if mistakes := _mistakes(app_secret=app_secret, verify_token=verify_token):
        raise Refused("\n".join(mistakes))
    keys = vault_of(env)
    keep = timedelta(hours=KEEP_H if keep_h is None else keep_h)
    async with as_owner(env) as conn, conn.transaction():
        app = await lock_app(conn, name)
        if app is None:
            raise no_app(name)
        if ends:
            await end_rotation(conn, app.id)
            return {"app_id": app.id, "name": name, "old_until": None}
        secret, token = app_secret_of(app.id), verify_token_of(app.id)
        try:
            before = keys.decrypt(app.app_secret, secret), keys.decrypt(app.verify_token, token)
        except Undecryptable as error:
            if app_secret is None or verify_token is None:
                raise Refused(
                    f"what is stored of {name} cannot be read ({error}): name both --app-secret and"
                    " --verify-token, and it is forgotten"
                ) from None
            before, keep = ("", ""), timedelta()
        after = app_secret or before[0], verify_token or before[1]
        if after == before:
            (listed,) = [one for one in await list_apps(conn) if one.id == app.id]
            until = listed.old_until
        else:
            sealed = keys.encrypt(after[0], secret), keys.encrypt(after[1], token)
            until = await rotate_app(conn, app.id, *sealed, keep)
    return {"app_id": app.id, "name": name, "old_until": _told(until)}


async def app_delete(env: Environment, name: str) -> dict[str, Any]:
    async with as_owner(env) as conn:
        app_id = await app_named(conn, name)
        chatbots = await chatbots_of_app(conn, app_id)
        if chatbots:
            raise Refused(
                f"chatbots are on app {name}, and nobody would hear their customers:"
                f" {', '.join(map(str, chatbots))}"
            )
        try:
            await delete_app(conn, app_id)
        except asyncpg.ForeignKeyViolationError:
            raise Refused(f"a tenant or a chatbot is on app {name}") from None
    return {"app_id": app_id, "name": name}


async def app_named(conn: Conn, name: str) -> AppId:
    """Raises Refused."""
    app_id = await find_app(conn, name)
    if app_id is None:
        raise no_app(name)
    return app_id


def no_app(name: str) -> Refused:
    return Refused(f"there is no app {name}: see `swiftreplies app list`")
