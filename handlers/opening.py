"""A tenant opens a conversation in which nobody has written yet."""

from dataclasses import dataclass

from db.conversations import open_conversations
from db.ids import ChatbotId, ContactId, ConversationId, UserId
from db.people import lock_person
from db.pool import Conn
from db.talks import conversation_between
from db.webhooks import chatbot_exists


@dataclass(frozen=True, slots=True)
class Opened:
    id: ConversationId
    is_new: bool


class NotThere(Exception):
    """Or another tenant's."""

    def __init__(self, nouns: list[str]) -> None:
        super().__init__(*nouns)
        self.nouns = nouns


async def open_conversation(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, contact_id: ContactId
) -> Opened:
    """With the contact locked, as ingest has it: of two at once, and of a first message at the same
    moment, the later finds it. Raises NotThere."""
    has_contact = await lock_person(conn, user_id, contact_id) is not None
    has_chatbot = await chatbot_exists(conn, user_id, chatbot_id)
    missing = [n for n, there in (("chatbot", has_chatbot), ("contact", has_contact)) if not there]
    if missing:
        raise NotThere(missing)
    before = await conversation_between(conn, user_id, chatbot_id, contact_id)
    if before is not None:
        return Opened(before, is_new=False)
    await open_conversations(conn, user_id, [chatbot_id], [contact_id])
    opened = await conversation_between(conn, user_id, chatbot_id, contact_id)
    if opened is None:  # hidden: the contact is locked, so nobody erases it
        raise NotThere(["chatbot"])
    return Opened(opened, is_new=True)
