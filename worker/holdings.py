"""What this process has claimed and is working on."""

import asyncio
from dataclasses import dataclass, field

from db.ids import ConversationId, MessageId


@dataclass(slots=True)
class Holdings:
    """The lock is held while claiming and while sweeping: between them, a claim is always here."""

    conversations: set[ConversationId] = field(default_factory=set)
    messages: set[MessageId] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
