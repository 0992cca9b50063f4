"""What a tenant names is a claim: it is nobody's until the chatbot's own token has read it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from db.claims import DueProof, claim_proofs
from db.pool import Conn, Pool, tenant
from handlers.claims import LEASE, prove_due
from handlers.ingest.others import take_others
from handlers.ingest.recording import record_batch
from handlers.ingest.retry import retry_stuck
from handlers.process.secrets import Vault
from handlers.process.sweeps import Sweep
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from simulator.app import create_app
from simulator.client import Simulator
from simulator.settings import ACCOUNT_ID
from tests.api import Answer, Client, make_open_conversation
from tests.api.conftest import Connect
from tests.factories import Tenant, make_tenant
from tests.ingress import SECRETS_KEY
from tests.recording import DEBOUNCE, body, recorded, wrote
from tests.unit.payloads import change, value

NUMBER, ID, TOKEN = "+12025550777", "409877700001", "token-of-the-number"
OTHER_NUMBER, OTHER_ID, OTHER_TOKEN = "+12025550888", "409888800001", "token-of-another"
NAMED = {"whatsapp_phone_number": NUMBER, "phone_number_id": ID, "access_token": TOKEN}
VAULT = Vault((SECRETS_KEY,))


@dataclass(frozen=True, slots=True)
class Prover:
    """What the scheduler has."""

    pool: Pool
    graph: GraphApi

    async def look(self) -> None:
        await prove_due(self.pool, self.graph, VAULT, Sweep("claim"))


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def prover_at(pool: Pool, url: str) -> AsyncIterator[Prover]:
    async with aiohttp.ClientSession() as http:
        yield Prover(pool, GraphApi(http, url, "v25.0"))


@pytest.fixture
async def prover(pool: Pool) -> AsyncIterator[Prover]:
    """Beside Meta, which knows two numbers."""
    numbers = [
        {
            "phone_number_id": i,
            "display_phone_number": n.lstrip("+"),
            "token": t,
            "account_id": account,
        }
        for n, i, t, account in (
            (NUMBER, ID, TOKEN, ACCOUNT_ID),
            (OTHER_NUMBER, OTHER_ID, OTHER_TOKEN, "330099"),
        )
    ]
    async with served(create_app()) as url, Simulator(url) as simulator:
        await simulator.config(numbers=numbers)
        async with prover_at(pool, url) as prover:
            yield prover


async def made(client: Client, **named: Any) -> Any:
    answer = await client.post("/chatbots", {"name": "Bot"} | named)
    assert answer.status == 201, answer
    return answer.json


async def shown(client: Client, chatbot: Any) -> Any:
    return (await client.get(f"/chatbots/{chatbot['id']}")).json


async def somebody_waits_for_a_lock(owner: Conn) -> None:
    async with asyncio.timeout(20):
        while not await owner.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock')"
        ):
            await owner.execute("SELECT pg_stat_clear_snapshot()")
            await asyncio.sleep(0.02)


async def due_now(owner: Conn) -> None:
    await owner.execute("UPDATE chatbots SET proof_due_at = now() WHERE proof_due_at IS NOT NULL")


def came(wamid: str, number: str = NUMBER, phone_number_id: str = ID) -> bytes:
    return body(change(value(phone_number_id, number.lstrip("+"), messages=[wrote(wamid)])))


# ---- proven --------------------------------------------------------------------------------------


async def test_a_number_is_proven_by_the_chatbot_s_own_token(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, prover: Prover
) -> None:
    chatbot = await made(client, **NAMED)
    assert chatbot["number_confirmed_at"] is None
    assert chatbot["unproven"] == ["whatsapp_phone_number", "phone_number_id"]
    assert (chatbot["whatsapp_phone_number"], chatbot["phone_number_id"]) == (NUMBER, ID)
    await record_batch(pool, [came("early 1"), came("early 2")], DEBOUNCE)
    assert await recorded(owner, ours) == [], "nobody's until it is proven"
    await prover.look()
    proven = await shown(client, chatbot)
    assert proven["number_confirmed_at"] is not None
    assert (proven["unproven"], proven["number_problem"]) == ([], None)
    assert (proven["whatsapp_phone_number"], proven["phone_number_id"]) == (NUMBER, ID)
    assert proven["updated_at"] > chatbot["updated_at"]
    # What came before is tried again by itself, in its order.
    await retry_stuck(pool, DEBOUNCE, Sweep("stuck"))
    assert await recorded(owner, ours) == ["early 1", "early 2"]
    assert await owner.fetchval("SELECT count(*) FROM parked_items") == 0
    await record_batch(pool, [came("late")], DEBOUNCE)
    assert (await recorded(owner, ours))[-1] == "late"
    # Proven once, it is not asked about again.
    before = await shown(client, chatbot)
    await prover.look()
    assert await shown(client, chatbot) == before


async def test_what_is_being_parked_while_its_number_is_proven_comes_up_too(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, prover: Prover
) -> None:
    """Its batch has found that it is nobody's; by the time it is parked, it is somebody's."""
    await record_batch(pool, [came("in between")], DEBOUNCE)
    assert await owner.fetchval("SELECT count(*) FROM parked_items") == 1
    await owner.execute("CREATE TEMP TABLE held AS SELECT * FROM parked_items")
    await owner.execute("DELETE FROM parked_items")
    chatbot = await made(client, **NAMED)
    holding = owner.transaction()
    await holding.start()
    columns = "item_key, reason, kind, phone_number_id, raw"
    await owner.execute(f"INSERT INTO parked_items ({columns}) SELECT {columns} FROM held")
    parking = asyncio.create_task(record_batch(pool, [came("in between")], DEBOUNCE))
    await somebody_waits_for_a_lock(owner)
    await prover.look()
    assert (await shown(client, chatbot))["number_confirmed_at"] is not None
    await holding.rollback()
    await parking
    await owner.execute("DROP TABLE IF EXISTS held")
    await retry_stuck(pool, DEBOUNCE, Sweep("stuck"))
    assert await recorded(owner, ours) == ["in between"]
    assert await owner.fetchval("SELECT count(*) FROM parked_items") == 0


async def test_who_dies_before_all_that_waited_is_brought_up_is_followed(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, prover: Prover
) -> None:
    await made(client, **NAMED)
    await record_batch(pool, [came("early")], DEBOUNCE)
    await owner.execute("ALTER FUNCTION unpark(bigint, integer) RENAME TO hidden")
    try:
        await prover.look()
    finally:
        await owner.execute("ALTER FUNCTION hidden(bigint, integer) RENAME TO unpark")
    assert await owner.fetchval("SELECT count(*) FROM parked_items") == 1
    await due_now(owner)
    await prover.look()
    await retry_stuck(pool, DEBOUNCE, Sweep("stuck"))
    assert await recorded(owner, ours) == ["early"]
    assert await owner.fetchval("SELECT count(*) FROM chatbots WHERE proof_due_at IS NOT NULL") == 0


async def test_an_id_alone_brings_its_number(client: Client, prover: Prover) -> None:
    chatbot = await made(client, phone_number_id=ID, access_token=TOKEN)
    await prover.look()
    assert (await shown(client, chatbot))["whatsapp_phone_number"] == NUMBER


async def test_a_number_is_compared_as_it_is_dialled(client: Client, prover: Prover) -> None:
    chatbot = await made(client, **NAMED | {"whatsapp_phone_number": "+1 (202) 555-0777"})
    assert chatbot["whatsapp_phone_number"] == NUMBER
    await prover.look()
    assert (await shown(client, chatbot))["number_confirmed_at"] is not None


async def test_an_account_is_proven_by_itself(client: Client, prover: Prover, owner: Conn) -> None:
    chatbot = await made(client, **NAMED, waba_id=ACCOUNT_ID)
    assert chatbot["unproven"][-1] == "waba_id"
    wrong = await made(client, waba_id="33000", access_token=TOKEN)
    await prover.look()
    assert (await shown(client, chatbot))["unproven"] == []
    refused = await shown(client, wrong)
    assert (refused["waba_id"], refused["unproven"]) == ("33000", ["waba_id"])
    assert "waba_id" in refused["number_problem"]
    rows = await owner.fetch("SELECT waba_id FROM chatbots WHERE waba_id IS NOT NULL")
    assert [row["waba_id"] for row in rows] == [ACCOUNT_ID]


# ---- not proven ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"access_token": OTHER_TOKEN}, "Graph does not take the access_token"),
        ({"whatsapp_phone_number": OTHER_NUMBER}, "another number than whatsapp_phone_number"),
        ({"phone_number_id": OTHER_ID}, "Graph does not take the access_token"),
        ({"phone_number_id": "404"}, "Graph does not know phone_number_id"),
        ({"phone_number_id": ACCOUNT_ID}, "is of no phone number"),
        ({"phone_number_id": None}, "give phone_number_id as well"),
    ],
)
async def test_what_graph_denies_is_told_and_stays_a_claim(
    client: Client, prover: Prover, named: dict[str, Any], said: str
) -> None:
    chatbot = await made(client, **NAMED | named)
    await prover.look()
    told = await shown(client, chatbot)
    assert said in told["number_problem"]
    assert told["number_confirmed_at"] is None
    assert told["unproven"]
    # Mended, it is looked at again, whatever was mended.
    answer = await client.patch(f"/chatbots/{chatbot['id']}", NAMED)
    assert answer.json["number_problem"] is None
    await prover.look()
    assert (await shown(client, chatbot))["number_confirmed_at"] is not None


async def test_the_installation_s_token_proves_nothing(client: Client, prover: Prover) -> None:
    chatbot = await made(client, whatsapp_phone_number=NUMBER, phone_number_id=ID)
    assert "own access_token" in chatbot["number_problem"]
    await prover.look()
    assert (await shown(client, chatbot))["number_confirmed_at"] is None
    await client.patch(f"/chatbots/{chatbot['id']}", {"access_token": TOKEN})
    await prover.look()
    assert (await shown(client, chatbot))["number_confirmed_at"] is not None


async def test_a_chatbot_goes_on_with_what_is_proven_until_the_other_is(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, prover: Prover
) -> None:
    chatbot = await made(client, **NAMED)
    await prover.look()
    path = f"/chatbots/{chatbot['id']}"
    moved = {"whatsapp_phone_number": OTHER_NUMBER, "phone_number_id": OTHER_ID}
    changed = (await client.patch(path, moved)).json
    assert {name: changed[name] for name in moved} == moved
    assert changed["number_confirmed_at"] is None
    await prover.look()
    assert (await shown(client, chatbot))["number_problem"], "it is another token's"
    await record_batch(pool, [came("1"), came("2", OTHER_NUMBER, OTHER_ID)], DEBOUNCE)
    assert await recorded(owner, ours) == ["1"]
    # Back to what is proven there is nothing to prove.
    back = (await client.patch(path, NAMED)).json
    assert (back["unproven"], back["number_problem"]) == ([], None)
    assert back["number_confirmed_at"] is not None
    await client.patch(path, moved | {"access_token": OTHER_TOKEN})
    await prover.look()
    proven = await shown(client, chatbot)
    assert {name: proven[name] for name in moved} == moved
    assert proven["number_confirmed_at"] > back["number_confirmed_at"]
    ids = await owner.fetch(
        "SELECT phone_number_id FROM chatbot_phone_numbers WHERE chatbot_id=$1", chatbot["id"]
    )
    assert {row[0] for row in ids} == {ID, OTHER_ID}, "those it held stay remembered"


async def test_null_lets_go_at_once(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, prover: Prover
) -> None:
    chatbot = await made(client, **NAMED)
    await prover.look()
    nothing = {"whatsapp_phone_number": None, "phone_number_id": None}
    changed = await client.patch(f"/chatbots/{chatbot['id']}", nothing)
    assert {name: changed.json[name] for name in nothing} == nothing
    assert changed.json["number_confirmed_at"] is None
    await record_batch(pool, [came("1")], DEBOUNCE)
    assert await recorded(owner, ours) == []


# ---- Graph is away, slow, asked by two -----------------------------------------------------------


async def test_while_graph_is_away_it_is_asked_again_for_a_day(
    owner: Conn, pool: Pool, client: Client, prover: Prover
) -> None:
    chatbot = await made(client, **NAMED)
    due = "SELECT extract(epoch FROM proof_due_at - now())::float FROM chatbots WHERE id = $1"
    async with prover_at(pool, "http://127.0.0.1:1") as lost:
        for _ in range(8):
            await due_now(owner)
            await lost.look()
            assert 0 < await owner.fetchval(due, chatbot["id"]) <= 60
        assert (await shown(client, chatbot))["number_problem"] is None
        await owner.execute("UPDATE chatbots SET proof_until = now() WHERE proof_until IS NOT NULL")
        await due_now(owner)
        await lost.look()
    given_up = await shown(client, chatbot)
    assert "no answer for a day" in given_up["number_problem"]
    assert await owner.fetchval(due, chatbot["id"]) is None
    await client.patch(f"/chatbots/{chatbot['id']}", {"whatsapp_phone_number": NUMBER})
    await prover.look()
    assert (await shown(client, chatbot))["number_confirmed_at"] is not None


ODD_ANSWERS = [
    (500, '{"error": {"code": 1, "message": "x"}}', True),
    (200, "<html>", True),
    (200, "[]", True),
    (302, "", True),
    (429, "", True),
    (400, '{"error": {"code": 4}}', True),
    (400, '{"error": {}}', False),
    (400, '{"error": {"code": "190"}}', False),
    (403, "no", False),
    (200, "{}", False),
    (200, f'{{"id": "{ID}"}}', False),
    (200, f'{{"id": "{ID}", "display_phone_number": 12025550777}}', False),
    (200, f'{{"id": 1, "display_phone_number": "{NUMBER}"}}', False),
    (200, f'{{"id": "{OTHER_ID}", "display_phone_number": "{NUMBER}"}}', False),
]


@pytest.mark.parametrize(("status", "text", "again"), ODD_ANSWERS)
async def test_no_odd_answer_proves_anything(
    owner: Conn, pool: Pool, client: Client, status: int, text: str, again: bool
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    app = web.Application()
    app.add_routes([web.get("/{any:.*}", answer)])
    chatbot = await made(client, **NAMED)
    async with served(app) as url, prover_at(pool, url) as prover:
        await prover.look()
    told = await shown(client, chatbot)
    assert told["number_confirmed_at"] is None
    assert (told["number_problem"] is None) == again
    due = await owner.fetchval("SELECT proof_due_at FROM chatbots WHERE id = $1", chatbot["id"])
    assert (due is not None) == again


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"access_token": "another"},
        {"whatsapp_phone_number": OTHER_NUMBER},
        {"phone_number_id": OTHER_ID},
        {"phone_number_id": None, "whatsapp_phone_number": None},
    ],
)
async def test_what_is_changed_while_graph_is_asked_is_not_proven_by_its_answer(
    pool: Pool, client: Client, meanwhile: dict[str, Any], owner: Conn
) -> None:
    asked, told = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        asked.set()
        await told.wait()
        return web.json_response({"id": ID, "display_phone_number": NUMBER})

    app = web.Application()
    app.add_routes([web.get("/{any:.*}", answer)])
    chatbot = await made(client, **NAMED)
    async with served(app) as url, prover_at(pool, url) as prover:
        looking = asyncio.create_task(prover.look())
        await asked.wait()
        changed = await client.patch(f"/chatbots/{chatbot['id']}", meanwhile)
        assert changed.status == 200
        told.set()
        await looking
    row = await shown(client, chatbot)
    assert row["number_confirmed_at"] is None
    assert row == changed.json
    assert await owner.fetchval("SELECT count(*) FROM chatbots WHERE phone_number_id = $1", ID) == 0


async def test_a_token_that_is_taken_away_meanwhile_proves_nothing(
    pool: Pool, client: Client, owner: Conn
) -> None:
    """As when the tenant is erased, or the chatbot deleted."""
    asked, told = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        asked.set()
        await told.wait()
        return web.json_response({"id": ID, "display_phone_number": NUMBER})

    app = web.Application()
    app.add_routes([web.get("/{any:.*}", answer)])
    await made(client, **NAMED)
    async with served(app) as url, prover_at(pool, url) as prover:
        looking = asyncio.create_task(prover.look())
        await asked.wait()
        await owner.execute("UPDATE chatbots SET access_token = NULL, is_active = false")
        told.set()
        await looking
    assert await owner.fetchval("SELECT count(*) FROM chatbots WHERE phone_number_id = $1", ID) == 0


async def test_two_workers_look_at_different_claims_and_a_dead_one_s_comes_again(
    owner: Conn, pool: Pool, connect: Connect, prover: Prover
) -> None:
    for _ in range(3):
        client = await connect(await make_tenant(owner))
        await made(client, **NAMED)

    async def claim() -> list[DueProof]:
        async with pool.acquire() as conn:
            return await claim_proofs(conn, 2, LEASE)

    first, second = await asyncio.gather(claim(), claim())
    assert sorted((len(first), len(second))) == [1, 2]
    assert len({one.chatbot_id for one in (*first, *second)}) == 3
    await prover.look()
    assert not await owner.fetchval("SELECT count(*) FROM chatbots WHERE phone_number_id = $1", ID)
    # Both died.
    await owner.execute("UPDATE chatbots SET proof_due_at = proof_due_at - $1::interval", LEASE)
    await asyncio.gather(prover.look(), prover.look())
    assert await owner.fetchval("SELECT count(*) FROM chatbots WHERE phone_number_id = $1", ID) == 1


async def test_nobody_s_many_claims_come_before_another_s_first(
    owner: Conn, pool: Pool, connect: Connect
) -> None:
    many, one = await connect(await make_tenant(owner)), await connect(await make_tenant(owner))
    for _ in range(6):
        await made(many, **NAMED)
    last = await made(one, **NAMED)
    async with pool.acquire() as conn:
        first = await claim_proofs(conn, 2, LEASE)
    assert last["id"] in [due.chatbot_id for due in first]


async def test_a_proof_that_has_to_wait_is_tried_again_and_holds_up_no_other(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, prover: Prover
) -> None:
    """Who inserts rows of a chatbot keeps its number from being written."""
    chatbot = await made(client, **NAMED)
    other = await made(
        client,
        whatsapp_phone_number=OTHER_NUMBER,
        phone_number_id=OTHER_ID,
        access_token=OTHER_TOKEN,
    )
    async with tenant(pool, ours.user_id) as conn:
        await conn.execute(
            "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
            " VALUES ($1, $2, 'When?', 'At 7.')",
            *(ours.user_id, chatbot["id"]),
        )
        await prover.look()
        waits = await shown(client, chatbot)
        assert (waits["number_confirmed_at"], waits["number_problem"]) == (None, None)
        assert (await shown(client, other))["number_confirmed_at"] is not None
        renamed = await client.patch(f"/chatbots/{chatbot['id']}", {"name": "Bistro"})
        assert renamed.status == 200, "nobody waits to change what nothing refers to"
    await due_now(owner)
    await prover.look()
    assert (await shown(client, chatbot))["number_confirmed_at"] is not None


# ---- whose it is ---------------------------------------------------------------------------------


async def test_a_proof_displaces_claims(
    owner: Conn, connect: Connect, ours: Tenant, theirs: Tenant, prover: Prover
) -> None:
    first, rightful = await connect(theirs), await connect(ours)
    squatters = [
        await made(first, **NAMED | {"access_token": "not-of-it"}),
        await made(first, whatsapp_phone_number=NUMBER),
        await made(first, phone_number_id=ID),
    ]
    chatbot = await made(rightful, **NAMED)
    await prover.look()
    assert (await shown(rightful, chatbot))["number_confirmed_at"] is not None
    for squatter in squatters:
        row = await shown(first, squatter)
        assert (row["whatsapp_phone_number"], row["phone_number_id"]) == (None, None)
        assert row["unproven"] == []
        assert "has proven" in row["number_problem"]
        assert row["updated_at"] > squatter["updated_at"]
    # From now on it is taken, and that is told at once.
    for named in ({"whatsapp_phone_number": NUMBER}, {"phone_number_id": ID}):
        (name,) = named
        for answer in (
            await first.post("/chatbots", {"name": "B"} | named),
            await first.patch(f"/chatbots/{squatters[0]['id']}", named),
            await rightful.post("/chatbots", {"name": "B"} | named),
        ):
            assert (answer.status, answer.problem) == (409, "number_taken")
            assert [one["field"] for one in answer.json["errors"]] == [name]


async def test_a_proven_chatbot_loses_only_its_claim(
    client: Client, connect: Connect, theirs: Tenant, prover: Prover
) -> None:
    other = await connect(theirs)
    own = {
        "whatsapp_phone_number": OTHER_NUMBER,
        "phone_number_id": OTHER_ID,
        "access_token": OTHER_TOKEN,
    }
    squatter = await made(other, **own)
    await prover.look()
    await other.patch(f"/chatbots/{squatter['id']}", {"phone_number_id": ID})
    await made(client, **NAMED)
    await prover.look()
    row = await shown(other, squatter)
    assert (row["whatsapp_phone_number"], row["phone_number_id"]) == (OTHER_NUMBER, OTHER_ID)
    assert row["number_confirmed_at"] is not None


async def test_of_two_proofs_of_one_number_at_once_one_counts(
    owner: Conn, connect: Connect, prover: Prover
) -> None:
    """Both have its token, as who moves from one tenant to another may."""
    clients = [await connect(await make_tenant(owner)) for _ in range(5)]
    chatbots = [await made(client, **NAMED) for client in clients]
    await asyncio.gather(*(prover.look() for _ in range(4)))
    rows = [await shown(c, b) for c, b in zip(clients, chatbots, strict=True)]
    assert [r["number_confirmed_at"] is not None for r in rows].count(True) == 1
    assert sum(r["phone_number_id"] == ID for r in rows) == 1


Naming = Callable[[Client, Tenant, dict[str, Any]], Any]


async def by_post(client: Client, _: Tenant, named: dict[str, Any]) -> Answer:
    return await client.post("/chatbots", {"name": "B", "access_token": OTHER_TOKEN} | named)


async def by_patch(client: Client, of: Tenant, named: dict[str, Any]) -> Answer:
    whole = {"access_token": OTHER_TOKEN} | named
    return await client.patch(f"/chatbots/{of.chatbot_id}", whole)


@pytest.mark.parametrize("name", [by_post, by_patch])
@pytest.mark.parametrize("proven", [True, False])
async def test_nobody_gets_at_another_s_number_by_naming_it(
    owner: Conn,
    pool: Pool,
    connect: Connect,
    prover: Prover,
    name: Naming,
    proven: bool,
) -> None:
    """Also while it is only there because an operator of a release before put it there."""
    victim, thief = await make_tenant(owner), await make_tenant(owner)
    await owner.execute(
        "UPDATE chatbots SET whatsapp_phone_number = $2, phone_number_id = $3, waba_id = $4,"
        " number_confirmed_at = CASE WHEN $5 THEN now() END WHERE id = $1",
        *(victim.chatbot_id, NUMBER, ID, ACCOUNT_ID, proven),
    )
    client = await connect(thief)
    for named in (
        {"whatsapp_phone_number": NUMBER},
        {"phone_number_id": ID},
        {"whatsapp_phone_number": NUMBER, "phone_number_id": ID},
        {"phone_number_id": ID, "waba_id": ACCOUNT_ID},
        {"waba_id": ACCOUNT_ID},
    ):
        assert (await name(client, thief, named)).status in (200, 201, 409)
        await due_now(owner)
        await prover.look()
    event = {"event": "ACCOUNT_UPDATE", "phone_number": NUMBER.lstrip("+")}
    told = body(change(event, "account_update"))
    await record_batch(pool, [came("1"), came("2", phone_number_id="409800")], DEBOUNCE)
    await take_others(pool, [told])
    for table in ("messages", "contacts", "conversations", "account_events", "stuck_items"):
        rows = await owner.fetch(f"SELECT user_id FROM {table}")
        assert thief.user_id not in {row["user_id"] for row in rows}, table
    assert await recorded(owner, Tenant(victim.user_id, victim.chatbot_id, NUMBER, ID)) == ["1"]
    rows = await owner.fetch("SELECT * FROM chatbots WHERE user_id = $1", thief.user_id)
    for row in rows:  # with which it would send, mark as read, and be told of statuses
        assert row["phone_number_id"] in (None, thief.phone_number_id)
        assert row["whatsapp_phone_number"] in (None, thief.number)
        assert row["waba_id"] is None
    ids = await owner.fetch(
        "SELECT phone_number_id FROM chatbot_phone_numbers WHERE user_id = $1", thief.user_id
    )
    assert {row[0] for row in ids} <= {thief.phone_number_id}


async def test_a_thief_s_message_leaves_from_the_number_that_is_the_thief_s(
    owner: Conn, connect: Connect, prover: Prover, pool: Pool
) -> None:
    victim, thief = await make_tenant(owner), await make_tenant(owner)
    client = await connect(thief)
    await by_patch(client, thief, {"phone_number_id": victim.phone_number_id})
    conversation, _ = await make_open_conversation(owner, thief)
    sent = await client.post(f"/conversations/{conversation}/messages", {"content_text": "hi"})
    assert sent.status == 201, sent
    await prover.look()
    from_id = await owner.fetchval(
        "SELECT b.phone_number_id FROM messages m JOIN chatbots b ON b.id = m.chatbot_id"
        " WHERE m.id = $1",
        sent.json["id"],
    )
    assert from_id == thief.phone_number_id
