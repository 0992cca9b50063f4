"""Contacts are made, found, changed, blocked; whoever does it at the same moment."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from db.pool import Conn, Pool, tenant
from handlers.ingest.recording import record_batch
from handlers.plans import Feature
from handlers.rules.contact_fields import (
    FIELDS_BYTES,
    FIELDS_DEPTH,
    FIELDS_MAX,
    TAG_CHARS,
    TAGS_MAX,
)
from tests.api import Client, make_webhook
from tests.api.conftest import Connect
from tests.api.test_plan import give, plan_with
from tests.factories import Tenant, make_tenant
from tests.plan import House
from tests.plans import ODD
from tests.recording import DEBOUNCE, to, wrote

NUMBER = "+12025550143"


async def made(client: Client, number: str = NUMBER, **more: Any) -> Any:
    answer = await client.post("/contacts", {"phone_number": number} | more)
    assert answer.status == 201, answer
    return answer.json


async def found(client: Client, **query: Any) -> list[int]:
    """All pages of it."""
    ids: list[int] = []
    after: dict[str, str] = {}
    while True:
        page = (await client.get("/contacts", **query, **after)).json
        ids += [row["id"] for row in page["data"]]
        if page["next"] is None:
            return ids
        after = {"after": page["next"]}


async def told(owner: Conn, of: Tenant) -> list[str]:
    rows = await owner.fetch(
        "SELECT type FROM webhook_events WHERE user_id = $1 ORDER BY id", of.user_id
    )
    return [row["type"] for row in rows]


# ---- made, read, changed, erased -----------------------------------------------------------------


async def test_a_contact_from_its_making_to_its_end(client: Client, ours: Tenant) -> None:
    answer = await client.post(
        "/contacts",
        {
            "phone_number": "+1 (202) 555-0143",
            "name": " Ada ",
            "language": "pt-BR",
            "tags": ["vip", " new ", "vip"],
            "custom_fields": {"size": {"shoe": 42.5}, "since": None},
            "chatbot_id": ours.chatbot_id,
        },
    )
    row = dict(answer.json)
    assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
    path = f"/contacts/{row['id']}"
    read = await client.get(path)
    assert (read.json, read.headers["ETag"]) == (row, '"1"')
    assert row.pop("created_at")
    assert row.pop("updated_at")
    assert row == {
        "id": row["id"],
        "phone_number": NUMBER,
        "bsuid": None,
        "name": "Ada",
        "language": "pt-BR",
        "tags": ["vip", "new"],
        "custom_fields": {"size": {"shoe": 42.5}, "since": None},
        "contact_status": "active",
        "conversation_paused": False,
        "chatbot_id": ours.chatbot_id,
        "over_limit": False,
        "last_interaction": None,
    }
    assert (await client.delete(path, If_Match='"7"')).problem == "precondition_failed"
    assert (await client.delete(path, If_Match='"1"')).status == 204
    for again in (
        await client.get(path),
        await client.patch(path, {"name": "x"}),
        await client.delete(path, If_Match='"1"'),
    ):
        assert (again.status, again.problem) == (404, "not_found")
    assert await found(client) == await found(client, chatbot_id=ours.chatbot_id) == []
    assert (await made(client))["id"] != row["id"], "the number is free again"


async def test_a_patch_changes_what_is_given(client: Client) -> None:
    row = await made(client, name="Ada", tags=["a"], custom_fields={"a": {"b": 1, "c": 2}, "d": 3})
    path = f"/contacts/{row['id']}"
    for nothing in ({}, {"name": "Ada", "tags": ["a"], "custom_fields": {"a": {"b": 1}}}):
        answer = await client.patch(path, nothing)
        assert (answer.json, answer.headers["ETag"]) == (row, '"1"')
    changed = await client.patch(
        path,
        {
            "name": None,
            "language": "es",
            "tags": [],
            "custom_fields": {"a": {"b": None, "e": [None]}, "d": None, "f": "g", "gone": None},
            "contact_status": "blocked",
            "conversation_paused": True,
        },
    )
    assert changed.headers["ETag"] == '"2"'
    assert {**changed.json, "updated_at": None} == {
        **row,
        "name": None,
        "language": "es",
        "tags": [],
        "custom_fields": {"a": {"c": 2, "e": [None]}, "f": "g"},
        "contact_status": "blocked",
        "conversation_paused": True,
        "updated_at": None,
    }
    fixed = ("tags", "custom_fields", "contact_status", "conversation_paused")
    null = await client.patch(path, dict.fromkeys(fixed))
    assert {one["field"] for one in null.json["errors"]} == set(fixed)
    other = await client.patch(path, {"phone_number": NUMBER, "over_limit": False, "id": 1})
    told = [one["detail"] for one in other.json["errors"]]
    assert [one.partition(";")[0] for one in told] == 3 * ["no such field"]


async def test_of_two_changes_of_one_version_one_is_made(client: Client) -> None:
    path = f"/contacts/{(await made(client))['id']}"
    for version in range(1, 6):
        answers = await asyncio.gather(
            *(
                client.patch(
                    path, {"custom_fields": {f"{version}.{n}": n}}, If_Match=f'"{version}"'
                )
                for n in range(4)
            )
        )
        assert Counter(a.status for a in answers) == {200: 1, 412: 3}
    # Without If-Match all are made, and none takes the others' away.
    await asyncio.gather(
        *(client.patch(path, {"custom_fields": {f"all.{n}": n}}) for n in range(8))
    )
    fields = (await client.get(path)).json["custom_fields"]
    assert {name for name in fields if name.startswith("all.")} == {f"all.{n}" for n in range(8)}


async def test_what_others_change_is_another_version_and_a_message_is_none(
    house: House, client: Client, ours: Tenant
) -> None:
    await house.write(ours, "w1", "12025550143")
    (row,) = (await client.get("/contacts")).json["data"]
    path = f"/contacts/{row['id']}"
    tag = (await client.get(path)).headers["ETag"]
    await house.write(ours, "w2", "12025550143")
    seen = await client.get(path)
    assert seen.headers["ETag"] == tag
    await house.owner.execute("UPDATE contacts SET bsuid = 'US.1' WHERE id = $1", row["id"])
    assert (await client.patch(path, {"name": "Ada"}, If_Match=tag)).status == 412


async def test_a_name_that_the_tenant_gave_stays(
    house: House, client: Client, ours: Tenant
) -> None:
    await house.write(ours, "w1", "12025550143")
    (row,) = (await client.get("/contacts")).json["data"]
    theirs = row["name"]
    path = f"/contacts/{row['id']}"
    await client.patch(path, {"name": "Ada of the shop"})
    await house.write(ours, "w2", "12025550143")
    assert (await client.get(path)).json["name"] == "Ada of the shop"
    await client.patch(path, {"name": None})
    await house.write(ours, "w3", "12025550143")
    assert (await client.get(path)).json["name"] == theirs


async def test_a_name_that_whatsapp_told_first_stays_too_once_it_is_given(
    pool: Pool, client: Client, ours: Tenant
) -> None:
    async def writes(wamid: str, name: str) -> None:
        profile = [{"profile": {"name": name}, "wa_id": "12025550143"}]
        await record_batch(
            pool, [to(ours, wrote(wamid, "12025550143"), contacts=profile)], DEBOUNCE
        )

    await writes("w1", "Ada")
    (row,) = (await client.get("/contacts")).json["data"]
    path = f"/contacts/{row['id']}"
    before = await client.get(path)
    after = await client.patch(path, {"name": "Ada"})
    assert (after.json, after.headers["ETag"]) == (before.json, before.headers["ETag"])
    await writes("w2", "ada \u2728")
    assert (await client.get(path)).json["name"] == "Ada"


# ---- what is wrong -------------------------------------------------------------------------------


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"phone_number": None}, "phone_number"),
        ({"phone_number": ""}, "phone_number"),
        ({"phone_number": 12025550143}, "phone_number"),
        ({"phone_number": "0202 555 0143"}, "phone_number"),
        ({"phone_number": "+1202"}, "phone_number"),
        ({"phone_number": "+" + "1" * 16}, "phone_number"),
        ({"phone_number": "call 12025550143"}, "phone_number"),
        ({"phone_number": "+\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668"}, "phone_number"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"language": "Spanish!"}, "language"),
        ({"language": ""}, "language"),
        ({"tags": None}, "tags"),
        ({"tags": "vip"}, "tags"),
        ({"tags": [1]}, "tags.0"),
        ({"tags": ["a", " "]}, "tags"),
        ({"tags": ["x" * (TAG_CHARS + 1)]}, "tags"),
        ({"tags": [str(n) for n in range(TAGS_MAX + 1)]}, "tags"),
        ({"custom_fields": None}, "custom_fields"),
        ({"custom_fields": []}, "custom_fields"),
        ({"custom_fields": {"a": "\x00"}}, "custom_fields.a"),
        ({"custom_fields": {"a": "x" * FIELDS_BYTES}}, "custom_fields"),
        ({"custom_fields": {str(n): n for n in range(FIELDS_MAX + 1)}}, "custom_fields"),
        ({"custom_fields": {"x" * 101: 1}}, "custom_fields"),
        ({"custom_fields": nested(FIELDS_DEPTH + 1)}, "custom_fields"),
        ({"contact_status": "gone"}, "contact_status"),
        ({"chatbot_id": 10**17}, "chatbot_id"),
        ({"chatbot_id": 10**30}, "chatbot_id"),
        ({"chatbot_id": "1"}, "chatbot_id"),
        ({"thread_id": "x"}, "thread_id"),
    ],
)
async def test_what_is_wrong_is_told_by_its_place(
    owner: Conn, client: Client, given: dict[str, Any], field: str
) -> None:
    answer = await client.post("/contacts", {"phone_number": NUMBER} | given)
    assert (answer.status, answer.problem) == (400, "invalid_request")
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert await owner.fetchval("SELECT count(*) FROM contacts") == 0


async def test_bounds_hold_for_what_a_change_comes_to(client: Client) -> None:
    half = {str(n): n for n in range(FIELDS_MAX // 2 + 1)}
    row = await made(client, custom_fields=half)
    path = f"/contacts/{row['id']}"
    for more in (
        {f"more {n}": n for n in half},
        {"a": "x" * FIELDS_BYTES},
        {"a": nested(FIELDS_DEPTH)},
    ):
        answer = await client.patch(path, {"custom_fields": more})
        assert [error["field"] for error in answer.json["errors"]] == ["custom_fields"]
    assert (await client.get(path)).json == row
    # What is replaced is not added.
    assert (await client.patch(path, {"custom_fields": half})).status == 200


async def test_anothers_chatbot_is_as_one_that_is_not_there(client: Client, theirs: Tenant) -> None:
    answers = [
        await client.post("/contacts", {"phone_number": NUMBER, "chatbot_id": chatbot_id})
        for chatbot_id in (theirs.chatbot_id, 7_777_777)
    ]
    assert answers[0].json == answers[1].json
    assert answers[0].json["errors"] == [
        {"field": "chatbot_id", "detail": "you have no chatbot with this id"}
    ]
    assert await found(client, chatbot_id=theirs.chatbot_id) == []


async def test_a_number_is_a_contact_once(client: Client, connect: Connect, theirs: Tenant) -> None:
    first = await made(client, "+5215512345678")
    for spelt in ("+5215512345678", "+52 1 55 1234 5678", "525512345678"):  # Meta's, and as dialled
        answer = await client.post("/contacts", {"phone_number": spelt})
        assert (answer.status, answer.problem) == (409, "already_exists")
        assert answer.json["contact_id"] == first["id"]
        assert await found(client, phone_number=spelt) == [first["id"]]
    await made(await connect(theirs), "+5215512345678")


async def test_the_bot_and_the_program_make_one_contact(
    house: House, client: Client, ours: Tenant
) -> None:
    """Whoever comes first."""
    for n in range(12):
        answer, _ = await asyncio.gather(
            client.post("/contacts", {"phone_number": f"+120255502{n:02d}", "name": "given"}),
            house.write(ours, f"w{n}", f"120255502{n:02d}"),
        )
        (contact_id,) = await found(client, phone_number=f"+120255502{n:02d}")
        assert answer.status in (201, 409)
        known = answer.json["id"] if answer.status == 201 else answer.json["contact_id"]
        assert known == contact_id
    await house.turns()
    assert set((await house.became(ours)).values()) == {"answered"}


async def test_a_repeated_key_makes_one_and_gets_the_first_answer(
    owner: Conn, client: Client
) -> None:
    body = {"phone_number": NUMBER, "name": "Ada"}
    answers = await asyncio.gather(
        *(client.post("/contacts", body, Idempotency_Key="k") for _ in range(6))
    )
    assert Counter(a.status for a in answers).keys() <= {201, 409}
    (first,) = {json.dumps(a.json, sort_keys=True) for a in answers if a.status == 201}
    contact_id = json.loads(first)["id"]
    await client.patch(f"/contacts/{contact_id}", {"name": "Eva"})
    again = await client.post("/contacts", body, Idempotency_Key="k")
    assert (again.status, again.json, again.headers["ETag"]) == (201, json.loads(first), '"1"')
    other = await client.post("/contacts", body | {"name": "x"}, Idempotency_Key="k")
    assert other.problem == "idempotency_key_reused"
    # What was answered first goes with the person.
    assert (await client.delete(f"/contacts/{contact_id}")).status == 204
    assert await owner.fetchval("SELECT count(*) FROM idempotency_keys") == 0


# ---- events --------------------------------------------------------------------------------------


async def test_what_is_made_and_changed_is_told_once(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    await make_webhook(owner, ours)
    row = await made(client)
    path = f"/contacts/{row['id']}"
    await client.post("/contacts", {"phone_number": NUMBER})
    await client.patch(path, {"name": "Ada"})
    await client.patch(path, {"name": "Ada"})
    await client.patch(path, {"name": "Eva"}, If_Match='"1"')
    await client.patch(path, {"tags": [""]})
    assert await told(owner, ours) == ["contact.created", "contact.updated"]
    body = await owner.fetchval("SELECT body FROM webhook_events ORDER BY id DESC LIMIT 1")
    assert json.loads(body)["data"]["name"] == "Ada"


# ---- the plan ------------------------------------------------------------------------------------


async def test_contact_management_opens_writing(owner: Conn, connect: Connect) -> None:
    user = await make_tenant(owner)
    client = await connect(user)
    path = f"/contacts/{(await made(client))['id']}"
    for number, value in enumerate(ODD):
        await give(owner, user, plan_with(Feature.CONTACT_MANAGEMENT, value))
        answers = (
            await client.post("/contacts", {"phone_number": f"+1202555010{number}"}),
            await client.patch(path, {"tags": [str(number)]}),
        )
        allowed = value == "true"
        assert [a.status for a in answers] == ([201, 200] if allowed else [403, 403]), value
        if not allowed:
            assert {a.problem for a in answers} == {"not_in_plan"}
        assert (await client.get(path)).status == 200


async def test_as_many_contacts_as_the_plan_has_room_for(
    owner: Conn, connect: Connect, house: House
) -> None:
    user = await make_tenant(owner, config='{"limits": {"max_contacts": 5}}')
    client = await connect(user)
    numbers = [f"+12025550{n:03d}" for n in range(10)]
    answers = await asyncio.gather(
        *(client.post("/contacts", {"phone_number": number}) for number in numbers)
    )
    assert Counter(a.status for a in answers) == {201: 5, 409: 5}
    refused = next(a for a in answers if a.status == 409)
    assert refused.problem == "limit_reached"
    assert (refused.json["allowed"], refused.json["count"]) == (5, 5)
    assert len(await found(client)) == 5
    assert await owner.fetchval("SELECT contacts FROM contact_counts") == 5
    # Who writes all the same is shown, and enters before whoever is made later.
    await house.write(user, "w1", "13035550111")
    (waits,) = (await client.get("/contacts", phone_number="13035550111")).json["data"]
    assert waits["over_limit"] is True
    gone = next(a.json["id"] for a in answers if a.status == 201)
    assert (await client.delete(f"/contacts/{gone}")).status == 204
    await owner.execute("DELETE FROM contacts WHERE id = $1", gone)
    assert (await client.post("/contacts", {"phone_number": "+12025550999"})).status == 409
    await house.scheduler()
    assert (await client.get(f"/contacts/{waits['id']}")).json["over_limit"] is False


# ---- found ---------------------------------------------------------------------------------------


async def test_found_by_words_numbers_tags_and_chatbot(
    owner: Conn, client: Client, connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    await made(await connect(theirs), "+4917012345678", name="Anna Müller", tags=["vip"])
    anna = (await made(client, "+4917012345678", name="Anna Müller-Lüdenscheidt", tags=["vip"]))[
        "id"
    ]
    hanna = (await made(client, "+12025550144", name="HANNA O'Brien", tags=["vip", "new"]))["id"]
    ivan = (await made(client, "+79161234567", name="Иван Петров"))["id"]
    agent = (await made(client, "+12025550007", name="007", chatbot_id=ours.chatbot_id))["id"]
    for q, ids in {
        "anna": [anna],
        "ANN": [anna],
        "muller": [anna],
        "mü anna": [anna],
        "ludenscheidt": [anna],
        "ludenscheidx": [],
        "anna brien": [],
        "h": [hanna],
        "brien": [hanna],
        "пет": [ivan],
        "nna": [],
        "007": [agent],
        "4917": [anna],
        "+49 170 1234": [anna],
        "+49": [anna],
        "5678": [anna],
        "0170/12345678": [anna],
        "+4917012345678": [anna],
        "+4417012345678": [],
        "+1 202": [agent, hanna],
        "4567": [ivan],
        "567": [],
        "79161": [ivan],
        "7916123456": [ivan],
        "7916123457": [],
        "%": [],
        "_": [],
        "'": [],
        "🙂": [],
        "\\": [],
    }.items():
        assert await found(client, q=q) == ids, q
    assert await found(client, tag="vip") == [hanna, anna]
    assert await found(client, tag="vip", q="anna") == [anna]
    assert await found(client, tag="VIP") == await found(client, tag="vi") == []
    assert await found(client, chatbot_id=ours.chatbot_id) == [agent]
    assert await found(client, chatbot_id=ours.chatbot_id, q="anna") == []
    assert await found(client, phone_number="+4917012345678", tag="vip", q="ann") == [anna]
    assert await found(client, phone_number="+4917012345678", tag="new") == []
    # What changes is found by what it is now.
    await client.patch(f"/contacts/{anna}", {"name": "Berta", "tags": ["old"]})
    assert await found(client, q="anna") == await found(client, tag="vip", q="anna") == []
    assert await found(client, q="ber") == await found(client, tag="old") == [anna]
    await client.delete(f"/contacts/{anna}")
    assert await found(client, q="ber") == await found(client, q="5678") == []
    for query in ({"q": ""}, {"tag": ""}, {"q": "x" * 101}, {"phone_number": "x"}, {"q": "\x00"}):
        answer = await client.get("/contacts", **query)
        assert [one["field"] for one in answer.json["errors"]] == list(query)


@pytest.mark.parametrize("query", [{}, {"q": "cust"}, {"q": "c 1"}, {"tag": "t"}, {"q": "1202555"}])
async def test_pages_are_stable_while_contacts_arrive(
    owner: Conn, client: Client, query: dict[str, str]
) -> None:
    before = [
        (await made(client, f"+12025551{n:03d}", name=f"Customer 1{n}", tags=["t"]))["id"]
        for n in range(23)
    ]
    ids: list[int] = []
    after: dict[str, str] = {}
    while True:
        page = (await client.get("/contacts", limit="5", **query, **after)).json
        ids += [row["id"] for row in page["data"]]
        await made(client, f"+12025552{len(ids):03d}", name="Customer 1", tags=["t"])
        if page["next"] is None:
            break
        assert len(page["data"]) == 5
        after = {"after": page["next"]}
    assert ids == before[::-1]


CROWD = """
    INSERT INTO contacts (user_id, phone_number, wa_id, name, tags, chatbot_id, thread_id)
    SELECT $1::bigint, '+49170' || (1000000 + n), '49170' || (1000000 + n),
           CASE WHEN n % 2 = 0 THEN 'Even' ELSE 'Odd' END || ' Customer' || n || ' '
               || CASE WHEN n % 3 = 0 THEN 'Three' ELSE '' END,
           CASE WHEN n % 7 = 0 THEN '["seven"]' ELSE '[]' END::jsonb, $2, $1::bigint || ':' || n
      FROM generate_series(1, $3::int) n
"""


def literal(value: Any) -> str:
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(literal, value))}]::text[]"
    if isinstance(value, str):
        return f"'{value}'"
    if value is None or isinstance(value, bool):
        return "NULL" if value is None else str(value).lower()
    return str(value)


async def blocks_read(pool: Pool, of: Tenant, sql: str, *args: Any) -> int:
    """As the runtime reads, with its policies and its plan for any parameters."""
    async with tenant(pool, of.user_id) as conn:
        assert await conn.fetchval("SHOW plan_cache_mode") == "force_generic_plan"
        await conn.execute(f"PREPARE asked AS {sql}")
        execute = f"EXECUTE asked({', '.join(map(literal, args))})"
        await conn.execute(execute)
        plan = await conn.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {execute}")
        await conn.execute("DEALLOCATE asked")
    top = plan[0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


async def test_a_search_reads_no_more_among_many(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, theirs: Tenant
) -> None:
    """Of its own tenant's contacts and of others'."""
    search = "SELECT * FROM contacts_by_terms($1, $2, $3, 1000000000, 51, 10000, NULL)"
    asked = {
        "everybody": ["w:cust"],
        "half of them": ["w:even"],
        "few": ["w:customer12"],
        "one among half": ["w:customer1234", "w:even"],
        "a tag among half": ["t:seven", "w:odd"],
        "nobody": ["w:nobody", "w:even"],
        "by its end": ["s:001234"],
    }
    reads: list[dict[str, int]] = []
    for size in (300, 6_000):
        await owner.execute("DELETE FROM contacts")
        for one in (ours, theirs):
            await owner.execute(CROWD, one.user_id, one.chatbot_id, size)
        await owner.execute("ANALYZE contacts")
        await owner.execute("VACUUM (ANALYZE) contact_terms")  # of the crowd before
        reads.append(
            {
                name: await blocks_read(
                    pool, ours, search, ours.user_id, terms, [None] * len(terms)
                )
                for name, terms in asked.items()
            }
        )
    small, large = reads
    assert {n: large[n] for n in asked if large[n] > 4 * small[n] + 100} == {}
    assert len((await client.get("/contacts", q="cust", limit="200")).json["data"]) == 200


async def test_messages_leave_what_contacts_are_found_by_alone(
    owner: Conn, house: House, ours: Tenant
) -> None:
    """No index is written to when somebody writes who is known."""
    await house.write(ours, "w0", "12025550143")

    async def written() -> list[int]:
        row = await owner.fetchrow("SELECT count(*), max(xmin::text::bigint) FROM contact_terms")
        assert row is not None
        return list(row)

    before = await written()
    for n in range(1, 5):
        await house.write(ours, f"w{n}", "12025550143")
    assert await written() == before
