"""/v1/chatbots"""

from db.pool import Conn
from db.tenant_api import (
    list_chatbots,
)
from ingress.api.table import Answer, Call, page_of


async def _chatbots(conn: Conn, call: Call) -> Answer:
    q = call.query
    rows = await list_chatbots(conn, call.user_id, q["after"], q["limit"] + 1)
    return page_of(rows, q["limit"])
