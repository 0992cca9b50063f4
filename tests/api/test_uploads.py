"""POST /v1/media and what becomes of the file, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from db.given_media import NewFile, drop_unfinished, note_unfinished
from db.media import DueFile
from db.pool import Conn, Pool, tenant
from handlers.api_keys import PERMISSIONS
from handlers.erasure.work import step
from handlers.media import giving
from handlers.media.removal import remove_due_files
from handlers.media_store.local import Directory
from handlers.process.sweeps import Sweep
from simulator.samples import sample, voice
from tests.api import Answer, Client, make_key
from tests.conftest import Database
from tests.erasure import MARKER, begin, due
from tests.factories import Tenant, make_conversation, make_tenant
from tests.ingress import DEAD_BROKER, Door, door

PDF = b"%PDF-1.4\nmenu of this week\n%%EOF\n" + bytes(70_000)


@pytest.fixture
async def of(owner: Conn) -> Tenant:
    return await make_tenant(owner)


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> AsyncIterator[Door]:
    opened = door(DEAD_BROKER, database.runtime_url, media_store=tmp_path.as_uri())
    async with opened as api:
        yield api


@pytest.fixture
async def ours(api: Door, pool: Pool, of: Tenant) -> Client:
    key, _ = await make_key(pool, of, PERMISSIONS)
    return Client(api.url, api.http, key)


async def gives(
    client: Client,
    data: bytes | None = PDF,
    name: str = "menu.pdf",
    *,
    once: str | None = None,
    **fields: Any,
) -> Answer:
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for field, value in fields.items():
        form.add_field(field, str(value))
    if data is not None:
        form.add_field("file", BytesIO(data), filename=name, content_type="text/plain")
    headers = {"Idempotency-Key": once} if once else {}
    return await client.send("POST", "/media", data=form, headers=headers)


async def file_of(client: Client, medium: int) -> tuple[int, bytes, str]:
    headers = {"Authorization": f"Bearer {client.key}"}
    async with client.http.get(f"{client.url}/v1/media/{medium}", headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers["Content-Type"]


def files(place: Path) -> list[Path]:
    """Of tenants: beside them lies whose the store is, and who sees it."""
    ours = [p for p in place.rglob("*") if p.is_file() and p.name != "store-id"]
    return [p for p in ours if p.parent != place / "seen"]


def picture(form: str = "JPEG", **more: Any) -> bytes:
    out = BytesIO()
    Image.new("RGB", (60, 40), "red").save(out, form, **more)
    return out.getvalue()


async def test_a_file_is_given_listed_read_and_taken_away(
    ours: Client, owner: Conn, pool: Pool, tmp_path: Path
) -> None:
    made = await gives(ours)
    assert made.status == 201, made
    assert made.json["kind"] == "document"
    assert made.json["content_type"] == "application/pdf"  # whatever it was called
    assert (made.json["name"], made.json["bytes"]) == ("menu.pdf", len(PDF))
    medium = made.json["id"]
    assert made.json["content_url"] == f"/v1/media/{medium}"
    assert await file_of(ours, medium) == (200, PDF, "application/pdf")
    listed = await ours.get("/media")
    assert [one["id"] for one in listed.json["data"]] == [medium]
    assert await owner.fetchval("SELECT count(*) FROM files_to_remove") == 0
    (days,) = await owner.fetch("SELECT given, given_bytes, files FROM media_days")
    assert tuple(days) == (1, len(PDF), 0)

    assert (await ours.delete(f"/media/{medium}")).status == 204
    assert (await ours.delete(f"/media/{medium}")).status == 404
    assert (await ours.get(f"/media/{medium}")).status == 404
    await remove_due_files(pool, Directory(tmp_path), Sweep[DueFile]("test"))
    assert files(tmp_path) == []


async def test_of_a_picture_nothing_is_kept_but_what_can_be_seen(ours: Client) -> None:
    data = picture(exif=b"Exif\x00\x00secret place", comment=b"made by Ada") + b"PK\x03\x04behind"
    made = await gives(ours, data, "../../photo.png")
    assert made.status == 201, made
    assert (made.json["kind"], made.json["content_type"]) == ("image", "image/jpeg")
    assert made.json["name"] == "photo.jpg"
    _, kept, _ = await file_of(ours, made.json["id"])
    assert Image.open(BytesIO(kept)).size == (60, 40)
    assert not any(word in kept for word in (b"secret place", b"Ada", b"behind"))


async def test_a_picture_that_takes_too_long_may_come_again(
    ours: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock also goes while others have the machine: it is not told to be damaged."""
    with monkeypatch.context() as hurry:
        hurry.setattr("handlers.media.pictures.PICTURE_S", 0.01)
        refused = await gives(ours, picture(), "photo.jpg")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
    assert (await gives(ours, picture(), "photo.jpg")).status == 201


@pytest.mark.parametrize(
    ("data", "kind", "content_type"),
    [
        (voice(1.0), "audio", "audio/ogg"),
        (sample("video")[0], "video", "video/mp4"),
        (picture("PNG"), "image", "image/jpeg"),
    ],
)
async def test_what_it_is_its_bytes_say(
    ours: Client, data: bytes, kind: str, content_type: str
) -> None:
    made = await gives(ours, data, "a.exe")
    assert (made.json["kind"], made.json["content_type"]) == (kind, content_type)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"MZ a program", "file"),
        (b"PK\x03\x04 an archive", "file"),
        (b"<html>", "file"),
        (b"", "file"),
        (picture()[:300], "file"),  # cut off
        (None, "file"),
    ],
)
async def test_what_nobody_could_send_is_refused_and_leaves_nothing(
    ours: Client, owner: Conn, pool: Pool, tmp_path: Path, data: bytes | None, field: str
) -> None:
    answer = await gives(ours, data)
    assert (answer.status, answer.problem) == (400, "invalid_request")
    assert [one["field"] for one in answer.json["errors"]] == [field]
    assert await owner.fetchval("SELECT count(*) FROM media") == 0
    await remove_due_files(pool, Directory(tmp_path), Sweep[DueFile]("test"))
    assert files(tmp_path) == []


async def test_what_is_too_large_ends_at_its_bound(
    ours: Client, owner: Conn, pool: Pool, tmp_path: Path
) -> None:
    big = picture() + bytes(5 * 1024 * 1024)
    answer = await gives(ours, big)
    assert (answer.status, answer.problem) == (413, "too_large")
    answer = await gives(ours, PDF + bytes(20 * 1024 * 1024))
    assert (answer.status, answer.problem) == (413, "too_large")
    assert await owner.fetchval("SELECT count(*) FROM media") == 0
    await remove_due_files(pool, Directory(tmp_path), Sweep[DueFile]("test"))
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"nothing", "multipart/form-data; boundary=x", 400),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x", 400),
        (
            b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
            400,
        ),
        (b"", "multipart/form-data", 400),
        (b"{}", "application/json", 415),
    ],
)
async def test_what_is_no_form_is_said_so(
    ours: Client, body: bytes, kind: str, status: int
) -> None:
    answer = await ours.send("POST", "/media", data=body, headers={"Content-Type": kind})
    assert answer.status == status, answer


async def test_all_that_is_wrong_with_its_fields_is_told(ours: Client, of: Tenant) -> None:
    answer = await gives(ours, colour="red", title="Menu", contact_id="x")
    assert {one["field"] for one in answer.json["errors"]} == {"colour", "contact_id"}
    answer = await gives(ours, title="Menu")
    assert [one["field"] for one in answer.json["errors"]] == ["chatbot_id"]
    answer = await gives(ours, title="Menu", chatbot_id=of.chatbot_id + 1_000)
    assert [one["field"] for one in answer.json["errors"]] == ["chatbot_id"]


async def test_with_an_idempotency_key_it_is_given_once(
    ours: Client, owner: Conn, tmp_path: Path, pool: Pool
) -> None:
    first = await gives(ours, once="menu-1")
    again = await gives(ours, once="menu-1")
    assert (again.status, again.json) == (201, first.json)
    other = await gives(ours, PDF + b"!", once="menu-1")
    assert (other.status, other.problem) == (422, "idempotency_key_reused")
    assert await owner.fetchval("SELECT count(*) FROM media") == 1
    await remove_due_files(pool, Directory(tmp_path), Sweep[DueFile]("test"))
    assert len(files(tmp_path)) == 1


async def test_another_tenants_is_not_there(
    api: Door, ours: Client, pool: Pool, owner: Conn, of: Tenant
) -> None:
    medium = (await gives(ours)).json["id"]
    theirs = Client(
        api.url, api.http, (await make_key(pool, await make_tenant(owner), PERMISSIONS))[0]
    )
    assert (await theirs.get(f"/media/{medium}")).status == 404
    assert (await theirs.delete(f"/media/{medium}")).status == 404
    assert (await theirs.get("/media")).json["data"] == []
    answer = await gives(theirs, title="Menu", chatbot_id=of.chatbot_id)
    assert [one["field"] for one in answer.json["errors"]] == ["chatbot_id"]
    narrow = Client(api.url, api.http, (await make_key(pool, of, ("conversations:read",)))[0])
    assert (await gives(narrow)).problem == "permission_missing"
    writes = Client(api.url, api.http, (await make_key(pool, of, ("conversations:write",)))[0])
    assert (await gives(writes)).status == 201
    asked = await gives(writes, title="Menu", chatbot_id=of.chatbot_id)
    assert (asked.problem, asked.json["permission"]) == ("permission_missing", "chatbots:write")


async def test_a_tenant_has_so_much_room(
    ours: Client, owner: Conn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving, "TENANT_FILES", 2)
    answers = await asyncio.gather(*(gives(ours) for _ in range(4)))
    assert sorted(one.status for one in answers) == [201, 201, 409, 409]
    full = next(one for one in answers if one.status == 409)
    assert (full.problem, full.json["limit"], full.json["allowed"]) == (
        "limit_reached",
        "media_files",
        2,
    )
    monkeypatch.setattr(giving, "TENANT_FILES", 100)
    monkeypatch.setattr(giving, "TENANT_BYTES", 3 * len(PDF) - 1)
    assert (await gives(ours)).json["limit"] == "media_bytes"
    monkeypatch.setattr(giving, "TENANT_BYTES", 100 * len(PDF))
    monkeypatch.setattr(giving, "TENANT_GIVES", 2)
    assert (await gives(ours)).json["limit"] == "media_today"
    assert await owner.fetchval("SELECT count(*) FROM media") == 2


async def test_who_leaves_in_the_middle_leaves_nothing(
    api: Door, ours: Client, owner: Conn, pool: Pool, tmp_path: Path
) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n' + PDF
        await asyncio.sleep(0.3)
        raise ConnectionResetError

    headers = {
        "Content-Type": "multipart/form-data; boundary=x",
        "Authorization": f"Bearer {ours.key}",
    }
    with pytest.raises(aiohttp.ClientError):
        await api.http.post(f"{api.url}/v1/media", data=slowly(), headers=headers)
    for _ in range(100):
        await remove_due_files(pool, Directory(tmp_path), Sweep[DueFile]("test"))
        if not files(tmp_path):
            break
        await asyncio.sleep(0.1)
    assert files(tmp_path) == []
    assert await owner.fetchval("SELECT count(*) FROM media") == 0


async def test_a_file_whose_removal_is_near_is_not_given(
    pool: Pool, owner: Conn, of: Tenant
) -> None:
    """Whoever died at it, or was so slow, finds it gone; it never becomes a row."""
    new = NewFile(
        kind="document",
        file="media/1/x",
        content_type="application/pdf",
        bytes=1,
        name=None,
        title=None,
        chatbot_id=None,
        contact_id=None,
    )
    async with tenant(pool, of.user_id) as conn:
        await note_unfinished(conn, of.user_id, new.file, giving.NEAR - timedelta(seconds=1))
    with pytest.raises(giving.TooLate):
        async with tenant(pool, of.user_id) as conn:
            await giving.give(conn, of.user_id, new)
    async with tenant(pool, of.user_id) as conn:
        await drop_unfinished(conn, of.user_id, new.file)
    assert await owner.fetchval("SELECT count(*) FROM media") == 0


async def test_it_goes_with_its_chatbot_and_with_whom_it_is_about(
    ours: Client, owner: Conn, pool: Pool, of: Tenant, tmp_path: Path
) -> None:
    contact, _ = await make_conversation(owner, of)
    theirs = (await gives(ours, contact_id=contact)).json["id"]
    menu = (await gives(ours, chatbot_id=of.chatbot_id, title=" Menu  of the week ")).json
    assert menu["title"] == "Menu of the week"
    assert await begin(pool, of, contact)
    assert (await ours.get(f"/media/{theirs}")).status == 404  # at once
    (erasure,) = await due(owner)
    for _ in range(5):
        await step(pool, MARKER, Directory(tmp_path), erasure)
    assert await owner.fetchval("SELECT count(*) FROM media WHERE id = $1", theirs) == 0
    assert len(files(tmp_path)) == 1
    assert (await ours.delete(f"/chatbots/{of.chatbot_id}")).status == 204
    assert (await ours.get(f"/media/{menu['id']}")).status == 404
    assert (await ours.get("/media")).json["data"] == []


async def raw(client: Client, body: bytes | AsyncIterator[bytes]) -> tuple[int, str]:
    headers = {
        "Authorization": f"Bearer {client.key}",
        "Content-Type": "multipart/form-data; boundary=x",
    }
    url = f"{client.url}/v1/media"
    async with client.http.post(url, data=body, headers=headers) as answer:
        return answer.status, await answer.text()


PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n'


@pytest.mark.parametrize(
    "body",
    [
        b"\n" * 200_000,
        b"\r\n" * 1_000 + PART + b"\r\n%PDF-1.4\r\n--x--\r\n",
        b"p" * 200_000,
        PART + b"X-A: b\r\n" * 500 + b"\r\n%PDF-1.4\r\n--x--\r\n",
        PART + b"X-A: " + b"b" * 100_000 + b"\r\n\r\n%PDF-1.4\r\n--x--\r\n",
        PART + b"no header\r\n\r\n%PDF-1.4\r\n--x--\r\n",
        PART + b"\r\n%PDF-1.4\r\n--x\r\n",
        PART + b"\r\n%PDF-1.4",
    ],
)
async def test_a_form_beyond_its_bounds_is_refused(
    ours: Client, owner: Conn, tmp_path: Path, pool: Pool, body: bytes
) -> None:
    status, text = await raw(ours, body)
    assert (status, "invalid_request" in text) == (400, True), text
    assert await owner.fetchval("SELECT count(*) FROM media") == 0
    await remove_due_files(pool, Directory(tmp_path), Sweep[DueFile]("test"))
    assert files(tmp_path) == []


async def test_a_form_of_nothing_but_lines_keeps_nobody_waiting(api: Door, ours: Client) -> None:
    """The loop that reads it takes webhooks in."""
    refused: list[int] = []

    async def lines() -> AsyncIterator[bytes]:
        while not refused:
            yield b"\n" * 65_536

    async def floods() -> None:
        try:
            status, _ = await raw(ours, lines())
            refused.append(status)
        except aiohttp.ClientError:  # it is hung up on while it goes on
            refused.append(400)

    async with asyncio.timeout(20), asyncio.TaskGroup() as all_of_them:
        all_of_them.create_task(floods())
        all_of_them.create_task(floods())
        longest, began = 0.0, asyncio.get_running_loop().time()
        while not refused:
            await asyncio.sleep(0.01)
            now = asyncio.get_running_loop().time()
            longest, began = max(longest, now - began), now
    assert refused == [400, 400]
    assert longest < 3.0


def slow_picture(scans: int) -> bytes:
    """A small file that takes long: a progressive JPEG whose last scan comes again and again."""
    out = BytesIO()
    Image.new("L", (6_300, 6_300), 128).save(out, "JPEG", progressive=True, quality=50)
    data = out.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * scans + b"\xff\xd9"


async def test_slow_pictures_of_one_keep_another_waiting_for_two_of_them(
    api: Door, ours: Client, owner: Conn, pool: Pool
) -> None:
    key, _ = await make_key(pool, await make_tenant(owner), PERMISSIONS)
    theirs = Client(api.url, api.http, key)
    slow, ended = slow_picture(15), []

    async def drawn(who: str, client: Client, data: bytes) -> None:
        made = await gives(client, data, "photo.jpg")
        assert made.status == 201, made
        ended.append(who)

    async with asyncio.TaskGroup() as all_of_them:
        for _ in range(4):
            all_of_them.create_task(drawn("ours", ours, slow))
        while not await owner.fetchval("SELECT count(*) = 4 FROM files_to_remove"):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # they all wait, but one
        all_of_them.create_task(drawn("theirs", theirs, picture()))
    assert ended.index("theirs") <= 2, ended
