"""Identifiers, so that a contact's id cannot be passed where a message's belongs."""

from typing import NewType

UserId = NewType("UserId", int)  # a tenant
ChatbotId = NewType("ChatbotId", int)
ContactId = NewType("ContactId", int)
ConversationId = NewType("ConversationId", int)
MessageId = NewType("MessageId", int)  # a row of ours; Meta's id is the wamid
WorkerId = NewType("WorkerId", int)
ActionId = NewType("ActionId", int)
EventId = NewType("EventId", int)  # of a conversation: db/conversation_events.py
ApiKeyId = NewType("ApiKeyId", int)
