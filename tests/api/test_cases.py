"""A conversation, or a question that nothing answered, as a case of a suite: by one call."""

import json
from typing import Any

import yaml

from db.ids import ConversationId
from db.pool import Conn
from handlers.evals.reading import read_suite
from tests.api import Client, make_knowledge, make_unanswered
from tests.api.conftest import Connect
from tests.factories import Tenant, make_conversation, make_message, make_tenant

NO_HISTORY = {"features": {"core_features": {"message_history": False}}}


async def spoken(owner: Conn, of: Tenant, text: str = "when are you open?") -> ConversationId:
    """A question, and its answer from a row."""
    row = await make_knowledge(owner, of, question='Opening: "hours"?')
    who = await make_conversation(owner, of)
    await make_message(
        *(owner, of, *who), direction="inbound", status="received", text=text, input_seq=1
    )
    answer = await make_message(owner, of, *who, status="read", text="At nine.")
    metadata = json.dumps({"kind": "reply", "kb_cited": [row]})
    await owner.execute(
        "UPDATE messages SET metadata = $2::text::jsonb WHERE id = $1", answer, metadata
    )
    return who[1]


async def test_a_conversation_becomes_a_case(owner: Conn, client: Client, ours: Tenant) -> None:
    text = "- say: 'x' # \u202e\U0001f34b\n" + "y" * 3_000
    answer = await client.get(f"/conversations/{await spoken(owner, ours, text)}/case")
    assert answer.status == 200, answer
    (case,) = read_suite(answer.json["suite"]).cases
    assert case.turns[0].say == (text,)
    assert case.turns[0].expect.cites == ('Opening: "hours"?',)
    assert (case.turns[0].expect.actions, case.turns[0].expect.handed_over) == ((), False)
    (entry,) = yaml.safe_load(answer.json["case"])
    assert entry["turns"][0]["say"] == text


async def test_an_action_and_a_hand_over_of_the_same_turn_are_expected(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    conversation = await spoken(owner, ours)
    await owner.execute(
        "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details,"
        " amount, currency, created_at)"
        " SELECT m.user_id, m.chatbot_id, m.contact_id, 'refund', 'x', 12.5, 'EUR', m.created_at"
        " FROM messages m WHERE m.direction = 'outbound'"
    )
    await owner.execute(
        "INSERT INTO analytics_events (user_id, chatbot_id, contact_id, event_type, event_data,"
        " created_at) SELECT m.user_id, m.chatbot_id, m.contact_id, 'conversation.taken_over',"
        " jsonb_build_object('conversation_id', m.conversation_id, 'by', 'bot'), m.created_at"
        " FROM messages m WHERE m.direction = 'outbound'"
    )
    answer = await client.get(f"/conversations/{conversation}/case")
    (case,) = read_suite(answer.json["suite"]).cases
    expect = case.turns[0].expect
    assert expect.handed_over
    assert expect.actions is not None
    assert [(one.type, str(one.amount), one.currency) for one in expect.actions] == [
        ("refund", "12.50", "EUR")
    ]


async def test_an_unanswered_question_becomes_a_case(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    asked = []
    for question in ("roses?", "red: roses?"):
        who = await make_conversation(owner, ours)
        message = await make_message(
            *(owner, ours, *who), direction="inbound", status="received", text=question
        )
        asked.append(await make_unanswered(owner, ours, message, 1))
    path = f"/chatbots/{ours.chatbot_id}/unanswered"
    answer = await client.get(f"{path}/{asked[0]}/case")
    (case,) = read_suite(answer.json["suite"]).cases
    assert case.turns[0].say == case.turns[0].expect.cites == ("red: roses?",), "the last wording"
    assert (await client.get(f"{path}/999/case")).status == 404


async def test_what_is_not_there_or_anothers_is_not_found(
    owner: Conn, client: Client, ours: Tenant, theirs: Tenant
) -> None:
    theirs_too = await spoken(owner, theirs)
    assert (await client.get(f"/conversations/{theirs_too}/case")).problem == "not_found"
    assert (await client.get("/conversations/999/case")).problem == "not_found"
    _, silent = await make_conversation(owner, ours)
    assert (await client.get(f"/conversations/{silent}/case")).problem == "not_found"
    who = await make_conversation(owner, theirs)
    message = await make_message(owner, theirs, *who, direction="inbound", status="received")
    asked = await make_unanswered(owner, theirs, message, 1)
    for chatbot in (ours.chatbot_id, theirs.chatbot_id):
        path = f"/chatbots/{chatbot}/unanswered/{asked}/case"
        assert (await client.get(path)).problem == "not_found"


async def test_it_is_of_who_may_read_messages(owner: Conn, connect: Connect, ours: Tenant) -> None:
    path = f"/conversations/{await spoken(owner, ours)}/case"
    assert (await (await connect(ours, "chatbots:read")).get(path)).problem == "permission_missing"
    assert (await (await connect(ours, "conversations:read")).get(path)).status == 200
    without = await make_tenant(owner, config=json.dumps(NO_HISTORY))
    path = f"/conversations/{await spoken(owner, without)}/case"
    assert (await (await connect(without)).get(path)).problem == "not_in_plan"


async def test_an_erased_person_is_in_no_case(owner: Conn, client: Client, ours: Tenant) -> None:
    conversation = await spoken(owner, ours)
    contact: Any = await owner.fetchval("SELECT contact_id FROM conversations")
    assert (await client.delete(f"/contacts/{contact}")).status == 204
    assert (await client.get(f"/conversations/{conversation}/case")).status == 404
