"""/v1/chatbots/{chatbot_id}/ask"""

from typing import Annotated

from pydantic import Field

from db.asks import NewAsk, asking, create_ask, end_expired, lock_asking
from db.ids import ChatbotId
from db.pool import Conn
from handlers.asks.answer import Asked
from handlers.plans import Limit
from ingress.api.asking import no_tokens
from ingress.api.fields import Body, MessageText, Parameters, RowId
from ingress.api.problems import Problem, not_found
from ingress.api.table import Answer, Awaited, Call, Endpoint, there

OPEN_MAX = 8  # of a tenant, in all processes


class OfChatbot(Parameters):
    chatbot_id: RowId[ChatbotId]


class Question(Body):
    question: Annotated[
        MessageText, Field(description="what a customer would write: as long as a WhatsApp message")
    ]


async def _ask(conn: Conn, call: Call[OfChatbot, Question]) -> Answer[Awaited]:
    chatbot_id = call.parameters.chatbot_id
    await lock_asking(conn, call.user_id)
    await end_expired(conn, call.user_id)
    now = there(await asking(conn, call.user_id, chatbot_id))
    if not now.chatbot:
        raise not_found()
    if not now.in_force:
        raise Problem(
            "not_in_plan", "No plan is in force today, so nothing is answered: ask the operator."
        )
    allowed = call.principal.plan.limit(Limit.MAX_TEST_TOKENS_PER_DAY)
    if allowed is not None and now.used >= allowed:
        raise no_tokens(allowed, now.used)
    if now.open >= OPEN_MAX:
        raise Problem(
            "too_many_requests",
            f"{OPEN_MAX} questions of this account are in hand. Wait for their answers.",
            headers={"Retry-After": "1"},
        )
    new = NewAsk(
        chatbot_id=chatbot_id,
        question=call.body.question,
        idempotency_key=call.once.key if call.once else None,
        request_hash=call.once.request_hash if call.once else None,
        wait=call.here.ask_wait,
    )
    return Answer(Awaited(await create_ask(conn, call.user_id, new)))


ENDPOINTS = (
    Endpoint(
        name="ask_chatbot",
        method="POST",
        path="/chatbots/{chatbot_id}/ask",
        permission="chatbots:write",
        summary="What the chatbot would answer now, the rows it answers from and the tools it would"
        " use. Nothing comes of it but the tokens of the model; it takes as long as an answer does",
        parameters=OfChatbot,
        body=Question,
        answers=Asked,
        work=_ask,
        once=True,
        problems=("limit_reached", "model_failed", "model_unavailable", "no_answer_in_time"),
    ),
)
