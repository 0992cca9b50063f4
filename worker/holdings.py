"""What this process has claimed and is working on."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from db.ids import ConversationId, MessageId


@dataclass(slots=True)
class Holdings:
    """The lock is held while claiming and while sweeping: between them, a claim is always here.

    Counted, because a worker that was taken for dead may claim anew what an old task of its own
    still works on.
    """

    conversations: Counter[ConversationId] = field(default_factory=Counter)
    messages: Counter[MessageId] = field(default_factory=Counter)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
