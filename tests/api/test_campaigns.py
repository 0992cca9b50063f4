"""Campaigns before they start: made, listed, changed, gone; what is wrong is told at once."""

from typing import Any

from db.pool import Conn
from tests.api import CAMPAIGN, Client, make_template
from tests.factories import Tenant


async def body(owner: Conn, of: Tenant, **more: Any) -> dict[str, Any]:
    template = await make_template(owner, of)
    return CAMPAIGN | {"chatbot_id": of.chatbot_id, "template_id": template} | more


async def test_a_draft_from_its_making_to_its_end(
    client: Client, owner: Conn, ours: Tenant
) -> None:
    given = await body(owner, ours, target_criteria={"tags": {"any": ["vip"]}}, rate=5)
    made = await client.post("/campaigns", given)
    assert (made.status, made.json["status"], made.json["rate"]) == (201, "draft", 5)
    assert made.json["target_criteria"] == {"tags": {"any": ["vip"]}}
    assert made.json["template_id"] == given["template_id"]
    path = f"/campaigns/{made.json['id']}"
    assert (await client.get(path)).json["figures"]["recipients"] == 0
    listed = (await client.get("/campaigns", status="draft")).json["data"]
    assert [row["id"] for row in listed] == [made.json["id"]]
    assert (await client.get("/campaigns", status="running")).json["data"] == []
    etag = made.headers["ETag"]
    changed = await client.patch(
        path, {"name": "Summer", "scheduled_at": "2100-07-01T09:00:00"}, If_Match=etag
    )
    assert (changed.status, changed.json["status"], changed.json["name"]) == (
        200,
        "scheduled",
        "Summer",
    )
    assert changed.json["target_criteria"] == {"tags": {"any": ["vip"]}}, "what was not given stays"
    assert (await client.patch(path, {"name": "x"}, If_Match=etag)).status == 412
    back = await client.patch(path, {"scheduled_at": None})
    assert (back.json["status"], back.json["scheduled_at"]) == ("draft", None)
    assert (await client.delete(path)).status == 204
    assert (await client.get(path)).problem == "not_found"


async def test_variants_stand_instead_of_a_template(
    client: Client, owner: Conn, ours: Tenant
) -> None:
    given = await body(owner, ours)
    other = await make_template(owner, ours)
    same = {"template_id": given["template_id"], "parameters": given["parameters"]}
    variants = [same | {"weight": 3}, same | {"template_id": other}]
    both = await client.post("/campaigns", given | {"variants": variants})
    assert {one["field"] for one in both.json["errors"]} == {"template_id"}
    only = {k: v for k, v in given.items() if k not in ("template_id", "parameters")}
    made = await client.post("/campaigns", only | {"variants": variants})
    assert [one["weight"] for one in made.json["variants"]] == [3, 1]
    assert made.json["template_id"] is None
    neither = await client.post("/campaigns", only)
    assert {one["field"] for one in neither.json["errors"]} == {"template_id"}
    back = await client.patch(f"/campaigns/{made.json['id']}", same | {"variants": None})
    assert back.json["template_id"] == given["template_id"]


async def test_what_is_wrong_is_told_at_once(client: Client, owner: Conn, ours: Tenant) -> None:
    given = await body(owner, ours)
    wrong = {"parameters": {"body": {"3": {"text": "x"}}}, "ends_at": "2020-01-01T00:00:00Z"}
    answer = await client.post("/campaigns", given | wrong)
    assert (answer.status, answer.problem) == (400, "invalid_request")
    fields = {error["field"] for error in answer.json["errors"]}
    expected = {f"parameters.body.{n}" for n in (1, 2, 3)} | {"ends_at"}
    assert fields == expected
    for spoilt, field in (
        ({"send_window": {"days": [8], "from": "09:00", "to": "19:00"}}, "send_window"),
        ({"send_window": {"days": [1], "from": "19:00", "to": "09:00"}}, "send_window"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at"),
        ({"rate": 0}, "rate"),
        ({"target_criteria": {"tag": {"any": ["vip"]}}}, "target_criteria.tag"),
    ):
        answer = await client.post("/campaigns", given | spoilt)
        assert answer.problem == "invalid_request", spoilt
        assert field in {error["field"] for error in answer.json["errors"]}


async def test_anothers_template_and_chatbot_are_not_there(
    client: Client, owner: Conn, ours: Tenant, theirs: Tenant
) -> None:
    given, strange = await body(owner, ours), await body(owner, theirs)
    for spoilt in (
        {"template_id": strange["template_id"]},
        {"chatbot_id": theirs.chatbot_id},
    ):
        answer = await client.post("/campaigns", given | spoilt)
        assert answer.problem == "invalid_request"
        assert {error["field"] for error in answer.json["errors"]} == {*spoilt}
