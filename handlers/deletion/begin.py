"""A deletion begins: one transaction, after which the chatbot and all that is of it are hidden, and
nothing of it is answered or sent any more."""

from collections.abc import Callable, Sequence

from db.deletions import (
    begin_deletion,
    campaign_of_chatbot,
    cancel_queued_of_chatbot,
    delete_webhooks_of_chatbot,
    empty_chatbot,
    lock_living_chatbot,
    reserved_of_chatbot,
    see_deleted,
    silence_conversations_of_chatbot,
    version_of_chatbot,
)
from db.erasures import Cancelled
from db.evals import end_evals_of
from db.ids import ChatbotId, UserId
from db.imports import end_imports_of
from db.pool import Conn
from db.usage import give_back_messages, release_messages

# Messages that are cancelled, and conversations that are silenced, within the call; the rest is
# hidden as well, and goes with the first batches.
AT_ONCE = 2_000


class NoSuchChatbot(Exception):
    """Or it is deleted already."""


class CampaignRuns(Exception):
    def __init__(self, campaign_id: int) -> None:
        super().__init__("campaign_runs")
        self.campaign_id = campaign_id


async def delete_chatbot(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    expect: Callable[[int], None],
) -> None:
    """Raises NoSuchChatbot, CampaignRuns, and what `expect` raises of the chatbot's version; the
    transaction must not commit then. Messages are locked first, then conversations, then the
    chatbot: whoever writes of one that has failed, or answers again, holds its conversation."""
    _expected(await version_of_chatbot(conn, user_id, chatbot_id), expect)
    cancelled = await cancel_queued_of_chatbot(conn, user_id, chatbot_id, AT_ONCE)
    await silence_conversations_of_chatbot(conn, user_id, chatbot_id, AT_ONCE)
    _expected(await lock_living_chatbot(conn, user_id, chatbot_id), expect)
    running = await campaign_of_chatbot(conn, user_id, chatbot_id)
    if running is not None:
        raise CampaignRuns(running)
    reserved = await reserved_of_chatbot(conn, user_id, chatbot_id)
    await see_deleted(conn)
    await empty_chatbot(conn, user_id, chatbot_id)
    await begin_deletion(conn, user_id, chatbot_id)
    await delete_webhooks_of_chatbot(conn, user_id, chatbot_id)
    await end_imports_of(conn, user_id, chatbot_id)
    await end_evals_of(conn, user_id, chatbot_id)
    for conversation_id in reserved:
        release_messages(conn, user_id, conversation_id)
    give_back(conn, user_id, cancelled)


def _expected(version: int | None, expect: Callable[[int], None]) -> None:
    if version is None:
        raise NoSuchChatbot
    expect(version)


def give_back(conn: Conn, user_id: UserId, cancelled: Sequence[Cancelled]) -> None:
    """The units of messages that will not leave, with the COMMIT."""
    units = [(one.usage_day, one.overage) for one in cancelled if one.usage_day is not None]
    if units:
        give_back_messages(conn, user_id, [u[0] for u in units], [u[1] for u in units])
