"""Reads a conversation as a case is made of it."""

from collections.abc import Sequence

from db.ids import ConversationId, UserId
from db.pool import Conn
from db.recorded import (
    RecordedMessage,
    questions_of,
    recorded_actions,
    recorded_facts,
    recorded_messages,
    recorded_talk,
)
from handlers.evals.case import ACTIONS_MAX, MESSAGES_MAX, Recorded
from handlers.evals.suite import FACTS_MAX


async def recall(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> Recorded | None:
    """None: there is none, or it is another tenant's."""
    talk = await recorded_talk(conn, user_id, conversation_id)
    if talk is None:
        return None
    messages = await recorded_messages(conn, user_id, talk.id, None, MESSAGES_MAX)
    if not messages:
        return Recorded(talk=talk, messages=[])
    began = messages[0].created_at
    who = (user_id, talk.contact_id)
    facts = await recorded_facts(conn, *who, FACTS_MAX)
    rows = await questions_of(conn, user_id, talk.chatbot_id, cited_by(messages))
    return Recorded(
        talk=talk,
        messages=messages,
        actions=await recorded_actions(conn, *who, talk.chatbot_id, began, ACTIONS_MAX),
        facts=[(fact.about, fact.text) for fact in facts if fact.created_at < began],
        questions={row.id: row.question for row in rows},
    )


def cited_by(messages: Sequence[RecordedMessage]) -> list[int]:
    """Ids of rows."""
    found: set[int] = set()
    for one in messages:
        ids = one.metadata.get("kb_cited")
        found |= {n for n in ids if isinstance(n, int)} if isinstance(ids, list) else set()
    return sorted(found)
