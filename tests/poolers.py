"""A real PgBouncer for tests, and what a login needs behind one."""

from dataclasses import dataclass
from functools import cache

import pytest

from local.servers.pgbouncer import REMEDY, Pooler, find
from tests.factories import Owner


@dataclass(frozen=True, slots=True)
class Wanted:
    which: str

    def get(self) -> Pooler:
        """Not skipped where there is none: behind one is where the product has to work."""
        pooler = _found(self.which)
        if pooler is None:
            pytest.fail(f"There is no PgBouncer to test with ({self.which}). {REMEDY}")
        return pooler


@cache
def _found(which: str) -> Pooler | None:
    return find(which)


NEW, OLD = Wanted("new"), Wanted("old")  # from 1.21 on, and before


async def give_settings(owner: Owner, database: str, login: str = "runtime") -> None:
    """As docs/operations.md says; it shares connections, so nothing can be set on one."""
    role = {"runtime": "swiftreplies_app", "ingest": "swiftreplies_log"}[login]
    for setting in (
        *(f"role = '{role}'", "search_path = public", "statement_timeout = '15s'"),
        *("idle_in_transaction_session_timeout = '30s'", "plan_cache_mode = force_generic_plan"),
    ):
        await owner.execute(f"ALTER ROLE {login} IN DATABASE {database} SET {setting}")
