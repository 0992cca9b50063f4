"""The media store, as a directory and as a bucket."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from handlers.media_store.local import UNFINISHED, Directory
from handlers.media_store.place import Keys, place_of
from handlers.media_store.port import PIECE_BYTES, Store, StoreProblem
from handlers.media_store.s3 import Bucket
from tests.s3 import IMPATIENT, S3, line, s3

_prefixes = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is: another look at it is another process's."""

    opened: Callable[[], Store]
    elsewhere: Callable[[], Store]
    kind: str


@pytest.fixture(params=["directory", "bucket"])
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, s3_server: S3
) -> AsyncIterator[Place]:
    made: list[Store] = []

    def kept(make: Callable[[], Store]) -> Callable[[], Store]:
        def opened() -> Store:
            made.append(make())
            return made[-1]

        return opened

    if request.param == "directory":
        here = kept(lambda: Directory(tmp_path / "not" / "there"))
        yield Place(here, kept(lambda: Directory(tmp_path / "b")), request.param)
    else:
        one, two = (f"{next(_prefixes)}-of-{os.getpid()}" for _ in range(2))
        yield Place(
            kept(lambda: s3_server.bucket(one)), kept(lambda: s3_server.bucket(two)), request.param
        )
    for store in made:
        await store.close()


@pytest.fixture
def store(place: Place) -> Store:
    return place.opened()


async def pieces(*them: bytes) -> AsyncIterator[bytes]:
    for one in them:
        yield one


async def whole(store: Store, key: str, start: int = 0) -> bytes:
    return b"".join([piece async for piece in store.read(key, start)])


async def test_what_is_written_is_read(store: Store) -> None:
    data = os.urandom(PIECE_BYTES * 2 + 5)
    assert await store.write("exports/1/1-1.zip", pieces(data[:9], data[9:])) == len(data)
    read = [piece async for piece in store.read("exports/1/1-1.zip")]
    assert b"".join(read) == data
    assert max(map(len, read)) == PIECE_BYTES
    await store.write("exports/1/1-1.zip", pieces(b"anew"))
    assert await whole(store, "exports/1/1-1.zip") == b"anew"


@pytest.mark.parametrize("start", [0, 1, 70_000, 11_999_999, 12_000_000])
async def test_it_is_read_from_any_byte_on(store: Store, start: int) -> None:
    """Of several parts, where it is kept in parts."""
    data = os.urandom(12_000_000)
    await store.write(
        "imports/1/a", pieces(*(data[n : n + 70_001] for n in range(0, len(data), 70_001)))
    )
    assert await whole(store, "imports/1/a", start) == data[start:]


async def test_an_empty_file_is_one(store: Store) -> None:
    assert await store.write("imports/1/a", pieces()) == 0
    assert await whole(store, "imports/1/a") == b""
    assert await store.keys_below("imports/1/") == ["imports/1/a"]


async def test_a_write_that_dies_leaves_what_was_there(store: Store) -> None:
    async def dies() -> AsyncIterator[bytes]:
        yield b"half"
        with pytest.raises(FileNotFoundError):
            await whole(store, "exports/1/new.zip")
        raise ConnectionError

    await store.write("exports/1/old.zip", pieces(b"old"))
    for key in ("exports/1/old.zip", "exports/1/new.zip"):
        with pytest.raises(ConnectionError):
            await store.write(key, dies())
    assert await whole(store, "exports/1/old.zip") == b"old"
    with pytest.raises(FileNotFoundError):
        await whole(store, "exports/1/new.zip")
    assert await store.keys_below("exports/1/") == ["exports/1/old.zip"]


async def test_what_is_removed_is_gone_but_for_who_reads_it(store: Store) -> None:
    data = os.urandom(PIECE_BYTES * 3)
    await store.write("exports/1/1-1.zip", pieces(data))
    reading = store.read("exports/1/1-1.zip")
    first = await anext(reading)
    await store.remove("exports/1/1-1.zip")
    await store.remove("exports/1/1-1.zip")
    assert first + b"".join([piece async for piece in reading]) == data
    with pytest.raises(FileNotFoundError):
        await whole(store, "exports/1/1-1.zip")


async def test_all_below_a_prefix_goes_and_nothing_beside(store: Store) -> None:
    keys = ["exports/1/1-1.zip", "exports/1/1-2.zip", "exports/1/11-1.zip", "exports/11/1-1.zip"]
    for key in keys:
        await store.write(key, pieces(b"x"))
    assert await store.remove_below("exports/1/1-") == 2
    assert await store.remove_below("exports/1/1-") == 0
    assert await store.keys_below("exports/1/") == keys[2:3]
    assert await store.remove_below("exports/1/") == 1
    assert await store.keys_below("exports/11/") == keys[3:]


async def test_what_was_begun_below_a_prefix_goes_too(store: Store) -> None:
    """A worker that was killed leaves it, and whom it is about may be erased by now."""
    goes_on = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        await goes_on.wait()

    keys = ["exports/1/1-1.zip", "exports/1/11-1.zip", "exports/11/1-1.zip"]
    writing = [asyncio.create_task(store.write(key, half())) for key in keys]
    while [*await store.keys_below("exports/1/"), *await store.keys_below("exports/11/")] != keys:
        await asyncio.sleep(0.01)
    await store.remove_below("exports/1/1-")
    goes_on.set()
    done = await asyncio.gather(*writing, return_exceptions=True)
    assert [isinstance(one, StoreProblem) for one in done] == [True, False, False]
    assert await store.keys_below("exports/1/") == keys[1:2]


@pytest.mark.parametrize(
    "key", ["", "x", "../x", "a/../b", "a/.hidden", "/etc/passwd", "a//b", "a/b\0", "a/b/"]
)
async def test_no_key_leads_out_of_it(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        await store.write(key, pieces(b"x"))
    with pytest.raises(ValueError, match="no key"):
        await whole(store, key)
    with pytest.raises(ValueError, match="no key"):
        await store.remove(key)


async def test_whoever_reaches_it_sees_the_same_identity(place: Place) -> None:
    one, two = place.opened(), place.opened()
    seen = await asyncio.gather(*(store.identity() for store in (one, two) * 4))
    assert len(set(seen)) == 1
    assert await place.elsewhere().identity() != seen[0]


# ---- a bucket ------------------------------------------------------------------------------------


@pytest.fixture
async def bucket(s3_server: S3) -> AsyncIterator[Bucket]:
    bucket = s3_server.bucket(f"{next(_prefixes)}-alone-{os.getpid()}", page=3)
    yield bucket
    await bucket.close()


async def test_more_than_a_page_of_them_are_found(bucket: Bucket) -> None:
    goes_on = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b"x"
        await goes_on.wait()

    done, begun = ([f"exports/1/{what}-{n}.zip" for n in range(8)] for what in ("done", "begun"))
    for key in done:
        await bucket.write(key, pieces(b"x"))
    writing = [asyncio.create_task(bucket.write(key, half())) for key in begun]
    while await bucket.keys_below("exports/1/") != [*begun, *done]:
        await asyncio.sleep(0.01)
    assert await bucket.remove_below("exports/1/") == 16
    goes_on.set()
    ended = await asyncio.gather(*writing, return_exceptions=True)
    assert all(isinstance(one, StoreProblem) for one in ended)
    assert await bucket.keys_below("exports/1/") == []


async def test_a_cut_connection_is_made_anew(s3_server: S3) -> None:
    """And what was sent of a part is sent again."""
    data = os.urandom(12_000_000)
    async with line(s3_server) as between:
        store = between.through(s3_server).bucket("cut")
        between.most = 7_000_000
        writing = asyncio.create_task(store.write("exports/1/1-1.zip", pieces(data)))
        while not between.cuts:
            await asyncio.sleep(0.01)
        between.most = None
        assert await writing == len(data)
        assert await whole(store, "exports/1/1-1.zip") == data
        await store.close()


async def test_what_stays_cut_leaves_nothing(s3_server: S3) -> None:
    data = os.urandom(12_000_000)
    direct = s3_server.bucket("stays-cut")
    async with line(s3_server) as between:
        store = between.through(s3_server).bucket("stays-cut")
        between.most = 7_000_000
        with pytest.raises(StoreProblem, match="is away"):
            await store.write("exports/1/1-1.zip", pieces(data))
        with pytest.raises(FileNotFoundError):
            await whole(direct, "exports/1/1-1.zip")
        between.most = None
        assert await store.write("exports/1/1-1.zip", pieces(data)) == len(data)
        await store.remove("exports/1/1-1.zip")
        assert await store.keys_below("exports/") == [], "nor of the write before"
        await store.close()
    await direct.close()


async def test_a_server_that_says_nothing_is_not_waited_for(s3_server: S3) -> None:
    data = os.urandom(12_000_000)
    async with line(s3_server) as between:
        impatient = replace(IMPATIENT, idle_s=0.3, call_s=0.5, tries=2)
        store = between.through(s3_server).bucket("silent", impatient)
        between.silent = True
        began = time.monotonic()
        with pytest.raises(StoreProblem, match="is away"):
            await store.write("exports/1/1-1.zip", pieces(data))
        with pytest.raises(StoreProblem, match="is away"):
            await whole(store, "exports/1/1-1.zip")
        assert time.monotonic() - began < 20
        await store.close()


async def test_a_server_that_dies_meanwhile_leaves_nothing_and_comes_back() -> None:
    data = os.urandom(12_000_000)
    async with s3() as dying:
        store, port = dying.bucket("dying"), dying.port

        async def dies() -> AsyncIterator[bytes]:
            yield data[:6_000_000]
            await dying.kill()
            yield data[6_000_000:]

        with pytest.raises(StoreProblem, match="is away"):
            await store.write("exports/1/1-1.zip", dies())
        await store.close()
    async with s3(port) as again:
        store = again.bucket("dying")
        assert await store.keys_below("exports/") == []
        assert await store.write("exports/1/1-1.zip", pieces(data)) == len(data)
        assert await whole(store, "exports/1/1-1.zip") == data
        await store.close()


async def test_uploads_that_died_end_after_a_day(bucket: Bucket, monkeypatch: Any) -> None:
    """To this server all were begun in 2010."""
    begun, now = asyncio.Event(), time.time()

    async def half() -> AsyncIterator[bytes]:
        yield b"x"
        begun.set()
        await asyncio.Event().wait()

    dead = asyncio.create_task(bucket.write("exports/1/1-1.zip", half()))
    await begun.wait()
    monkeypatch.setattr("handlers.media_store.s3.UNFINISHED_S", now)
    await bucket.identity()
    assert await bucket.keys_below("exports/") == ["exports/1/1-1.zip"]
    monkeypatch.setattr("handlers.media_store.s3.UNFINISHED_S", 86_400)
    await bucket.identity()
    assert await bucket.keys_below("exports/") == []
    dead.cancel()
    await asyncio.wait({dead})


@pytest.mark.parametrize(
    ("bucket_name", "secret", "says"),
    [
        ("nowhere", None, "there is no bucket nowhere"),
        ("files", "another", "refuses us .403 SignatureDoesNotMatch.: look at AWS_ACCESS_KEY_ID"),
        ("versioned", None, "keeps versions, so what is erased would stay"),
    ],
)
async def test_what_is_wrong_with_a_bucket_is_said(
    s3_server: S3, bucket_name: str, secret: str | None, says: str
) -> None:
    keys = Keys(s3_server.keys.key_id, secret or s3_server.keys.secret)
    store = Bucket(place_of(s3_server.media_store("a", bucket_name)), keys, IMPATIENT)
    with pytest.raises(StoreProblem, match=says) as raised:
        await store.identity()
    assert keys.secret not in str(raised.value) + repr(keys)
    await store.close()


# ---- a directory ---------------------------------------------------------------------------------


async def test_a_write_that_dies_leaves_no_file(tmp_path: Path) -> None:
    async def dies() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await Directory(tmp_path).write("exports/1/new.zip", dies())
    assert list((tmp_path / UNFINISHED).iterdir()) == []


async def test_what_cannot_be_read_is_told_as_the_stores_problem(tmp_path: Path) -> None:
    (tmp_path / "exports/1/1-1.zip").mkdir(parents=True)
    with pytest.raises(StoreProblem, match="MEDIA_STORE"):
        await whole(Directory(tmp_path), "exports/1/1-1.zip")


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreProblem, match="MEDIA_STORE"):
        await Directory(tmp_path / "file").identity()
