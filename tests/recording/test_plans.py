"""Plans that were made for small tables are not kept when these have grown."""

from collections.abc import AsyncIterator

import pytest

from db.pool import Conn, Pool, create_pool
from handlers.ingest.recording import record_batch
from tests.conftest import Database
from tests.factories import make_tenant
from tests.recording import DEBOUNCE, to, wrote
from worker.ingest import Plans

MODE = "SHOW plan_cache_mode"


@pytest.fixture
async def batches(database: Database) -> AsyncIterator[Pool]:
    pool = await create_pool(database.runtime_url, size=1, name="batches", batches=True)
    yield pool
    pool.terminate()


async def test_batches_are_planned_each_time_until_the_tables_have_grown(
    batches: Pool, owner: Conn
) -> None:
    plans = Plans(batches)
    await plans.look()
    assert await batches.fetchval(MODE) == "force_custom_plan"
    user = await make_tenant(owner)
    items = [wrote(f"w.{i}", str(13_035_000_000 + i)) for i in range(1_000)]
    await record_batch(batches, [to(user, *items)], DEBOUNCE)
    await owner.execute("ANALYZE contacts, conversations, messages")
    await plans.look()
    assert plans.fit
    assert await batches.fetchval(MODE) == "force_generic_plan"
