"""Asks are waited for: a worker answers, and meanwhile nothing is held, neither a connection nor a
transaction. One statement looks for all that wait in this process."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from db.asks import Outcome, asks_over, end_waiting, read_outcome, withdraw_ask
from db.ids import UserId
from db.pages import StoredJson
from db.pool import REFUSED, UNAVAILABLE, Pool, tenant
from handlers.asks.answer import Failure
from handlers.plans import Limit
from ingress.api.problems import Problem, not_found, unavailable
from ingress.api.table import Answer

log: structlog.stdlib.BoundLogger = structlog.get_logger()

WAITING_MAX = 512  # asks, with a request in hand each: there are 4,096 connections
POLL_S = 0.075
AWAY_S = 0.5  # between looks while the database is away
GONE_S = 0.5  # between looks whether the client is still there
AGAIN_S = 5


class Asks:
    def __init__(self, pool: Pool, wait: timedelta) -> None:
        self._pool = pool
        self._wait_s = wait.total_seconds()
        self._waiting: dict[int, asyncio.Event] = {}
        self._looking: asyncio.Task[None] | None = None

    async def answer(
        self, user_id: UserId, ask_id: int, is_gone: Callable[[], bool]
    ) -> Answer[StoredJson]:
        """Raises the problem that is in the place of an answer. `is_gone`: the client."""
        if len(self._waiting) >= WAITING_MAX:
            await self._withdraw(user_id, ask_id)
            raise unavailable("Too many questions are in hand: come again.", 1)
        over = self._waiting[ask_id] = asyncio.Event()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            in_time = await self._over(over, is_gone)
        finally:
            del self._waiting[ask_id]
        if not in_time and is_gone():
            # Begun, it goes on: what it costs is spent, and its key has the answer.
            await self._withdraw(user_id, ask_id)
            raise unavailable("Nobody waits for the answer any more.")
        async with tenant(self._pool, user_id) as conn:
            if not in_time:
                await end_waiting(conn, user_id, ask_id)
            outcome = await read_outcome(conn, user_id, ask_id)
        if outcome is None or outcome.problem == Failure.GONE:
            raise not_found()
        if outcome.answer is None:
            raise problem_of(outcome)
        return Answer(StoredJson(outcome.answer))

    async def _over(self, over: asyncio.Event, is_gone: Callable[[], bool]) -> bool:
        until = time.monotonic() + self._wait_s
        while not over.is_set() and not is_gone() and (left := until - time.monotonic()) > 0:
            wait = asyncio.create_task(over.wait())
            try:
                await asyncio.wait({wait}, timeout=min(left, GONE_S))
            finally:
                wait.cancel()
        return over.is_set()

    async def _withdraw(self, user_id: UserId, ask_id: int) -> None:
        async with tenant(self._pool, user_id) as conn:
            await withdraw_ask(conn, user_id, ask_id)

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(POLL_S)
            try:
                async with self._pool.acquire() as conn:
                    over = await asks_over(conn, list(self._waiting))
            except (*UNAVAILABLE, *REFUSED) as error:
                log.warning("asks.not_seen", exc_info=error)
                await asyncio.sleep(AWAY_S)
                continue
            for ask_id in over:
                if (waiting := self._waiting.get(ask_id)) is not None:
                    waiting.set()

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()


def no_tokens(allowed: int, used: int, *, held: bool = False) -> Problem:
    what = (
        "Others in hand hold what is left: come again when they are answered."
        if held
        else "Too few are left for a question: ask again on the account's next day, or ask the"
        " operator for another plan."
    )
    return Problem(
        "limit_reached",
        f"The plan allows {allowed} tokens of tests a day ({Limit.MAX_TEST_TOKENS_PER_DAY}), and"
        f" {used} are used. {what}",
        limit=str(Limit.MAX_TEST_TOKENS_PER_DAY),
        allowed=allowed,
        count=used,
    )


def problem_of(outcome: Outcome) -> Problem:
    again = {"Retry-After": str(AGAIN_S)}
    match outcome.problem:
        case Failure.LIMIT_REACHED | Failure.LIMIT_HELD:
            held = outcome.problem == Failure.LIMIT_HELD
            return no_tokens(outcome.allowed or 0, outcome.used, held=held)
        case Failure.MODEL_UNAVAILABLE:
            detail = "The model's server gave no answer. Ask again in a moment."
            return Problem("model_unavailable", detail, headers=again)
        case Failure.MODEL_FAILED:
            return Problem(
                "model_failed",
                "The model's server refused this question, or answered nothing that could be sent;"
                " asking again will hardly help. Ask another question, or the operator.",
            )
        case Failure.KNOWLEDGE_NOT_READY:
            detail = "The chatbot's knowledge is still being read in: ask again in a moment."
            return unavailable(detail, AGAIN_S)
        case Failure.TIMEOUT:
            return Problem(
                "no_answer_in_time",
                "Nobody answered in time: the model is slow, or there is much to do. Ask again in a"
                " moment; if it stays so, tell the operator, who sees in `doctor` why.",
                headers=again,
            )
        case _:
            return Problem("internal_error", "It is in our log. Asking again may help.")
