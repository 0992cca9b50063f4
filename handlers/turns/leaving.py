"""What leaves behind a reply, in the turn's last transaction: the files that the bot chose. And
whether the reply itself may still leave."""

from db.conversations import Claim, since_inbound
from db.given_media import find_given
from db.ids import MessageId
from db.messages import NewText, queue_text
from db.pool import Conn
from handlers.media.sendable import media_metadata, readable
from handlers.rules.window import is_open
from handlers.sends.ending import end_message
from handlers.sends.rules import OUTSIDE_WINDOW
from handlers.turns.decide import Read, Say

FILE = "file"  # messages.metadata.kind


async def leave(
    conn: Conn, claim: Claim, read: Read, say: Say, queued: MessageId, elapsed_s: float
) -> None:
    """`queued`: the reply."""
    if not (
        is_open(read.found.since_inbound(elapsed_s))
        or is_open(await since_inbound(conn, claim.user_id, claim.conversation_id))
    ):
        await end_message(conn, claim.user_id, queued, OUTSIDE_WINDOW)
        return
    for media_id in say.files:
        await _queue_file(conn, claim, read, media_id, queued)


async def _queue_file(
    conn: Conn, claim: Claim, read: Read, media_id: int, behind: MessageId
) -> None:
    """Outside the meter, as part of its reply. One that was taken away meanwhile is left out."""
    medium = await find_given(conn, claim.user_id, media_id)
    ours = read.found.context.chatbot_id
    if medium is None or medium.title is None or medium.chatbot_id != ours:
        return
    brings = media_metadata(medium.id, medium.kind, medium.name, None)
    new = NewText(
        content_text=readable(medium.kind, medium.name, None),
        metadata={"kind": FILE, "behind": behind} | read.found.trace | brings,
    )
    await queue_text(conn, claim.user_id, claim.conversation_id, new)
