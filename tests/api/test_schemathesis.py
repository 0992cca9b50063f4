"""Schemathesis tries the running API, with all its checks: what the description allows is taken,
what it does not is refused, and every answer is as it says. The rows and the seed are fixed."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from db.pool import Conn, Pool
from handlers.media_store.local import Directory
from simulator.client import Simulator
from tests.api import make_key, make_rows
from tests.api.asking import answering, simulated
from tests.api.test_imports import a_worker, at_work
from tests.conftest import Database
from tests.factories import Tenant
from tests.ingress import DEAD_BROKER, Door, door

CONFIG = Path(__file__).with_name("schemathesis.toml")
SEED = 14
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "5"))
SETS_OF_ROWS = 8
SECONDS = 560.0  # beside other programs; by itself it takes a minute


PEERS = """
[auth.wfc]
path = "auth.json"
user = "ours"
peers = ["ours", "theirs"]
"""


def keys_of(**keys: str) -> str:
    """As the Web Fuzzing Commons have it. Nobody is to see what is another's."""
    return json.dumps(
        {
            "auth": [
                {
                    "name": name,
                    "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {key}"}],
                }
                for name, key in keys.items()
            ]
        }
    )


def with_rows(rows: Mapping[str, list[int]]) -> str:
    """The configuration, with ids that there are for every other call."""
    lines = [CONFIG.read_text(), PEERS]
    for name, ids in rows.items():
        lines.append(f"[dictionaries.{name}]\nvalues = {json.dumps(ids)}")
        lines.append(f'[parameters."path.{name}"]\ndictionary = "{name}"\nprobability = 0.6')
    return "\n".join(lines)


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "files")


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with simulated() as simulator:
        yield simulator


@pytest.fixture
async def api(database: Database, tmp_path: Path, simulator: Simulator) -> AsyncIterator[Door]:
    """With time for whoever answers what bots are asked."""
    wait, files = timedelta(seconds=30), (tmp_path / "files").as_uri()
    async with door(
        *(DEAD_BROKER, database.runtime_url),
        ask_wait=wait,
        media_store=files,
        graph_url=simulator.url,
    ) as opened:
        yield opened


@pytest.mark.timeout(600)
async def test_schemathesis_finds_nothing(
    api: Door,
    database: Database,
    pool: Pool,
    owner: Conn,
    ours: Tenant,
    theirs: Tenant,
    store: Directory,
    simulator: Simulator,
    tmp_path: Path,
) -> None:
    made = [await make_rows(owner, ours) for _ in range(SETS_OF_ROWS)]
    rows = {name: [one[name] for one in made] for name in made[0]}
    config = tmp_path / "schemathesis.toml"
    config.write_text(with_rows(rows))
    keys = [(await make_key(pool, tenant))[0] for tenant in (ours, theirs)]
    (tmp_path / "auth.json").write_text(keys_of(ours=keys[0], theirs=keys[1]))
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config)),
        *("run", f"{api.url}/v1/openapi.json"),
        *("--seed", str(SEED), "--max-examples", str(EXAMPLES), "--workers", "1"),
        *("--checks", "all", "--continue-on-failure", "--warnings", "off"),
    ]
    async with (
        answering(database, simulator),  # what bots are asked
        at_work(pool, await a_worker(owner), store),  # documents are jobs
    ):
        running = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
        )
        try:
            said, _ = await asyncio.wait_for(running.communicate(), SECONDS)
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()
    report = said.decode()
    print(report[report.rfind("SUMMARY") :])
    assert running.returncode == 0, report
    written = await owner.fetchval("SELECT count(*) FROM messages WHERE is_from_human")
    assert written > 0, "it got no further than being refused"
