"""A document sent to the import of knowledge becomes passages, or is refused with the reason."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from db.imports import read_import
from db.pool import Conn, Pool, tenant
from handlers.bulk.work import do_import
from handlers.documents.blocks import FILE_BYTES
from handlers.exports.work import Lost
from handlers.media_store.local import Directory
from tests.api import Client
from tests.api.test_imports import a_worker, at_work, claim, imported, report
from tests.conftest import Database
from tests.factories import Tenant
from tests.ingress import DEAD_BROKER, Door, door
from tests.unit.test_documents import p, packed, word, written

DOCX = {"Content-Type": "application/vnd.openxmlformats-officedocument.wordprocessingml.document"}
PDF = {"Content-Type": "application/pdf"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> AsyncIterator[Door]:
    async with door(DEAD_BROKER, database.runtime_url, media_store=tmp_path.as_uri()) as opened:
        yield opened


@pytest.fixture
async def working(pool: Pool, owner: Conn, store: Directory) -> AsyncIterator[None]:
    async with at_work(pool, await a_worker(owner), store):
        yield


def path_of(of: Tenant) -> str:
    return f"/chatbots/{of.chatbot_id}/knowledge"


async def rows(owner: Conn) -> list[tuple[str, str]]:
    found = await owner.fetch("SELECT question, answer FROM bot_knowledge_base ORDER BY id")
    return [(row["question"], row["answer"]) for row in found]


async def test_each_kind_becomes_rows_and_repeated_changes_nothing(
    owner: Conn,
    client: Client,
    ours: Tenant,
    working: None,
) -> None:
    path = path_of(ours)
    document = word(p("Hours", "Heading1"), p("From 7 to 18."), p("Parking", "Heading1"), p("Yes."))
    first = await report(client, path, document, DOCX)
    assert (first["inserted"], first["rejected_total"]) == (2, 0)
    again = await report(client, path, document, DOCX)
    assert (again["inserted"], again["unchanged"]) == (0, 2)
    assert (await report(client, path, "<h1>Cakes</h1><p>38 EUR.", HTML))["inserted"] == 1
    assert (await report(client, path, written("We gift-wrap for free."), PDF))["inserted"] == 1
    assert await rows(owner) == [
        ("Hours", "From 7 to 18."),
        ("Parking", "Yes."),
        ("Cakes", "38 EUR."),
        ("We gift-wrap for free.", "We gift-wrap for free."),
    ]
    files = await owner.fetch("SELECT file FROM imports WHERE file IS NOT NULL")
    assert all(str(row["file"]).endswith("-rows") for row in files)


@pytest.mark.parametrize(
    ("data", "kind", "why"),
    [
        (packed('<!DOCTYPE x [<!ENTITY e "y">]><a>&e;</a>'), DOCX, "entities"),
        (packed("<a>" + "x" * 100_000_000), DOCX, "unpacked"),
        (b"no PDF at all", PDF, "no PDF"),
        (b"<script>x()</script>", HTML, "no text"),
    ],
)
async def test_a_bad_one_is_refused_with_the_reason(
    owner: Conn,
    client: Client,
    ours: Tenant,
    working: None,
    data: bytes,
    kind: dict[str, str],
    why: str,
) -> None:
    answer = await imported(client, path_of(ours), data, kind)
    assert (answer.status, answer.json["type"].rpartition(":")[2]) == (409, "import_ended"), answer
    assert why in answer.json["detail"]
    assert await rows(owner) == []


async def test_what_is_empty_too_big_or_another_noun_s(client: Client, ours: Tenant) -> None:
    path = path_of(ours)
    assert (await imported(client, path, b"", PDF)).status == 400
    assert (await imported(client, path, b"x" * (FILE_BYTES + 1), HTML)).status == 413
    assert (await imported(client, "/products", b"%PDF", PDF)).status == 415


async def test_who_dies_after_it_was_read_leaves_it_to_another(
    owner: Conn,
    pool: Pool,
    client: Client,
    ours: Tenant,
    store: Directory,
) -> None:
    document = word(p("Hours", "Heading1"), p("From 7."))
    later = await imported(client, path_of(ours), document, DOCX, Prefer="respond-async")
    assert later.status == 202
    job = await claim(pool, await a_worker(owner))
    assert job is not None
    await owner.execute("UPDATE jobs SET epoch = epoch + 1")  # somebody else has it
    with pytest.raises(Lost):
        await do_import(pool, store, job)
    assert await rows(owner) == []
    await owner.execute("UPDATE jobs SET epoch = epoch - 1")
    async with tenant(pool, ours.user_id) as conn:
        this = await read_import(conn, job)
    assert this is not None
    assert this.form == "docx"  # the document is still what is imported
    await do_import(pool, store, job)
    assert await rows(owner) == [("Hours", "From 7.")]
    assert await store.keys_below("imports/") == []
