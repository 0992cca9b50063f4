"""Templates that are sent: by a person, and in the place of what WhatsApp takes no more."""

import json
from typing import Any

import pytest

from db.ids import MessageId
from db.pool import Conn, Pool, tenant
from db.sends import SendClaim
from handlers.sends.ending import end_message
from handlers.sends.rules import OUTSIDE_WINDOW
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from tests.api import ORDER_READY, Client, make_action, make_template
from tests.api.test_templates import VAULT, WABA, World, kept, ours, theirs, with_account, world
from tests.factories import Tenant, make_conversation, make_message

__all__ = ("ours", "theirs", "world")
BODY = {"1": {"field": "name", "else": "there"}, "2": {"text": "8841"}}
FOOTER = {"type": "FOOTER", "text": "Lemon Street"}


async def outside(owner: Conn, of: Tenant) -> tuple[int, int]:
    """A contact with a name, and its conversation whose window is closed."""
    contact_id, conversation_id = await make_conversation(owner, of)
    await owner.execute(
        "UPDATE conversations SET last_inbound_at = now() - interval '30 h' WHERE id = $1",
        conversation_id,
    )
    await owner.execute("UPDATE contacts SET name = 'Noor' WHERE id = $1", contact_id)
    return contact_id, conversation_id


async def sent(owner: Conn, world: World, message_id: int) -> Any:
    """By a worker; what Meta was asked."""
    sender = Sender(world.pool, world.meta.graph, Tokens(VAULT, "x"))
    worker = await owner.fetchval(
        "INSERT INTO workers (name, beat_at) VALUES ('w', now()) RETURNING id"
    )
    user_id = await owner.fetchval(
        "UPDATE messages SET send_owner = $2 WHERE id = $1 RETURNING user_id", message_id, worker
    )
    await sender.send(worker, SendClaim(user_id=user_id, message_id=MessageId(message_id)))
    return (await world.simulator.log("send"))[-1]


async def test_a_person_sends_a_template_outside_the_window(
    owner: Conn, client: Client, ours: Tenant, world: World
) -> None:
    _, conversation = await outside(owner, ours)
    await owner.execute("UPDATE chatbots SET phone_number_id = '1'")
    await world.simulator.template(templates=[kept(name="sent")])
    components = json.dumps([*ORDER_READY, FOOTER])
    template = await make_template(owner, ours, name="sent", components=components)
    path = f"/conversations/{conversation}/messages"
    free = await client.post(path, {"content_text": "hi"})
    assert free.problem == "window_closed"
    answer = await client.post(
        path, {"template": {"template_id": template, "parameters": {"body": BODY}}}
    )
    assert answer.status == 201, answer
    assert answer.json["message_type"] == "template"
    assert answer.json["content_text"] == "Hi Noor, order 8841 is ready.\nLemon Street"
    by = await owner.fetchval("SELECT taken_over_by FROM conversations WHERE id = $1", conversation)
    assert by == "human"
    asked = await sent(owner, world, answer.json["id"])
    assert (asked["outcome"], asked["marketing"]) == ("accepted", False)
    assert asked["body"]["template"] == {
        "name": "sent",
        "language": {"code": "en_US"},
        "components": [
            {
                "type": "body",
                "parameters": [{"type": "text", "text": "Noor"}, {"type": "text", "text": "8841"}],
            }
        ],
    }


@pytest.mark.parametrize(
    ("flag", "category"), [(True, "MARKETING"), (True, "UTILITY"), (False, "MARKETING")]
)
async def test_marketing_goes_through_its_own_endpoint_where_it_is_wanted(
    owner: Conn, client: Client, ours: Tenant, world: World, flag: bool, category: str
) -> None:
    _, conversation = await outside(owner, ours)
    await owner.execute("UPDATE chatbots SET phone_number_id = '1'")
    changed = await client.patch(f"/chatbots/{ours.chatbot_id}", {"marketing_api": flag})
    assert (changed.status, changed.json["marketing_api"]) == (200, flag)
    await world.simulator.template(templates=[kept(name="sent", category=category)])
    template = await make_template(owner, ours, name="sent", category=category)
    body = {"template": {"template_id": template, "parameters": {"body": BODY}}}
    answer = await client.post(f"/conversations/{conversation}/messages", body)
    asked = await sent(owner, world, answer.json["id"])
    assert (asked["outcome"], asked["marketing"]) == ("accepted", flag and category == "MARKETING")


async def test_what_cannot_be_sent_is_told(
    owner: Conn, client: Client, ours: Tenant, theirs: Tenant
) -> None:
    _, conversation = await outside(owner, ours)
    path = f"/conversations/{conversation}/messages"
    good = await make_template(owner, ours)
    paused = await make_template(owner, ours, status="PAUSED")
    others = await make_template(owner, theirs)
    await with_account(owner, ours, WABA, "t")

    async def post(template_id: int, parameters: Any) -> Any:
        body = {"template": {"template_id": template_id, "parameters": parameters}}
        answer = await client.post(path, body)
        fields = [one["field"] for one in answer.json.get("errors", [])]
        return answer.status, answer.problem, fields

    of = "template.parameters.body"
    assert await post(good, {}) == (400, "invalid_request", [f"{of}.1", f"{of}.2"])
    lacking = {"body": BODY | {"1": {"field": "custom_fields.nick"}}}
    assert await post(good, lacking) == (400, "invalid_request", [f"{of}.1"])
    assert (await post(paused, {"body": BODY}))[:2] == (409, "template_not_approved")
    for unknown in (others, 999_999):
        assert await post(unknown, {"body": BODY}) == (
            400,
            "invalid_request",
            ["template.template_id"],
        )
    await owner.execute(
        "UPDATE contacts SET marketing_choice = 'stop', marketing_choice_at = now()"
    )
    advert = await make_template(owner, ours, category="MARKETING")
    assert (await post(advert, {"body": BODY}))[:2] == (409, "opted_out")
    both = {"content_text": "hi", "template": {"template_id": good}}
    for neither in ({}, both):
        assert (await client.post(path, neither)).status == 400
    assert await owner.fetchval("SELECT count(*) FROM messages") == 0


# ---- in the place of what is not taken ----------------------------------------------------------


async def given(client: Client, of: Tenant, member: str, template_id: int, body: Any) -> Any:
    template = {"template_id": template_id, "parameters": {"body": body}}
    return await client.patch(f"/chatbots/{of.chatbot_id}", {member: template})


async def late(owner: Conn, pool: Pool, of: Tenant, who: Any, **metadata: Any) -> None:
    """A reply for which the window turned out to be closed."""
    message_id = await make_message(owner, of, *who, text="We open\n\nat nine.")
    await owner.execute(
        "UPDATE messages SET metadata = $2 WHERE id = $1",
        *(message_id, json.dumps({"kind": "reply"} | metadata)),
    )
    async with tenant(pool, of.user_id) as conn:
        await end_message(conn, of.user_id, message_id, OUTSIDE_WINDOW)


async def instead(owner: Conn) -> list[tuple[str, str]]:
    rows = await owner.fetch(
        "SELECT metadata #>> '{template,name}' AS name, content_text FROM messages"
        " WHERE message_type = 'template' ORDER BY id"
    )
    return [tuple(row) for row in rows]


async def test_a_reply_is_replaced_with_what_it_says(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    who = await outside(owner, ours)
    template = await make_template(owner, ours, name="again")
    body = {"1": {"field": "name"}, "2": {"field": "reply"}}
    answer = await given(client, ours, "window_template", template, body)
    assert answer.status == 200, answer
    assert answer.json["window_template"] == {
        "template_id": template,
        "name": "again",
        "language": "en_US",
        "parameters": {"body": body},
    }
    await late(owner, pool, ours, who)
    await late(owner, pool, ours, who)
    assert await instead(owner) == [("again", "Hi Noor, order We open at nine. is ready.")]
    plain = await client.patch(
        f"/chatbots/{ours.chatbot_id}", {"window_template": {"name": "x", "language": "en"}}
    )
    assert plain.json["window_template"] == {"name": "x", "language": "en"}


async def test_a_decision_has_a_template_of_its_own(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    who = await outside(owner, ours)
    action_id, _ = await make_action(owner, ours, user_response="Refunded today.")
    template = await make_template(owner, ours, name="decided")
    body = {"1": {"field": "action.user_response"}, "2": {"field": "action.request_type"}}
    assert (await given(client, ours, "decision_template", template, body)).status == 200
    await late(owner, pool, ours, who)
    assert await instead(owner) == [], "it tells of no decision"
    await late(owner, pool, ours, who, decided=action_id)
    await late(owner, pool, ours, who, decided=action_id)
    (first, second) = await instead(owner)
    assert first == second
    assert first[1].startswith("Hi Refunded today., order ")


async def test_an_order_has_a_template_of_its_own(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    contact, _ = await outside(owner, ours)
    template = await make_template(owner, ours, name="moved")
    body = {"1": {"field": "order.order_number"}, "2": {"field": "order.total_amount"}}
    assert (await given(client, ours, "order_template", template, body)).status == 200
    path = f"/chatbots/{ours.chatbot_id}"
    await client.patch(path, {"order_messages": ["confirmed", "cancelled"]})
    await client.post("/products", {"name": "Cake", "sku": "CAKE-1", "price": "38.50"})
    items = [{"product_sku": "CAKE-1", "quantity": 1}]
    wanted = {"chatbot_id": ours.chatbot_id, "contact_id": contact, "items": items}
    order = (await client.post("/orders", wanted)).json
    for status in ("confirmed", "cancelled"):
        assert (await client.patch(f"/orders/{order['id']}", {"status": status})).status == 200
    said = f"Hi {order['order_number']}, order 38.50 USD is ready."
    assert await instead(owner) == [("moved", said)] * 2


async def test_one_that_cannot_be_sent_replaces_nothing(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    who = await outside(owner, ours)
    template = await make_template(owner, ours, name="again")
    body = {"1": {"field": "custom_fields.nick"}, "2": {"field": "reply"}}
    assert (await given(client, ours, "window_template", template, body)).status == 200
    await late(owner, pool, ours, who)
    await owner.execute('UPDATE contacts SET custom_fields = \'{"nick": "Noo"}\'')
    await owner.execute("UPDATE message_templates SET status = 'PAUSED'")
    await late(owner, pool, ours, who)
    assert await instead(owner) == []
    assert await owner.fetchval("SELECT count(*) FROM dead_sends") == 2
    await owner.execute("UPDATE message_templates SET status = 'APPROVED'")
    await late(owner, pool, ours, who)
    assert len(await instead(owner)) == 1


async def test_wrong_templates_of_a_chatbot_are_refused(
    owner: Conn, client: Client, ours: Tenant, theirs: Tenant
) -> None:
    template = await make_template(owner, ours)
    others = await make_template(owner, theirs)
    fields = {"1": {"field": "order.status"}, "2": {"field": "action.request_type"}}
    answer = await given(client, ours, "window_template", template, fields)
    assert [one["field"] for one in answer.json["errors"]] == [
        "window_template.parameters.body.1",
        "window_template.parameters.body.2",
    ]
    answer = await given(client, ours, "order_template", others, {})
    assert answer.json["errors"][0]["field"] == "order_template.template_id"
    wrong: list[Any] = [[], {"1": 7}, {"1": {"text": "a\x00"}}]
    for spoilt in wrong:
        assert (await given(client, ours, "window_template", template, spoilt)).status == 400
    mixed = {"name": "x", "template_id": template}
    path = f"/chatbots/{ours.chatbot_id}"
    assert (await client.patch(path, {"window_template": mixed})).status == 400
