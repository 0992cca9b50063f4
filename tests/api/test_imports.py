"""Files of many rows, in and out."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from db.contacts import NewContact, add_contacts, lock_contacts
from db.idempotency import hold_key
from db.ids import WorkerId
from db.jobs import JobClaim, claim_job
from db.pool import Conn, Pool, tenant
from handlers.bulk import work
from handlers.bulk.work import clear_old_imports, do_import
from handlers.erasure.begin import erase_contact
from handlers.exports.work import Lost
from handlers.ingest.people import contacts_of
from handlers.media_store.local import Directory
from handlers.process.sweeps import Sweep
from handlers.whatsapp.values import Customer
from tests.api import Answer, Client, make_key
from tests.api.conftest import Connect
from tests.conftest import Database
from tests.db.test_turn_queries import until_somebody_waits_for_a_lock
from tests.deletion import finish
from tests.erasure import contact_ids
from tests.factories import Tenant, make_tenant
from tests.ingress import DEAD_BROKER, Door, door
from tests.plan import House
from tests.plans import ODD
from worker.jobs import KINDS
from worker.liveness import TERM

CSV = {"Content-Type": "text/csv"}
JSONL = {"Content-Type": "application/x-ndjson"}
NOTHING = {"inserted": 0, "updated": 0, "unchanged": 0, "rejected": [], "rejected_total": 0}


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> AsyncIterator[Door]:
    async with door(DEAD_BROKER, database.runtime_url, media_store=tmp_path.as_uri()) as opened:
        yield opened


async def a_worker(owner: Conn) -> WorkerId:
    return WorkerId(await owner.fetchval("INSERT INTO workers (name) VALUES ('w') RETURNING id"))


async def claim(pool: Pool, by: WorkerId) -> JobClaim | None:
    async with pool.acquire() as conn:
        return await claim_job(conn, by, TERM, KINDS)


@pytest.fixture
async def working(pool: Pool, owner: Conn, store: Directory) -> AsyncIterator[None]:
    """A worker with the role jobs, which does imports as they come."""
    async with at_work(pool, await a_worker(owner), store):
        yield


@asynccontextmanager
async def at_work(pool: Pool, me: WorkerId, store: Directory) -> AsyncIterator[None]:
    async def work_on() -> None:
        while True:
            job = await claim(pool, me)
            if job is None:
                await asyncio.sleep(0.05)
                continue
            with suppress(Lost):
                await do_import(pool, store, job)

    working = asyncio.create_task(work_on())
    try:
        yield
        assert not working.done(), working
    finally:
        working.cancel()
        await asyncio.wait({working})


def path_of(of: Tenant, what: str) -> str:
    return f"/chatbots/{of.chatbot_id}/knowledge" if what == "knowledge" else f"/{what}"


async def imported(
    client: Client, path: str, file: str | bytes, kind: dict[str, str] = CSV, **headers: str
) -> Answer:
    data = file.encode() if isinstance(file, str) else file
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.send("POST", f"{path}/import", data=io.BytesIO(data), headers=kind | sent)


async def report(client: Client, path: str, file: str | bytes, kind: Any = CSV) -> Any:
    answer = await imported(client, path, file, kind)
    assert answer.status == 200, answer
    return answer.json


FILES = {
    "knowledge": "question,answer,category\nOpen?,At nine,times\nWhere?,Here,\n",
    "contacts": "phone_number,name,tags\n+1 202 555 0101,Ada,vip;new\n12025550102,Ben,\n",
    "products": "sku,name,price\nA-1,Cup,3.50\nA-2,Plate,\n",
}


@pytest.mark.parametrize("what", FILES)
async def test_an_import_repeated_changes_nothing(
    client: Client, ours: Tenant, working: None, what: str
) -> None:
    path = path_of(ours, what)
    first = await report(client, path, FILES[what])
    assert first == NOTHING | {"inserted": 2, "ignored": []}
    assert await report(client, path, FILES[what]) == NOTHING | {"unchanged": 2, "ignored": []}
    changed = FILES[what].replace("Here", "There").replace("Ben", "Bea").replace("3.50", "4")
    assert await report(client, path, changed) == NOTHING | {
        "updated": 1,
        "unchanged": 1,
        "ignored": [],
    }


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
async def test_what_an_export_writes_the_import_takes_unchanged(
    owner: Conn, client: Client, ours: Tenant, working: None, what: str, kind: str
) -> None:
    path = path_of(ours, what)
    rows = {
        "knowledge": [
            {"question": "=1+1?", "answer": 'a "b",\r\nc', "alternatives": ["x;y", "'=z"]},
            {"question": "'=1+1?", "answer": "é\u2028;", "category": "-a", "is_active": False},
            {"question": "+49 30?", "answer": "@home", "language": "pt-BR"},
        ],
        "contacts": [
            {"phone_number": "+12025550101", "name": "=Ada", "tags": ["a;b", "c"]},
            {"phone_number": "+12025550102", "custom_fields": {"a": {"b": [1, None, "=x"]}}},
            {"phone_number": "+12025550103", "language": "es", "contact_status": "blocked"},
        ],
        "products": [
            {"sku": "=1", "name": "Cup", "price": "3.50", "description": "a\nb"},
            {"sku": "'=1", "name": "=Cup", "image_url": "https://shop.example/a.png"},
            {"sku": "3", "name": "Off", "is_active": False},
        ],
    }[what]
    file = "".join(json.dumps(row) + "\n" for row in rows)
    assert (await report(client, path, file, JSONL))["inserted"] == 3
    exported = await client.get(f"{path}/export", format=kind)
    assert exported.status == 200
    back = await report(client, path, exported.json, CSV if kind == "csv" else JSONL)
    assert back == NOTHING | {"unchanged": 3, "ignored": []}
    await owner.execute(
        "DELETE FROM "
        + {"knowledge": "bot_knowledge_base", "contacts": "contacts", "products": "products"}[what]
    )
    assert (await report(client, path, exported.json, CSV if kind == "csv" else JSONL))[
        "inserted"
    ] == 3
    assert (await client.get(f"{path}/export", format=kind)).json == exported.json


async def test_each_bad_line_is_named_and_takes_nobody_along(
    client: Client, ours: Tenant, working: None
) -> None:
    file = (
        "\ufeffphone_number;name;tags;custom_fields;language;shoe\n"
        "+12025550101;Ada;;;;\n"
        "12;Ben;;;;\n"
        '+12025550102;"two\nlines";;;;\n'
        "+12025550103;;;not json;spanish!;\n"
        "+1 (202) 555-0101;again;;;;\n"
        "\n"
        '+12025550104;"un"closed;;;;\n'
        "+12025550105;Eve;a;;;44\n"
    )
    found = await report(client, "/contacts", file)
    assert (found["inserted"], found["rejected_total"], found["ignored"]) == (3, 4, ["shoe"])
    told = {one["line"]: one["why"] for one in found["rejected"]}
    assert told.keys() == {3, 6, 7, 9}
    assert told[3].startswith("phone_number is not a phone number")
    assert told[6] == "custom_fields is not JSON; language is not a language tag, like es or pt-BR"
    assert told[7] == "the same phone_number as line 2"
    assert "quote" in told[9]


async def test_bad_lines_of_jsonl(client: Client, ours: Tenant, working: None) -> None:
    lines = [
        b'{"sku": "a", "name": "A", "price": 3.5}',
        b"{",
        b"[1]",
        b'{"sku": null, "name": "A"}',
        b'{"sku": "b", "name": 7}',
        b'{"sku": "c", "name": "C", "price": -1}',
        b'{"sku": "d", "name": "D", "sku": "e"}',
        b'{"sku": "f", "name": "\\u0000"}',
        b'{"sku": "g", "name": "G", "price": "1e5"}',
        b"",
        b'{"sku": "h", "name": "H", "is_active": "no", "more": 1}',
    ]
    found = await report(client, "/products", b"\n".join(lines), JSONL)
    assert (found["inserted"], found["ignored"]) == (2, ["more"])
    assert [one["line"] for one in found["rejected"]] == list(range(2, 10))


async def test_columns_that_are_not_there_stay_and_empty_cells_empty(
    owner: Conn, client: Client, working: None
) -> None:
    await report(client, "/contacts", "phone_number,name,tags\n+12025550101,Ada,vip\n")
    await report(client, "/contacts", "phone_number,language\n+12025550101,es\n")
    row = "SELECT ARRAY[name, tags::text, language] FROM contacts"
    assert await owner.fetchval(row) == ["Ada", '["vip"]', "es"]
    await report(client, "/contacts", "phone_number,name,language\n+12025550101,,\n")
    assert await owner.fetchval(row) == [None, '["vip"]', None]


async def test_a_number_spelt_otherwise_is_the_same_person(
    owner: Conn, client: Client, working: None
) -> None:
    await report(client, "/contacts", "phone_number,name\n+5511987654321,Ada\n")
    found = await report(client, "/contacts", "phone_number,name\n+551187654321,Bia\n")
    assert (found["inserted"], found["updated"]) == (0, 1)
    assert await owner.fetchval("SELECT name FROM contacts") == "Bia"


async def test_the_spellings_of_a_number_in_one_file_are_one_row(
    owner: Conn, client: Client, working: None
) -> None:
    file = "phone_number\n+5511987654321\n+551187654321\n+12025550101\n"
    found = await report(client, "/contacts", file)
    assert found["inserted"] == 2
    assert found["rejected"] == [{"line": 3, "why": "the same phone_number as line 2"}]
    assert await owner.fetchval("SELECT count(*) FROM contacts") == 2


async def test_an_import_waits_for_who_makes_the_same_line(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, working: None
) -> None:
    who = Customer(phone_number="+5511987654321", bsuid=None, wa_id=None, name="Bia")
    async with tenant(pool, ours.user_id) as conn:
        await contacts_of(conn, ours.user_id, [(ours.chatbot_id, who)])
        sent = asyncio.create_task(
            report(client, "/contacts", "phone_number,name\n+551187654321,Ada\n")
        )
        await until_somebody_waits_for_a_lock(owner)
    assert (await sent)["updated"] == 1
    assert await owner.fetchval("SELECT array_agg(name) FROM contacts") == ["Ada"]


async def test_a_name_that_a_file_gave_stays(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, working: None
) -> None:
    house = House(owner, pool)
    await report(client, "/contacts", "phone_number,name\n+12025550101,Ada of the shop\n")
    await house.write(ours, "w1", "12025550101", name="Noor")
    await house.write(ours, "w2", "12025550102", name="Noor")
    names = "SELECT array_agg(name ORDER BY phone_number) FROM contacts"
    given = "SELECT array_agg(name_given ORDER BY phone_number) FROM contacts"
    assert await owner.fetchval(names) == ["Ada of the shop", "Noor"]
    exported = (await client.get("/contacts/export")).json
    assert (await report(client, "/contacts", exported))["unchanged"] == 2
    assert await owner.fetchval(given) == [True, False], "what came out and back gives no name"
    both = "phone_number,name\n+12025550101,\n+12025550102,Ben of the shop\n"
    assert (await report(client, "/contacts", "phone_number,tags\n+12025550101,vip\n"))[
        "updated"
    ] == 1
    await house.write(ours, "w3", "12025550101", name="Noor")
    assert await owner.fetchval(names) == ["Ada of the shop", "Noor"], "it spoke of no names"
    assert (await report(client, "/contacts", both))["updated"] == 2
    for n in (1, 2):
        await house.write(ours, f"again{n}", f"1202555010{n}", name="Noor")
    assert await owner.fetchval(names) == ["Noor", "Ben of the shop"]


async def test_an_import_raises_the_version_of_what_it_changes(
    client: Client, ours: Tenant, working: None
) -> None:
    for what, file in FILES.items():
        path = path_of(ours, what)
        await report(client, path, file)
        rows = (await client.get(path)).json["data"]
        own = [f"/{what}/{row['id']}" for row in rows]
        before = [(await client.get(one)).headers["ETag"] for one in own]
        changed = file.replace("Here", "There").replace("Ben", "Bea").replace("3.50", "4")
        assert (await report(client, path, changed))["updated"] == 1
        after = [(await client.get(one)).headers["ETag"] for one in own]
        assert sum(a != b for a, b in zip(before, after, strict=True)) == 1, what
        (stale,) = [
            (one, tag) for one, tag, now in zip(own, before, after, strict=True) if tag != now
        ]
        answer = await client.patch(stale[0], {}, If_Match=stale[1])
        assert answer.problem == "precondition_failed", what


@pytest.mark.parametrize(
    ("file", "kind", "detail"),
    [
        ("", CSV, "the file is empty"),
        ("name,price\nA,1\n", CSV, "the file has no column sku"),
        ("sku,name,sku\nA,1,2\n", CSV, "the file has two columns sku"),
        ("sku,name\nA,\xff\n".encode("latin-1"), CSV, "is not UTF-8 (byte 11)"),
        (b"PK\x03\x04....", CSV, "the file is a workbook"),
    ],
)
async def test_what_is_wrong_with_a_file_is_told_at_once(
    owner: Conn, client: Client, store: Directory, file: str | bytes, kind: Any, detail: str
) -> None:
    answer = await imported(client, "/products", file, kind)
    assert (answer.status, answer.problem) == (400, "invalid_request")
    assert detail in answer.json["errors"][0]["detail"]
    assert await owner.fetchval("SELECT count(*) FROM imports") == 0
    assert await store.keys_below("imports/") == []


async def test_other_content_types_are_refused(client: Client) -> None:
    for kind in ({"Content-Type": "application/json"}, {"Content-Type": "text/plain"}):
        answer = await imported(client, "/products", FILES["products"], kind)
        assert (answer.status, answer.problem) == (415, "unsupported_media_type")
        assert answer.json["title"] == "The body has not a form that this takes"
        assert answer.json["detail"] == "Send `Content-Type: text/csv` or application/x-ndjson."


async def test_utf_16_is_read_too(client: Client, working: None) -> None:
    found = await report(client, "/products", FILES["products"].encode("utf-16"))
    assert found["inserted"] == 2


async def test_without_a_store_nothing_is_taken(
    database: Database, pool: Pool, ours: Tenant
) -> None:
    key, _ = await make_key(pool, ours)
    async with door(DEAD_BROKER, database.runtime_url) as opened:
        client = Client(opened.url, opened.http, key)
        answer = await imported(client, "/products", FILES["products"])
    assert (answer.status, answer.problem) == (503, "unavailable")
    assert "MEDIA_STORE" in answer.json["detail"]


async def test_what_takes_long_is_a_job(
    pool: Pool, owner: Conn, client: Client, store: Directory
) -> None:
    answer = await imported(client, "/products", FILES["products"], Prefer="respond-async")
    assert answer.status == 202
    path = answer.headers["Location"].removeprefix("/v1")
    assert (answer.json["kind"], answer.json["status"]) == ("import_products", "queued")
    assert (answer.json["done"], answer.json["total"]) == (0, 2)
    async with at_work(pool, await a_worker(owner), store):
        while (job := (await client.get(path)).json)["status"] != "done":
            await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            while await store.keys_below("imports/"):  # it goes a moment later
                await asyncio.sleep(0.1)
    assert job["report"] == NOTHING | {"inserted": 2, "ignored": []}
    assert job["done"] == job["total"] == 2


@pytest.mark.parametrize(
    ("file", "kind", "lines"),
    [
        ("sku,name\nA,a\nB,b", CSV, 2),
        ("sep=;\r\nGoods;;\r\nsku;name\r\nA;a\r\nB;b\r\n", CSV, 2),
        ('{"sku": "A", "name": "a"}\n\n{"sku": "B"}', JSONL, 3),
        ("sku,name\n", CSV, 0),
    ],
)
async def test_a_job_counts_the_lines_behind_the_names(
    pool: Pool, owner: Conn, client: Client, store: Directory, file: str, kind: Any, lines: int
) -> None:
    answer = await imported(client, "/products", file, kind, Prefer="respond-async")
    assert (answer.json["done"], answer.json["total"]) == (0, lines)
    job = await claim(pool, await a_worker(owner))
    assert job is not None
    await do_import(pool, store, job)
    read = (await client.get(f"/jobs/{job.id}")).json
    assert (read["done"], read["total"]) == (lines, lines)


async def test_the_same_key_is_one_import(
    pool: Pool, client: Client, ours: Tenant, working: None
) -> None:
    files = FILES["products"], FILES["products"] + "A-3,Pot,1\n"
    same = [imported(client, "/products", files[0], Idempotency_Key="k") for _ in range(3)]
    answers = [one for one in await asyncio.gather(*same) if one.status != 409]
    assert {json.dumps(one.json) for one in answers} == {
        json.dumps(NOTHING | {"inserted": 2, "ignored": []} | {})
    } or all(one.json["inserted"] == 2 for one in answers)
    async with tenant(pool, ours.user_id) as reading:  # as somebody else who repeats it
        assert await hold_key(reading, ours.user_id, "k")
        again = await imported(client, "/products", files[0], Idempotency_Key="k")
    assert again.json["inserted"] == 2, "the first one's report, and nothing was done again"
    other = await imported(client, "/products", files[1], Idempotency_Key="k")
    assert (other.status, other.problem) == (422, "idempotency_key_reused")


async def test_two_imports_of_the_same_rows_at_once(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, store: Directory
) -> None:
    lines = [f"+1202556{n:04d},Name {n}\n" for n in range(1_500)]
    backwards = "phone_number,name\n" + "".join(reversed(lines))
    forwards = "phone_number,name\n" + "".join(lines)
    workers = [await a_worker(owner) for _ in range(2)]
    # A tenant has one job at a time by itself, so both are claimed by hand.
    sent = [asyncio.create_task(imported(client, "/contacts", f)) for f in (forwards, backwards)]
    while await owner.fetchval("SELECT count(*) FROM jobs") < 2:
        await asyncio.sleep(0.02)
    jobs = await owner.fetch(
        "UPDATE jobs SET status = 'running', epoch = 1 RETURNING user_id, id, epoch"
    )
    await asyncio.gather(*(do_import(pool, store, JobClaim(**dict(job))) for job in jobs))
    answers = [one.json for one in await asyncio.gather(*sent)]
    assert sum(one["inserted"] for one in answers) == 1_500
    assert sum(one["unchanged"] for one in answers) == 1_500
    assert await owner.fetchval("SELECT count(*) FROM contacts") == 1_500
    assert len(workers) == 2


async def test_a_worker_that_dies_in_the_middle_leaves_whole_batches(
    pool: Pool, owner: Conn, client: Client, store: Directory
) -> None:
    rows = [f"s{n},N{n},{n}" if n % 100 else f"s{n},,1" for n in range(2_300)]
    file = "sku,name,price\n" + "\n".join(rows) + "\n" + rows[1] + "\n"
    sent = asyncio.create_task(imported(client, "/products", file))
    seen = 0
    while not sent.done():
        job = await claim(pool, await a_worker(owner))
        if job is None:
            await asyncio.sleep(0.02)
            continue
        doing = asyncio.create_task(do_import(pool, store, job))
        done = seen
        while not doing.done() and done <= seen:
            done = await owner.fetchval("SELECT done FROM jobs")
        seen = max(seen, done)
        doing.cancel()  # in the middle of whatever it does, and its lease is another's at once
        await asyncio.wait({doing})
        await owner.execute("UPDATE jobs SET lease_owner = NULL WHERE settled_at IS NULL")
    found = (await sent).json
    assert (found["inserted"], found["updated"], found["unchanged"]) == (2_277, 0, 0)
    assert found["rejected_total"] == 24
    assert found["rejected"][-1] == {"line": 2302, "why": "the same sku as line 3"}
    assert await owner.fetchval("SELECT count(*) FROM products") == 2_277


async def test_who_lost_the_job_writes_nothing(
    pool: Pool, owner: Conn, client: Client, store: Directory
) -> None:
    sent = asyncio.create_task(imported(client, "/products", FILES["products"]))
    while (job := await claim(pool, await a_worker(owner))) is None:
        await asyncio.sleep(0.02)
    await owner.execute("UPDATE jobs SET epoch = epoch + 1, lease_owner = NULL")
    with pytest.raises(Lost):
        await do_import(pool, store, job)
    assert await owner.fetchval("SELECT count(*) FROM products") == 0
    async with at_work(pool, await a_worker(owner), store):
        assert (await sent).json["inserted"] == 2


async def test_a_client_that_stops_in_the_middle_leaves_nothing(
    owner: Conn, client: Client, store: Directory
) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield FILES["products"].encode() * 10_000
        await asyncio.sleep(0.3)
        raise ConnectionResetError

    with pytest.raises((aiohttp.ClientError, ConnectionResetError)):
        await client.send("POST", "/products/import", data=half(), headers=CSV)
    for _ in range(50):
        if not await owner.fetchval("SELECT count(*) FROM imports"):
            break
        await asyncio.sleep(0.1)
    assert await owner.fetchval("SELECT count(*) FROM imports") == 0
    assert await owner.fetchval("SELECT count(*) FROM jobs") == 0
    assert await store.keys_below("imports/") == []


async def test_what_a_dead_ingress_left_is_swept(
    pool: Pool, owner: Conn, ours: Tenant, store: Directory
) -> None:
    async def some() -> AsyncIterator[bytes]:
        yield b"sku"

    await store.write(f"imports/{ours.user_id}/left", some())
    for age in ("59 min", "61 min"):
        await owner.execute(
            "INSERT INTO imports (user_id, what, file, created_at)"
            f" VALUES ($1, 'products', $2, now() - interval '{age}')",
            *(ours.user_id, f"imports/{ours.user_id}/{'left' if age > '6' else 'coming'}"),
        )
    await clear_old_imports(pool, store, Sweep("old_import"))
    assert [row["file"] for row in await owner.fetch("SELECT file FROM imports")] == [
        f"imports/{ours.user_id}/coming"
    ]
    assert await store.keys_below("imports/") == []


async def test_an_erasure_ends_imports_of_people(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, store: Directory
) -> None:
    contact_id = await owner.fetchval(
        "INSERT INTO contacts (user_id, phone_number, name) VALUES ($1, '+12025550101', 'Ada')"
        " RETURNING id",
        ours.user_id,
    )
    sent = asyncio.create_task(imported(client, "/contacts", FILES["contacts"]))
    while (job := await claim(pool, await a_worker(owner))) is None:
        await asyncio.sleep(0.02)
    async with tenant(pool, ours.user_id) as conn:
        assert await erase_contact(conn, ours.user_id, contact_id)
    with pytest.raises(Lost):
        await do_import(pool, store, job)
    answer = await sent
    assert (answer.status, answer.problem) == (409, "import_ended")
    assert "erased" in answer.json["detail"]
    assert answer.json["report"]["inserted"] == 0
    assert await owner.fetchval("SELECT count(*) FROM contacts WHERE name IS NOT NULL") == 0
    await clear_old_imports(pool, store, Sweep("old_import"))
    assert await store.keys_below("imports/") == []


async def test_the_limit_of_contacts_is_exact(owner: Conn, connect: Connect, working: None) -> None:
    of = await make_tenant(owner, config='{"limits": {"max_contacts": 700}}')
    client = await connect(of)
    lines = "".join(f"+1202556{n:04d}\n" for n in range(1_100))
    found = await report(client, "/contacts", "phone_number\n" + lines)
    assert (found["inserted"], found["rejected_total"]) == (700, 400)
    assert found["rejected"][0] == {
        "line": 702,
        "why": "the plan has no room for it (limits.max_contacts)",
    }
    assert len(found["rejected"]) == work.TOLD_MAX
    assert await owner.fetchval("SELECT count(*) FROM contacts WHERE NOT over_limit") == 700
    assert await owner.fetchval("SELECT count(*) FROM contacts") == 700
    assert await owner.fetchval("SELECT contacts FROM contact_counts") == 700


async def test_two_imports_and_a_program_share_what_room_there_is(
    pool: Pool, owner: Conn, connect: Connect, store: Directory
) -> None:
    of = await make_tenant(owner, config='{"limits": {"max_contacts": 700}}')
    client = await connect(of)
    files = ["phone_number\n" + "".join(f"+12025{k}{n:05d}\n" for n in range(600)) for k in (5, 6)]
    sent = [asyncio.create_task(imported(client, "/contacts", file)) for file in files]
    while await owner.fetchval("SELECT count(*) FROM jobs") < 2:
        await asyncio.sleep(0.02)
    jobs = await owner.fetch(
        "UPDATE jobs SET status = 'running', epoch = 1 RETURNING user_id, id, epoch"
    )
    program = asyncio.gather(
        *(client.post("/contacts", {"phone_number": f"+1303555{n:04d}"}) for n in range(8))
    )
    await asyncio.gather(*(do_import(pool, store, JobClaim(**dict(job))) for job in jobs))
    made = await program
    async with at_work(pool, await a_worker(owner), store):  # what gave way after its time
        answers = [(await one).json for one in sent]
    came = sum(one["inserted"] for one in answers) + sum(a.status == 201 for a in made)
    assert came == 700
    assert sum(one["inserted"] + one["rejected_total"] for one in answers) == 1_200
    assert await owner.fetchval("SELECT count(*) FROM contacts WHERE NOT over_limit") == 700
    assert await owner.fetchval("SELECT count(*) FROM contacts WHERE over_limit") == 0
    assert await owner.fetchval("SELECT contacts FROM contact_counts") == 700


async def test_room_is_room_while_somebody_holds_who_waits_longer(
    pool: Pool, owner: Conn, connect: Connect, working: None
) -> None:
    of = await make_tenant(owner, config='{"limits": {"max_contacts": 3}}')
    client = await connect(of)
    await report(client, "/contacts", "phone_number\n+12025550101\n+12025550102\n")
    await owner.execute(
        "INSERT INTO contacts (user_id, phone_number, over_limit)"
        " VALUES ($1, '+13035550100', true)",
        of.user_id,
    )
    async with tenant(pool, of.user_id) as conn:
        await conn.execute("SELECT FROM contacts WHERE over_limit FOR UPDATE")
        found = await report(client, "/contacts", "phone_number\n+12025550104\n+12025550105\n")
    assert (found["inserted"], found["rejected_total"]) == (1, 1)
    assert await owner.fetchval("SELECT contacts FROM contact_counts") == 3


async def test_a_plan_that_ends_in_the_middle_ends_the_import(
    pool: Pool, owner: Conn, client: Client, store: Directory
) -> None:
    sent = asyncio.create_task(imported(client, "/products", FILES["products"]))
    while (job := await claim(pool, await a_worker(owner))) is None:
        await asyncio.sleep(0.02)
    await owner.execute(
        "UPDATE user_subscriptions SET subscription_config ="
        ' \'{"features": {"premium_features": {"bulk_operations": false}}}\''
    )
    await do_import(pool, store, job)
    answer = await sent
    assert (answer.status, answer.problem) == (409, "import_ended")
    assert "bulk_operations" in answer.json["detail"]
    assert await owner.fetchval("SELECT count(*) FROM products") == 0


@pytest.mark.parametrize(
    ("method", "group", "key"),
    [
        ("POST", "features.premium_features", "bulk_operations"),
        ("GET", "permissions", "export_data"),
    ],
)
async def test_the_plan_gates_files(
    owner: Conn, connect: Connect, method: str, group: str, key: str
) -> None:
    of = await make_tenant(owner)
    client = await connect(of)
    for value in (None, *ODD):
        config: Any = {} if value is None else {key: json.loads(value)}
        for name in reversed(group.split(".")):
            config = {name: config}
        await owner.execute(
            "UPDATE user_subscriptions SET subscription_config = $1::text::jsonb",
            json.dumps(config),
        )
        for what in FILES:
            path = path_of(of, what)
            if method == "GET":
                answer = await client.get(f"{path}/export")
                allowed = answer.status == 200
            else:
                answer = await imported(client, path, "")
                allowed = answer.status == 400
            assert allowed == (value in (None, "true")), value
            if not allowed:
                assert (answer.status, answer.problem) == (403, "not_in_plan")


async def test_another_s_chatbot_is_not_there(
    connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    stranger = await connect(theirs)
    for bot in (ours.chatbot_id, 777_777):
        path = f"/chatbots/{bot}/knowledge"
        assert (await imported(stranger, path, FILES["knowledge"])).problem == "not_found"
        assert (await stranger.get(f"{path}/export")).problem == "not_found"


async def test_exports_have_one_s_own_rows_alone(
    owner: Conn, connect: Connect, client: Client, ours: Tenant, theirs: Tenant, working: None
) -> None:
    stranger = await connect(theirs)
    for what, file in FILES.items():
        await report(stranger, path_of(theirs, what), file)
        exported = await client.get(f"{path_of(ours, what)}/export")
        assert len(list(csv.reader(io.StringIO(exported.json.decode())))) == 1
        accepted = await client.send(
            "GET",
            f"{path_of(ours, what)}/export",
            headers={"Accept": "application/x-ndjson"},
        )
        assert (accepted.json, accepted.headers["Content-Type"]) == (b"", "application/x-ndjson")


def many(rows: int) -> Iterator[bytes]:
    yield b"sku,name,price\n"
    for n in range(0, rows, 1_000):
        yield "".join(f"s{i},Product {i},{i % 100}.50\n" for i in range(n, n + 1_000)).encode()


async def test_a_file_of_many_windows_has_the_right_lines(
    owner: Conn, client: Client, working: None
) -> None:
    async def coming() -> AsyncIterator[bytes]:
        for piece in many(20_000):
            yield piece
        yield b"s59,again,1\n"

    answer = await client.send("POST", "/products/import", data=coming(), headers=CSV)
    if answer.status == 202:
        path = answer.headers["Location"].removeprefix("/v1")
        while (job := (await client.get(path)).json)["status"] != "done":
            await asyncio.sleep(0.2)
        found = job["report"]
    else:
        found = answer.json
    assert (found["inserted"], found["rejected_total"]) == (20_000, 1)
    assert found["rejected"] == [{"line": 20_002, "why": "the same sku as line 61"}]
    exported = await client.get("/products/export")
    assert exported.json.replace(b"\r\n", b"\n").count(b"\n") == 20_001


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE api_keys SET is_active = false",
        "UPDATE api_keys SET expires_at = now()",
        "UPDATE api_keys SET permissions = permissions - 'products:read'",
        "UPDATE users SET is_active = false",
    ],
)
async def test_a_key_that_ends_ends_its_export(
    owner: Conn, client: Client, ours: Tenant, end: str
) -> None:
    await owner.execute(
        "INSERT INTO products (user_id, sku, name, description)"
        " SELECT $1, n::text, 'N', repeat('x', 9000) FROM generate_series(1, 2500) n",
        ours.user_id,
    )
    got = b""

    async def read() -> None:
        nonlocal got
        async with client.http.get(
            f"{client.url}/v1/products/export", headers={"Authorization": f"Bearer {client.key}"}
        ) as response:
            assert response.status == 200
            async for piece in response.content.iter_any():
                if not got:
                    await owner.execute(end)
                got += piece

    with pytest.raises(aiohttp.ClientError):
        await read()
    assert got.count(b"xxx,,") < 2_500
    assert b"problem" not in got


async def test_a_key_that_ends_while_its_file_comes_begins_no_job(
    owner: Conn, client: Client, store: Directory
) -> None:
    async def coming() -> AsyncIterator[bytes]:
        yield FILES["products"].encode() * 5_000
        await owner.execute("UPDATE api_keys SET is_active = false")
        yield b"A-3,Pot,1\n"

    answer = await client.send("POST", "/products/import", data=coming(), headers=CSV)
    assert (answer.status, answer.problem) == (401, "not_authenticated")
    assert await owner.fetchval("SELECT count(*) FROM jobs") == 0
    assert await owner.fetchval("SELECT count(*) FROM imports") == 0
    assert await store.keys_below("imports/") == []


@pytest.mark.parametrize("what", [*FILES, "export"])
async def test_a_job_is_seen_by_who_may_read_its_noun(
    pool: Pool, owner: Conn, client: Client, connect: Connect, ours: Tenant, what: str
) -> None:
    for one in FILES:
        await imported(client, path_of(ours, one), FILES[one], Prefer="respond-async")
    assert (await client.post("/exports", {"what": "usage"})).status == 202
    jobs = {row["kind"]: row["id"] for row in (await client.get("/jobs")).json["data"]}
    assert len(jobs) == 4
    kind, noun = ("export", "exports") if what == "export" else (f"import_{what}", what)
    seeing = await connect(ours, f"{noun}:read")
    assert [row["kind"] for row in (await seeing.get("/jobs")).json["data"]] == [kind]
    for other, job_id in jobs.items():
        answer = await seeing.get(f"/jobs/{job_id}")
        if other == kind:
            assert (answer.status, answer.json["id"]) == (200, job_id)
        else:
            never = await seeing.get("/jobs/7777777")
            assert {**answer.json, "instance": ""} == {**never.json, "instance": ""}
    blind = await connect(ours, f"{noun}:write", *(["contacts:read"] if what != "contacts" else []))
    assert (await blind.get(f"/jobs/{jobs[kind]}")).problem == "not_found"


async def test_pages_of_the_jobs_that_a_key_sees_lose_none(
    client: Client, connect: Connect, ours: Tenant, owner: Conn
) -> None:
    await owner.execute(
        "INSERT INTO jobs (user_id, kind) SELECT $1, CASE n % 3 WHEN 0 THEN 'import_products'"
        " ELSE 'export' END FROM generate_series(1, 30) n",
        ours.user_id,
    )
    seeing = await connect(ours, "products:read")
    ids: list[int] = []
    after: dict[str, str] = {}
    while True:
        page = (await seeing.get("/jobs", limit=4, **after)).json
        ids += [row["id"] for row in page["data"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert len(ids) == len(set(ids)) == 10
    assert ids == sorted(ids, reverse=True)


async def test_an_export_that_breaks_is_seen_to_break(
    owner: Conn, client: Client, working: None
) -> None:
    await report(client, "/products", b"".join(many(20_000)))

    async def read() -> int:
        got = 0
        async with client.http.get(
            f"{client.url}/v1/products/export", headers={"Authorization": f"Bearer {client.key}"}
        ) as response:
            async for piece in response.content.iter_any():
                if not got:
                    await owner.execute("ALTER TABLE products RENAME COLUMN sku TO gone")
                got += len(piece)
        return got

    try:
        with pytest.raises(aiohttp.ClientError):
            await read()
    finally:
        await owner.execute("ALTER TABLE products RENAME COLUMN gone TO sku")


# ---- beside what comes from WhatsApp ------------------------------------------------------------


async def test_an_import_holds_nobody_while_it_waits_for_a_new_contact(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, working: None
) -> None:
    """As ingest does: who holds a contact that there is, and waits for one that ingest just made,
    which waits for the other, would wait for ever."""
    old, new = "+13035550100", "+13035550199"
    await report(client, "/contacts", f"phone_number,name\n{old},Ada\n")
    (known,) = await contact_ids(owner, ours)
    async with tenant(pool, ours.user_id) as ingest:
        customer = NewContact(
            chatbot_id=ours.chatbot_id, phone_number=new, bsuid=None, wa_id=new[1:], name=None
        )
        await add_contacts(ingest, ours.user_id, [customer])
        file = f"phone_number,name\n{old},Ben\n{new},Cleo\n"
        sent = asyncio.create_task(imported(client, "/contacts", file))
        await until_blocked(owner)
        await ingest.execute(
            "SET LOCAL lock_timeout = '200ms'"
        )  # before the server sees a deadlock
        await lock_contacts(ingest, ours.user_id, [known])
    found = (await sent).json
    assert (found["inserted"], found["updated"]) == (0, 2)


async def until_blocked(owner: Conn) -> None:
    async with asyncio.timeout(10):
        while not await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.02)


# ---- its chatbot is deleted ---------------------------------------------------------------------


async def test_a_chatbot_that_is_deleted_ends_its_imports(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, store: Directory
) -> None:
    """One that waits, and one that is being done."""
    path = path_of(ours, "knowledge")
    sent = [
        asyncio.create_task(imported(client, path, FILES["knowledge"], Idempotency_Key=str(n)))
        for n in range(2)
    ]
    while (job := await claim(pool, await a_worker(owner))) is None:
        await asyncio.sleep(0.02)
    while await owner.fetchval("SELECT count(*) FROM jobs") < 2:
        await asyncio.sleep(0.02)
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    with pytest.raises(Lost):
        await do_import(pool, store, job)
    for answer in await asyncio.gather(*sent):
        assert (answer.status, answer.problem) == (409, "import_ended")
        assert "chatbot" in answer.json["detail"]
        assert answer.json["report"] == NOTHING | {"ignored": []}
    await finish(pool, owner)
    assert await claim(pool, await a_worker(owner)) is None
    await clear_old_imports(pool, store, Sweep("old_import"))
    assert await store.keys_below("imports/") == []
    assert await owner.fetchval("SELECT count(*) FROM bot_knowledge_base") == 0


async def test_a_file_that_comes_while_its_chatbot_is_deleted_is_not_taken(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, store: Directory
) -> None:
    gone = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield FILES["knowledge"].encode() * 5_000
        await gone.wait()
        yield b"\n"

    path = f"{path_of(ours, 'knowledge')}/import"
    coming = asyncio.create_task(client.send("POST", path, data=slowly(), headers=CSV))
    while not await owner.fetchval("SELECT count(*) FROM imports"):
        await asyncio.sleep(0.02)
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    await finish(pool, owner)
    gone.set()
    answer = await coming
    assert (answer.status, answer.problem) == (409, "import_ended")
    assert await owner.fetchval("SELECT count(*) FROM jobs") == 0
    assert await store.keys_below("imports/") == []
