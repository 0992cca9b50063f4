"""What was said as a case of a suite: /v1/conversations/{conversation_id}/case, and what was not
known."""

import asyncio
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from db.pool import Conn
from db.unanswered import read_unanswered
from handlers.evals.case import case_of, case_of_question
from handlers.evals.recall import recall
from handlers.plans import Feature
from ingress.api.fields import NoBody
from ingress.api.problems import Problem
from ingress.api.resources.conversations import OfConversation
from ingress.api.resources.unanswered import OfUnanswered
from ingress.api.table import Answer, Call, Endpoint, there


@dataclass(frozen=True, slots=True)
class Case:
    case: str  # YAML: an entry of a suite's cases
    suite: str  # YAML: a suite with this case alone, as evals take it


async def _of_conversation(conn: Conn, call: Call[OfConversation, NoBody]) -> Answer[Case]:
    recorded = await recall(conn, call.user_id, call.parameters.conversation_id)
    # In a thread: customers write at length, and the loop has other requests.
    made = await asyncio.to_thread(case_of, there(recorded))
    if made is None:
        raise Problem("not_found", "The customer has written nothing here that could be asked.")
    return Answer(Case(made.case, made.suite))


async def _of_unanswered(conn: Conn, call: Call[OfUnanswered, NoBody]) -> Answer[Case]:
    asked = call.parameters
    found = there(await read_unanswered(conn, call.user_id, asked.chatbot_id, asked.unanswered_id))
    at = found.asked_at.astimezone(ZoneInfo(found.timezone))
    made = case_of_question(found.chatbot_name, asked.unanswered_id, found.question, at)
    return Answer(Case(made.case, made.suite))


ENDPOINTS = (
    Endpoint(
        name="read_case",
        method="GET",
        path="/conversations/{conversation_id}/case",
        permission="conversations:read",
        features=(Feature.MESSAGE_HISTORY,),
        summary="The conversation as a case for a suite of tests, in YAML: what the customer wrote,"
        " and that the bot does again what it did",
        parameters=OfConversation,
        body=NoBody,
        answers=Case,
        work=_of_conversation,
    ),
    Endpoint(
        name="read_unanswered_case",
        method="GET",
        path="/chatbots/{chatbot_id}/unanswered/{unanswered_id}/case",
        permission="chatbots:read",
        summary="The question as a case for a suite of tests, in YAML: it fails until a row answers"
        " it",
        parameters=OfUnanswered,
        body=NoBody,
        answers=Case,
        work=_of_unanswered,
    ),
)
