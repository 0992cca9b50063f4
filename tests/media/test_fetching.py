"""Media are fetched from Meta once, whatever dies; of what is not as it should be nothing stays."""

import asyncio
import io
import time
import zipfile
from dataclasses import replace
from typing import Any

import pytest

from db.erasures import DueErasure
from db.exports import create_export
from db.given_media import NewFile, give_file
from db.ids import ContactId
from db.jobs import claim_job, create_job
from db.media import MediumClaim
from db.pool import Conn, Pool, create_pool, tenant
from handlers.erasure.work import step
from handlers.exports.work import make_export
from handlers.ingest.recording import record_batch
from handlers.media.kinds import BYTES, CONTACT_DAY, TENANT_DAY
from handlers.media.pictures import whole
from handlers.media.rules import DEATHS_MAX, DOUBTED_TRIES
from handlers.process.secrets import Vault, access_token_of
from handlers.retention.sweep import history_step
from simulator.samples import JPEG, pdf, video, voice
from tests.conftest import Database
from tests.erasure import MARKER, begin
from tests.factories import Tenant, make_tenant
from tests.media import CALLER, House, files_named, plan
from tests.recording import DEBOUNCE, to, wrote
from tests.unit.payloads import text
from tests.unit.test_places import FILES, FTYP, PLACE, SOUND
from worker.liveness import TERM

MIB = 1024 * 1024
AWAY = """FROM pg_stat_activity WHERE datname = current_database()
          AND application_name = 'goes away'"""
WAITS = f"SELECT count(*) {AWAY} AND wait_event_type = 'Lock'"
CUT = f"SELECT pg_terminate_backend(pid) {AWAY}"
pytestmark = pytest.mark.parametrize("where", ["directory", "bucket"], indirect=True)


async def test_what_a_customer_sends_is_stored_as_it_came(house: House, of: Tenant) -> None:
    data = voice(3.0)
    medium = await house.sent(of, "audio", data)
    await house.fetch_all()
    row = await house.row(medium)
    assert (row["status"], row["content_type"], row["bytes"]) == ("stored", "audio/ogg", len(data))
    assert await house.content(medium) == data
    url = await house.owner.fetchval("SELECT content_url FROM messages")
    assert url == f"/v1/media/{medium}"
    days = await house.owner.fetch("SELECT files, bytes FROM media_days")
    assert [tuple(day) for day in days] == [(1, len(data))]


async def test_a_video_is_kept_without_where_it_was_taken(house: House, of: Tenant) -> None:
    """Of the same length, and its hash is that of what came. A document is what somebody gives."""
    for kind in ("video", "document"):
        medium = await house.sent(of, kind, FILES["behind"])
        await house.fetch_all()
        assert await house.fate(medium) == ("stored", None)
        kept = await house.content(medium)
        assert (len(kept), PLACE in kept) == (len(FILES["behind"]), kind == "document")
        assert kept.startswith(FTYP + SOUND)


async def test_a_message_that_comes_twice_brings_its_medium_once(house: House, of: Tenant) -> None:
    media_id = await house.simulator.media(sample="video")
    item = wrote("wamid.one", CALLER, int(time.time()), type="video")
    del item["text"]
    item["video"] = {"id": media_id}
    for _ in range(2):
        await record_batch(house.pool, [to(of, item), to(of, item)], DEBOUNCE)
    await house.fetch_all()
    assert await house.owner.fetchval("SELECT count(*) FROM media") == 1
    assert len(house.files()) == 1


async def test_a_text_has_no_medium(house: House, of: Tenant) -> None:
    await record_batch(house.pool, [to(of, wrote("wamid.text"))], DEBOUNCE)
    assert await house.owner.fetchval("SELECT count(*) FROM media") == 0


@pytest.mark.parametrize("expired", [1, 2])
async def test_an_address_that_has_expired_is_asked_for_anew(
    house: House, of: Tenant, expired: int
) -> None:
    medium = await house.sent(of, "audio", expired=expired)
    await house.fetch_all()
    assert await house.fate(medium) == ("stored", None)
    asked = [e["did"] for e in await house.simulator.log("media")]
    assert asked.count("described") == expired + 1


@pytest.mark.parametrize("base64_hash", [False, True])
async def test_a_hash_counts_in_hex_and_in_base64(
    house: House, of: Tenant, base64_hash: bool
) -> None:
    good = await house.sent(of, "audio", base64_hash=base64_hash)
    bad = await house.sent(of, "audio", base64_hash=base64_hash, wrong_hash=True)
    await house.fetch_all()
    assert (await house.fate(good))[0] == "stored"
    assert await house.fate(bad) == ("waiting", "hash")
    for _ in range(DOUBTED_TRIES):
        await house.later()
        await house.fetch_all()
    assert await house.fate(bad) == ("refused", "hash")
    await house.remove()
    assert len(house.files()) == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"truncated": True}, "truncated"),
        ({"gone": True}, "gone"),
        ({"redirect": "http://127.0.0.1:1/elsewhere"}, "redirected"),
        ({"status": 503}, "http_503"),
    ],
)
async def test_what_fails_is_tried_again_and_leaves_nothing(
    house: House, of: Tenant, options: dict[str, Any], problem: str
) -> None:
    medium = await house.sent(of, "audio", voice(), **options)
    await house.fetch_all()
    assert await house.fate(medium) == ("waiting", problem)
    row = await house.row(medium)
    assert row["failures"] == 1
    assert row["lease_owner"] is None
    assert house.files() == []
    asked = [e["did"] for e in await house.simulator.log("media")]
    assert asked.count("given") <= 1, "no redirect was followed"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/file",
        "https://lookaside.fbsbx.com.evil.example/file",
        "https://evil.example/?lookaside.fbsbx.com",
        "https://user@lookaside.fbsbx.com/file",
        "http://lookaside.fbsbx.com/file",
        "https://lookaside.fbsbx.com:8443/file",
        "https://evilfbsbx.com/file",
        "file:///etc/passwd",
    ],
)
async def test_another_host_than_metas_is_not_asked(house: House, of: Tenant, url: str) -> None:
    medium = await house.sent(of, "image", url=url)
    await house.fetch_all()
    assert await house.fate(medium) == ("refused", "foreign_host")
    assert house.files() == []


async def test_what_says_that_it_is_too_large_is_not_fetched(house: House, of: Tenant) -> None:
    medium = await house.sent(of, "video", video(), size=100 * MIB)
    await house.fetch_all()
    assert await house.fate(medium) == ("refused", "too_large")
    assert [e["did"] for e in await house.simulator.log("media")] == ["described"]


async def test_what_is_larger_than_it_says_ends_at_the_bound(house: House, of: Tenant) -> None:
    medium = await house.sent(of, "video", video(), size=1_000, filler=100 * MIB)
    await house.fetch_all()
    assert await house.fate(medium) == ("refused", "too_large")
    assert house.files() == []


async def test_a_document_may_be_as_large_as_its_bound(house: House, of: Tenant) -> None:
    data = pdf("x").ljust(MIB)
    medium = await house.sent(of, "document", data, filler=BYTES["document"] - MIB)
    await house.fetch_all()
    assert (await house.row(medium))["bytes"] == BYTES["document"]


@pytest.mark.parametrize(
    ("kind", "data"),
    [("image", voice()), ("audio", JPEG), ("video", b"MZ\x90\x00"), ("image", b"<html>" * 20)],
)
async def test_what_is_of_another_kind_is_refused(
    house: House, of: Tenant, kind: str, data: bytes
) -> None:
    medium = await house.sent(of, kind, data)
    await house.fetch_all()
    assert await house.fate(medium) == ("refused", "wrong_type")
    assert house.files() == []


@pytest.mark.parametrize(
    ("kind", "data", "found"),
    [
        ("audio", video(), "audio/mp4"),
        ("audio", b"ID3\x04" + bytes(80), "audio/mpeg"),
        ("video", video(), "video/mp4"),
        ("document", b"PK\x03\x04" + bytes(80), "application/zip"),
        ("document", b"MZ\x90\x00" + bytes(80), "application/octet-stream"),
        ("document", b"<html><script>" + bytes(80), "application/octet-stream"),
    ],
)
async def test_the_type_is_that_of_the_bytes(
    house: House, of: Tenant, kind: str, data: bytes, found: str
) -> None:
    medium = await house.sent(of, kind, data, mime_type="audio/ogg")
    await house.fetch_all()
    assert (await house.row(medium))["content_type"] == found


async def test_an_id_that_is_too_old_is_not_asked_for(house: House, of: Tenant) -> None:
    medium = await house.sent(of, "audio", at=int(time.time()) - 8 * 86_400)
    await house.fetch_all()
    assert await house.fate(medium) == ("refused", "too_old")
    assert await house.simulator.log("media") == []


async def test_without_a_token_it_waits(house: House, of: Tenant) -> None:
    sealed = Vault(("another key, which is not there",)).encrypt(
        "token", access_token_of(of.chatbot_id)
    )
    await house.owner.execute("UPDATE chatbots SET access_token = $1", sealed)
    medium = await house.sent(of, "audio")
    await house.fetch_all()
    assert await house.fate(medium) == ("waiting", "token")
    await house.owner.execute("UPDATE chatbots SET access_token = NULL")
    await house.later()
    await house.fetch_all()
    assert await house.fate(medium) == ("stored", None)


# ---- bounds --------------------------------------------------------------------------------------


async def test_of_a_customer_so_many_a_day(house: House, of: Tenant) -> None:
    for _ in range(CONTACT_DAY + 2):
        await house.sent(of, "audio")
    other = await house.sent(of, "audio", who="13035550222")
    me = await house.worker()
    await asyncio.gather(*(house.fetcher.fetch(claim) for claim in await house.claims(me)))
    fates = await house.owner.fetch("SELECT status, reason FROM media ORDER BY status DESC, id")
    assert [row["status"] for row in fates].count("stored") == CONTACT_DAY + 1
    assert [row["reason"] for row in fates if row["status"] == "refused"] == ["contact_limit"] * 2
    assert (await house.fate(other))[0] == "stored"
    assert await house.owner.fetchval("SELECT files FROM media_days") == CONTACT_DAY + 1


async def test_of_a_tenant_so_many_a_day(house: House, of: Tenant) -> None:
    theirs = await make_tenant(house.owner)
    await house.owner.execute(
        "INSERT INTO media_days (user_id, usage_day, files) SELECT id, now()::date, $2 FROM users"
        " WHERE id = $1",
        *(of.user_id, TENANT_DAY - 1),
    )
    ours = [await house.sent(of, "audio", who=f"1303555{n:04d}") for n in range(3)]
    other = await house.sent(theirs, "audio")
    me = await house.worker()
    await asyncio.gather(*(house.fetcher.fetch(claim) for claim in await house.claims(me)))
    fates = [await house.fate(medium) for medium in ours]
    assert sorted(fates) == sorted([("stored", None)] + [("refused", "tenant_limit")] * 2)
    assert (await house.fate(other))[0] == "stored"


async def test_a_tenants_flood_leaves_places_for_others(house: House, of: Tenant) -> None:
    theirs = await make_tenant(house.owner)
    for n in range(6):
        await house.sent(of, "audio", who=f"1303555{n:04d}")
    await house.sent(theirs, "audio")
    claims = await house.claims(await house.worker(), limit=2)
    assert {claim.user_id for claim in claims} == {of.user_id, theirs.user_id}


# ---- whatever dies ------------------------------------------------------------------------------


async def test_a_dead_workers_is_fetched_by_another_and_its_file_goes(
    house: House, of: Tenant
) -> None:
    medium = await house.sent(of, "audio", voice() + bytes(200_000), hang_ms=60_000)
    dead = await house.worker()
    (claim,) = await house.claims(dead)
    fetching = asyncio.create_task(house.fetcher.fetch(claim))
    while not house.files():
        await asyncio.sleep(0.01)
    half = (await house.row(medium))["file"]
    fetching.cancel()
    await asyncio.wait({fetching})
    house.put(half, b"as a store would leave it")
    assert await house.claims(await house.worker()) == [], "it is somebody's"
    await house.owner.execute("UPDATE workers SET beat_at = now() - interval '1 min'")
    again = await house.simulator.media(sample="audio")
    await house.owner.execute("UPDATE media SET handle = $1", again)
    await house.fetch_all()
    assert await house.fate(medium) == ("stored", None)
    await house.remove()
    assert house.files() == [(await house.row(medium))["file"]]


async def test_who_lost_it_writes_nothing(house: House, of: Tenant) -> None:
    medium = await house.sent(of, "audio")
    (claim,) = await house.claims(await house.worker())
    await house.owner.execute("UPDATE media SET lease_owner = NULL")
    (newer,) = await house.claims(await house.worker())
    await house.fetcher.fetch(claim)
    assert (await house.row(medium))["status"] == "waiting"
    assert house.files() == []
    await house.fetcher.fetch(newer)
    assert (await house.row(medium))["status"] == "stored"


async def test_one_that_takes_its_workers_down_is_left_alone(house: House, of: Tenant) -> None:
    medium = await house.sent(of, "audio")
    for _ in range(DEATHS_MAX):
        assert len(await house.claims(await house.worker())) == 1
        await house.owner.execute("UPDATE workers SET beat_at = now() - interval '1 min'")
    await house.fetch_all()
    assert await house.fate(medium) == ("refused", "died")


async def test_a_file_that_lands_after_it_was_removed_is_removed_again(
    house: House, of: Tenant
) -> None:
    await house.sent(of, "audio")
    await house.fetch_all()
    (file,) = house.files()
    await house.owner.execute("DELETE FROM media")
    await house.remove()
    assert house.files() == []
    house.put(file, b"from somebody who was slow")
    await house.owner.execute(
        "UPDATE files_to_remove SET created_at = created_at - interval '11 min', due_at = now()"
    )
    await house.remove()
    assert house.files() == []
    assert await files_named(house.owner, of.user_id) == []


# ---- what goes ----------------------------------------------------------------------------------


def revoked(wamid: str) -> object:
    item = text(1, **{"from": CALLER, "id": f"{wamid}-r"}, type="revoke")
    del item["text"]
    item.pop("from_user_id", None)
    item["timestamp"] = str(int(time.time()))
    item["revoke"] = {"original_message_id": wamid}
    return item


@pytest.mark.parametrize("when", ["before", "between", "after"])
async def test_what_was_taken_back_goes(house: House, of: Tenant, when: str) -> None:
    medium = await house.sent(of, "audio")
    wamid = await house.owner.fetchval("SELECT message_id FROM messages")
    claims: list[MediumClaim] = []
    if when == "between":
        claims = await house.claims(await house.worker())
    elif when == "after":
        await house.fetch_all()
    await record_batch(house.pool, [to(of, revoked(wamid))], DEBOUNCE)
    for claim in claims:
        await house.fetcher.fetch(claim)
    await house.fetch_all()
    await house.remove()
    assert (await house.row(medium))["status"] == "removed"
    assert house.files() == []
    assert await house.owner.fetchval("SELECT content_url FROM messages") is None


async def test_with_a_person_goes_what_they_sent(house: House, of: Tenant) -> None:
    await house.sent(of, "audio")
    other = await house.sent(of, "audio", who="13035550222")
    await house.fetch_all()
    contact = await house.owner.fetchval("SELECT min(id) FROM contacts")
    assert await begin(house.pool, of, ContactId(contact))
    await _erased(house)
    assert house.files() == [(await house.row(other))["file"]]
    assert await house.owner.fetchval("SELECT count(*) FROM media") == 1


async def _erased(house: House) -> None:
    rows = await house.owner.fetch("SELECT user_id, id FROM erasures WHERE settled_at IS NULL")
    for row in rows:
        due = DueErasure(**row)
        open_ = "SELECT settled_at IS NULL FROM erasures WHERE id = $1"
        while await house.owner.fetchval(open_, due.id):
            await step(house.pool, MARKER, house.store, due)


async def test_with_a_message_that_is_old_goes_its_file(
    pool: Pool, owner: Conn, house: House
) -> None:
    of = await make_tenant(owner, config=plan(limits={"message_history_days": 1}))
    await house.sent(of, "audio")
    await house.fetch_all()
    await owner.execute("UPDATE messages SET created_at = now() - interval '2 days'")
    await owner.execute("UPDATE conversations SET answered_seq = input_seq")
    while await history_step(pool, of.user_id, 100):
        pass
    await house.remove()
    assert house.files() == []
    assert await owner.fetchval("SELECT count(*) FROM media") == 0


async def test_with_a_tenant_goes_everything(house: House, of: Tenant) -> None:
    await house.sent(of, "audio")
    await house.fetch_all()
    async with tenant(house.pool, of.user_id) as conn:
        while await conn.fetchval("SELECT erase_rows_of_tenant($1, 1000)", of.user_id):
            pass
    await house.remove()
    assert house.files() == []
    assert await house.owner.fetchval("SELECT count(*) FROM media") == 0
    assert await house.owner.fetchval("SELECT sum(files) FROM media_days") == 1


# ---- the database goes meanwhile -----------------------------------------------------------------


@pytest.mark.parametrize("stays_away", [False, True])
async def test_what_the_database_interrupts_is_no_death(
    house: House, of: Tenant, database: Database, stays_away: bool
) -> None:
    """However often: it is nobody's fault. While the database is away nobody can be told either,
    and the worker that lost sight of it claims it again."""
    medium = await house.sent(of, "audio")
    me = await house.worker()
    for _ in range(DEATHS_MAX + 1):
        (claim,) = await house.claims(me)
        pool = await create_pool(database.runtime_url, size=1, name="goes away")
        async with house.owner.transaction():
            await house.owner.execute("SELECT FROM conversations FOR UPDATE")
            fetching = asyncio.create_task(replace(house.fetcher, pool=pool).fetch(claim))
            async with asyncio.timeout(20):
                while not await house.owner.fetchval(WAITS):  # to settle it
                    await house.owner.execute("SELECT pg_stat_clear_snapshot()")
            if stays_away:
                pool.terminate()
            else:
                await house.owner.execute(CUT)
            await fetching
        pool.terminate()
        row = await house.row(medium)
        assert (row["lease_owner"] is None) is not stays_away
        await house.later()
    row = await house.row(medium)
    assert (row["status"], row["attempts"], row["failures"]) == ("waiting", 0, 0)
    (claim,) = await house.claims(me)
    await house.fetcher.fetch(claim)
    assert await house.fate(medium) == ("stored", None)


async def test_what_a_person_sent_is_in_their_export(house: House, of: Tenant) -> None:
    """As files, by the names that the API gives them; of nobody else, and not what was refused.
    Also what the tenant has about them."""
    data = voice(4.0)
    mine = [await house.sent(of, "audio", data), await house.sent(of, "document", pdf("Cake"))]
    await house.sent(of, "image", b"MZ" + bytes(80))
    await house.sent(of, "audio", who="13035550222")
    await house.fetch_all()
    gone = await house.sent(of, "audio")
    await house.fetch_all()
    await house.store.remove((await house.row(gone))["file"])
    contact = ContactId((await house.row(mine[0]))["contact_id"])
    await house.store.write("media/1/invoice", whole(b"%PDF- invoice"))
    about = NewFile(
        kind="document",
        file="media/1/invoice",
        content_type="application/pdf",
        bytes=13,
        name="invoice.pdf",
        title=None,
        chatbot_id=None,
        contact_id=contact,
    )
    async with tenant(house.pool, of.user_id) as conn:
        assert (given := await give_file(conn, of.user_id, about)) is not None
        assert await give_file(conn, of.user_id, replace(about, contact_id=None)) is not None
        job_id = await create_job(conn, of.user_id, "export")
        await create_export(conn, of.user_id, job_id, "contact", contact, None)
    async with house.pool.acquire() as conn:
        job = await claim_job(conn, await house.worker(), TERM, ["export"])
    assert job is not None
    await make_export(house.pool, house.store, job)
    file = await house.owner.fetchval("SELECT file FROM exports")
    zipped = b"".join([piece async for piece in house.store.read(file)])
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if "/" in name}
    assert files == {
        f"files/audio-{mine[0]}.ogg": data,
        f"files/document-{mine[1]}.pdf": pdf("Cake"),
        f"files/document-{given.id}.pdf": b"%PDF- invoice",
    }
