"""One turn of a case: read, thought about and decided as a turn is (handlers/turns), by the same
agent, of a conversation in memory. No transaction is open while a model is asked, and nothing comes
of it but the tokens."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from db.usage import Reservation
from handlers.agent.answerer import NoAnswer
from handlers.agent.graph import Reply, Task
from handlers.agent.knowledge import Known, NotReady
from handlers.agent.memory import Slot
from handlers.agent.own_tools import OwnTools
from handlers.agent.prompt import Row, shown
from handlers.agent.spending import Spent
from handlers.asks.watched import Watched, WatchedToolbox
from handlers.evals.outcome import How, Outcome, Use
from handlers.evals.record import NO_RECORD, Record
from handlers.evals.talk import Talk
from handlers.evals.taped import TapedToolbox
from handlers.plans import Feature, Limit
from handlers.rules.budgets import budget_of
from handlers.turns.decide import (
    Apologise,
    Decision,
    Later,
    Notice,
    Read,
    Sale,
    Say,
    Silent,
    StopLoop,
    Thought,
    Told,
    decide,
)
from handlers.turns.inputs import Found
from handlers.turns.ladder import PATIENCE
from handlers.turns.own_calls import own_tools_in_a_test
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

TRIES = 2  # of a turn whose model is away; then it counts as having been away for long


@dataclass(slots=True)
class Thinking:
    """What a turn's run leaves for who looks at it."""

    tools: WatchedToolbox
    watched: Watched
    reply: Reply | None = None
    failure: str | None = None  # the model's


@dataclass(frozen=True, slots=True)
class Bench:
    """What all turns of a run have in common."""

    thinker: Thinker
    known: Known
    catalogue: Sequence[str] = ()  # texts of products
    record: Record = NO_RECORD  # of tools, where a conversation is replayed


async def answered(bench: Bench, talk: Talk, paying: Paying) -> Outcome:
    """What the bot makes of what is unanswered. Raises what the purse raises."""
    began, before = time.monotonic(), _tokens(paying.spent)
    one = await _tried(bench, talk, paying)
    for _ in range(TRIES - 1):
        if not isinstance(one.decision, Later):
            break
        talk.put_off(one.decision)
        one = await _tried(bench, talk, paying)
    if isinstance(one.decision, Later):
        talk.put_off(one.decision)
        talk.pass_time(max(PATIENCE.values()))
        read = _read(talk, talk.found())
        one = replace(one, read=read, decision=decide(read, one.thought))
    packed = bench.thinker.agent.saver.packed(one.read.slot)
    talk.settle(one.read.found, one.decision, None if packed is None else Slot(packed))
    return _outcome(
        (bench, talk, one),
        tokens=_tokens(paying.spent) - before,
        ms=round((time.monotonic() - began) * 1000),
    )


@dataclass(frozen=True, slots=True)
class _Try:
    read: Read
    thinking: Thinking | None
    thought: Thought | None
    decision: Decision


async def _tried(bench: Bench, talk: Talk, paying: Paying) -> _Try:
    this = talk.found()
    read = _read(talk, this)
    if not read.speaks:
        return _Try(read, None, None, decide(read, None))
    own = await own_tools_in_a_test(bench.thinker.pool, bench.thinker.user_id, this.context)
    thinking = _thinking(bench, talk, this, own)
    thought = await _thought(bench, read, thinking, paying)
    return _Try(read, thinking, thought, decide(read, thought))


def _read(talk: Talk, this: Found) -> Read:
    unit = None
    if this.silence is None and this.asks and not this.in_code:
        unit = Reservation(outcome="granted", usage_day=talk.now.date(), overage=False, notice=None)
    return Read(this, Slot(talk.slot.loaded), unit)


def _thinking(bench: Bench, talk: Talk, this: Found, own: OwnTools | None) -> Thinking:
    most = this.plan.limit(Limit.MAX_ACTIONS_PER_DAY)

    async def reserve(requests: int) -> str:
        fits = most is None or talk.requested + requests <= most
        return "granted" if fits else "max_actions_per_day"

    by = bench.thinker
    watched = Watched(bench.known)
    tools = TapedToolbox(
        watched,
        budget_of(this.context.budgets),
        powers_of(this, selling_of(by.pool, by.agent, by.user_id, this), own),
        asks=this.plan.allows(Feature.ACTIONS_CENTER),
        reserve=reserve,
        wrote=tuple(shown(row.content_text) for row in this.inputs if row.content_text),
    )
    tools.record = bench.record
    return Thinking(tools, watched)


async def _thought(bench: Bench, read: Read, thinking: Thinking, paying: Paying) -> Thought:
    if (already := spared(read)) is not None:
        return already
    began = time.monotonic()
    task: Task | None = None
    try:
        async with asyncio.timeout(TURN_TIMEOUT_S):
            task = await task_of(bench.thinker, read.found, read.slot, thinking.tools)
            reply = await replied(bench.thinker.agent, read.found, task, paying)
    except (NoAnswer, NotReady, TimeoutError) as error:
        none = no_answer(error)
        thinking.failure = none.word
        return unthought(none, timedelta(seconds=time.monotonic() - began), task)
    thinking.reply = reply if isinstance(reply, Reply) else None
    return reply


def _outcome(of: tuple[Bench, Talk, _Try], *, tokens: int, ms: int) -> Outcome:
    bench, talk, one = of
    decision, thinking = one.decision, one.thinking
    said = decision if isinstance(decision, Say) else None
    gone_wrong = isinstance(decision, Apologise)
    called = said.handed_over if said is not None else None
    return Outcome(
        how=_how(decision),
        text=getattr(decision, "text", None) or "",
        reason=decision.reason,
        failure=thinking.failure if thinking is not None and gone_wrong else None,
        model=said.metadata["model"] if said is not None else None,
        cited=_cited(thinking),
        tools=_uses(thinking),
        actions=[_action(one) for one in said.requests] if said is not None else [],
        handed_over=decision.reason if gone_wrong else called,
        tokens=tokens,
        ms=ms,
        sources=_sources(bench, talk, thinking),
    )


def _how(decision: Decision) -> How:
    match decision:
        case Say():
            return "said"
        case Apologise():
            return "apologised"
        case Told() | Notice() | StopLoop():
            return "told"
        case Silent() | Later() | Sale():
            return "silent"


def _action(request: Any) -> dict[str, Any]:
    money = request.money
    given = {"type": request.request_type, "details": request.details}
    if money is not None:
        given |= {"amount": f"{money.amount:.2f}", "currency": money.currency}
    return given


def _uses(thinking: Thinking | None) -> list[Use]:
    if thinking is None:
        return []
    used = [Use(one.name, one.arguments) for one in thinking.tools.used]
    return used + [Use(one.name, one.arguments, refused=True) for one in thinking.tools.refused]


def _rows(thinking: Thinking) -> dict[int, Row]:
    """All that the answer could be made from."""
    found = {number: row for number, (row, _) in thinking.watched.found.items()}
    return {row.id: row for row in thinking.watched.rows} | thinking.tools.found | found


def _cited(thinking: Thinking | None) -> list[str]:
    if thinking is None or thinking.reply is None:
        return []
    rows = _rows(thinking)
    return [rows[n].question for n in thinking.reply.kb_cited if n in rows]


def _sources(bench: Bench, talk: Talk, thinking: Thinking | None) -> dict[str, Sequence[str]]:
    context = talk.context
    rows: list[Row] = []
    results: list[str] = []
    if thinking is not None:
        by_id = _rows(thinking)
        told = thinking.reply.kb_shown if thinking.reply is not None else ()
        rows = [by_id[n] for n in told if n in by_id]
        results = thinking.tools.results
    return {
        "kb": [text for row in rows for text in (row.question, row.answer, *row.alternatives)],
        "instructions": [context.general_instructions or "", *context.instructions],
        "catalogue": bench.catalogue,
        "customer": [r.content_text or "" for r in talk.rows if r.direction == "inbound"],
        "tools": results,
    }


def _tokens(spent: Spent) -> int:
    return sum(one.input_tokens + one.output_tokens for one in spent.by_model.values())
