"""/webhooks/whatsapp/{app}: an app's own path, secrets and verify token."""

import asyncio
from datetime import timedelta

import pytest

from db.apps import create_app, next_app_id, rotate_app
from db.ids import AppId
from db.pool import Conn
from handlers.process.secrets import Vault, app_secret_of, verify_token_of
from ingress.apps import BELIEVED_S
from local.servers.postgres import Postgres
from local.servers.rabbitmq import RabbitMQ
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.ingress import SECRET, VERIFY_TOKEN, Door, door, taken
from tests.unit import payloads
from tests.wire import Between, between

KEY = "a key of sixteen characters or more"
DAY = timedelta(days=1)


def sealed(app_id: AppId, secret: str, token: str) -> tuple[str, str]:
    vault = Vault((KEY,))
    return (
        vault.encrypt(secret, app_secret_of(app_id)),
        vault.encrypt(token, verify_token_of(app_id)),
    )


async def make_app(owner: Conn, name: str = "shop") -> AppId:
    """Its secret and its token are of its name."""
    app_id = await next_app_id(owner)
    await create_app(owner, app_id, name, *sealed(app_id, f"secret of {name}", f"token of {name}"))
    return app_id


async def handshake(opened: Door, path: str, token: str) -> int:
    query = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": "42"}
    return (await opened.get(f"/webhooks/whatsapp{path}", **query)).status


async def posted(opened: Door, app: str, secret: str) -> int:
    return (await opened.post(payloads.TEXT, app=app, secret=secret)).status


async def test_each_path_takes_its_own_secrets_only(
    broker: RabbitMQ, database: Database, owner: Conn
) -> None:
    app_id = await make_app(owner)
    await make_app(owner, "other")
    async with door(broker.url, database.runtime_url, secrets_key=KEY) as opened:
        await opened.ready()
        assert await posted(opened, "shop", "secret of shop") == 200
        for wrong in (SECRET, "secret of other"):
            assert await posted(opened, "shop", wrong) == 401
        assert await posted(opened, "", "secret of shop") == 401
        assert await posted(opened, "", SECRET) == 200
        assert await handshake(opened, "/shop", "token of shop") == 200
        for wrong in (VERIFY_TOKEN, "token of other", ""):
            assert await handshake(opened, "/shop", wrong) == 403
        assert await handshake(opened, "", "token of shop") == 403
    envelopes = [one for group in (await taken(broker.url)).values() for one in group]
    assert sorted(str(one.app_id) for one in envelopes) == sorted([str(app_id), "None"])


async def test_an_app_is_there_at_once_and_what_is_none_is_404(
    broker: RabbitMQ, database: Database, owner: Conn
) -> None:
    async with door(broker.url, database.runtime_url, secrets_key=KEY) as opened:
        await opened.ready()
        assert await posted(opened, "shop", "secret of shop") == 404
        assert await handshake(opened, "/shop", "token of shop") == 404
        await make_app(owner)
        assert await posted(opened, "shop", "secret of shop") == 200
        for name in ("Shop", "sh%6fp/x", "nothing", "%00", "a" * 5_000):
            assert await posted(opened, name, "secret of shop") == 404, name
        assert await handshake(opened, "/shop", "token of shop") == 200


async def test_a_rotation_takes_both_and_ends(
    broker: RabbitMQ, database: Database, owner: Conn
) -> None:
    app_id = await make_app(owner)
    async with door(broker.url, database.runtime_url, secrets_key=KEY) as opened:
        await opened.ready()
        assert await posted(opened, "shop", "secret of shop") == 200
        await rotate_app(owner, app_id, *sealed(app_id, "new", "new token"), DAY)

        async def takes() -> tuple[int, int]:
            return (
                await posted(opened, "shop", "new"),
                await posted(opened, "shop", "secret of shop"),
            )

        await until(takes, lambda statuses: statuses == (200, 200), 20)
        assert await handshake(opened, "/shop", "token of shop") == 200
        assert await handshake(opened, "/shop", "new token") == 200
        await owner.execute("UPDATE apps SET old_until = now()")
        await until(takes, lambda statuses: statuses == (200, 401), 20)
        assert await handshake(opened, "/shop", "token of shop") == 403


async def test_known_apps_are_believed_while_postgresql_is_away(
    broker: RabbitMQ, postgres_server: Postgres, database: Database, owner: Conn
) -> None:
    await make_app(owner)
    wire = Between(postgres_server)
    async with (
        between(wire),
        door(broker.url, wire.url(database.runtime_url), secrets_key=KEY) as opened,
    ):
        await opened.ready()
        assert await posted(opened, "shop", "secret of shop") == 200
        assert await posted(opened, "nothing", "x") == 404
        await make_app(owner, "later")
        wire.silent = True
        for line in [*wire.lines]:
            line.cancel()
        # What was read counts for 5 s; then it is asked for again, and nobody answers.
        loop = asyncio.get_running_loop()
        read_at = loop.time()
        while loop.time() < read_at + BELIEVED_S + 0.5:
            assert await posted(opened, "shop", "secret of shop") == 200
            await asyncio.sleep(0.1)
        assert await posted(opened, "shop", "secret of shop") == 200
        assert await posted(opened, "shop", "another") == 401
        # Whether there are such is not known now.
        for name in ("later", "nothing"):
            assert await posted(opened, name, "secret of later") == 503, name
            assert await handshake(opened, f"/{name}", "token of later") == 503
        assert await posted(opened, "", SECRET) == 200
        wire.silent = False
        for line in [*wire.lines]:
            line.cancel()

        async def found() -> int:
            return await posted(opened, "later", "secret of later")

        async def stranger() -> int:
            return await posted(opened, "nothing", "x")

        await until(found, lambda status: status == 200, 20)
        await until(stranger, lambda status: status == 404, 20)


@pytest.mark.parametrize("keys", [(), ("another key of sixteen characters",)])
async def test_secrets_that_no_key_opens_are_no_404(
    broker: RabbitMQ, database: Database, owner: Conn, keys: tuple[str, ...]
) -> None:
    """Meta comes again, until the key is there; the environment's app needs none."""
    await make_app(owner)
    async with door(broker.url, database.runtime_url, secrets_key=keys) as opened:
        await opened.ready()
        assert await posted(opened, "shop", "secret of shop") == 503
        assert await posted(opened, "nothing", "x") == 404
        assert await posted(opened, "", SECRET) == 200


async def test_a_flood_of_names_costs_the_database_few_looks(
    broker: RabbitMQ, database: Database, owner: Conn
) -> None:
    await make_app(owner)
    count = "SELECT calls FROM watched"
    await owner.execute(
        "CREATE TABLE watched (calls int); INSERT INTO watched VALUES (0);"
        "CREATE FUNCTION seen() RETURNS boolean LANGUAGE sql SECURITY DEFINER AS"
        " 'UPDATE watched SET calls = calls + 1; SELECT true';"
        "ALTER TABLE apps RENAME TO hidden; GRANT SELECT ON hidden TO swiftreplies_app;"
        "CREATE VIEW apps WITH (security_invoker) AS"
        " SELECT h.* FROM (SELECT seen() AS s OFFSET 0) s, hidden h WHERE s.s;"
        "GRANT SELECT ON apps TO swiftreplies_app"
    )
    async with door(broker.url, database.runtime_url, secrets_key=KEY) as opened:
        await opened.ready()
        assert await posted(opened, "shop", "secret of shop") == 200
        before = await owner.fetchval(count)
        flood = (posted(opened, f"name-{n}", "x") for n in range(200))
        assert set(await asyncio.gather(*flood)) == {404}
        assert await owner.fetchval(count) - before < 50
