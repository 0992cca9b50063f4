"""A turn thinks: the agent runs, with no transaction and no connection held."""

import asyncio
import base64
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from db.conversations import TurnContext
from db.pool import place
from db.usage import reserve_actions_for_turn
from handlers.agent.answerer import (
    EMPTY_ANSWER,
    KNOWLEDGE_NOT_READY,
    Kind,
    NoAnswer,
    NotLookedUp,
)
from handlers.agent.graph import Reply, Task
from handlers.agent.knowledge import Known, NotReady, fits_prompt
from handlers.agent.needs_human import owed, request_for
from handlers.agent.off_topic import declines
from handlers.agent.offline import LOOKED_AT, OFFLINE_BAR
from handlers.agent.own_models import rates_for
from handlers.agent.powers import Powers
from handlers.agent.prompt import Beyond, Briefing, Fact, OpenAction, shown
from handlers.agent.remembering import Memory, known_facts
from handlers.agent.shelf import SAMPLES
from handlers.agent.spending import noted_in, paid_from
from handlers.agent.tools import REQUEST, Toolbox
from handlers.agent.wishes import wants_human
from handlers.media.pictures import DRAWN
from handlers.media_store.port import StoreProblem
from handlers.plans import Feature, Limit
from handlers.rules.budgets import budget_of
from handlers.rules.cutting import head
from handlers.rules.hours import opening
from handlers.rules.requests import Money, request_key
from handlers.turns.contact_purse import ContactPurse, NoTokens
from handlers.turns.decide import TURN_FAILED, Declined, Read, Thought
from handlers.turns.inputs import Found, asks_nothing, nobody_came
from handlers.turns.ladder import NoThought
from handlers.turns.saying import BLOCK
from handlers.turns.turn import Turn

TURN_TIMEOUT_S = 45.0  # of the agent's run, all its calls together
SAMPLE_UNITS = 200
SAID_BY_CODE = "said_by_code"


async def thought_of(turn: Turn, read: Read) -> Thought:
    if read.failed_too_often:
        none = NoAnswer(TURN_FAILED, Kind.NEVER)
        return NoThought(reason=none.word, none=none, took=timedelta(0))
    if asks_nothing(read.found):
        none = NoAnswer(SAID_BY_CODE, Kind.NEVER)
        return NoThought(reason=none.word, none=none, took=timedelta(0))
    began = time.monotonic()
    task: Task | None = None
    turn.bill.chatbot_id = read.found.context.chatbot_id
    bounded = read.found.plan.limit(Limit.MAX_TOKENS_PER_CONTACT_DAY) is not None
    turn.bill.bounded = bounded
    try:
        async with _shown(turn, read.found), asyncio.timeout(TURN_TIMEOUT_S):
            task = await _task(turn, read)
            with noted_in(turn.bill.spent):  # looking for rows by what they mean costs too
                if await _is_declined(read.found, task):
                    return Declined()
            purse = ContactPurse(turn).afford if bounded else None
            with noted_in(turn.bill.spent), paid_from(purse):
                reply = await _with_what_is_owed(task, await turn.agent.run(task))
        if not reply.text and reply.handed_over is None:  # nothing to send, though tools were used
            raise NoAnswer(EMPTY_ANSWER, Kind.NEVER)
    except (NoAnswer, NotReady, NoTokens, TimeoutError) as error:
        none = _none(error)
        return NoThought(
            reason=f"model:{none}",
            none=none,
            took=timedelta(seconds=time.monotonic() - began),
            requests=() if task is None else tuple(task.tools.requests),
            handed_over=None if task is None else task.tools.handed_over,
        )
    finally:
        turn.report.fields["agent_ms"] = round((time.monotonic() - began) * 1000)
    turn.report.fields |= {
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
    }
    return reply


async def _with_what_is_owed(task: Task, reply: Reply) -> Reply:
    """An answer that rests on a row for a person asks one, if the model did not."""
    tools = task.tools
    rows = (*tools.knowledge.rows, *tools.found.values())
    row = owed(reply.kb_cited, rows, len(reply.requests))
    if row is None or not tools.requests_actions:
        return reply
    asked = [one.content_text for one in task.inputs if one.content_text]
    await tools.call(REQUEST, request_for(row, asked))
    requests = tuple(tools.requests)
    return replace(reply, requests=requests, owed=bool(requests))


def _none(error: Exception) -> NoAnswer:
    match error:
        case NoAnswer():
            return error
        case NotReady():
            return NotLookedUp(KNOWLEDGE_NOT_READY)
        case NoTokens():
            none = NoAnswer(error.reason, Kind.NEVER)
            none.asked = none.billed = False
            return none
        case _:
            return NoAnswer("turn_timeout")


async def _task(turn: Turn, read: Read) -> Task:
    context = read.found.context
    answerer = turn.agent.answerer(turn.claim.user_id, context)
    knowledge = await turn.agent.shelf.knowledge(
        turn.pool, turn.claim.user_id, context.chatbot_id, context.kb_version
    )
    return Task(
        thread_id=context.thread_id,
        slot=read.slot,
        history=read.found.history,
        inputs=read.found.asked,
        events=read.found.events,
        briefing=await _with_pictures(turn, read.found, briefing_of(read.found, knowledge)),
        tools=_toolbox(turn, read.found, knowledge),
        rates=await rates_for(
            turn.pool, turn.claim.user_id, budget_of(context.budgets), answerer, "turn"
        ),
        answerer=answerer,
    )


async def _with_pictures(turn: Turn, found: Found, briefing: Briefing) -> Briefing:
    """One that is gone meanwhile is not shown."""
    urls = []
    for file in found.pictures:
        try:
            data = b"".join([piece async for piece in turn.agent.store.read(file)])
        except (FileNotFoundError, StoreProblem):
            continue
        urls.append(f"data:{DRAWN};base64,{base64.b64encode(data).decode()}")
    return replace(briefing, pictures=tuple(urls)) if urls else briefing


async def _is_declined(found: Found, task: Task) -> bool:
    """Whether the question is off-topic again: the model said so of the last ones, and no row of
    the knowledge base is about this one."""
    context = found.context
    if found.events or context.topic is None:
        return False
    if not declines(context.off_topic, context.off_topic_at, context.now):
        return False
    if any(wants_human(row.content_text or "") for row in found.asked):
        return False
    for row in found.asked:
        hits = await task.tools.knowledge.search(row.content_text or "", LOOKED_AT)
        # By words: by what they mean some row is always the closest.
        if any(hit.share >= OFFLINE_BAR for _, hit in hits):
            return False
    return task.tools.knowledge.complete


def _shown(turn: Turn, found: Found) -> AbstractAsyncContextManager[None]:
    if turn.presence is None or not found.inputs:
        return nullcontext()
    return turn.presence.shown(found.context, found.inputs[-1].wamid)


def briefing_of(found: Found, knowledge: Known) -> Briefing:
    context = found.context
    budget = budget_of(context.budgets)
    fits = fits_prompt(knowledge, budget.knowledge_tokens)
    samples = tuple(head(row.question, SAMPLE_UNITS) for row in knowledge.rows[:SAMPLES])
    return Briefing(
        chatbot_name=context.chatbot_name,
        general_instructions=context.general_instructions,
        knowledge=knowledge.rows if fits else (),
        beyond=None if fits else Beyond(knowledge.count, samples),
        actions=found.plan.allows(Feature.ACTIONS_CENTER),
        languages=languages_of(found, knowledge),
        hands_over=hands_over(found),
        blocks=context.answer_checks == BLOCK,
        opening=opening(context.business_hours, _local(context)),
        open_actions=tuple(OpenAction(*one[:3]) for one in context.open_actions),
        conversation_instructions=tuple(context.instructions),
        customer_name=context.contact_name,
        now=datetime.now(UTC),
        timezone=context.timezone,
        facts=known_facts(tuple(Fact(*one) for one in context.facts)),
        topic=context.topic,
        voice=found.voice,
        chatbot_id=context.chatbot_id,
        budget=budget,
    )


def languages_of(found: Found, knowledge: Known) -> tuple[str, ...]:
    """Of the rows, or else of the chatbot."""
    own = found.context.chatbot_language
    return knowledge.languages or ((own,) if own and knowledge.rows else ())


def hands_over(found: Found) -> bool:
    """Whether a person can be called. Not in the turn that tells that nobody came."""
    came_back = any(nobody_came(event) for event in found.events) and not found.inputs
    return found.plan.allows(Feature.LIVE_CHAT_TAKEOVER) and not came_back


def powers_of(found: Found) -> Powers:
    context = found.context
    keys = frozenset(
        request_key(kind, details, Money(Decimal(amount), currency) if amount else None)
        for _, kind, details, amount, currency in context.open_actions
    )
    return Powers(
        hands_over=hands_over(found),
        calculates=True,
        currency=context.currency,
        requested=keys,
    )


def _local(context: TurnContext) -> datetime:
    return context.now.astimezone(ZoneInfo(context.timezone))


def _toolbox(turn: Turn, found: Found, knowledge: Known) -> Toolbox:
    claim = turn.claim

    async def reserve(requests: int) -> str:
        async with place(turn.pool, claim.user_id) as conn:
            return await reserve_actions_for_turn(conn, turn.reserving, requests)

    wrote = tuple(shown(row.content_text) for row in found.inputs if row.content_text)
    asks = found.plan.allows(Feature.ACTIONS_CENTER)
    return Toolbox(
        *(knowledge, reserve if asks else None, wrote),
        memory=Memory() if found.inputs else None,
        budget=budget_of(found.context.budgets),
        powers=powers_of(found),
    )
