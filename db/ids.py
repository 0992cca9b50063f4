"""Identifiers, so that a contact's id cannot be passed where a message's belongs."""

from typing import NewType

UserId = NewType("UserId", int)  # a tenant
ChatbotId = NewType("ChatbotId", int)
ContactId = NewType("ContactId", int)
ConversationId = NewType("ConversationId", int)
MessageId = NewType("MessageId", int)  # a row of ours
Wamid = NewType("Wamid", str)  # WhatsApp's id of a message; it contains a phone number
WorkerId = NewType("WorkerId", int)
ActionId = NewType("ActionId", int)
InstructionId = NewType("InstructionId", int)
FactId = NewType("FactId", int)  # about a contact
EventId = NewType("EventId", int)  # of a conversation: db/conversation_events.py
ApiKeyId = NewType("ApiKeyId", int)
WebhookId = NewType("WebhookId", int)
AppId = NewType("AppId", int)  # of a Meta app beside the environment's, which has none
ProductId = NewType("ProductId", int)
OrderId = NewType("OrderId", int)
ToolId = NewType("ToolId", int)  # of a tenant's own
ToolCallId = NewType("ToolCallId", int)
TemplateId = NewType("TemplateId", int)  # a row of ours; Meta has an id of its own
CampaignId = NewType("CampaignId", int)
SubscriptionId = NewType("SubscriptionId", int)

# Above every id: where the first page of a list begins, newest first. Always given as a parameter:
# a COALESCE in the query is nothing that row-level security lets an index be read by.
BEYOND = 2**63 - 1
