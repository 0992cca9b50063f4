"""What chatbots noted about a contact: seen and deleted by the API."""

import json

from db.conversations import TurnContext, claim_conversations, read_turn
from db.ids import ContactId, ConversationId, MessageId
from db.pool import Conn, Pool, tenant
from tests.api import Client, make_fact
from tests.api.conftest import Connect
from tests.factories import Tenant, make_conversation, make_message


async def noted(owner: Conn, of: Tenant, *keys: str) -> tuple[ContactId, ConversationId, list[int]]:
    who = await make_conversation(owner, of)
    message_id: MessageId = await make_message(
        *(owner, of, *who), direction="inbound", status="received"
    )
    return *who, [await make_fact(owner, message_id, key) for key in keys]


async def told(pool: Pool, owner: Conn, of: Tenant, conversation_id: ConversationId) -> TurnContext:
    worker = await owner.fetchval("INSERT INTO workers (name) VALUES ('w') RETURNING id")
    await owner.execute(
        "UPDATE conversations SET ready_at = now() - interval '1 s', input_seq = input_seq + 1"
    )
    async with pool.acquire() as conn:
        claims = await claim_conversations(conn, worker, 10, 10)
    (epoch,) = (c.epoch for c in claims if c.conversation_id == conversation_id)
    async with tenant(pool, of.user_id) as conn:
        turn = await read_turn(conn, of.user_id, conversation_id, worker, epoch)
    assert turn is not None
    return turn


async def test_facts_are_listed_read_and_deleted(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    contact, conversation, (allergy, street) = await noted(owner, ours, "allergy", "street")
    await noted(owner, ours, "another's")
    page = (await client.get(f"/contacts/{contact}/facts", limit=1)).json
    assert [one["about"] for one in page["data"]] == ["street"]
    last = (await client.get(f"/contacts/{contact}/facts", limit=1, after=page["next"])).json
    (row,) = last["data"]
    assert last["next"] is None
    assert row == (await client.get(f"/facts/{allergy}")).json
    assert row.pop("created_at") == row.pop("updated_at")
    source = await owner.fetchval("SELECT message_id FROM facts WHERE id = $1", allergy)
    assert row == {
        "id": allergy,
        "contact_id": contact,
        "about": "allergy",
        "text": "nuts",
        "message_id": source,
    }
    before = await told(pool, owner, ours, conversation)
    assert before.facts == [["allergy", "nuts"], ["street", "nuts"]]
    assert not before.rebuild_thread
    assert (await client.delete(f"/facts/{street}")).status == 204
    assert (await client.delete(f"/facts/{street}")).status == 404
    assert (await client.get(f"/facts/{street}")).status == 404
    await owner.execute("UPDATE conversations SET lease_owner = NULL")
    after = await told(pool, owner, ours, conversation)
    assert after.facts == [["allergy", "nuts"]]
    assert after.rebuild_thread, "the thread has seen how it was noted"


async def test_another_tenant_sees_none(
    owner: Conn, connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    contact, _, (fact,) = await noted(owner, ours, "allergy")
    stranger = await connect(theirs)
    assert (await stranger.get(f"/contacts/{contact}/facts")).status == 404
    assert (await stranger.get(f"/facts/{fact}")).status == 404
    assert (await stranger.delete(f"/facts/{fact}")).status == 404
    assert await owner.fetchval("SELECT count(*) FROM facts") == 1


async def test_an_export_of_the_contact_has_them(client: Client, ours: Tenant, owner: Conn) -> None:
    contact, _, _ = await noted(owner, ours, "allergy")
    given = {"what": "contact", "contact_id": contact, "columns": ["about", "text"]}
    answer = await client.post("/exports", given)
    assert answer.status in (201, 202), json.dumps(answer.json)
