"""A turn thinks: the agent runs, with no transaction and no connection held."""

import asyncio
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime, timedelta

from db.pool import place
from db.usage import reserve_actions_for_turn
from handlers.agent.answerer import (
    EMPTY_ANSWER,
    KNOWLEDGE_NOT_READY,
    Kind,
    NoAnswer,
    NotLookedUp,
)
from handlers.agent.graph import Task
from handlers.agent.knowledge import Known, NotReady
from handlers.agent.prompt import Beyond, Briefing, OpenAction, shown
from handlers.agent.shelf import SAMPLES
from handlers.agent.tools import Toolbox
from handlers.plans import Feature
from handlers.rules.cutting import head
from handlers.turns.decide import TURN_FAILED, Read, Thought
from handlers.turns.inputs import Found
from handlers.turns.ladder import NoThought
from handlers.turns.turn import Turn

TURN_TIMEOUT_S = 45.0  # of the agent's run, all its calls together
SAMPLE_UNITS = 200


async def thought_of(turn: Turn, read: Read) -> Thought:
    if read.failed_too_often:
        none = NoAnswer(TURN_FAILED, Kind.NEVER)
        return NoThought(reason=none.word, none=none, took=timedelta(0))
    began = time.monotonic()
    task: Task | None = None
    try:
        async with _shown(turn, read.found), asyncio.timeout(TURN_TIMEOUT_S):
            task = await _task(turn, read)
            reply = await turn.agent.run(task)
        if not reply.text:  # nothing to send, though tools were used
            raise NoAnswer(EMPTY_ANSWER, Kind.NEVER)
    except (NoAnswer, NotReady, TimeoutError) as error:
        none = _none(error)
        return NoThought(
            reason=f"model:{none}",
            none=none,
            took=timedelta(seconds=time.monotonic() - began),
            requests=() if task is None else tuple(task.tools.requests),
        )
    finally:
        turn.report.fields["agent_ms"] = round((time.monotonic() - began) * 1000)
    turn.report.fields |= {
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
    }
    return reply


def _none(error: Exception) -> NoAnswer:
    match error:
        case NoAnswer():
            return error
        case NotReady():
            return NotLookedUp(KNOWLEDGE_NOT_READY)
        case _:
            return NoAnswer("turn_timeout")


async def _task(turn: Turn, read: Read) -> Task:
    context = read.found.context
    knowledge = await turn.agent.shelf.knowledge(
        turn.pool, turn.claim.user_id, context.chatbot_id, context.kb_version
    )
    return Task(
        thread_id=context.thread_id,
        slot=read.slot,
        history=read.found.history,
        inputs=read.found.inputs,
        events=read.found.events,
        briefing=_briefing(read.found, knowledge),
        tools=_toolbox(turn, read.found, knowledge),
    )


def _shown(turn: Turn, found: Found) -> AbstractAsyncContextManager[None]:
    if turn.presence is None or not found.inputs:
        return nullcontext()
    return turn.presence.shown(found.context, found.inputs[-1].wamid)


def _briefing(found: Found, knowledge: Known) -> Briefing:
    context = found.context
    fits = knowledge.fits_prompt
    samples = tuple(head(row.question, SAMPLE_UNITS) for row in knowledge.rows[:SAMPLES])
    return Briefing(
        chatbot_name=context.chatbot_name,
        general_instructions=context.general_instructions,
        knowledge=knowledge.rows if fits else (),
        beyond=None if fits else Beyond(knowledge.count, samples),
        actions=found.plan.allows(Feature.ACTIONS_CENTER),
        open_actions=tuple(OpenAction(*one) for one in context.open_actions),
        conversation_instructions=tuple(context.instructions),
        customer_name=context.contact_name,
        now=datetime.now(UTC),
        timezone=context.timezone,
        voice=found.voice,
    )


def _toolbox(turn: Turn, found: Found, knowledge: Known) -> Toolbox:
    claim = turn.claim

    async def reserve(requests: int) -> str:
        async with place(turn.pool, claim.user_id) as conn:
            return await reserve_actions_for_turn(conn, turn.reserving, requests)

    wrote = tuple(shown(row.content_text) for row in found.inputs if row.content_text)
    asks = found.plan.allows(Feature.ACTIONS_CENTER)
    return Toolbox(knowledge, reserve if asks else None, wrote)
