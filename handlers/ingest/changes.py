"""What happens to messages that were sent before: edits, revocations, reactions."""

from collections.abc import Collection, Sequence
from typing import Any

from db.changes import (
    Edit,
    Reaction,
    edit_message,
    known_messages,
    react,
    revoke_message,
    writers_of,
)
from db.contacts import choose_marketing
from db.conversations import forget_threads
from db.facts import forget_facts_of
from db.ids import ChatbotId, UserId, Wamid
from db.media import remove_media_of
from db.pool import Conn
from db.unanswered import forget_revoked
from handlers.fixed.choices import choice_of
from handlers.ingest.batch import Item
from handlers.whatsapp.values import Change, Inbound, Parsed, Past, stand_in


async def with_targets(
    conn: Conn, user_id: UserId, items: Sequence[Item[Parsed]]
) -> list[Item[Parsed]]:
    """An edit of a message that never came is the message; a revocation leaves a tombstone, so that
    the message is not answered when it comes after all."""
    late = [i for i in items if isinstance(i.value, Change) and i.value.what != "reaction"]
    if not late:
        return [*items]
    targets = [i.value.target for i in late if isinstance(i.value, Change)]
    found = await known_messages(conn, user_id, [i.chatbot_id for i in late], targets)
    seen = {(late[p - 1].chatbot_id, targets[p - 1]) for p in found}
    out: list[Item[Parsed]] = []
    for item in items:
        value = item.value
        if isinstance(value, Inbound | Past):
            seen.add((item.chatbot_id, value.wamid))
        elif isinstance(value, Change) and value.what != "reaction":
            key = (item.chatbot_id, value.target)
            if key not in seen:
                seen.add(key)
                value = stand_in(value)
        out.append(Item(item.arrived, value, item.chatbot_id))
    return out


async def stopped_by_edits(
    conn: Conn, user_id: UserId, items: Sequence[Item[Parsed]], done: Collection[Wamid] = ()
) -> set[Wamid]:
    """Who edits a message so that it is nothing but STOP says so by it. Before the conversations
    are locked; and after the messages of the batch for those that were not known before, whose
    people are locked by then (`done` are the others). START is for who writes it."""
    edits = [
        (item.chatbot_id, item.value, item.value.new.text)
        for item in items
        if isinstance(item.value, Change)
        and (item.value.what, item.value.by) == ("edit", "customer")
        and item.value.new is not None
        and item.value.wamid not in done
    ]
    if not edits:
        return set()
    targets = [change.target for _, change, _ in edits]
    writers = await writers_of(conn, user_id, [chatbot for chatbot, _, _ in edits], targets)
    for writer in writers:
        _, change, text = edits[writer.place - 1]
        if choice_of(text, writer.opt_out_words) == "stop":
            await choose_marketing(conn, user_id, writer.contact_id, "stop", change.at)
    return {edits[writer.place - 1][1].wamid for writer in writers}


async def apply_change(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, change: Change) -> bool:
    """False: the message that it concerns is not known."""
    if change.what == "reaction":
        reaction = Reaction(wamid=change.target, by=change.by, emoji=change.emoji, at=change.at)
        return await react(conn, user_id, chatbot_id, reaction) is not None
    direction = "inbound" if change.by == "customer" else "outbound"
    if change.what == "revoke":
        changed = await revoke_message(
            conn, user_id, chatbot_id, change.target, direction, change.at
        )
        if changed is not None and direction == "inbound":
            await forget_facts_of(conn, user_id, chatbot_id, change.target)
            await forget_revoked(conn, user_id, chatbot_id, change.target)
            await remove_media_of(conn, user_id, chatbot_id, change.target)
    else:
        assert change.new is not None, "an edit has a new text"
        marks: dict[str, Any] = {"opaque": True} if change.new.opaque else {}
        if change.new.details:
            marks["details"] = change.new.details
        edit = Edit(
            wamid=change.target,
            direction=direction,
            content_text=change.new.text,
            edit=change.wamid,
            at=change.at,
            marks=marks,
        )
        changed = await edit_message(conn, user_id, chatbot_id, edit)
    if changed is not None:
        # What the thread remembers is not what the chat shows any more.
        await forget_threads(conn, user_id, [changed])
    return True
