"""An ask is answered as a turn would be, by the same agent, of a conversation with nobody:

    read     one transaction: the question, and what a turn would know
    think    no transaction, no connection; test tokens are held before each request to the model
    write    one transaction: what was paid for, and the answer, unless nobody waits any more

No customer, message, unit, event, action or checkpoint comes of it.
"""

import asyncio
import random
import time
from dataclasses import asdict

import structlog

from db.asks import (
    AskClaim,
    bill_ask,
    count_test_calls,
    keep_answer,
    let_go,
    put_back,
    read_ask,
    settle_ask,
)
from db.conversations import TurnContext
from db.embeddings import count_embedding_calls
from db.ids import MessageId
from db.messages import TurnMessage
from db.model_calls import Calls
from db.pool import CONFLICT, UNAVAILABLE, Pool, tenant
from db.usage import Reservation
from handlers.agent.answerer import Kind, NoAnswer
from handlers.agent.graph import Agent, Reply
from handlers.agent.knowledge import NotReady
from handlers.agent.memory import Slot
from handlers.agent.offline import OFFLINE
from handlers.agent.prompt import Briefing, shown, situation
from handlers.agent.spending import Spent, noted_in, paid_from, prompt_tokens
from handlers.asks.answer import Asked, AskedTokens, Failure, as_json
from handlers.asks.purse import AskPurse, NoTokens
from handlers.asks.watched import Watched, WatchedToolbox
from handlers.plans import Feature
from handlers.process import telemetry
from handlers.rules.backoff import backoff
from handlers.rules.budgets import budget_of
from handlers.turns.decide import Read, Say, decide
from handlers.turns.inputs import Found
from handlers.turns.own_calls import own_tools_in_a_test
from handlers.turns.thinking import (
    TURN_TIMEOUT_S,
    Thinker,
    powers_of,
    selling_of,
    task_of,
    worded,
)
from handlers.turns.write import WRITE_PATIENCE_S

log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def run_ask(pool: Pool, agent: Agent, claim: AskClaim) -> None:
    """Never raises but for cancellation."""
    began = time.monotonic()
    purse = AskPurse(pool, claim)
    outcome = "lost"
    try:
        outcome = await _ask(pool, agent, purse)
    except asyncio.CancelledError:
        outcome = "cancelled"
        await _give_back(pool, purse)
        raise
    except Exception as error:  # whoever waits hears of it, or is told when the time is up
        outcome = Failure.FAILED
        log.error("ask.failed", user_id=claim.user_id, ask_id=claim.id, exc_info=error)
        await _give_back(pool, purse, Failure.FAILED)
    finally:
        telemetry.ASKS.labels(str(outcome)).inc()
        telemetry.ASK_SECONDS.observe(time.monotonic() - began)
        log.info(
            "ask.finished",
            user_id=claim.user_id,
            ask_id=claim.id,
            epoch=claim.epoch,
            outcome=outcome,
            duration_ms=round((time.monotonic() - began) * 1000),
        )


async def _ask(pool: Pool, agent: Agent, purse: AskPurse) -> str:
    """In a word, for the log."""
    claim = purse.claim
    async with tenant(pool, claim.user_id) as conn:
        read = await read_ask(conn, claim)
    if read is None:  # deleted meanwhile, unless the ask is somebody else's
        return Failure.GONE if await _write(pool, purse, problem=Failure.GONE) else "lost"
    try:
        asked = await _answered(pool, agent, purse, *read)
    except NoTokens as none:
        if none.why is None:
            await _write(pool, purse)
            return "lost"
        await _write(pool, purse, problem=none.why)
        return none.why
    except (NoAnswer, NotReady, TimeoutError) as error:
        problem = _why(error, purse)
        log.info("ask.unanswered", user_id=claim.user_id, ask_id=claim.id, why=str(error))
        await _write(pool, purse, problem=problem)
        return problem
    written = await _write(pool, purse, answer=as_json(asked))
    return "answered" if written else "too_late"


def _why(error: Exception, purse: AskPurse) -> Failure:
    match error:
        case NotReady():
            return Failure.KNOWLEDGE_NOT_READY
        case NoAnswer() if error.kind is not Kind.LATER:
            return Failure.MODEL_FAILED
        case _:
            return Failure.LIMIT_HELD if purse.held_by_others else Failure.MODEL_UNAVAILABLE


async def _answered(
    pool: Pool, agent: Agent, purse: AskPurse, question: str, context: TurnContext
) -> Asked:
    this = found_of(question, context)
    claim = purse.claim
    async with asyncio.timeout(TURN_TIMEOUT_S):
        known = Watched(
            await agent.shelf.knowledge(pool, claim.user_id, context.chatbot_id, context.kb_version)
        )
        tools = WatchedToolbox(
            known,
            budget_of(context.budgets),
            powers_of(
                this,
                selling_of(pool, agent, claim.user_id, this),
                await own_tools_in_a_test(pool, claim.user_id, context),
            ),
            asks=this.plan.allows(Feature.ACTIONS_CENTER),
        )
        # What the run leaves in its slot is kept by nobody.
        task = await task_of(Thinker(pool, agent, claim.user_id, "ask"), this, Slot(None), tools)
        if task.answerer is not None and task.answerer.name != OFFLINE:
            await purse.open(_prompt_tokens(task.briefing, tools, question))
        with noted_in(purse.spent), paid_from(purse.afford):
            reply = worded(await agent.run(task))
    return Asked(
        answer=_said(this, reply),
        knowledge=await known.answered_from(question, reply),
        tools=tools.used,
        tokens=_tokens(purse.spent),
        model=reply.model,
    )


def found_of(question: str, context: TurnContext) -> Found:
    """As if somebody had just written it."""
    row = TurnMessage(
        id=MessageId(1),
        direction="inbound",
        is_from_human=False,
        status="received",
        content_text=question,
        sent_at=context.now,
        created_at=context.now,
        input_seq=1,
        wamid=None,
        metadata={},
    )
    return Found(context, rows=[row], inputs=[row], stale=[], events=[], silence=None)


def _prompt_tokens(briefing: Briefing, tools: WatchedToolbox, question: str) -> int:
    texts = [briefing.system_prompt, situation(briefing), shown(question)]
    return prompt_tokens([{"role": "user", "content": text} for text in texts], tools.schemas)


def _said(this: Found, reply: Reply) -> str:
    """As it would be sent."""
    unit = Reservation(
        outcome="granted", usage_day=this.context.now.date(), overage=False, notice=None
    )
    said = decide(Read(this, reply.slot, unit), reply)
    assert isinstance(said, Say), "of a reply"
    return said.text


def _tokens(spent: Spent) -> AskedTokens:
    tallies = spent.by_model.values()
    return AskedTokens(
        input=sum(one.input_tokens for one in tallies),
        cached=sum(one.cached_tokens for one in tallies),
        output=sum(one.output_tokens for one in tallies),
    )


# ---- its end -------------------------------------------------------------------------------------


async def _write(
    pool: Pool, purse: AskPurse, *, answer: str | None = None, problem: str | None = None
) -> bool:
    """What was paid for is counted in any case. False: nobody waits for it any more, or it is
    somebody else's. Repeats what the database's absence cut short: each of its parts is done
    once."""
    deadline = time.monotonic() + WRITE_PATIENCE_S
    for failures in range(1_000):
        try:
            return await _write_once(pool, purse, answer, problem)
        except (*UNAVAILABLE, *CONFLICT):
            if time.monotonic() > deadline:
                raise
            wait = backoff(failures, base_s=0.1, cap_s=2.0, dice=random.random())
            await asyncio.sleep(wait.total_seconds())
    raise AssertionError("unreachable: the deadline comes first")


async def _write_once(pool: Pool, purse: AskPurse, answer: str | None, problem: str | None) -> bool:
    claim = purse.claim
    calls = [Calls(model=model, **asdict(of)) for model, of in purse.spent.by_model.items()]
    async with tenant(pool, claim.user_id) as conn:
        bill = await bill_ask(conn, claim)
        await let_go(conn, claim)
        if bill is not None:
            for of in calls:
                count_test_calls(conn, claim.user_id, bill, of)
            for model, tally in purse.spent.embeddings.items():
                spent = (model, tally.calls, tally.input_tokens)
                count_embedding_calls(conn, claim.user_id, bill.chatbot_id, spent)
        if answer is None and problem is None:
            return False
        settled = await settle_ask(conn, claim, answer, problem)
        if settled is None:
            return False
        if answer is not None and settled.idempotency_key is not None:
            await keep_answer(conn, claim.user_id, settled, answer)
        return True


async def _give_back(pool: Pool, purse: AskPurse, problem: str | None = None) -> None:
    """When even that fails, another worker takes the lease, or the time is up."""
    claim = purse.claim
    try:
        if problem is not None:
            await _write(pool, purse, problem=problem)
            return
        await _write_once(pool, purse, None, None)
        async with tenant(pool, claim.user_id) as conn:
            await put_back(conn, claim)
    except Exception as error:
        log.warning("ask.not_given_back", ask_id=claim.id, exc_info=error)
