"""`swiftreplies migrate`"""

import argparse
import asyncio
import os
from collections.abc import Callable

import asyncpg

from cli.command import Refused
from cli.operating import check, database_problem, log_problem
from db import migrate as migrations
from db.pool import UNAVAILABLE
from handlers.ingest_log.factory import adapter
from handlers.ingest_log.port import OldTopology
from handlers.process.configuration import Environment


def declare(noun: argparse.ArgumentParser) -> None:
    noun.set_defaults(run=_run)


def _run(_: argparse.Namespace) -> None:
    asyncio.run(migrate(Environment(os.environ), print))


async def migrate(env: Environment, say: Callable[[str], None]) -> None:
    runtime = env.database_url()
    owner = env.owner_url(runtime)
    log_url = env.log_url()
    check(env)
    ingest_log = adapter(log_url)
    in_database = log_url if ingest_log.NAME == "postgresql" else None
    try:
        await migrations.migrate(owner, runtime, say, in_database)
    except migrations.MigrationError as error:
        raise Refused(str(error)) from error
    except (*UNAVAILABLE, asyncpg.PostgresError) as error:
        raise Refused(database_problem(error, env.owner_name)) from error
    say("database is current")
    try:
        say(await ingest_log.prepare(log_url))
    except OldTopology as error:
        raise Refused(str(error)) from error
    except ingest_log.UNREACHABLE as error:
        raise Refused(log_problem(log_url, error)) from error
