"""POST and GET /webhooks/whatsapp with a broker that works."""

import asyncio
import base64
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pytest

from db.pool import Conn
from handlers.ingest.envelope import Envelope, lane_of
from handlers.ingest_log.port import LANES
from handlers.whatsapp.cloud_api.signature import sign
from handlers.whatsapp.cloud_api.wire import split
from ingress.doorkeeper import MAX_BODY_BYTES
from local.servers.rabbitmq import RabbitMQ
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import make_tenant
from tests.ingress import (
    DEAD_DATABASE,
    OLD_SECRET,
    QUEUES,
    SECRET,
    VERIFY_TOKEN,
    Door,
    door,
    messages,
    taken,
)
from tests.unit import payloads
from tests.unit.payloads import change, contact, status, text, value, webhook


@pytest.fixture
async def broker(rabbitmq_server: RabbitMQ) -> RabbitMQ:
    """With empty queues: to look whether they are costs less than to purge them."""
    await messages(rabbitmq_server.url)
    return rabbitmq_server


@pytest.fixture(scope="module")
async def ingress(rabbitmq_server: RabbitMQ) -> AsyncIterator[Door]:
    """Without a database, which it does not need."""
    async with door(rabbitmq_server.url) as opened:
        await opened.ready()
        yield opened
    await messages(rabbitmq_server.url)


@pytest.fixture
async def knowing(broker: RabbitMQ, database: Database) -> AsyncIterator[Door]:
    """With a database in which it looks numbers up."""
    async with door(broker.url, database.runtime_url) as opened:
        await opened.ready()
        yield opened


def handshake(**changes: str | None) -> dict[str, str]:
    query: dict[str, str | None] = {
        "hub.mode": "subscribe",
        "hub.verify_token": VERIFY_TOKEN,
        "hub.challenge": "1158201444",
        **{f"hub.{name}": value for name, value in changes.items()},
    }
    return {name: value for name, value in query.items() if value is not None}


async def other(broker: RabbitMQ) -> Envelope:
    """The only thing there is, in wa.other."""
    found = await taken(broker.url)
    assert list(found) == ["other"]
    (envelope,) = found["other"]
    return envelope


# ---- the handshake -----------------------------------------------------------------------------


@pytest.mark.parametrize("challenge", ["1158201444", "a.B_c-9", "x" * 256])
async def test_the_challenge_comes_back(ingress: Door, challenge: str) -> None:
    answer = await ingress.get("/webhooks/whatsapp", **handshake(challenge=challenge))
    assert (answer.status, answer.text) == (200, challenge)
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"verify_token": "guessed"}, 403),
        ({"verify_token": VERIFY_TOKEN + " "}, 403),
        ({"verify_token": VERIFY_TOKEN.upper()}, 403),
        ({"verify_token": ""}, 403),
        ({"verify_token": None}, 403),
        ({"verify_token": "caf\u00e9"}, 403),
        ({"mode": "unsubscribe"}, 403),
        ({"mode": None}, 403),
        ({"challenge": None}, 400),
        ({"challenge": ""}, 400),
        ({"challenge": "<script>"}, 400),
        ({"challenge": "a b"}, 400),
        ({"challenge": "1\n"}, 400),
        ({"challenge": "x" * 257}, 400),
    ],
)
async def test_any_other_handshake_is_refused(
    ingress: Door, changes: dict[str, str | None], expected: int
) -> None:
    answer = await ingress.get("/webhooks/whatsapp", **handshake(**changes))
    assert answer.status == expected
    assert "<script>" not in answer.text
    assert VERIFY_TOKEN not in answer.text


# ---- signatures --------------------------------------------------------------------------------


async def test_what_is_not_signed_is_refused_and_leaves_nothing(
    ingress: Door, broker: RabbitMQ
) -> None:
    body = json.dumps(payloads.TEXT).encode()
    good = sign(body, SECRET)
    for signature in (
        None,
        "",
        sign(body, "guessed"),
        sign(body + b" ", SECRET),
        good.upper(),
        "sha256=" + good[7:].upper(),
        good[:-1],
        good[7:],
        good.replace("sha256", "sha1"),
        good + "00",
    ):
        answer = await ingress.send(body, signature)
        assert answer.status == 401, signature
        assert SECRET not in answer.text
    assert await taken(broker.url) == {}


async def test_both_secrets_count_while_they_are_rotated(ingress: Door, broker: RabbitMQ) -> None:
    for secret in (SECRET, OLD_SECRET):
        assert (await ingress.post(payloads.TEXT, secret=secret)).status == 200
    assert (await ingress.post(payloads.TEXT, secret="older")).status == 401
    assert sum(len(v) for v in (await taken(broker.url)).values()) == 2


async def test_the_signature_is_of_the_raw_bytes(ingress: Door, broker: RabbitMQ) -> None:
    escaped = json.dumps(payloads.TEXT).replace("@", "\\u0040").replace("/", "\\/").encode()
    assert (await ingress.post(escaped)).status == 200
    assert len(await taken(broker.url)) == 1


# ---- sizes -------------------------------------------------------------------------------------


def sized(size: int) -> bytes:
    head, tail = b'{"object":"whatsapp_business_account","pad":"', b'","entry":[{"id":"1"}]}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]


async def test_four_mib_are_taken(ingress: Door, broker: RabbitMQ) -> None:
    body = sized(MAX_BODY_BYTES)
    assert len(body) == 4 * 1024 * 1024
    assert (await ingress.post(body)).status == 200
    assert (await ingress.send(pieces(body), sign(body, SECRET))).status == 200
    found = await taken(broker.url)
    assert [len(found["other"]), len(found)] == [2, 1]


@pytest.mark.parametrize("extra", [1, 3 * 1024 * 1024])
async def test_more_is_too_large(ingress: Door, broker: RabbitMQ, extra: int) -> None:
    body = sized(MAX_BODY_BYTES + extra)
    for data in (body, pieces(body)):
        answer = await ingress.send(data, sign(body, SECRET))
        assert answer.status == 413
        assert "4 MiB" in answer.text
    assert await taken(broker.url) == {}
    assert 'swiftreplies_webhooks_total{status="413"}' in (await ingress.get("/metrics")).text


async def test_a_body_that_stops_short_is_no_webhook(ingress: Door, broker: RabbitMQ) -> None:
    parts = urlsplit(ingress.url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    body = json.dumps(payloads.TEXT).encode()
    writer.write(
        b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
        b"X-Hub-Signature-256: %s\r\n\r\n" % (len(body), sign(body, SECRET).encode())
    )
    writer.write(body[:-5])
    await writer.drain()
    writer.close()
    assert (await ingress.post(payloads.ACCOUNT_UPDATE)).status == 200
    assert [u.field for u in (await other(broker)).updates] == ["account_update"]


# ---- what nobody understands -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "not_json"),
        (b"hello", "not_json"),
        (b"\xff\xfe\x00", "not_json"),
        (b"{", "not_json"),
        (b'{"object":"whatsapp_business_account","entry":[]} trailing', "not_json"),
        (b"[" * 100_000 + b"]" * 100_000, "not_json"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "not_json"),
        (b"9" * 10_000, "not_json"),
        (b"null", "not_whatsapp"),
        (b"[]", "not_whatsapp"),
        (b'"whatsapp_business_account"', "not_whatsapp"),
        (b'{"object":"page","entry":[]}', "not_whatsapp"),
        (b'{"entry":[]}', "not_whatsapp"),
    ],
)
async def test_a_signed_body_that_is_no_webhook_is_kept(
    ingress: Door, broker: RabbitMQ, body: bytes, field: str
) -> None:
    assert (await ingress.post(body)).status == 200
    (update,) = (await other(broker)).updates
    assert (update.kind, update.field) == ("other", field)
    if field == "not_json":
        assert base64.b64decode(update.raw["base64"]) == body
    else:
        assert update.raw == json.loads(body)


@pytest.mark.parametrize("depth", [100, 300, 400, 500, 600, 700, 750, 800, 850, 900, 950, 1_000])
async def test_nesting_of_any_depth_is_kept(ingress: Door, broker: RabbitMQ, depth: int) -> None:
    item = "[" * depth + "]" * depth
    body = json.dumps(webhook(change(value(messages=["HERE"])))).replace('"HERE"', item).encode()
    assert (await ingress.post(body)).status == 200
    found = await taken(broker.url)
    assert sum(len(e.updates) for envelopes in found.values() for e in envelopes) == 1


@pytest.mark.parametrize(
    "pnid", ["a\0b", "\ud83c", "x" * 100_000, "'; DROP TABLE users; --", "\u202e"]
)
async def test_any_text_may_be_a_phone_number_id(
    knowing: Door, broker: RabbitMQ, pnid: str
) -> None:
    payload = webhook(change(value(pnid, pnid, messages=[text()])))
    assert (await knowing.post(payload)).status == 200
    assert len(await taken(broker.url)) == 1

    async def ready() -> Any:
        # Each asks the database again: on a loaded machine one may come too late for its 0.25 s.
        assert (await knowing.post(payload)).status == 200
        return json.loads((await knowing.get("/readyz")).text)

    await until(ready, lambda a: a == {"status": "ready", "reasons": {}, "degraded": {}})


@pytest.mark.parametrize("entry", [[], None, {}, [None], [{"changes": [None]}], [[]], 5])
async def test_odd_envelopes_are_answered(ingress: Door, entry: Any) -> None:
    body = {"object": "whatsapp_business_account", "entry": entry}
    assert (await ingress.post(body)).status == 200


# ---- into the right lanes ----------------------------------------------------------------------


async def test_a_thousand_updates_of_several_numbers(ingress: Door, broker: RabbitMQ) -> None:
    customers = [f"US.{n}" for n in range(40)]
    sent: dict[tuple[str, str], list[str]] = defaultdict(list)
    changes: list[Any] = []
    for block in range(50):
        pnid = f"5091{block % 3}"
        items: list[Any] = []
        for n in range(12):
            who = customers[(block * 7 + n) % len(customers)]
            wamid = f"wamid.{block}.{n}"
            items.append(text(from_user_id=who, id=wamid))
            sent[pnid, who].append(wamid)
        statuses = [status("delivered", block * 10 + n) for n in range(7)]
        changes.append(change(value(pnid, "1202555", messages=items, statuses=statuses)))
        changes.append(change({"event": block}, "account_update"))
    payload = webhook(*changes)
    answer = await ingress.post(payload)
    assert answer.status == 200
    assert answer.seconds < 2

    found = await taken(broker.url)
    kinds = Counter(u.kind for es in found.values() for e in es for u in e.updates)
    assert kinds == {"message": 600, "status": 350, "other": 50}
    got: dict[tuple[str, str], list[str]] = defaultdict(list)
    for lane, envelopes in found.items():
        assert len(envelopes) == 1  # one entry a lane, so one confirm
        for update in envelopes[0].updates:
            assert lane_of(update) == lane
            if update.kind == "message":
                got[update.phone_number_id or "", update.customer].append(update.raw["id"])
    assert got == sent
    assert [u.raw["id"] for u in found["status"][0].updates] == [
        f"wamid.OURS{block * 10 + n}" for block in range(50) for n in range(7)
    ]
    assert len({e.trace_id for es in found.values() for e in es}) == 1


async def test_posts_at_once_do_not_mix(ingress: Door, broker: RabbitMQ) -> None:
    posts = [
        webhook(change(value(messages=[text(id=f"wamid.{n}", from_user_id=f"US.{n}")])))
        for n in range(100)
    ]
    answers = await asyncio.gather(*(ingress.post(p) for p in posts))
    assert {a.status for a in answers} == {200}
    found = await taken(broker.url)
    updates = [u for es in found.values() for e in es for u in e.updates]
    assert Counter(u.raw["id"] for u in updates) == Counter(f"wamid.{n}" for n in range(100))


async def test_posts_one_after_the_other_stay_in_order(ingress: Door, broker: RabbitMQ) -> None:
    for n in range(30):
        payload = webhook(change(value(contacts=[contact()], messages=[text(n)])))
        assert (await ingress.post(payload)).status == 200
    (envelopes,) = (await taken(broker.url, *LANES)).values()
    ids = [u.raw["id"] for e in envelopes for u in e.updates]
    assert ids == [f"wamid.ADA{n}" for n in range(30)]


async def test_known_numbers_carry_their_tenant_and_others_go_too(
    knowing: Door, broker: RabbitMQ, owner: Conn
) -> None:
    one, two = await make_tenant(owner), await make_tenant(owner, phone_number_id=None)
    changes = [
        change(value(one.phone_number_id, one.number, messages=[text(1)])),
        change(value("5550001", two.number, messages=[text(2)])),
        change(value("5550002", "49155500000", messages=[text(3)])),
    ]
    for payload in (webhook(*changes), *(webhook(c) for c in changes)):
        assert (await knowing.post(payload)).status == 200
    found = [e for es in (await taken(broker.url)).values() for e in es]
    assert sum(len(e.updates) for e in found) == 6
    tenants = {k: v for e in found for k, v in e.tenants.items()}
    assert tenants == {one.phone_number_id: one.user_id, "5550001": two.user_id}
    # To look is not to bind.
    assert (
        await owner.fetchval("SELECT count(*) FROM chatbots WHERE phone_number_id = '5550001'") == 0
    )


async def test_a_new_number_is_known_at_once(knowing: Door, broker: RabbitMQ, owner: Conn) -> None:
    def post(pnid: str) -> Any:
        return knowing.post(webhook(change(value(pnid, "1202", messages=[text()]))))

    await post("5559999")
    tenant = await make_tenant(owner, phone_number_id="5559999")
    await post("5559999")
    (envelopes,) = (await taken(broker.url)).values()
    assert [e.tenants for e in envelopes] == [{}, {"5559999": tenant.user_id}]


async def test_it_is_durable_and_addressed(ingress: Door, broker: RabbitMQ) -> None:
    await ingress.post(payloads.TEXT)
    await ingress.post(payloads.TEXT)
    (published,) = (await messages(broker.url)).values()
    assert len({message.message_id for message in published}) == 2  # whatever they contain
    for message in published:
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        assert message.type == "wa.updates.v1"
        assert message.content_type == "application/json"


# ---- a lane that is missing --------------------------------------------------------------------


async def test_a_lane_without_a_queue_is_not_durable(ingress: Door, broker: RabbitMQ) -> None:
    lane = lane_of(split(payloads.TEXT)[0])
    connection = await aio_pika.connect(broker.url)
    async with connection, connection.channel() as channel:
        queue = await channel.get_queue(QUEUES[lane], ensure=False)
        await queue.unbind("wa.in", routing_key=lane)
        try:
            answer = await ingress.post(payloads.TEXT)
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            assert "returned" in answer.text
            batch = await ingress.post(
                webhook(
                    *payloads.TEXT["entry"][0]["changes"], change({"event": 1}, "account_update")
                )
            )
            assert batch.status == 503
            assert (await ingress.post(payloads.ACCOUNT_UPDATE)).status == 200
        finally:
            await queue.bind("wa.in", routing_key=lane)
    assert (await ingress.post(payloads.TEXT)).status == 200
    assert len((await taken(broker.url))[lane]) == 1


# ---- without PostgreSQL ------------------------------------------------------------------------


async def test_durable_and_quick_while_postgresql_is_away(broker: RabbitMQ) -> None:
    async with door(broker.url, DEAD_DATABASE) as opened:
        await opened.ready()
        first = await opened.post(payloads.TEXT)
        assert (first.status, first.seconds < 1) == (200, True)
        ready = await opened.get("/readyz")
        assert ready.status == 200
        assert json.loads(ready.text)["degraded"] == {"postgresql": "not reachable"}
        rest = [await opened.post(payloads.TEXT) for _ in range(20)]
        assert {a.status for a in rest} == {200}
        assert sum(a.seconds for a in rest) < 2
    assert sum(len(v) for v in (await taken(broker.url)).values()) == 21


async def test_a_database_that_accepts_and_is_silent_costs_little(broker: RabbitMQ) -> None:
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with door(broker.url, f"postgresql://u:p@127.0.0.1:{port}/d") as opened:
        await opened.ready()
        answers = await asyncio.gather(*(opened.post(payloads.TEXT) for _ in range(20)))
        assert {a.status for a in answers} == {200}
        assert max(a.seconds for a in answers) < 1
        again = await opened.post(payloads.TEXT)
        assert again.seconds < 0.25
    silent.close()
    for writer in held:
        writer.close()


@pytest.mark.parametrize("wrong", ["password", "database", "schema"])
async def test_a_database_that_refuses_does_not_cost_a_webhook(
    broker: RabbitMQ, database: Database, owner: Conn, wrong: str
) -> None:
    url = database.runtime_url
    match wrong:
        case "password":
            url = url.replace(":runtime@", ":not-it@")
        case "database":
            url = url.replace(database.name, "no_such_database")
        case _:
            await owner.execute("DROP FUNCTION resolve_number(text, text, boolean)")
    async with door(broker.url, url) as opened:
        await opened.ready()
        assert (await opened.post(payloads.TEXT)).status == 200
        assert json.loads((await opened.get("/readyz")).text)["degraded"]
    assert len(await taken(broker.url)) == 1


async def test_postgresql_is_found_again(broker: RabbitMQ, database: Database, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    payload = webhook(change(value(tenant.phone_number_id, tenant.number, messages=[text()])))
    await owner.execute("ALTER FUNCTION resolve_number(text, text, boolean) RENAME TO hidden")
    async with door(broker.url, database.runtime_url) as opened:
        await opened.ready()
        assert (await opened.post(payload)).status == 200
        await owner.execute("ALTER FUNCTION hidden(text, text, boolean) RENAME TO resolve_number")

        async def known() -> bool:
            assert (await opened.post(payload)).status == 200
            (envelopes,) = (await taken(broker.url)).values()
            return envelopes[-1].tenants == {tenant.phone_number_id: tenant.user_id}

        await until(known, bool, 10)


# ---- probes ------------------------------------------------------------------------------------


async def test_probes_and_metrics(knowing: Door) -> None:
    assert json.loads((await knowing.get("/healthz")).text) == {"status": "ok"}
    ready = await knowing.get("/readyz")
    assert json.loads(ready.text) == {"status": "ready", "reasons": {}, "degraded": {}}

    async def count(name: str) -> float:
        for line in (await knowing.get("/metrics")).text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0.0

    names = (
        'swiftreplies_webhooks_total{status="200"}',
        'swiftreplies_webhooks_total{status="401"}',
        'swiftreplies_updates_published_total{kind="message"}',
        "swiftreplies_publish_confirm_seconds_count",
    )
    before = [await count(n) for n in names]
    await knowing.post(payloads.TEXT)
    await knowing.post(payloads.TEXT, signature=None)
    after = [await count(n) for n in names]
    assert [a - b for a, b in zip(after, before, strict=True)] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/", 404), ("POST", "/webhooks", 404), ("PUT", "/webhooks/whatsapp", 405)],
)
async def test_there_is_nothing_else(ingress: Door, method: str, path: str, expected: int) -> None:
    async with ingress.http.request(method, ingress.url + path) as response:
        assert response.status == expected
