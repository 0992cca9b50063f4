"""How the agent is asked, whoever asks it: a turn, a tenant (handlers/asks), a test
(handlers/evals). No transaction and no connection is held meanwhile."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from db.conversations import TurnContext
from db.ids import UserId
from db.pool import Pool
from handlers.agent.answerer import (
    EMPTY_ANSWER,
    KNOWLEDGE_NOT_READY,
    Kind,
    NoAnswer,
    NotLookedUp,
)
from handlers.agent.files import Files, files_of
from handlers.agent.graph import Agent, Reply, Task
from handlers.agent.knowledge import Known, NotReady, fits_prompt
from handlers.agent.lookup import LOOKED_AT, OFFLINE_BAR
from handlers.agent.memory import Slot
from handlers.agent.needs_human import owed, request_for
from handlers.agent.off_topic import declines
from handlers.agent.own_models import rates_for
from handlers.agent.own_tools import OwnTools
from handlers.agent.powers import Powers
from handlers.agent.prompt import Beyond, Briefing, Fact, OpenAction
from handlers.agent.remembering import known_facts
from handlers.agent.selling import Selling
from handlers.agent.shelf import SAMPLES
from handlers.agent.spending import Purse, Spent, noted_in, paid_from
from handlers.agent.tools import REQUEST, Toolbox
from handlers.agent.wishes import wants_human
from handlers.plans import Feature
from handlers.rules.budgets import budget_of
from handlers.rules.cutting import head
from handlers.rules.hours import opening
from handlers.rules.requests import Money, request_key
from handlers.turns.decide import TURN_FAILED, Declined, Read
from handlers.turns.inputs import Found, asks_nothing, nobody_came
from handlers.turns.ladder import NoThought
from handlers.turns.saying import BLOCK

TURN_TIMEOUT_S = 45.0  # of the agent's run, all its calls together
SAMPLE_UNITS = 200
SAID_BY_CODE = "said_by_code"


@dataclass(frozen=True, slots=True)
class Thinker:
    """Whose the agent is, and what it is paid for as: `turn`, `ask`, `eval`."""

    pool: Pool
    agent: Agent
    user_id: UserId
    kind: str


@dataclass(frozen=True, slots=True)
class Paying:
    """What a run of the agent costs: where it is noted, and who is asked before."""

    spent: Spent
    purse: Purse | None


async def task_of(thinker: Thinker, found: Found, slot: Slot, tools: Toolbox) -> Task:
    context, known = found.context, tools.knowledge
    answerer = thinker.agent.answerer(thinker.user_id, context)
    budget = budget_of(context.budgets)
    return Task(
        thread_id=context.thread_id,
        slot=slot,
        history=found.history,
        inputs=found.asked,
        events=found.events,
        briefing=briefing_of(found, known),
        tools=tools,
        rates=await rates_for(thinker.pool, thinker.user_id, budget, answerer, thinker.kind),
        answerer=answerer,
        before=tools.powers.own.messages if tools.powers.own is not None else (),
    )


def spared(read: Read) -> NoThought | None:
    """What the agent need not be asked about."""
    if read.failed_too_often:
        none = NoAnswer(TURN_FAILED, Kind.NEVER)
    elif asks_nothing(read.found):
        none = NoAnswer(SAID_BY_CODE, Kind.NEVER)
    else:
        return None
    return NoThought(reason=none.word, none=none, took=timedelta(0))


async def replied(agent: Agent, found: Found, task: Task, paying: Paying) -> Reply | Declined:
    """Raises NoAnswer, NotReady, and what the purse raises."""
    with noted_in(paying.spent):  # looking for rows by what they mean costs too
        if await _is_declined(found, task):
            return Declined()
    with noted_in(paying.spent), paid_from(paying.purse):
        reply = await _with_what_is_owed(task, await agent.run(task))
    return worded(reply)


def worded(reply: Reply) -> Reply:
    """Raises NoAnswer: there is nothing to send, though tools were used."""
    if not reply.text and reply.handed_over is None:
        raise NoAnswer(EMPTY_ANSWER, Kind.NEVER)
    return reply


def unthought(none: NoAnswer, took: timedelta, task: Task | None) -> NoThought:
    return NoThought(
        reason=f"model:{none}",
        none=none,
        took=took,
        requests=() if task is None else tuple(task.tools.requests),
        handed_over=None if task is None else task.tools.handed_over,
    )


def no_answer(error: NoAnswer | NotReady | TimeoutError) -> NoAnswer:
    match error:
        case NoAnswer():
            return error
        case NotReady():
            return NotLookedUp(KNOWLEDGE_NOT_READY)
        case _:
            return NoAnswer("turn_timeout")


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
        sells=context.sells,
        files=files_of(context.files),
        blocks=context.answer_checks == BLOCK,
        opening=opening(context.business_hours, _local(context)),
        open_actions=tuple(OpenAction(*one[:3]) for one in context.open_actions),
        conversation_instructions=tuple(context.instructions),
        customer_name=context.contact_name,
        now=context.now,
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


def powers_of(found: Found, selling: Selling | None, own: OwnTools | None = None) -> Powers:
    context = found.context
    keys = frozenset(
        request_key(kind, details, Money(Decimal(amount), currency) if amount else None)
        for _, kind, details, amount, currency in context.open_actions
    )
    return Powers(
        hands_over=hands_over(found),
        calculates=True,
        offers=True,
        selling=selling,
        own=own,
        files=Files(files_of(context.files)) if context.files else None,
        currency=context.currency,
        requested=keys,
        blocks=context.answer_checks == BLOCK,
    )


def selling_of(pool: Pool, agent: Agent, user_id: UserId, found: Found) -> Selling | None:
    context = found.context
    if not context.sells:
        return None
    return Selling(
        pool=pool,
        user_id=user_id,
        contact_id=context.contact_id,
        catalogues=agent.catalogues,
        version=context.catalogue_version or 0,
        currency=context.currency,
    )


def _local(context: TurnContext) -> datetime:
    return context.now.astimezone(ZoneInfo(context.timezone))
