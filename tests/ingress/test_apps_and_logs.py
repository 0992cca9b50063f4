"""An app's webhooks from the path to the record, with the log in RabbitMQ and in PostgreSQL."""

from typing import Any

import pytest

from db.pool import Conn, Pool
from handlers.ingest.recording import record_batch
from local.servers.rabbitmq import RabbitMQ
from tests.conftest import Database
from tests.factories import Tenant, make_tenant
from tests.ingress import door, messages
from tests.ingress.test_apps import KEY, make_app
from tests.recording import DEBOUNCE, parked, recorded, wrote
from tests.unit.payloads import change, value, webhook


async def bodies_of(log: str, broker: RabbitMQ, owner: Conn) -> list[bytes]:
    if log == "postgres":
        return [row["body"] for row in await owner.fetch("SELECT body FROM ingest_entries")]
    found = await messages(broker.url)
    return [message.body for lane in found.values() for message in lane]


def said(tenant: Tenant, wamid: str) -> Any:
    return webhook(
        change(value(tenant.phone_number_id, tenant.number, messages=[wrote(wamid)])),
    )


@pytest.mark.parametrize("log", ["rabbitmq", "postgres"])
async def test_a_path_speaks_for_its_own_numbers_only(
    broker: RabbitMQ, database: Database, owner: Conn, pool: Pool, log: str
) -> None:
    ours, theirs, own = [await make_tenant(owner) for _ in range(3)]
    for tenant, name in ((ours, "shop"), (theirs, "cafe")):
        app_id = await make_app(owner, name)
        await owner.execute(
            "UPDATE chatbots SET app_id = $2 WHERE id = $1", tenant.chatbot_id, app_id
        )
    log_url = database.log_url if log == "postgres" else broker.url
    async with door(log_url, database.runtime_url, secrets_key=KEY) as opened:
        await opened.ready()
        for name in ("shop", "cafe", ""):
            how = {"app": name, "secret": f"secret of {name}"} if name else {}
            for tenant in (ours, theirs, own):
                wamid = f"{name} of {tenant.user_id}"
                assert (await opened.post(said(tenant, wamid), **how)).status == 200
    bodies = await bodies_of(log, broker, owner)
    assert len(bodies) == 9
    await record_batch(pool, bodies, DEBOUNCE)
    for tenant, name in ((ours, "shop"), (theirs, "cafe"), (own, "")):
        assert await recorded(owner, tenant) == [f"{name} of {tenant.user_id}"]
    assert [row["reason"] for row in await parked(owner)] == ["number_of_another_app"] * 6
