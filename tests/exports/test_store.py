"""The media store as a directory."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.media_store.local import UNFINISHED, Directory
from handlers.media_store.port import PIECE_BYTES, StoreProblem


async def pieces(*them: bytes) -> AsyncIterator[bytes]:
    for one in them:
        yield one


async def whole(store: Directory, key: str) -> bytes:
    return b"".join([piece async for piece in store.read(key)])


async def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Directory(tmp_path / "not" / "there")
    data = os.urandom(PIECE_BYTES * 2 + 5)
    assert await store.write("exports/1/1-1.zip", pieces(data[:9], data[9:])) == len(data)
    read = [piece async for piece in store.read("exports/1/1-1.zip")]
    assert b"".join(read) == data
    assert max(map(len, read)) == PIECE_BYTES
    await store.write("exports/1/1-1.zip", pieces(b"anew"))
    assert await whole(store, "exports/1/1-1.zip") == b"anew"


async def test_a_write_that_dies_leaves_what_was_there(tmp_path: Path) -> None:
    store = Directory(tmp_path)

    async def dies() -> AsyncIterator[bytes]:
        yield b"half"
        assert not (tmp_path / "exports" / "1" / "new.zip").exists()
        raise ConnectionError

    await store.write("exports/1/old.zip", pieces(b"old"))
    for key in ("exports/1/old.zip", "exports/1/new.zip"):
        with pytest.raises(ConnectionError):
            await store.write(key, dies())
    assert await whole(store, "exports/1/old.zip") == b"old"
    with pytest.raises(FileNotFoundError):
        await whole(store, "exports/1/new.zip")
    assert list((tmp_path / UNFINISHED).iterdir()) == []


async def test_what_is_removed_is_gone_but_for_who_reads_it(tmp_path: Path) -> None:
    store = Directory(tmp_path)
    data = os.urandom(PIECE_BYTES * 3)
    await store.write("exports/1/1-1.zip", pieces(data))
    reading = store.read("exports/1/1-1.zip")
    first = await anext(reading)
    await store.remove("exports/1/1-1.zip")
    await store.remove("exports/1/1-1.zip")
    assert first + b"".join([piece async for piece in reading]) == data
    with pytest.raises(FileNotFoundError):
        await whole(store, "exports/1/1-1.zip")


async def test_all_below_a_prefix_goes_and_nothing_beside(tmp_path: Path) -> None:
    store = Directory(tmp_path)
    keys = ["exports/1/1-1.zip", "exports/1/1-2.zip", "exports/1/11-1.zip", "exports/11/1-1.zip"]
    for key in keys:
        await store.write(key, pieces(b"x"))
    assert await store.remove_below("exports/1/1-") == 2
    assert await store.remove_below("exports/1/1-") == 0
    assert [key for key in keys if (tmp_path / key).exists()] == keys[2:]
    assert await store.remove_below("exports/1/") == 1
    assert (tmp_path / keys[3]).exists()


async def test_what_was_begun_below_a_prefix_goes_too(tmp_path: Path) -> None:
    """A worker that was killed leaves it, and whom it is about may be erased by now."""
    store, goes_on = Directory(tmp_path), asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        await goes_on.wait()

    keys = ("exports/1/1-1.zip", "exports/1/11-1.zip", "exports/11/1-1.zip")
    writing = [asyncio.create_task(store.write(key, half())) for key in keys]
    while len(list((tmp_path / "unfinished").glob("*"))) < len(keys):
        await asyncio.sleep(0.01)
    await store.remove_below("exports/1/1-")
    assert len(list((tmp_path / "unfinished").iterdir())) == 2
    goes_on.set()
    done = await asyncio.gather(*writing, return_exceptions=True)
    assert [isinstance(one, StoreProblem) for one in done] == [True, False, False]
    assert not (tmp_path / keys[0]).exists()


@pytest.mark.parametrize(
    "key", ["", "x", "../x", "a/../b", "a/.hidden", "/etc/passwd", "a//b", "a/b\0", "a/b/"]
)
async def test_no_key_leads_out_of_it(tmp_path: Path, key: str) -> None:
    store = Directory(tmp_path / "store")
    with pytest.raises(ValueError, match="no key"):
        await store.write(key, pieces(b"x"))
    with pytest.raises(ValueError, match="no key"):
        await whole(store, key)
    with pytest.raises(ValueError, match="no key"):
        await store.remove(key)


async def test_what_cannot_be_read_is_told_as_the_stores_problem(tmp_path: Path) -> None:
    (tmp_path / "exports/1/1-1.zip").mkdir(parents=True)
    with pytest.raises(StoreProblem, match="MEDIA_STORE"):
        await whole(Directory(tmp_path), "exports/1/1-1.zip")


async def test_whoever_reaches_it_sees_the_same_identity(tmp_path: Path) -> None:
    one, two = Directory(tmp_path / "a"), Directory(tmp_path / "a")
    seen = await asyncio.gather(*(store.identity() for store in (one, two) * 4))
    assert len(set(seen)) == 1
    assert await Directory(tmp_path / "b").identity() != seen[0]


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreProblem, match="MEDIA_STORE"):
        await Directory(tmp_path / "file").identity()
