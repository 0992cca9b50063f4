"""An erasure begins: one transaction, after which nothing is shown, answered or sent any more."""

from db.erasures import (
    begin_contact,
    begin_tenant,
    cancel_queued,
    erase_shown,
    hide_tenant,
    lock_erasable,
    lock_tenant,
    numbers_of_tenant,
    silence_conversations,
)
from db.evals import forget_people_in_evals
from db.exports import drop_exports_of, void_exports
from db.ids import ContactId, UserId
from db.imports import end_imports
from db.people import lock_person
from db.pool import Conn
from db.usage import give_back_messages, release_messages
from handlers.deliveries.catalogue import ContactErased
from handlers.deliveries.outbox import tell
from handlers.erasure.marks import number_marks
from handlers.rules.numbers import normalised


async def erase_contact(conn: Conn, user_id: UserId, contact_id: ContactId) -> bool:
    """False: there is no such contact (any more). What a turn holds, and what was to be sent, is
    given back; a send that is out goes out. Counters last."""
    found = await lock_erasable(conn, user_id, contact_id)
    if found is None:
        return False
    conversations = await silence_conversations(conn, user_id, contact_id)
    cancelled = await cancel_queued(conn, user_id, conversations)
    await erase_shown(conn, user_id, contact_id)
    numbers = {n for n in (found.phone_number, normalised(found.wa_id)) if n is not None}
    bsuids = [found.bsuid] if found.bsuid else []
    await drop_exports_of(conn, user_id, contact_id)
    await void_exports(conn, user_id)
    await end_imports(conn, user_id)
    await forget_people_in_evals(conn, user_id)
    await begin_contact(conn, user_id, contact_id, sorted(numbers), bsuids, found.stopped_at)
    await tell(conn, user_id, ContactErased(erased=contact_id))
    for conversation_id in conversations:
        release_messages(conn, user_id, conversation_id)
    if units := [(one.usage_day, one.overage) for one in cancelled if one.usage_day is not None]:
        give_back_messages(conn, user_id, [u[0] for u in units], [u[1] for u in units])
    return True


async def lock_to_erase(conn: Conn, user_id: UserId, contact_id: ContactId) -> int | None:
    """Its version, with the locks that erase_contact() takes. None: there is no such contact."""
    if await lock_erasable(conn, user_id, contact_id) is None:
        return None
    return await lock_person(conn, user_id, contact_id)


async def erase_tenant(conn: Conn, user_id: UserId) -> bool:
    """As the owner. False: there is no such tenant, or it is erased already."""
    email = await lock_tenant(conn, user_id)
    if email is None or email == f"erased-{int(user_id)}@invalid":
        return False
    rows = await numbers_of_tenant(conn, user_id)
    numbers = sorted({row.number for row in rows if row.number})
    ids = sorted({row.phone_number_id for row in rows if row.phone_number_id})
    await void_exports(conn, user_id)
    await end_imports(conn, user_id)
    await forget_people_in_evals(conn, user_id)
    await begin_tenant(conn, user_id, numbers, ids)
    await hide_tenant(conn, user_id, number_marks([*numbers, *ids]))
    return True
