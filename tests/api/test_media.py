"""GET /v1/media/{id}"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from db.ids import ContactId
from db.pool import Conn, Pool
from handlers.api_keys import PERMISSIONS
from handlers.media.fetching import media_session
from handlers.media_store.factory import store
from handlers.media_store.place import Keys
from simulator.samples import voice
from tests.api import Client, make_key
from tests.conftest import Database
from tests.erasure import begin
from tests.factories import Tenant, make_tenant
from tests.ingress import DEAD_BROKER, Door, door
from tests.media import House, meta
from tests.s3 import S3


@pytest.fixture(params=["directory", "bucket"])
async def where(
    request: pytest.FixtureRequest, tmp_path: Path, s3_server: S3
) -> tuple[str, Keys | None]:
    if request.param == "directory":
        return tmp_path.as_uri(), None
    return s3_server.media_store(f"api-{tmp_path.name}"), s3_server.keys


@pytest.fixture
async def house(
    pool: Pool, owner: Conn, tmp_path: Path, where: tuple[str, Keys | None]
) -> AsyncIterator[House]:
    files = store(*where)
    async with meta() as simulator, media_session(8) as session:
        yield House(pool, owner, simulator, session, files, tmp_path)
    await files.close()


@pytest.fixture
async def of(owner: Conn) -> Tenant:
    return await make_tenant(owner)


@pytest.fixture
async def api(database: Database, where: tuple[str, Keys | None]) -> AsyncIterator[Door]:
    url, keys = where
    opened = door(DEAD_BROKER, database.runtime_url, media_store=url, media_keys=keys)
    async with opened as api:
        yield api


async def client(api: Door, house: House, of: Tenant, *permissions: str) -> Client:
    key, _ = await make_key(house.pool, of, permissions or PERMISSIONS)
    return Client(api.url, api.http, key)


async def raw(api: Door, client: Client, medium: int) -> tuple[int, bytes, dict[str, str]]:
    headers = {"Authorization": f"Bearer {client.key}"}
    async with api.http.get(f"{api.url}/v1/media/{medium}", headers=headers) as answer:
        return answer.status, await answer.read(), dict(answer.headers)


async def test_the_file_is_given_as_what_it_is(api: Door, house: House, of: Tenant) -> None:
    data = voice(1.0) + bytes(200_000)
    medium = await house.sent(of, "audio", data)
    ours = await client(api, house, of)
    early = await ours.get(f"/media/{medium}")
    assert (early.status, early.json["status_now"]) == (409, "waiting")
    await house.fetch_all()
    status, body, headers = await raw(api, ours, medium)
    assert (status, body) == (200, data)
    assert headers["Content-Type"] == "audio/ogg"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"] == f'attachment; filename="audio-{medium}.ogg"'


async def test_another_tenants_is_not_there(api: Door, house: House, of: Tenant) -> None:
    medium = await house.sent(of, "audio")
    await house.fetch_all()
    theirs = await client(api, house, await make_tenant(house.owner))
    assert (await theirs.get(f"/media/{medium}")).status == 404
    narrow = await client(api, house, of, "contacts:read")
    assert (await narrow.get(f"/media/{medium}")).status == 403


async def test_what_was_taken_back_or_is_of_an_erased_person_is_not_there(
    api: Door, house: House, of: Tenant
) -> None:
    one, two = await house.sent(of, "audio"), await house.sent(of, "audio", who="13035550222")
    await house.fetch_all()
    ours = await client(api, house, of)
    await house.owner.execute(
        "UPDATE media SET status = 'removed', file = NULL, settled_at = now() WHERE id = $1", one
    )
    assert (await ours.get(f"/media/{one}")).status == 404
    contact = await house.owner.fetchval("SELECT contact_id FROM media WHERE id = $1", two)
    assert await begin(house.pool, of, ContactId(contact))
    assert (await ours.get(f"/media/{two}")).status == 404


async def test_a_chatbot_that_is_deleted_hides_it(api: Door, house: House, of: Tenant) -> None:
    medium = await house.sent(of, "audio")
    await house.fetch_all()
    ours = await client(api, house, of)
    assert (await ours.delete(f"/chatbots/{of.chatbot_id}")).status == 204
    assert (await ours.get(f"/media/{medium}")).status == 404
