"""Every endpoint is called, by whom may and by whom may not; a new one falls under it by itself.

A new noun needs a maker of its rows in make_rows(), and in GOOD what its endpoints take.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from db.pool import Conn, Pool
from handlers.media_store.local import Directory
from ingress.api.endpoints import ENDPOINTS
from ingress.api.nouns import noun_of
from ingress.api.table import JSON, AnyEndpoint
from simulator.app import create_app
from simulator.client import Simulator
from tests.api import ORDER_READY, Answer, Client, addressed, called, make_rows
from tests.api.asking import answering, simulated
from tests.api.conftest import Connect
from tests.api.nouns import TESTS, table
from tests.api.test_claims import served
from tests.api.test_exports import make_all
from tests.cli import ROOT
from tests.conftest import Database
from tests.factories import Tenant
from tests.ingress import DEAD_BROKER, Door, door

NEVER = 999_999_999_999
each_noun = pytest.mark.parametrize("noun", sorted(set(map(noun_of, ENDPOINTS))))


def of(noun: str, *, by_id: bool = False) -> list[AnyEndpoint]:
    return [one for one in ENDPOINTS if noun_of(one) == noun and (one.path_names or not by_id)]


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


@pytest.fixture
async def meta() -> AsyncIterator[str]:
    """With a template, and any account."""
    async with served(create_app()) as url, Simulator(url) as simulator:
        one = {"name": "order_ready", "language": "en_US", "category": "UTILITY"}
        await simulator.template(templates=[one | {"components": ORDER_READY}])
        yield url


@pytest.fixture
async def api(database: Database, tmp_path: Path, meta: str) -> AsyncIterator[Door]:
    store = tmp_path.as_uri()
    async with door(DEAD_BROKER, database.runtime_url, media_store=store, graph_url=meta) as opened:
        yield opened


Made = Callable[[Pool, Conn, Directory, dict[str, int]], Awaitable[None]]


async def _make_files(pool: Pool, owner: Conn, store: Directory, _: dict[str, int]) -> None:
    await make_all(pool, owner, store)


async def _make_medium(_: Pool, owner: Conn, store: Directory, rows: dict[str, int]) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"picture"

    await store.write("media/1/x", pieces())
    await owner.execute(
        "UPDATE media SET status = 'stored', file = 'media/1/x', content_type = 'image/jpeg',"
        " bytes = 7, settled_at = now() WHERE id = $1",
        rows["medium_id"],
    )


def _moved(change: str) -> Made:
    async def made(_: Pool, owner: Conn, __: Directory, rows: dict[str, int]) -> None:
        await owner.execute(f"UPDATE campaigns SET {change} WHERE id = $1", rows["campaign_id"])
        await owner.execute(
            "INSERT INTO campaign_recipients (user_id, campaign_id, contact_id, state, reason)"
            " SELECT c.user_id, $1, c.id, 'failed', '131000' FROM contacts c WHERE c.id = $2",
            *(rows["campaign_id"], rows["contact_id"]),
        )

    return made


# What has to have happened to the rows before the endpoint answers.
FIRST: dict[str, Made] = {
    "pause_campaign": _moved("status = 'running'"),
    "resume_campaign": _moved("status = 'paused', held_reason = 'person', started_at = now()"),
    "retry_campaign": _moved("status = 'completed'"),
    "read_export_file": _make_files,
    "read_media": _make_medium,
}


@pytest.fixture
async def answerer(database: Database, noun: str) -> AsyncIterator[None]:
    """Of what chatbots are asked."""
    if noun != "chatbots":
        yield
        return
    async with simulated() as simulator, answering(database, simulator):
        yield


@each_noun
@pytest.mark.usefixtures("answerer")
async def test_it_works(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, store: Directory, noun: str
) -> None:
    """The client compares each answer with the description."""
    for endpoint in of(noun):
        rows = await make_rows(owner, ours)
        if endpoint.name in FIRST:
            await FIRST[endpoint.name](pool, owner, store, rows)
        path = addressed(endpoint, rows)
        await _refuses_nonsense(client, endpoint, path)
        answer = await client.send(endpoint.method, path, **called(endpoint))
        assert answer.status in endpoint.statuses, f"{endpoint.name}: {answer}"


async def _refuses_nonsense(client: Client, endpoint: AnyEndpoint, path: str) -> None:
    """And names what there is."""
    if endpoint.has_body and JSON in endpoint.takes:
        spoilt = await client.send(endpoint.method, path, json={"nonsense": 1})
        assert spoilt.status == 400, endpoint.name
        assert "nonsense" in {one["field"] for one in spoilt.json["errors"]}
    spoilt = await client.send(endpoint.method, f"{path}?nonsense=1", **called(endpoint))
    assert spoilt.status == 400, endpoint.name
    (error,) = spoilt.json["errors"]
    assert error["field"] == "nonsense"
    for name in endpoint.parameters.model_fields.keys() - {*endpoint.path_names, "from_"}:
        assert name in error["detail"]


@each_noun
async def test_what_is_anothers_looks_like_what_is_not_there(
    owner: Conn, connect: Connect, ours: Tenant, theirs: Tenant, noun: str
) -> None:
    rows = await make_rows(owner, ours)
    stranger = await connect(theirs)
    for endpoint in of(noun, by_id=True):
        anothers = await _refused(stranger, endpoint, rows)
        assert anothers == await _refused(stranger, endpoint, dict.fromkeys(rows, NEVER))


@each_noun
async def test_what_was_deleted_looks_like_what_never_was(
    owner: Conn, client: Client, ours: Tenant, noun: str
) -> None:
    """By whatever endpoint deletes it, or something that it goes with."""
    for deleting in sorted(ENDPOINTS, key=lambda e: e.name == "delete_chatbot"):
        rows: dict[str, int] | None = None
        for endpoint in of(noun, by_id=True):
            with_it = {*deleting.path_names[-1:], *GOES_WITH.get(deleting.name, ())}
            if deleting.method != "DELETE" or with_it.isdisjoint(endpoint.path_names):
                continue
            if rows is None:
                rows = await make_rows(owner, ours)
                gone = await client.send("DELETE", addressed(deleting, rows))
                assert gone.status == 204, gone
            never = await _refused(client, endpoint, dict.fromkeys(rows, NEVER))
            assert await _refused(client, endpoint, rows) == never, deleting.name


# What is in no answer any more from then on.
GOES_WITH = {
    "delete_chatbot": (
        *("conversation_id", "message_id", "action_id", "knowledge_id", "instruction_id"),
        "unanswered_id",
    ),
    "erase_contact": ("conversation_id", "message_id", "order_id", "fact_id"),
    "delete_webhook": ("delivery_id",),
}


async def _refused(client: Client, endpoint: AnyEndpoint, rows: dict[str, int]) -> Any:
    answer: Answer = await client.send(
        endpoint.method, addressed(endpoint, rows), **called(endpoint)
    )
    assert (answer.status, answer.problem) == (404, "not_found")
    told = {name: value for name, value in answer.json.items() if name != "instance"}
    headers = {name for name in answer.headers if name.lower() != "date"}
    return told, headers


def test_the_table_of_nouns_is_todays() -> None:
    assert table() in (ROOT / "docs" / "testing.md").read_text(), "run make nouns"


@each_noun
def test_the_tests_of_a_noun_are_there_and_about_it(noun: str) -> None:
    for name in TESTS[noun]:
        text = (ROOT / "tests" / "api" / f"test_{name}.py").read_text()
        assert f"/{noun}" in text, f"test_{name}.py"
        assert "async def test_" in text
