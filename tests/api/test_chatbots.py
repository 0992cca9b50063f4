"""Chatbots are made, read and changed by their tenants; what is wrong is told in words."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from db.pool import Conn
from handlers.plans import Feature, Limit
from handlers.process.secrets import Vault, access_token_of
from tests.api import Client
from tests.api.conftest import Connect
from tests.api.test_plan import give, plan_with
from tests.factories import Tenant, make_tenant
from tests.ingress import SECRETS_KEY
from tests.plans import ODD

TOKEN = "EAAB-token-of-the-bakery"


async def made(client: Client, **more: Any) -> Any:
    answer = await client.post("/chatbots", {"name": "Bakery"} | more)
    assert answer.status == 201, answer
    return answer.json


async def test_a_chatbot_is_made_read_and_listed(client: Client, ours: Tenant) -> None:
    answer = await client.post("/chatbots", {"name": "Bakery"})
    row = dict(answer.json)
    assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
    read = await client.get(f"/chatbots/{row['id']}")
    assert (read.status, read.json, read.headers["ETag"]) == (200, row, '"1"')
    assert row.pop("created_at")
    assert row.pop("updated_at")
    assert row == {
        "id": row["id"],
        "name": "Bakery",
        **dict.fromkeys(("whatsapp_phone_number", "phone_number_id", "waba_id")),
        **dict.fromkeys(("number_confirmed_at", "number_problem", "general_instructions")),
        **dict.fromkeys(("language", "window_template", "business_hours", "model", "topic")),
        "answer_checks": "block",
        "opt_out_words": [],
        "order_messages": [],
        **dict.fromkeys(("order_template", "decision_template")),
        "marketing_api": False,
        "unproven": [],
        "is_active": True,
        "bot_status": "active",
        "texts": {},
        "budgets": {},
        "embeddings": False,
    }
    listed = [one["id"] for one in (await client.get("/chatbots")).json["data"]]
    assert listed == [row["id"], ours.chatbot_id]
    page = (await client.get("/chatbots", limit=1)).json
    last = (await client.get("/chatbots", limit=1, after=page["next"])).json
    assert [one["id"] for one in page["data"] + last["data"]] == listed
    assert last["next"] is None


async def test_all_that_can_be_written(client: Client) -> None:
    given = {
        "name": "Bakery",
        "general_instructions": "Be kind.",
        "is_active": False,
        "bot_status": "paused",
        "language": "pt-BR",
        "texts": {"apology": {"en": "Sorry!", "pt": "Desculpe!"}},
        "window_template": {"name": "again", "language": "en_US"},
        "budgets": {"input_tokens": 9_000, "knowledge_tokens": 0, "output_tokens": 300},
        "embeddings": True,
        "business_hours": {"mon": [["09:00", "18:00"], ["20:00", "02:00"]], "closed": []},
        "answer_checks": "warn",
    }
    row = await made(client, **given)
    assert {name: row[name] for name in given} == given
    path = f"/chatbots/{row['id']}"
    for name, value in (
        ("name", "Bistro"),
        ("general_instructions", None),
        ("is_active", True),
        ("bot_status", "active"),
        ("language", None),
        ("window_template", None),
        ("embeddings", False),
        ("business_hours", None),
        ("answer_checks", "block"),
    ):
        before = await client.get(path)
        changed = await client.patch(path, {name: value}, If_Match=before.headers["ETag"])
        assert changed.status == 200, changed
        assert changed.headers["ETag"] != before.headers["ETag"]
        after = dict(changed.json)
        assert after.pop(name) == value
        assert after.pop("updated_at") > before.json["updated_at"]
        assert after == {n: v for n, v in before.json.items() if n not in (name, "updated_at")}


async def test_objects_are_merged(client: Client) -> None:
    row = await made(
        client,
        texts={"apology": {"en": "Sorry!", "de": "Pardon!"}, "limit": {"en": "Enough."}},
        window_template={"name": "again", "language": "en_US"},
    )
    path = f"/chatbots/{row['id']}"
    change = {"texts": {"apology": {"de": None, "fr": "Pardon !"}, "limit": None}}
    changed = await client.patch(path, change | {"window_template": {"language": "de"}})
    assert changed.json["texts"] == {"apology": {"en": "Sorry!", "fr": "Pardon !"}}
    assert changed.json["window_template"] == {"name": "again", "language": "de"}
    for hours, left in (
        ({"mon": [["09:00", "18:00"]], "sun": []}, {"mon": [["09:00", "18:00"]], "sun": []}),
        ({"mon": None, "closed": ["2026-12-25"]}, {"sun": [], "closed": ["2026-12-25"]}),
        ({"sun": None, "closed": None}, None),
    ):
        changed = await client.patch(path, {"business_hours": hours})
        assert changed.json["business_hours"] == left
    emptied = await client.patch(path, {"texts": {"apology": {"en": None, "fr": None}}})
    assert emptied.json["texts"] == {}
    await client.patch(path, {"window_template": None})
    half = await client.patch(path, {"window_template": {"language": "de"}})
    assert half.json["errors"] == [{"field": "window_template.name", "detail": "missing"}]


async def test_budgets_are_merged_by_member(client: Client) -> None:
    row = await made(client, budgets={"input_tokens": 9_000, "cost": 0.01})
    assert row["budgets"] == {"input_tokens": 9_000, "cost": "0.01"}
    path = f"/chatbots/{row['id']}"
    given = {"input_tokens": None, "output_tokens": 300, "cost": "0.002500"}
    changed = await client.patch(path, {"budgets": given})
    assert changed.json["budgets"] == {"output_tokens": 300, "cost": "0.002500"}
    for wrong in ({"knowledge_tokens": 12_001}, {"input_tokens": 3_000, "knowledge_tokens": 3_001}):
        refused = await client.patch(path, {"budgets": wrong})
        (error,) = refused.json["errors"]
        assert (refused.status, error["field"]) == (400, "budgets.knowledge_tokens")
    assert (await client.get(path)).json == changed.json
    emptied = await client.patch(path, {"budgets": {"output_tokens": None, "cost": None}})
    assert emptied.json["budgets"] == {}


async def test_nothing_changed_is_no_change(client: Client) -> None:
    row = await made(client, texts={"limit": {"en": "Enough."}})
    path = f"/chatbots/{row['id']}"
    for same in ({}, {"name": "Bakery"}, {"texts": {"limit": {"en": "Enough."}, "media": None}}):
        answer = await client.patch(path, same)
        assert (answer.status, answer.json, answer.headers["ETag"]) == (200, row, '"1"')


async def test_of_two_changes_of_one_version_one_is_made(client: Client) -> None:
    row = await made(client)
    path = f"/chatbots/{row['id']}"
    for version in range(1, 5):
        answers = await asyncio.gather(
            *(client.patch(path, {"name": f"{version} {n}"}, If_Match=f'"{version}"') for n in "ab")
        )
        assert Counter(a.status for a in answers) == {200: 1, 412: 1}
        (won,) = (a for a in answers if a.status == 200)
        assert won.headers["ETag"] == f'"{version + 1}"'
        assert (await client.get(path)).json == won.json


WRONG: dict[str, list[Any]] = {
    "name": ["", " \n", None, 7, "x" * 256, "a\0b", [], True],
    "whatsapp_phone_number": [
        "",
        "12025550143",
        "+0123456789",
        "+12",
        "+1202555x",
        12025550143,
        {},
    ],
    "phone_number_id": ["", "a/b", "..", "a b", 4098, "1" * 65, "x\n"],
    "waba_id": ["", "a/b", True],
    "access_token": ["", None, "two words", "line\r\nX: y", "é", 1, "x" * 2_001],
    "general_instructions": ["x" * 20_001, ["x"]],
    "is_active": [None, "true", 1],
    "bot_status": [None, "off", "Active", True],
    "language": ["", "Deutsch!", "e", 7, "en_US"],
    "texts": [
        None,
        [],
        {"salutation": {"en": "Hi"}},
        {"limit": "Enough"},
        {"limit": None},
        {"limit": {"en": None}},
        {"limit": {"en": " "}},
        {"limit": {"English": "Enough"}},
        {"limit": {"en": "Hi {name}"}},
        {"limit": {"en": "x" * 5_000}},
    ],
    "budgets": [
        None,
        [],
        7,
        {"tokens": 1},
        {"input_tokens": 2_999},
        {"input_tokens": "9000"},
        {"input_tokens": 200_001},
        {"knowledge_tokens": -1},
        {"output_tokens": 49},
        {"cost": 0},
        {"cost": "0.0000001"},
        {"cost": "-1"},
        {"cost": "1e-3"},
        {"cost": True},
    ],
    "embeddings": [None, "true", 1],
    "business_hours": [
        [],
        {"monday": []},
        {"mon": [["9:00", "18:00"]]},
        {"mon": [["09:00", "13:00"], ["12:00", "14:00"]]},
        {"closed": ["2026-02-30"]},
    ],
    "answer_checks": [None, "off", True],
    "window_template": [
        "again",
        [],
        {"name": "again"},
        {"name": "Again", "language": "en"},
        {"name": "again", "language": "en", "template_id": 1},
        {"template_id": 999_999},
        {"parameters": {}},
    ],
    "order_template": ["again", {"name": "again", "language": "en"}, {"template_id": 999_999}],
    "decision_template": [[], {"parameters": {}}, {"template_id": 1, "parameters": []}],
    "marketing_api": ["true", 1],
}
LATER_OR_OURS = (
    *("order_messages", "marketing_api"),
    *("id", "version", "number_confirmed_at", "kb_version"),
)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        *((field, value) for field, values in WRONG.items() for value in values),
        *((field, None) for field in LATER_OR_OURS),
    ],
)
async def test_what_is_wrong_is_told_with_its_place(
    client: Client, ours: Tenant, field: str, given: Any
) -> None:
    answers = [await client.post("/chatbots", {"name": "Bakery", field: given})]
    if "None" not in str(given):  # what null takes away, a new chatbot never had
        answers.append(await client.patch(f"/chatbots/{ours.chatbot_id}", {field: given}))
    for answer in answers:
        assert (answer.status, answer.problem) == (400, "invalid_request")
        places = [one["field"].partition(".")[0] for one in answer.json["errors"]]
        assert places == [field] * len(places), answer
    assert len((await client.get("/chatbots")).json["data"]) == 1


async def test_null_where_a_chatbot_has_to_have_something(client: Client, ours: Tenant) -> None:
    names = ("name", "access_token", "is_active", "bot_status", "texts")
    answer = await client.patch(f"/chatbots/{ours.chatbot_id}", dict.fromkeys(names))
    assert {one["field"] for one in answer.json["errors"]} == {*names}


async def test_all_mistakes_at_once(client: Client) -> None:
    answer = await client.post(
        "/chatbots", {"name": "", "language": "?", "bot_status": 1, "model": 1, "waba_id": "/"}
    )
    assert {one["field"] for one in answer.json["errors"]} == {
        *("name", "language", "bot_status", "model", "waba_id")
    }


async def test_all_texts_together_are_bounded(client: Client) -> None:
    row = await made(client)
    path = f"/chatbots/{row['id']}"
    texts = {f"a{second}": "x" * 2_000 for second in "abcdefghij"}
    for kind in ("limit", "media", "slow"):
        assert (await client.patch(path, {"texts": {kind: texts}})).status == 200
    answer = await client.patch(path, {"texts": {"apology": texts}})
    (mistake,) = answer.json["errors"]
    assert mistake["field"] == "texts"
    assert "65536 at most" in mistake["detail"]


async def test_whoever_changes_what_is_shown_raises_the_version(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    path = f"/chatbots/{ours.chatbot_id}"
    before = await client.get(path)
    for unseen in ("kb_version = kb_version + 1", "failing_since = now()", "proof_due_at = now()"):
        await owner.execute(f"UPDATE chatbots SET {unseen} WHERE id = $1", ours.chatbot_id)
        now = await client.get(path)
        assert (now.json, now.headers["ETag"]) == (before.json, before.headers["ETag"])
    for seen in ("waba_id = '330'", "phone_number_id = '1'", "number_confirmed_at = now()"):
        before = await client.get(path)
        await owner.execute(f"UPDATE chatbots SET {seen} WHERE id = $1", ours.chatbot_id)
        stale = await client.patch(path, {"name": "B"}, If_Match=before.headers["ETag"])
        assert (stale.status, stale.problem) == (412, "precondition_failed")
        assert (await client.get(path)).json["updated_at"] > before.json["updated_at"]


# ---- the token is written and never read ---------------------------------------------------------


async def test_a_token_is_in_no_answer_and_nowhere_in_clear(
    owner: Conn, client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    body = {"name": "Bakery", "access_token": TOKEN}
    answer = await client.post("/chatbots", body, Idempotency_Key="once")
    again = await client.post("/chatbots", body, Idempotency_Key="once")
    assert (again.status, again.json) == (201, answer.json)
    path = f"/chatbots/{answer.json['id']}"
    second = f"{TOKEN}-second"
    changed = await client.patch(path, {"access_token": second})
    assert changed.headers["ETag"] != answer.headers["ETag"]
    listed = await client.get("/chatbots")
    for said in (answer, again, changed, listed, await client.get(path)):
        assert TOKEN not in str(said)
        assert "access_token" not in str(said.json)
    sealed = await owner.fetchval(
        "SELECT access_token FROM chatbots WHERE id = $1", answer.json["id"]
    )
    vault = Vault((SECRETS_KEY,))
    assert vault.decrypt(sealed, access_token_of(answer.json["id"])) == second
    for table in ("chatbots", "idempotency_keys", "analytics_events"):
        rows = await owner.fetch(f"SELECT t::text FROM {table} t")
        assert not [row for row in rows if TOKEN in row[0]], table
    assert TOKEN not in str(capfd.readouterr())


# ---- once ----------------------------------------------------------------------------------------


async def test_a_repeated_key_makes_one_chatbot(client: Client) -> None:
    answers = await asyncio.gather(
        *(client.post("/chatbots", {"name": "B"}, Idempotency_Key="k") for _ in range(6))
    )
    assert {a.status for a in answers} <= {201, 409}
    assert len({a.json["id"] for a in answers if a.status == 201}) == 1
    assert len((await client.get("/chatbots")).json["data"]) == 2
    other = await client.post("/chatbots", {"name": "C"}, Idempotency_Key="k")
    assert (other.status, other.problem) == (422, "idempotency_key_reused")


# ---- whose ---------------------------------------------------------------------------------------


async def test_another_tenant_s_chatbot_is_as_none(
    client: Client, theirs: Tenant, connect: Connect
) -> None:
    missing = await client.get("/chatbots/987654321")
    for answer in (
        await client.get(f"/chatbots/{theirs.chatbot_id}"),
        await client.patch(f"/chatbots/{theirs.chatbot_id}", {"name": "Mine"}),
    ):
        assert (answer.status, answer.problem) == (404, "not_found")
        assert answer.json["detail"] == missing.json["detail"]
    owner_of_it = await connect(theirs)
    assert (await owner_of_it.get(f"/chatbots/{theirs.chatbot_id}")).json["name"] != "Mine"


async def test_who_may_read_may_not_write(connect: Connect, ours: Tenant) -> None:
    client = await connect(ours, "chatbots:read")
    assert (await client.get(f"/chatbots/{ours.chatbot_id}")).status == 200
    for answer in (
        await client.post("/chatbots", {"name": "B"}),
        await client.patch(f"/chatbots/{ours.chatbot_id}", {"name": "B"}),
    ):
        assert (answer.status, answer.problem) == (403, "permission_missing")


# ---- the plan ------------------------------------------------------------------------------------


async def test_the_plan_opens_writing(owner: Conn, client: Client, ours: Tenant) -> None:
    path = f"/chatbots/{ours.chatbot_id}"
    for value in ODD:
        await give(owner, ours, plan_with(Feature.CHATBOT_MANAGEMENT, value))
        allowed = value == "true"
        changed = await client.patch(path, {"name": f"B {value[:50]}"})
        new = await client.post("/chatbots", {"name": "B"})
        assert changed.status == (200 if allowed else 403), value
        assert new.status == (201 if allowed else 403), value
        if not allowed:
            assert new.problem == changed.problem == "not_in_plan"
        assert (await client.get(path)).status == 200


async def test_a_second_chatbot_needs_its_feature(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    await give(owner, ours, plan_with(Feature.MULTI_CHATBOT, "false"))
    answer = await client.post("/chatbots", {"name": "B"})
    assert (answer.status, answer.problem) == (403, "not_in_plan")
    assert Feature.MULTI_CHATBOT in answer.json["detail"]
    await give(owner, ours, plan_with(Feature.MULTI_CHATBOT, "true"))
    assert (await client.post("/chatbots", {"name": "B"})).status == 201


async def test_exactly_as_many_as_the_plan_allows(owner: Conn, connect: Connect) -> None:
    user = await make_tenant(owner, config='{"limits": {"max_chatbots": 4}}')
    client = await connect(user)
    answers = await asyncio.gather(
        *(client.post("/chatbots", {"name": f"B {n}"}) for n in range(8))
    )
    assert Counter(a.status for a in answers) == {201: 3, 409: 5}
    refused = next(a for a in answers if a.status == 409)
    assert refused.problem == "limit_reached"
    assert (refused.json["limit"], refused.json["allowed"], refused.json["count"]) == (
        *(Limit.MAX_CHATBOTS, 4, 4),
    )
    assert (
        await owner.fetchval("SELECT count(*) FROM chatbots WHERE user_id = $1", user.user_id) == 4
    )
