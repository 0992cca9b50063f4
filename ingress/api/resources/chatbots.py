"""/v1/chatbots"""

from db.chatbots import Chatbot, list_chatbots
from db.pool import Conn
from ingress.api.fields import NoBody, Paged
from ingress.api.table import Answer, Call, Endpoint, Page, page_of


async def _list(conn: Conn, call: Call[Paged, NoBody]) -> Answer[Page[Chatbot]]:
    asked = call.parameters
    rows = await list_chatbots(conn, call.user_id, asked.after, asked.limit)
    return page_of(rows)


ENDPOINTS = (
    Endpoint(
        name="list_chatbots",
        method="GET",
        path="/chatbots",
        permission="chatbots:read",
        summary="Chatbots, newest first, without their access tokens",
        parameters=Paged,
        body=NoBody,
        answers=Page[Chatbot],
        work=_list,
    ),
)
