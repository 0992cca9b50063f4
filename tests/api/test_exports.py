"""/v1/exports and /v1/jobs."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from db.ids import WorkerId
from db.jobs import claim_job
from db.pool import Conn, Pool
from handlers.exports.work import make_export
from handlers.media_store.local import Directory
from ingress.api.resources.exports import OPEN_MAX
from tests.api import Client, make_key
from tests.api.conftest import Connect
from tests.conftest import Database
from tests.erasure.person import ADA, lives
from tests.factories import Tenant, make_tenant
from tests.ingress import DEAD_BROKER, Door, door
from worker.jobs import KINDS
from worker.liveness import TERM


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> AsyncIterator[Door]:
    async with door(DEAD_BROKER, database.runtime_url, media_store=tmp_path.as_uri()) as opened:
        yield opened


async def make_all(pool: Pool, owner: Conn, store: Directory) -> None:
    """As a worker with the role jobs does."""
    me = WorkerId(await owner.fetchval("INSERT INTO workers (name) VALUES ('w') RETURNING id"))
    while True:
        async with pool.acquire() as conn:
            job = await claim_job(conn, me, TERM, KINDS)
        if job is None:
            return
        await make_export(pool, store, job)


async def test_an_export_is_asked_for_made_and_fetched(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, store: Directory
) -> None:
    await lives(pool, owner, ours, ADA)
    asked = await client.post("/exports", {"what": "messages"})
    assert asked.status == 202
    assert (asked.json["status"], asked.json["what"]) == ("queued", "messages")
    job = asked.headers["Location"].removeprefix("/v1")
    assert (await client.get(job)).json["status"] == "queued"
    path = f"/exports/{asked.json['id']}"
    early = await client.get(f"{path}/file")
    assert (early.status, early.problem) == (409, "not_ready")
    await make_all(pool, owner, store)
    ready = (await client.get(path)).json
    assert ready["status"] == "ready"
    done = (await client.get(job)).json
    assert (done["status"], done["report"]) == ("done", {"export_id": ready["id"]})
    file = await client.get(f"{path}/file")
    assert file.status == 200
    assert file.headers["Content-Type"] == "application/zip"
    assert file.headers["Content-Disposition"].startswith("attachment")
    assert int(file.headers["Content-Length"]) == ready["bytes"] == len(file.json)
    with zipfile.ZipFile(io.BytesIO(file.json)) as archive:
        assert archive.namelist() == ["messages.csv", "messages.jsonl"]
        assert ADA.word.encode() in archive.read("messages.jsonl")
    listed = (await client.get("/exports")).json
    assert [row["id"] for row in listed["data"]] == [ready["id"]]
    await owner.execute("UPDATE exports SET expires_at = now()")
    assert (await client.get(path)).json["status"] == "expired"
    assert (await client.get(f"{path}/file")).problem == "not_ready"


async def test_a_file_that_went_at_this_moment_is_not_found(
    pool: Pool, owner: Conn, client: Client, store: Directory
) -> None:
    asked = await client.post("/exports", {"what": "usage"})
    await make_all(pool, owner, store)
    await store.remove_below("exports/")
    assert (await client.get(f"/exports/{asked.json['id']}/file")).problem == "not_found"


async def test_it_is_for_who_may(
    pool: Pool, owner: Conn, api: Door, connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    client, stranger = await connect(ours), await connect(theirs)
    asked = (await client.post("/exports", {"what": "usage"})).json
    for path in (f"/exports/{asked['id']}", f"/exports/{asked['id']}/file"):
        assert (await stranger.get(path)).problem == "not_found"
    assert (await stranger.get(f"/jobs/{asked['job_id']}")).problem == "not_found"
    reader = await connect(ours, "exports:read")
    assert (await reader.post("/exports", {"what": "usage"})).problem == "permission_missing"
    assert (await reader.get(f"/exports/{asked['id']}/file")).problem == "permission_missing"
    bound = await make_tenant(owner, config='{"permissions": {"export_data": false}}')
    key, _ = await make_key(pool, bound)
    not_theirs = Client(api.url, api.http, key)
    assert (await not_theirs.post("/exports", {"what": "usage"})).problem == "not_in_plan"
    plain = await make_tenant(
        owner, config='{"features": {"enterprise_features": {"custom_reports": false}}}'
    )
    key, _ = await make_key(pool, plain)
    no_columns = Client(api.url, api.http, key)
    chosen = {"what": "usage", "columns": ["id"]}
    assert (await no_columns.post("/exports", chosen)).problem == "not_in_plan"
    assert (await no_columns.post("/exports", {"what": "usage"})).status == 202


async def test_what_is_wrong_is_told(
    client: Client, owner: Conn, theirs: Tenant, pool: Pool
) -> None:
    another = await lives(pool, owner, theirs, ADA)
    for body in (
        {},
        {"what": "everything"},
        {"what": "contact"},
        {"what": "usage", "contact_id": 1},
        {"what": "contact", "contact_id": int(another)},
        {"what": "usage", "columns": []},
    ):
        assert (await client.post("/exports", body)).problem == "invalid_request", body


async def test_columns_that_there_are_not_are_named(client: Client) -> None:
    asked = {"what": "messages", "columns": ["id", "content_txt", "../a", "content_text"]}
    answer = await client.post("/exports", asked)
    assert answer.problem == "invalid_request"
    assert [e["field"] for e in answer.json["errors"]] == ["columns.1", "columns.2"]
    hashes = {"what": "tenant", "columns": ["password_hash"]}
    assert (await client.post("/exports", hashes)).problem == "invalid_request"


async def test_so_many_at_once_and_no_more(client: Client, owner: Conn) -> None:
    answers = await asyncio.gather(
        *(client.post("/exports", {"what": "usage"}) for _ in range(OPEN_MAX + 4))
    )
    statuses = [answer.status for answer in answers]
    assert (statuses.count(202), statuses.count(409)) == (OPEN_MAX, 4)
    assert await owner.fetchval("SELECT count(*) FROM exports") == OPEN_MAX
