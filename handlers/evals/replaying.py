"""A recorded conversation is answered again, as the bot is now: turn by turn, in memory. No row
comes of it; what a model is asked is paid for as a test."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from db.checkpoints import load_checkpoint
from db.evals import NewEval, Running, create_eval, drop_eval
from db.ids import ConversationId, MessageId, UserId
from db.pool import Pool, tenant
from db.recorded import (
    questions_of,
    recorded_actions,
    recorded_events,
    recorded_facts,
    recorded_messages,
    recorded_talk,
)
from handlers.agent.graph import Agent
from handlers.agent.offline import OFFLINE
from handlers.evals.answering import answered
from handlers.evals.case import ACTIONS_MAX
from handlers.evals.purse import EvalPurse, NoTokens
from handlers.evals.recall import cited_by
from handlers.evals.record import NO_RECORD, record_of
from handlers.evals.replay import (
    EVENTS_MAX,
    MESSAGES_MAX,
    TURNS_MAX,
    Replayed,
    Tape,
    talk_at,
    turns_of,
)
from handlers.evals.replay_report import ReplayReport
from handlers.evals.session import Draft, Gone, bench_of
from handlers.evals.suite import FACTS_MAX
from handlers.exports.work import Lost
from handlers.turns.thinking import Paying


class Mistaken(Exception):
    """What was asked for cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaying:
    pool: Pool
    agent: Agent
    user_id: UserId
    conversation_id: ConversationId
    until: MessageId | None
    draft: Draft
    budget: int | None


async def tape_of(replaying: Replaying) -> Tape | None:
    """None: there is none, or it is another tenant's. Reads, and nothing else."""
    user_id, saver = replaying.user_id, replaying.agent.saver
    async with tenant(replaying.pool, user_id) as conn:
        talk = await recorded_talk(conn, user_id, replaying.conversation_id)
        if talk is None:
            return None
        rows = await recorded_messages(conn, user_id, talk.id, replaying.until, MESSAGES_MAX)
        if not rows:
            return Tape(talk=talk, messages=[])
        who, began = (user_id, talk.contact_id), rows[0].created_at
        events = await recorded_events(conn, user_id, talk.id, began, EVENTS_MAX)
        actions = await recorded_actions(conn, *who, talk.chatbot_id, began, ACTIONS_MAX)
        facts = await recorded_facts(conn, *who, FACTS_MAX)
        known = await questions_of(conn, user_id, talk.chatbot_id, cited_by(rows))
        checkpoint = await load_checkpoint(conn, talk.thread_id)
    return Tape(
        talk=talk,
        messages=rows,
        actions=actions,
        facts=facts,
        events=events,
        questions={one.id: one.question for one in known},
        record=NO_RECORD if checkpoint is None else record_of(saver.messages(checkpoint)),
    )


async def replayed(replaying: Replaying, told: Callable[[int, int], None]) -> ReplayReport:
    """`told`: how many turns are done, and of how many. Raises Gone and Mistaken."""
    tape = await tape_of(replaying)
    if tape is None:
        raise Gone
    if replaying.until is not None and replaying.until not in {row.id for row in tape.messages}:
        raise Mistaken(f"message {replaying.until} is none of conversation {tape.talk.id}")
    turns = turns_of(tape)
    left_out = max(0, len(turns) - TURNS_MAX)
    turns = turns[left_out:]
    done: list[Replayed] = []
    stopped = None
    async with _held(replaying, tape) as (run, purse):
        bench, bot = await bench_of(
            replaying.pool, replaying.agent, tape.talk.chatbot_id, run, replaying.draft
        )
        answerer = replaying.agent.answerer(replaying.user_id, bot)
        purse.model = answerer.name
        asks = answerer.name != OFFLINE
        taped = replace(bench, record=tape.record)
        paying = Paying(purse.spent, purse.afford if asks else None)
        for turn in turns:
            now = None
            if turn.skipped is None and stopped is None:
                try:
                    now = await answered(taped, talk_at(tape, turn, bot), paying)
                except NoTokens as none:
                    stopped = none.why
                except Lost:  # what was read may be of somebody who is erased: it is not shown
                    raise Mistaken("it was ended: chatbot or a person was deleted") from None
            done.append(Replayed(turn, now))
            told(len(done), len(turns))
    return ReplayReport(
        conversation_id=tape.talk.id,
        chatbot_id=tape.talk.chatbot_id,
        chatbot_name=tape.talk.chatbot_name,
        timezone=tape.talk.timezone,
        turns=done,
        left_out=left_out,
        tokens=sum(one.now.tokens for one in done if one.now is not None),
        stopped=stopped,
    )


@asynccontextmanager
async def _held(replaying: Replaying, tape: Tape) -> AsyncIterator[tuple[Running, EvalPurse]]:
    """While it is under way it is a run, which holds the tokens that it may need; nothing of that
    is left. Of one that was killed the sweep of runs counts what was held."""
    user_id, chatbot_id = replaying.user_id, tape.talk.chatbot_id
    new = NewEval(
        chatbot_id=chatbot_id,
        job_id=None,
        name=f"replay of conversation {tape.talk.id}",
        suite=None,
        repeat=1,
        total=1,
        budget=replaying.budget,
        is_draft=True,
    )
    async with tenant(replaying.pool, user_id) as conn:
        run = Running(user_id, await create_eval(conn, user_id, new), 1)
    purse = EvalPurse(replaying.pool, run, chatbot_id, 0, OFFLINE)
    try:
        yield run, purse
    finally:
        await purse.close()
        async with tenant(replaying.pool, user_id) as conn:
            await drop_eval(conn, user_id, run.id)
