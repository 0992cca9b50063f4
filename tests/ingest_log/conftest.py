"""Each test of the contract runs against both adapters."""

from collections.abc import AsyncIterator

import pytest

from local.servers.postgres import Postgres
from local.servers.rabbitmq import RabbitMQ
from tests.conftest import Database
from tests.ingest_log import Consumer
from tests.ingest_log.logs import Log, PostgresLog, RabbitLog, killable
from tests.ingress import messages

KINDS = ("rabbitmq", "postgres")


@pytest.fixture
async def rabbit_log(broker: RabbitMQ) -> RabbitLog:
    """Without what other suites may have left in it."""
    await messages(broker.url)
    return RabbitLog(broker)


@pytest.fixture
def postgres_log(postgres_server: Postgres, database: Database) -> PostgresLog:
    return PostgresLog(postgres_server, database.log_url, database.owner_url)


@pytest.fixture(params=KINDS)
def log(request: pytest.FixtureRequest) -> Log:
    """On the session's server, with nothing in it. Not a coroutine: it asks for ones that are."""
    found: Log = request.getfixturevalue(
        "rabbit_log" if request.param == "rabbitmq" else "postgres_log"
    )
    return found


@pytest.fixture(scope="module", params=KINDS)
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    """One that may be killed."""
    async with killable(request.param) as log:
        yield log


@pytest.fixture(autouse=True)
async def nobody_stays() -> AsyncIterator[None]:
    """What a failed test leaves running would take the entries of the next."""
    yield
    for consumer in list(Consumer.alive):
        await consumer.kill()
