"""What the scheduler makes of counters, averages and costs of months; and what it forgets."""

from datetime import timedelta
from functools import partial

from db.figures import DueMonth, claim_figures, forget_model_calls, make_figures
from db.pool import Pool, tenant
from handlers.process.sweeps import Sweep

FIGURES_BATCH = 50
MODEL_CALLS_KEPT = timedelta(days=62)  # a month can be counted again for as long as it is disputed
FORGET_BATCH = 1_000


async def make_due_figures(pool: Pool, sweep: Sweep[DueMonth]) -> None:
    """All that are due at this moment; what fails is due again in a minute."""
    while True:
        async with pool.acquire() as conn:
            due = await claim_figures(conn, FIGURES_BATCH)
        await sweep.each(due, partial(_make, pool))
        if len(due) < FIGURES_BATCH:
            return


async def _make(pool: Pool, month: DueMonth) -> None:
    async with tenant(pool, month.user_id) as conn:
        await make_figures(conn, month)


async def forget_old_model_calls(pool: Pool) -> None:
    while True:
        async with pool.acquire() as conn:
            if await forget_model_calls(conn, MODEL_CALLS_KEPT, FORGET_BATCH) < FORGET_BATCH:
                return
