"""The table of roles is whole, and costs who only reads it nothing."""

import inspect
import subprocess
import sys

import pytest

from worker.process import Worker
from worker.roles import ROLES, Role


@pytest.mark.parametrize("role", ROLES.values(), ids=lambda role: role.name)
def test_what_a_role_runs_takes_a_worker(role: Role) -> None:
    run = role.load()
    assert inspect.iscoroutinefunction(run)
    (parameter,) = inspect.signature(run).parameters.values()
    assert parameter.annotation is Worker


def test_reading_the_table_loads_no_role() -> None:
    code = (
        "import sys, worker.roles\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('worker', 'handlers', 'db')),"
        " sorted({'asyncio', 'aiohttp', 'asyncpg', 'structlog'} & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout == "['worker', 'worker.roles'] []\n"
