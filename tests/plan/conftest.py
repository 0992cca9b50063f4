import pytest

from db.pool import Conn, Pool
from tests.plan import House


@pytest.fixture
def house(owner: Conn, pool: Pool) -> House:
    return House(owner, pool)
