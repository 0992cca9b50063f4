"""A turn thinks: the agent runs, with no transaction and no connection held."""

import asyncio
import base64
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import timedelta

from db.pool import place
from db.usage import reserve_actions_for_turn
from handlers.agent.answerer import Kind, NoAnswer
from handlers.agent.graph import Task
from handlers.agent.knowledge import Known, NotReady
from handlers.agent.own_tools import OwnTools
from handlers.agent.prompt import shown
from handlers.agent.remembering import Memory
from handlers.agent.tools import NOTHING_ASKED, Toolbox
from handlers.media.pictures import DRAWN
from handlers.media_store.port import StoreProblem
from handlers.plans import Feature, Limit
from handlers.rules.budgets import budget_of
from handlers.turns.contact_purse import ContactPurse, NoTokens
from handlers.turns.decide import Declined, Read, Thought
from handlers.turns.inputs import Found
from handlers.turns.own_calls import own_tools_of
from handlers.turns.thinking import (
    TURN_TIMEOUT_S,
    Paying,
    Thinker,
    no_answer,
    powers_of,
    replied,
    selling_of,
    spared,
    task_of,
    unthought,
)
from handlers.turns.turn import Turn


async def thought_of(turn: Turn, read: Read) -> Thought:
    if (already := spared(read)) is not None:
        return already
    began = time.monotonic()
    task: Task | None = None
    turn.bill.chatbot_id = read.found.context.chatbot_id
    bounded = read.found.plan.limit(Limit.MAX_TOKENS_PER_CONTACT_DAY) is not None
    turn.bill.bounded = bounded
    paying = Paying(turn.bill.spent, ContactPurse(turn).afford if bounded else None)
    try:
        async with _shown(turn, read.found), asyncio.timeout(TURN_TIMEOUT_S):
            task = await _task(turn, read)
            reply = await replied(turn.agent, read.found, task, paying)
    except (NoAnswer, NotReady, NoTokens, TimeoutError) as error:
        none = _no_tokens(error) if isinstance(error, NoTokens) else no_answer(error)
        return unthought(none, timedelta(seconds=time.monotonic() - began), task)
    finally:
        turn.report.fields["agent_ms"] = round((time.monotonic() - began) * 1000)
    if not isinstance(reply, Declined):
        turn.report.fields |= {
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
        }
    return reply


def _no_tokens(error: NoTokens) -> NoAnswer:
    none = NoAnswer(error.reason, Kind.NEVER)
    none.asked = none.billed = False
    return none


async def _task(turn: Turn, read: Read) -> Task:
    context, user_id = read.found.context, turn.claim.user_id
    knowledge = await turn.agent.shelf.knowledge(
        turn.pool, user_id, context.chatbot_id, context.kb_version
    )
    thinker = Thinker(turn.pool, turn.agent, user_id, "turn")
    own = await own_tools_of(turn, read.found)
    tools = _toolbox(turn, read.found, knowledge, own)
    task = await task_of(thinker, read.found, read.slot, tools)
    if not (pictures := await _pictures(turn, read.found)):
        return task
    return replace(task, briefing=replace(task.briefing, pictures=pictures))


async def _pictures(turn: Turn, found: Found) -> tuple[str, ...]:
    """URLs that hold them. One that is gone meanwhile is not shown."""
    urls = []
    for file in found.pictures:
        try:
            data = b"".join([piece async for piece in turn.agent.store.read(file)])
        except (FileNotFoundError, StoreProblem):
            continue
        urls.append(f"data:{DRAWN};base64,{base64.b64encode(data).decode()}")
    return tuple(urls)


def _shown(turn: Turn, found: Found) -> AbstractAsyncContextManager[None]:
    if turn.presence is None or not found.inputs:
        return nullcontext()
    return turn.presence.shown(found.context, found.inputs[-1].wamid)


def _toolbox(turn: Turn, found: Found, knowledge: Known, own: OwnTools | None = None) -> Toolbox:
    claim = turn.claim

    async def reserve(requests: int) -> str:
        # A decision that is told is nobody's wish: what it asked for might be approved by an
        # earlier decision, told in its turn, and asked for again, for ever.
        if not found.customer_waits:
            return NOTHING_ASKED
        async with place(turn.pool, claim.user_id) as conn:
            return await reserve_actions_for_turn(conn, turn.reserving, requests)

    wrote = tuple(shown(row.content_text) for row in found.inputs if row.content_text)
    asks = found.plan.allows(Feature.ACTIONS_CENTER)
    return Toolbox(
        *(knowledge, reserve if asks else None, wrote),
        memory=Memory() if found.inputs else None,
        budget=budget_of(found.context.budgets),
        powers=powers_of(found, selling_of(turn.pool, turn.agent, claim.user_id, found), own),
    )
