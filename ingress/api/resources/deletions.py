"""DELETE /v1/chatbots/{id}"""

from db.ids import ChatbotId
from db.pool import Conn
from handlers.deletion.begin import CampaignRuns, NoSuchChatbot, delete_chatbot
from handlers.plans import Feature, Permission
from ingress.api.fields import NoBody, Parameters, RowId
from ingress.api.problems import Problem, not_found
from ingress.api.table import DELETED, GONE, Answer, Call, Endpoint, Nothing


class OfChatbot(Parameters):
    chatbot_id: RowId[ChatbotId]


async def _delete(conn: Conn, call: Call[OfChatbot, NoBody]) -> Answer[Nothing]:
    try:
        await delete_chatbot(conn, call.user_id, call.parameters.chatbot_id, call.expect)
    except NoSuchChatbot:
        raise not_found() from None
    except CampaignRuns as runs:
        raise Problem(
            "campaign_running",
            f"Campaign {runs.campaign_id} sends from this chatbot: pause or cancel it first.",
            campaign_id=runs.campaign_id,
        ) from None
    return GONE


ENDPOINTS = (
    Endpoint(
        name="delete_chatbot",
        method="DELETE",
        path="/chatbots/{chatbot_id}",
        permission="chatbots:write",
        summary="The chatbot is gone at once, and with it its conversations, knowledge,"
        " instructions, actions and webhooks; contacts, orders and counters stay. There is no way"
        " back",
        parameters=OfChatbot,
        body=NoBody,
        answers=Nothing,
        work=_delete,
        statuses=DELETED,
        features=(Feature.CHATBOT_MANAGEMENT, Permission.DELETE_CONVERSATIONS),
        versioned=True,
        problems=("campaign_running",),
    ),
)
