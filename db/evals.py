"""Runs of suites, each case's result, and the tokens that they hold (migrations/0087_evals.sql)."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from db.ids import BEYOND, ChatbotId, UserId
from db.jobs import JobClaim
from db.pages import Listed, StoredJson, listed
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)

RUNS_KEPT = 200  # of a chatbot

# Words of a run that was ended from outside.
ERASED, DELETED, ABANDONED = "person_erased", "chatbot_deleted", "abandoned"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEval:
    chatbot_id: ChatbotId
    job_id: int | None  # None: a command runs it, at once
    name: str
    suite: str | None
    repeat: int
    total: int
    budget: int | None
    is_draft: bool


@dataclass(frozen=True, slots=True)
class Running:
    """Who is at a run: its fence."""

    user_id: UserId
    id: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    id: int
    chatbot_id: ChatbotId
    suite: str
    repeat: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadHold:
    usage_day: date
    model: str
    asked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Test tokens, for the next question of a case."""

    model: str
    asked: int  # the prompt
    least: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    outcome: str  # 'granted', 'held' (by others), 'reached', 'budget', 'lost' (the run)
    granted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A case."""

    place: int
    name: str
    passed: bool
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    status: str
    reason: str | None
    fell: list[str] | None  # None: there is nothing to compare with


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRow:
    id: int
    chatbot_id: ChatbotId
    job_id: int | None
    suite: str
    status: str
    reason: str | None
    repeat: int
    total: int
    passed: int
    failed: int
    fell: list[str] | None
    tokens: int
    budget: int | None
    is_draft: bool
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    name: str
    passed: bool
    result: StoredJson | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LostEval:
    user_id: UserId
    id: int


# ---- it begins -----------------------------------------------------------------------------------


async def open_evals(conn: Conn, user_id: UserId) -> int:
    """Of jobs. Who begins one meanwhile waits for this transaction."""
    await lock_evaluator(conn, user_id)
    return int(await conn.fetchval(_SQL["open_evals"], user_id))


async def lock_evaluator(conn: Conn, user_id: UserId) -> None:
    await conn.execute(_SQL["lock_evaluator"], user_id)


async def create_eval(conn: Conn, user_id: UserId, new: NewEval) -> int:
    """With it the oldest go."""
    eval_id = int(await conn.fetchval(_SQL["create_eval"], user_id, *values(new)))
    await conn.execute(_SQL["drop_older"], user_id, new.chatbot_id, RUNS_KEPT)
    if new.job_id is not None:
        await conn.execute(_SQL["expect_cases"], user_id, new.job_id, new.total)
    return eval_id


async def begin_eval(conn: Conn, job: JobClaim) -> Begun | None:
    """None: it has ended, or the job is somebody else's."""
    row = await conn.fetchrow(_SQL["begin_eval"], job.user_id, job.id, job.epoch)
    return Begun(**row) if row else None


async def dead_holds(conn: Conn, run: Running) -> list[DeadHold]:
    """Of whoever was at it before, who may have asked a model; they are gone with this."""
    rows = await conn.fetch(_SQL["dead_holds"], run.user_id, run.id, run.epoch)
    return [DeadHold(**row) for row in rows]


async def add_tokens(conn: Conn, user_id: UserId, eval_id: int, tokens: int) -> None:
    await conn.execute(_SQL["add_tokens"], user_id, eval_id, tokens)


async def places_done(conn: Conn, user_id: UserId, eval_id: int) -> list[int]:
    return [row["place"] for row in await conn.fetch(_SQL["places_done"], user_id, eval_id)]


async def catalogue(conn: Conn, user_id: UserId, limit: int) -> list[str]:
    return [row["told"] for row in await conn.fetch(_SQL["catalogue"], user_id, limit)]


# ---- its tokens ----------------------------------------------------------------------------------


async def reserve_eval_tokens(conn: Conn, run: Running, place: int, wanted: Wanted) -> Held:
    """So many for the next question of this case."""
    row = await conn.fetchrow(_SQL["reserve_eval_tokens"], *values(run), place, *values(wanted))
    assert row is not None, "the function always returns a row"
    return Held(**row)


async def settle_eval_tokens(
    conn: Conn, run: Running, place: int, step: int, tokens: int
) -> date | None:
    """What it held is spent, or given back; the day to count it on. None: it is counted already."""
    args = (*values(run), place, step, tokens)
    day: date | None = await conn.fetchval(_SQL["settle_eval_tokens"], *args)
    return day


async def drop_hold(conn: Conn, run: Running, place: int) -> None:
    await conn.execute(_SQL["drop_hold"], *values(run), place)


# ---- its cases -----------------------------------------------------------------------------------


async def is_running(conn: Conn, run: Running) -> bool:
    """By who began it; it stays so until the transaction ends."""
    return await conn.fetchrow(_SQL["lock_running"], *values(run)) is not None


async def keep_case(conn: Conn, run: Running, job_id: int | None, done: Done) -> bool:
    """Once. False: the run is somebody else's, or has ended."""
    if not await is_running(conn, run):
        return False
    if await conn.fetchval(_SQL["add_case"], run.user_id, run.id, *values(done)) is not None:
        await conn.execute(_SQL["count_case"], run.user_id, run.id, done.passed)
        if job_id is not None:
            await conn.execute(_SQL["progress"], run.user_id, job_id)
    return True


async def give_way(conn: Conn, job: JobClaim) -> None:
    """Another tenant's job is next, and then the rest of this."""
    await conn.execute(_SQL["give_way"], job.user_id, job.id, job.epoch)


# ---- it ends -------------------------------------------------------------------------------------


async def run_before(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, eval_id: int, name: str
) -> int | None:
    """The last whole one of the suite, of the bot as it was then."""
    before: int | None = await conn.fetchval(_SQL["run_before"], user_id, chatbot_id, eval_id, name)
    return before


async def cases_passed(conn: Conn, user_id: UserId, eval_id: int) -> dict[str, bool]:
    rows = await conn.fetch(_SQL["cases_passed"], user_id, eval_id)
    return {row["name"]: row["passed"] for row in rows}


async def end_eval(conn: Conn, run: Running, ended: Ended) -> bool:
    """With its job. False: it is somebody else's, or has ended."""
    row = await conn.fetchrow(_SQL["end_eval"], *values(run), *values(ended))
    if row is None:
        return False
    if row["job_id"] is not None:
        await conn.execute(_SQL["end_job"], run.user_id, row["job_id"])
    return True


async def fail_eval(conn: Conn, user_id: UserId, job_id: int, reason: str) -> None:
    """Of a job that has failed."""
    await conn.execute(_SQL["fail_eval"], user_id, job_id, reason)
    await conn.execute(_SQL["note_failed"], user_id, job_id)


async def end_evals_of(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> None:
    """It is deleted."""
    await _end_open(conn, user_id, chatbot_id, DELETED)


async def forget_people_in_evals(conn: Conn, user_id: UserId) -> None:
    """An erasure begins: suites and results may name whoever is erased. What runs is ended, and of
    what was run the verdicts stay."""
    await _end_open(conn, user_id, None, ERASED)
    await conn.execute(_SQL["forget_words"], user_id)


async def _end_open(conn: Conn, user_id: UserId, chatbot_id: ChatbotId | None, reason: str) -> None:
    rows = await conn.fetch(_SQL["end_open"], user_id, chatbot_id, reason)
    jobs = [row["job_id"] for row in rows if row["job_id"] is not None]
    await conn.execute(_SQL["end_jobs"], user_id, jobs, reason)


# ---- who looks at it -----------------------------------------------------------------------------


async def list_evals(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, after: int | None, limit: int
) -> Listed[EvalRow]:
    """Newest first."""
    before = BEYOND if after is None else after
    rows = await conn.fetch(_SQL["list_evals"], user_id, chatbot_id, before, limit)
    return listed(EvalRow, rows)


async def read_eval(conn: Conn, user_id: UserId, eval_id: int) -> EvalRow | None:
    row = await conn.fetchrow(_SQL["read_eval"], user_id, eval_id)
    return EvalRow(**row) if row else None


async def read_cases(conn: Conn, user_id: UserId, eval_id: int) -> list[CaseRow]:
    rows = await conn.fetch(_SQL["read_cases"], user_id, eval_id)
    return [
        CaseRow(
            name=row["name"],
            passed=row["passed"],
            result=None if row["result"] is None else StoredJson(row["result"]),
        )
        for row in rows
    ]


# ---- what is left --------------------------------------------------------------------------------


async def lost_evals(conn: Conn, limit: int) -> list[LostEval]:
    """Across tenants: of commands that died."""
    return [LostEval(**row) for row in await conn.fetch(_SQL["lost_evals"], limit)]


async def end_lost(conn: Conn, one: LostEval) -> int | None:
    """Its epoch now. None: it is not lost."""
    epoch: int | None = await conn.fetchval(_SQL["end_lost"], *values(one))
    return epoch


async def eval_chatbot(conn: Conn, user_id: UserId, eval_id: int) -> ChatbotId | None:
    chatbot_id: ChatbotId | None = await conn.fetchval(_SQL["eval_chatbot"], user_id, eval_id)
    return chatbot_id


async def forget_evals(conn: Conn, after: timedelta, limit: int) -> int:
    return int(await conn.fetchval(_SQL["forget_evals"], after, limit))


async def drop_eval(conn: Conn, user_id: UserId, eval_id: int) -> None:
    await conn.execute(_SQL["drop_eval"], user_id, eval_id)
