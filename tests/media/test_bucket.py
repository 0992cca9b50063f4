"""While a bucket is away nothing is lost, and what comes back finds nothing half."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from simulator.samples import pdf, video, voice
from tests.factories import Tenant
from tests.media import House
from tests.s3 import IMPATIENT, S3, Line, line

_prefixes = itertools.count(1)


@pytest.fixture
async def between(s3_server: S3) -> AsyncIterator[Line]:
    async with line(s3_server) as between:
        yield between


@pytest.fixture
async def far(house: House, between: Line, s3_server: S3) -> AsyncIterator[House]:
    """Its bucket is behind a line."""
    impatient = replace(IMPATIENT, idle_s=0.5, call_s=2.0, tries=2)
    prefix = f"away-{os.getpid()}-{next(_prefixes)}"
    store = between.through(s3_server).bucket(prefix, impatient)
    yield replace(house, store=store, bucket=s3_server.inside(prefix))
    await store.close()


async def test_what_could_not_be_stored_is_fetched_again(
    far: House, of: Tenant, between: Line
) -> None:
    data = video() + os.urandom(12_000_000)
    medium = await far.sent(of, "video", data)
    between.most = 6_000_000  # one part, and a half
    await far.fetch_all()
    assert await far.fate(medium) == ("waiting", "store")
    between.most = None
    await far.remove()
    await far.later()
    await far.fetch_all()
    assert await far.fate(medium) == ("stored", None)
    assert await far.content(medium) == data
    await far.owner.execute("UPDATE files_to_remove SET due_at = now()")
    await far.remove()
    assert far.files() == [(await far.row(medium))["file"]]


@pytest.mark.parametrize("how", ["cut", "silent"])
async def test_what_cannot_be_read_is_heard_later(
    far: House, of: Tenant, between: Line, how: str
) -> None:
    voice_id = await far.sent(of, "audio", voice(2.0))
    pdf_id = await far.sent(of, "document", pdf("Cake is 4.20"))
    me = await far.worker()
    for claim in await far.claims(me):
        await replace(far.fetcher, hears=True).fetch(claim)
    between.silent, between.most = how == "silent", 0 if how == "cut" else None
    await far.hear()
    for medium in (voice_id, pdf_id):
        row = await far.row(medium)
        assert (row["heard"], row["reason"], row["settled_at"]) == (None, "store", None)
    between.silent, between.most = False, None
    await far.later()
    await far.hear()
    assert [(await far.row(medium))["heard"] for medium in (voice_id, pdf_id)] == [
        "nothing",
        "read",
    ]


async def test_a_file_that_cannot_be_removed_is_removed_later(
    far: House, of: Tenant, between: Line
) -> None:
    await far.sent(of, "audio")
    await far.fetch_all()
    await far.owner.execute("DELETE FROM media")
    between.most = 0
    await far.remove()
    assert len(far.files()) == 1
    between.most = None
    async with asyncio.timeout(20):
        while far.files():
            await far.remove()
