"""What chatbots know, by the API: read, found, made, changed, deleted."""

import asyncio
import json
from typing import Any

import pytest

from db.knowledge import read_knowledge
from db.pool import Conn, Pool, tenant
from tests.api import Client, make_knowledge
from tests.api.conftest import Connect
from tests.factories import Tenant, make_tenant
from tests.plans import ODD

NEW = {"question": "Do you deliver?", "answer": "Within two days."}


def rows_of(of: Tenant) -> str:
    return f"/chatbots/{of.chatbot_id}/knowledge"


async def made(client: Client, of: Tenant, **more: Any) -> Any:
    answer = await client.post(rows_of(of), NEW | more)
    assert answer.status == 201, answer
    return answer.json


async def test_a_row_from_its_making_to_its_end(client: Client, ours: Tenant) -> None:
    given = NEW | {"category": "orders", "alternatives": ["Is there delivery?"], "language": "en"}
    answer = await client.post(rows_of(ours), {**given, "question": "  Do you deliver? "})
    row = answer.json
    assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
    assert {name: row[name] for name in given} == given
    assert (row["chatbot_id"], row["is_active"]) == (ours.chatbot_id, True)
    path = f"/knowledge/{row['id']}"
    read = await client.get(path)
    assert (read.json, read.headers["ETag"]) == (row, '"1"')
    changed = await client.patch(path, {"answer": "Within a day.", "category": None})
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    same = ("question", "alternatives", "language")
    assert {name: changed.json[name] for name in same} == {name: row[name] for name in same}
    assert (changed.json["answer"], changed.json["category"]) == ("Within a day.", None)
    nothing = await client.patch(path, {"answer": "Within a day."})
    assert (nothing.json, nothing.headers["ETag"]) == (changed.json, '"2"')
    late = await client.patch(path, {"answer": "Never."}, If_Match='"1"')
    assert (late.status, late.problem, late.headers["ETag"]) == (412, "precondition_failed", '"2"')
    assert (await client.delete(path, If_Match='"1"')).status == 412
    assert (await client.delete(path, If_Match='"2"')).status == 204
    assert (await client.get(path)).problem == "not_found"
    assert (await client.delete(path)).problem == "not_found"


async def test_pages_are_stable_and_filtered(owner: Conn, client: Client, ours: Tenant) -> None:
    ids = [
        await make_knowledge(owner, ours, question=f"q{n}", category="even" if n % 2 == 0 else None)
        for n in range(7)
    ]
    page = (await client.get(rows_of(ours), limit=3)).json
    assert [row["id"] for row in page["data"]] == ids[:3:-1]
    await made(client, ours)  # arrives meanwhile
    rest = (await client.get(rows_of(ours), after=page["next"])).json
    assert [row["id"] for row in rest["data"]] == ids[3::-1]
    assert rest["next"] is None
    even = (await client.get(rows_of(ours), category="even")).json["data"]
    assert [row["id"] for row in even] == [ids[6], ids[4], ids[2], ids[0]]
    assert (await client.get(rows_of(ours), category="Even")).json["data"] == []
    refused = await client.get(rows_of(ours), language="es")
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, "language")


async def test_a_large_page_ends_sooner(owner: Conn, client: Client, ours: Tenant) -> None:
    for n in range(40):
        await make_knowledge(owner, ours, question=f"q{n}", answer="x" * 8_000)
    page = (await client.get(rows_of(ours), limit=200)).json
    assert 1 < len(page["data"]) < 40
    assert page["next"] == str(page["data"][-1]["id"])


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("entrega", True),
        ("ENTRÉGA", True),
        ("madrid envíos", True),
        ("envios", True),
        ("\uff2d\uff21drid", True),
        ("madrid barcelona", False),
        ("%", False),
        ("wie lange", True),  # an alternative
    ],
)
async def test_rows_are_found_by_words(
    owner: Conn, client: Client, ours: Tenant, q: str, found: bool
) -> None:
    row = await make_knowledge(
        owner,
        ours,
        question="¿Cuánto tarda la ENTREGA?",
        answer="En Madrid los envíos tardan dos días.",
        alternatives='["Wie lange dauert es?"]',
    )
    await make_knowledge(owner, ours, question="Otra", answer="cosa")
    listed = (await client.get(rows_of(ours), q=q)).json["data"]
    assert [one["id"] for one in listed] == ([row] if found else [])


async def test_one_question_is_one_row(client: Client, ours: Tenant) -> None:
    row = await made(client, ours)
    answer = await client.post(rows_of(ours), NEW | {"answer": "another"})
    assert (answer.status, answer.problem) == (409, "already_exists")
    assert answer.json["knowledge_id"] == row["id"]
    other = await made(client, ours, question="Another?")
    answer = await client.patch(f"/knowledge/{other['id']}", {"question": NEW["question"]})
    assert (answer.status, answer.json["knowledge_id"]) == (409, row["id"])
    renamed = await client.patch(f"/knowledge/{other['id']}", {"question": "A third?"})
    assert renamed.json["question"] == "A third?"


async def test_of_many_at_once_one_makes_it(owner: Conn, client: Client, ours: Tenant) -> None:
    answers = await asyncio.gather(*(client.post(rows_of(ours), NEW) for _ in range(8)))
    assert sorted(a.status for a in answers) == [201, *[409] * 7]
    (row,) = [a.json["id"] for a in answers if a.status == 201]
    assert {a.json["knowledge_id"] for a in answers if a.status == 409} == {row}
    rows = [await made(client, ours, question=f"q{n}") for n in range(2)]
    answers = await asyncio.gather(
        *(client.patch(f"/knowledge/{one['id']}", {"question": "The same?"}) for one in rows)
    )
    assert sorted(a.status for a in answers) == [200, 409]


async def test_the_same_key_makes_one_row(owner: Conn, client: Client, ours: Tenant) -> None:
    first = await client.post(rows_of(ours), NEW, Idempotency_Key="k")
    await client.patch(f"/knowledge/{first.json['id']}", {"answer": "changed"})
    again = await client.post(rows_of(ours), NEW, Idempotency_Key="k")
    assert (again.status, again.json, again.headers["ETag"]) == (201, first.json, '"1"')
    other = await client.post(rows_of(ours), NEW | {"answer": "x"}, Idempotency_Key="k")
    assert (other.status, other.problem) == (422, "idempotency_key_reused")
    assert await owner.fetchval("SELECT count(*) FROM bot_knowledge_base") == 1


@pytest.mark.parametrize(
    ("change", "field", "detail"),
    [
        ({"question": None}, "question", "not a text"),
        ({"question": "  "}, "question", "is empty"),
        ({"question": "x" * 2_001}, "question", "has 2001 characters, 2000 at most"),
        ({"answer": "x" * 8_001}, "answer", "has 8001 characters, 8000 at most"),
        ({"answer": 1}, "answer", "not a text"),
        ({"category": ""}, "category", "is empty"),
        ({"category": "x" * 101}, "category", "has 101 characters, 100 at most"),
        ({"alternatives": None}, "alternatives", "not a list"),
        ({"alternatives": ["a", ""]}, "alternatives", "has an empty text"),
        ({"alternatives": ["a", 1]}, "alternatives.1", "not a text"),
        ({"alternatives": [str(n) for n in range(51)]}, "alternatives", "51 entries, 50 at most"),
        ({"language": "español"}, "language", "not a language tag"),
        ({"is_active": None}, "is_active", "not true or false"),
        ({"is_active": "true"}, "is_active", "not true or false"),
        ({"id": 7}, "id", "no such field"),
        ({"answer": "a\x00b"}, "answer", "cannot be stored"),
    ],
)
async def test_what_is_wrong_is_told(
    client: Client, ours: Tenant, change: dict[str, Any], field: str, detail: str
) -> None:
    row = await made(client, ours, question="There?")
    for answer in (
        await client.post(rows_of(ours), NEW | change),
        await client.patch(f"/knowledge/{row['id']}", change),
    ):
        assert answer.status == 400, answer
        (error,) = answer.json["errors"]
        assert error["field"] == field
        assert detail in error["detail"]


async def test_what_is_another_s_is_not_there(
    owner: Conn, connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    row = await make_knowledge(owner, ours)
    stranger = await connect(theirs)
    for bot in (ours.chatbot_id, 777_777):
        assert (await stranger.get(f"/chatbots/{bot}/knowledge")).problem == "not_found"
        assert (await stranger.post(f"/chatbots/{bot}/knowledge", NEW)).problem == "not_found"
    assert (await stranger.patch(f"/knowledge/{row}", {"answer": "mine"})).problem == "not_found"
    assert await owner.fetchval("SELECT answer FROM bot_knowledge_base") == "At nine."


async def test_another_bot_s_rows_are_apart(owner: Conn, client: Client, ours: Tenant) -> None:
    other = await owner.fetchval(
        "INSERT INTO chatbots (user_id, name) VALUES ($1, 'Other') RETURNING id", ours.user_id
    )
    await made(client, ours)
    assert (await client.post(f"/chatbots/{other}/knowledge", NEW)).status == 201
    assert len((await client.get(f"/chatbots/{other}/knowledge")).json["data"]) == 1


async def test_the_plan_gates_writing(owner: Conn, connect: Connect) -> None:
    of = await make_tenant(owner)
    client = await connect(of)
    row = await made(client, of)
    for value in (None, *ODD):
        core = {} if value is None else {"chatbot_management": json.loads(value)}
        await owner.execute(
            "UPDATE user_subscriptions SET subscription_config = $1::text::jsonb",
            json.dumps({"features": {"core_features": core}}),
        )
        answer = await client.patch(f"/knowledge/{row['id']}", {"answer": f"for {value}"})
        assert answer.status == (200 if value in (None, "true") else 403), value
        if answer.status == 403:
            assert answer.problem == "not_in_plan"
            assert (await client.post(rows_of(of), NEW)).problem == "not_in_plan"
            assert (await client.delete(f"/knowledge/{row['id']}")).problem == "not_in_plan"
        assert (await client.get(rows_of(of))).status == 200


async def test_the_next_turn_knows_of_each_change(pool: Pool, client: Client, ours: Tenant) -> None:
    async def known() -> tuple[int, list[Any]]:
        async with tenant(pool, ours.user_id) as conn:
            base = await read_knowledge(conn, ours.user_id, ours.chatbot_id, 10)
        assert base is not None
        return base.version, [row[3] for row in base.rows]

    versions = [(await known())[0]]
    row = await made(client, ours)
    path = f"/knowledge/{row['id']}"
    for change, answers in (
        ({"answer": "Tomorrow."}, ["Tomorrow."]),
        ({"is_active": False}, []),
        ({"is_active": True}, ["Tomorrow."]),
    ):
        await client.patch(path, change)
        version, texts = await known()
        assert texts == answers
        versions.append(version)
    await client.delete(path)
    version, texts = await known()
    assert texts == []
    versions.append(version)
    assert versions == sorted(set(versions)), "who has an older one in memory reads again"


async def test_an_import_by_command_raises_the_version(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    row = await made(client, ours)
    await owner.execute("UPDATE bot_knowledge_base SET answer = 'by hand', updated_at = now()")
    late = await client.patch(f"/knowledge/{row['id']}", {"answer": "x"}, If_Match='"1"')
    assert late.status == 412
