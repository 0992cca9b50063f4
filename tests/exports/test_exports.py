"""A tenant's data, or one person's, as a ZIP."""

import csv
import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from db.exports import create_export, fail_export, void_exports
from db.ids import ContactId, WorkerId
from db.jobs import JobClaim, claim_job, create_job, fail_job, job_kind
from db.pool import Conn, Pool, tenant
from handlers.erasure.files import remove_files
from handlers.exports import work
from handlers.exports.content import WITHOUT, csv_lines
from handlers.exports.work import Lost, clear_old_exports, make_export
from handlers.media_store.local import Directory
from handlers.process.secrets import Vault
from handlers.process.sweeps import Sweep
from tests.erasure import MARKER, begin, due, only
from tests.erasure.person import ADA, BEN, lives
from tests.factories import Tenant, make_tenant
from tests.recording import plainly_logged
from worker.jobs import KINDS
from worker.liveness import TERM


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


async def ask(
    pool: Pool,
    of: Tenant,
    what: str,
    contact_id: ContactId | None = None,
    columns: list[str] | None = None,
) -> int:
    async with tenant(pool, of.user_id) as conn:
        job = await create_job(conn, of.user_id, "export")
        return await create_export(conn, of.user_id, job, what, contact_id, columns)


async def worker(owner: Conn) -> WorkerId:
    return WorkerId(await owner.fetchval("INSERT INTO workers (name) VALUES ('w') RETURNING id"))


async def claim(pool: Pool, by: WorkerId) -> JobClaim | None:
    async with pool.acquire() as conn:
        return await claim_job(conn, by, TERM, KINDS)


async def made(pool: Pool, owner: Conn, store: Directory) -> dict[str, bytes]:
    job = await claim(pool, await worker(owner))
    assert job is not None
    await make_export(pool, store, job)
    return await content(owner, store)


async def content(owner: Conn, store: Directory) -> dict[str, bytes]:
    key = await owner.fetchval("SELECT file FROM exports ORDER BY id DESC LIMIT 1")
    data = b"".join([piece async for piece in store.read(key)])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def rows(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


async def test_a_tenant_s_has_everything_of_theirs_and_nothing_of_another_s(
    pool: Pool, owner: Conn, store: Directory
) -> None:
    ours, theirs = await make_tenant(owner), await make_tenant(owner)
    await lives(pool, owner, ours, ADA)
    await lives(pool, owner, theirs, BEN)
    await ask(pool, ours, "tenant")
    files = await made(pool, owner, store)
    for table in ("users", "chatbots", "contacts", "messages", "actions", "orders", "order_items"):
        assert len(rows(files[f"{table}.jsonl"])) >= 1, table
    everything = b"".join(files.values())
    assert ADA.name.encode() in everything
    assert BEN.word.encode() not in everything
    told = await owner.fetchval(
        "SELECT event_data::text FROM analytics_events WHERE event_type = 'export.ready'"
    )
    assert json.loads(told)["what"] == "tenant"
    row = await only(owner, "SELECT * FROM exports")
    assert (row["status"], row["expires_at"] - row["created_at"]) != ("queued", None)
    assert (await only(owner, "SELECT status FROM jobs"))["status"] == "done"


async def test_both_spellings_say_the_same(pool: Pool, owner: Conn, store: Directory) -> None:
    of = await make_tenant(owner)
    await lives(pool, owner, of, ADA)
    await owner.execute("UPDATE contacts SET name = '=HYPERLINK(1)' || chr(10) || '\"x\", y'")
    await ask(pool, of, "contacts")
    files = await made(pool, owner, store)
    (exact,) = rows(files["contacts.jsonl"])
    (cells,) = list(csv.DictReader(io.StringIO(files["contacts.csv"].decode(), newline="")))
    assert cells["phone_number"] == exact["phone_number"] == f"+{ADA.number}"
    assert cells["name"] == "'" + exact["name"], "no spreadsheet takes it for a formula"
    assert json.loads(cells["custom_fields"]) == exact["custom_fields"]
    assert cells["marketing_choice"] == ""
    assert exact["marketing_choice"] is None
    assert files.keys() == {"contacts.csv", "contacts.jsonl"}


async def test_one_person_s_has_nobody_else(pool: Pool, owner: Conn, store: Directory) -> None:
    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    await lives(pool, owner, of, BEN)
    await ask(pool, of, "contact", ada)
    files = await made(pool, owner, store)
    everything = b"".join(files.values())
    for table in ("contacts", "conversations", "messages", "actions", "orders", "order_items"):
        assert len(rows(files[f"{table}.jsonl"])) >= 1, table
    assert BEN.word.encode() not in everything
    assert BEN.number.encode() not in everything


async def test_no_secret_hash_or_key_is_in_it(pool: Pool, owner: Conn, store: Directory) -> None:
    of = await make_tenant(owner)
    sealed = Vault(("a key that is long enough",)).encrypt("the token", "x")
    await owner.execute("UPDATE chatbots SET access_token = $1, general_instructions = $1", sealed)
    await owner.execute("UPDATE users SET password_hash = 'pbkdf2-x'")
    await owner.execute(
        "INSERT INTO webhooks (user_id, url, events, secret_token) VALUES ($1, 'u', '[]', $2)",
        *(of.user_id, sealed),
    )
    await owner.execute(
        "INSERT INTO api_keys (user_id, key_name, api_key_hash, key_prefix)"
        " VALUES ($1, 'k', 'hash-x', 'sr_prefix')",
        of.user_id,
    )
    await ask(pool, of, "tenant")
    everything = b"".join((await made(pool, owner, store)).values())
    for secret in (sealed, "pbkdf2-x", "hash-x", "sr_prefix", "enc:v1"):
        assert secret.encode() not in everything


async def test_every_table_is_exported_or_named_with_its_reason(owner: Conn) -> None:
    """A later one has to be looked at: without an id it would be left out in silence."""
    tables = await owner.fetch(
        "SELECT c.relname, EXISTS (SELECT FROM pg_attribute i WHERE i.attrelid = c.oid"
        "   AND i.attname = 'id' AND i.atttypid = 'bigint'::regtype) AS has_id"
        "  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'user_id'"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
        "   AND NOT c.relispartition"
    )
    names = {row["relname"] for row in tables}
    assert set(WITHOUT) <= names
    assert {r["relname"] for r in tables if not r["has_id"]} <= set(WITHOUT)


async def test_columns_may_be_chosen_and_hide_nobody(
    pool: Pool, owner: Conn, store: Directory
) -> None:
    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    await lives(pool, owner, of, BEN)
    await owner.execute("UPDATE contacts SET erased_at = now() WHERE id = $1", int(ada))
    await ask(pool, of, "messages", columns=["id", "content_text", "nonsense"])
    files = await made(pool, owner, store)
    found = rows(files["messages.jsonl"])
    assert {*found[0]} == {"id", "content_text"}
    assert all(BEN.word in row["content_text"] for row in found), "who is erased is not in it"


async def test_it_is_read_page_by_page(
    pool: Pool, owner: Conn, store: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = await make_tenant(owner)
    await owner.execute(
        "INSERT INTO products (user_id, name) SELECT $1, 'p' || n FROM generate_series(1, 1100) n",
        of.user_id,
    )
    await ask(pool, of, "tenant")
    files = await made(pool, owner, store)
    assert [row["name"] for row in rows(files["products.jsonl"])] == [
        f"p{n}" for n in range(1, 1101)
    ]
    assert files["products.csv"].count(b"\r\n") == 1101
    assert work.PAGE_ROWS < 1100


# ---- who dies, who comes between ---------------------------------------------------------------


async def test_what_a_dead_worker_began_another_begins_anew(
    pool: Pool, owner: Conn, store: Directory
) -> None:
    of = await make_tenant(owner)
    await lives(pool, owner, of, ADA)
    await ask(pool, of, "contacts")
    dead, alive = await worker(owner), await worker(owner)
    first = await claim(pool, dead)
    assert first is not None
    assert await claim(pool, alive) is None, "it is somebody's"
    await owner.execute(
        "UPDATE workers SET beat_at = now() - interval '5 s' WHERE id = $1", int(dead)
    )
    second = await claim(pool, alive)
    assert second is not None
    assert second.epoch == first.epoch + 1
    with pytest.raises(Lost):  # it was only silent
        await make_export(pool, store, first)
    await make_export(pool, store, second)
    assert len(rows((await content(owner, store))["contacts.jsonl"])) == 1
    with pytest.raises(Lost):
        await make_export(pool, store, first)
    files = list((store._root / "exports").rglob("*.zip"))
    assert len(files) == 1


async def test_a_tenant_has_one_at_a_time(pool: Pool, owner: Conn) -> None:
    ours, theirs = await make_tenant(owner), await make_tenant(owner)
    for of in (ours, ours, theirs):
        await ask(pool, of, "usage")
    first = await claim(pool, await worker(owner))
    second = await claim(pool, await worker(owner))
    assert first is not None
    assert second is not None
    assert (first.user_id, second.user_id) == (ours.user_id, theirs.user_id)
    assert await claim(pool, await worker(owner)) is None


async def test_an_erasure_takes_what_was_made_before_and_what_is_being_made(
    pool: Pool, owner: Conn, store: Directory
) -> None:
    from handlers.erasure.work import step

    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    await lives(pool, owner, of, BEN)
    await ask(pool, of, "contacts")
    before = await made(pool, owner, store)
    assert ADA.name.encode() in before["contacts.csv"]
    await ask(pool, of, "contacts")
    running = await claim(pool, await worker(owner))
    assert running is not None
    await begin(pool, of, ada)
    with pytest.raises(Lost):
        await make_export(pool, store, running)
    (one,) = await due(owner)
    await step(pool, MARKER, store, one)
    assert list((store._root / "exports").rglob("*.zip")) == []
    statuses = await owner.fetch("SELECT status, file FROM exports ORDER BY id")
    assert [tuple(row) for row in statuses] == [("erased", None), ("queued", None)]
    anew = await made(pool, owner, store)
    assert ADA.name.encode() not in anew["contacts.csv"]
    assert BEN.name.encode() in anew["contacts.csv"]


async def test_after_a_week_it_is_gone(pool: Pool, owner: Conn, store: Directory) -> None:
    of = await make_tenant(owner)
    await ask(pool, of, "usage")
    await made(pool, owner, store)
    sweep: Sweep[Any] = Sweep("test")
    await clear_old_exports(pool, store, sweep)
    row = await only(owner, "SELECT file, expires_at - now() AS left FROM exports")
    assert row["file"] is not None
    assert row["left"].days == 6
    await owner.execute("UPDATE exports SET expires_at = now()")
    await clear_old_exports(pool, store, sweep)
    row = await only(owner, "SELECT status, file FROM exports")
    assert (row["status"], row["file"]) == ("expired", None)
    assert list((store._root / "exports").rglob("*.zip")) == []
    await owner.execute("UPDATE exports SET created_at = now() - interval '38 days'")
    await clear_old_exports(pool, store, sweep)
    assert await owner.fetchval("SELECT count(*) FROM jobs") == 0


async def test_an_erased_tenant_s_files_go(pool: Pool, owner: Conn, store: Directory) -> None:
    of = await make_tenant(owner)
    await ask(pool, of, "usage")
    await made(pool, owner, store)
    other = await make_tenant(owner)
    for user in (of, other):
        await store.write(f"exports/{user.user_id}/99-1.zip", nothing())  # of a worker that died
    await owner.execute("INSERT INTO erasures (user_id) VALUES ($1)", of.user_id)
    async with tenant(pool, of.user_id) as conn:
        await void_exports(conn, of.user_id)
    await remove_files(pool, store, of.user_id)
    left = [path.parent.name for path in (store._root / "exports").rglob("*.zip")]
    assert left == [str(other.user_id)]


async def nothing() -> AsyncIterator[bytes]:
    yield b""


async def test_a_job_that_takes_its_worker_down_again_and_again_has_failed(
    pool: Pool, owner: Conn
) -> None:
    of = await make_tenant(owner)
    await ask(pool, of, "usage")
    for _ in range(5):
        job = await claim(pool, await worker(owner))
        assert job is not None
        async with tenant(pool, of.user_id) as conn:
            assert await job_kind(conn, job, 5) == "export"
        await owner.execute("DELETE FROM workers")
    job = await claim(pool, await worker(owner))
    assert job is not None
    async with tenant(pool, of.user_id) as conn:
        assert await job_kind(conn, job, 5) is None
        assert await fail_job(conn, job, 5) == "failed"
        await fail_export(conn, job.user_id, job.id)
    assert (await only(owner, "SELECT status FROM exports"))["status"] == "failed"
    assert await claim(pool, await worker(owner)) is None


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("+1 (303) 555-0111", "+1 (303) 555-0111"),
        ("-5", "-5"),
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("@x", "'@x"),
        ("\t=1", "'\t=1"),
        (None, ""),
        (True, "true"),
        (1.5, "1.5"),
        ({"a": "ä"}, '{"a": "ä"}'),
    ],
)
def test_cells(value: Any, cell: str) -> None:
    ((read,),) = list(csv.reader(io.StringIO(csv_lines([[value]]).decode(), newline=""))) or [[""]]
    assert read == cell
