"""What chatbots noted about a contact: kept with the answer of the turn that learnt it, shown to
the tenant, and deleted by them."""

from collections.abc import Sequence

from db.conversations import forget_threads
from db.facts import conversations_of, delete_fact, keep_facts, read_fact
from db.ids import ContactId, FactId, MessageId, UserId
from db.pool import Conn

FACTS_MAX = 20  # of a contact, the newest


async def keep(
    conn: Conn, user_id: UserId, read: Sequence[MessageId], facts: Sequence[tuple[str, str]]
) -> None:
    """In the turn's last transaction, of which the messages are that it read."""
    if facts and read:
        await keep_facts(conn, user_id, read, facts, FACTS_MAX)


async def forget(conn: Conn, user_id: UserId, fact_id: FactId) -> ContactId | None:
    """Whose it was; None: there is no such fact. Threads remember how it was noted: they are made
    anew from the messages."""
    fact = await read_fact(conn, user_id, fact_id)
    if fact is None:
        return None
    await forget_threads(conn, user_id, await conversations_of(conn, user_id, fact.contact_id))
    return fact.contact_id if await delete_fact(conn, user_id, fact_id) else None
