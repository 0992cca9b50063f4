"""The least that a handler can do for these calls of the API: aiohttp and an asyncpg pool as they
come, of the product's size, the product's statements in a transaction in which row-level security
sees the tenant, and JSON out. Whose call it is says a header, without a key; nothing is validated,
counted, logged or bounded.

    python -m bench.floors.calls PORT [trimmed]

DATABASE_URL. `trimmed`: the round trips that the product spares too are spared, which are that of
the tenant, which travels with the BEGIN, and that with which a pool resets what it is given back.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from aiohttp import web

from db.sql import load

POOL_SIZE = 8  # as the product's for its API
PAGE_BYTES = 256 * 1024
PEOPLE = load(str(Path(__file__).parents[2] / "db" / "people.py"))
ADMIT = "SELECT admit_contacts($1) AS entered"
dumps = partial(json.dumps, default=str)

Work = Callable[[Any, int, web.Request], Awaitable[Any]]


async def read(conn: Any, user: int, request: web.Request) -> Any:
    return dict(await conn.fetchrow(PEOPLE["read_person"], user, int(request.match_info["id"])))


async def page(conn: Any, user: int, request: web.Request) -> Any:
    before, limit = 2**62, int(request.query["limit"])
    rows = await conn.fetch(PEOPLE["list_people"], user, before, limit, PAGE_BYTES)
    return {"data": [dict(row) for row in rows]}


async def create(conn: Any, user: int, request: web.Request) -> Any:
    given = await request.json()
    number, name = given["phone_number"], given["name"]
    await conn.fetch(PEOPLE["people_with_number"], user, [number])
    values: tuple[Any, ...] = (number, name, None, [], "{}", "active", None)
    made = await conn.fetchval(PEOPLE["create_person"], user, *values)
    await conn.fetch(ADMIT, user)
    await conn.fetchrow(PEOPLE["room"], user, made)
    await conn.fetchval(PEOPLE["wanted_of_contacts"], user, "contact.created")
    return dict(await conn.fetchrow(PEOPLE["read_person"], user, made))


async def change(conn: Any, user: int, request: web.Request) -> Any:
    given, contact = await request.json(), int(request.match_info["id"])
    await conn.fetchval(PEOPLE["lock_person"], user, contact)
    was = await conn.fetchrow(PEOPLE["read_person"], user, contact)
    values = (was["name"], was["language"], was["tags"], json.dumps(given["custom_fields"]))
    more = (was["contact_status"], was["conversation_paused"], False)
    await conn.execute(PEOPLE["change_person"], user, contact, *values, *more)
    await conn.fetchval(PEOPLE["wanted_of_contacts"], user, "contact.updated")
    return dict(await conn.fetchrow(PEOPLE["read_person"], user, contact))


@asynccontextmanager
async def of_tenant(pool: Any, user: int) -> AsyncIterator[Any]:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT set_config('app.user_id', $1, true)", str(user))
        yield conn


@asynccontextmanager
async def of_tenant_trimmed(pool: Any, user: int) -> AsyncIterator[Any]:
    async with pool.acquire() as conn:
        await conn.execute(f"BEGIN; SELECT set_config('app.user_id', '{user}', true)")
        yield conn
        await conn.execute("COMMIT")


async def application(*, trimmed: bool) -> web.Application:
    settings = {"role": "swiftreplies_app", "plan_cache_mode": "force_generic_plan"}
    pool = await asyncpg.create_pool(
        os.environ["DATABASE_URL"],
        min_size=0,
        max_size=POOL_SIZE,
        server_settings={**settings, "search_path": "public"},
        reset=_nothing_to_reset if trimmed else None,
    )
    transaction = of_tenant_trimmed if trimmed else of_tenant

    def handler(work: Work, status: int = 200) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            user = int(request.headers["X-Tenant"])
            async with transaction(pool, user) as conn:
                answer = await work(conn, user, request)
            return web.json_response(answer, status=status, dumps=dumps)

        return handle

    app = web.Application()
    app.add_routes(
        [
            web.get("/v1/contacts/{id}", handler(read)),
            web.get("/v1/contacts", handler(page)),
            web.post("/v1/contacts", handler(create, 201)),
            web.patch("/v1/contacts/{id}", handler(change)),
            web.get("/readyz", _ready),
        ]
    )
    return app


async def _nothing_to_reset(_: Any) -> None:
    """Nothing is ever set on a session."""


async def _ready(_: web.Request) -> web.Response:
    return web.Response(text="ready")


async def main() -> None:
    runner = web.AppRunner(await application(trimmed="trimmed" in sys.argv), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
