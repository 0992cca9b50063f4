"""What runs leave: of workers and commands that died, and what is old."""

from datetime import timedelta
from functools import partial

from db.asks import Bill, count_test_calls
from db.evals import (
    LostEval,
    Running,
    add_tokens,
    dead_holds,
    end_lost,
    eval_chatbot,
    forget_evals,
    lost_evals,
)
from db.ids import ChatbotId
from db.model_calls import Calls
from db.pool import Pool, tenant
from handlers.process.sweeps import Sweep

LOST_AT_ONCE = 50
KEPT = timedelta(days=90)
FORGET_BATCH = 200


async def take_over(pool: Pool, run: Running, chatbot_id: ChatbotId) -> None:
    """What a worker that died had asked is counted as it was held: nobody knows what its server
    counted."""
    async with tenant(pool, run.user_id) as conn:
        for dead in await dead_holds(conn, run):
            if not dead.asked:
                continue
            bill = Bill(chatbot_id=chatbot_id, usage_day=dead.usage_day)
            calls = Calls(
                model=dead.model,
                calls=1,
                input_tokens=dead.asked,
                cached_tokens=0,
                output_tokens=0,
            )
            await add_tokens(conn, run.user_id, run.id, dead.asked)
            count_test_calls(conn, run.user_id, bill, calls, "eval")


async def clear_evals(pool: Pool, sweep: Sweep[LostEval]) -> None:
    """Runs of commands that died are ended, and what they had asked is counted."""
    async with pool.acquire() as conn:
        lost = await lost_evals(conn, sweep.limit(LOST_AT_ONCE))
    await sweep.each(lost, partial(_end_lost, pool))


async def _end_lost(pool: Pool, one: LostEval) -> None:
    async with tenant(pool, one.user_id) as conn:
        epoch = await end_lost(conn, one)
        chatbot_id = await eval_chatbot(conn, one.user_id, one.id)
    if epoch is not None and chatbot_id is not None:
        await take_over(pool, Running(one.user_id, one.id, epoch), chatbot_id)


async def forget_old_evals(pool: Pool) -> None:
    while True:
        async with pool.acquire() as conn:
            if await forget_evals(conn, KEPT, FORGET_BATCH) < FORGET_BATCH:
                return
