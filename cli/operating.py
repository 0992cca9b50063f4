"""What operator commands share: the owner's connection, and what went wrong with a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from cli.command import Refused
from db.pool import UNAVAILABLE, Conn, connect_owner
from handlers.ingest_log.factory import adapter
from handlers.process.configuration import Environment


@asynccontextmanager
async def as_owner(env: Environment) -> AsyncIterator[Conn]:
    url = env.owner_url(env.database_url())
    check(env)
    try:
        conn = await connect_owner(url)
    except (*UNAVAILABLE, asyncpg.PostgresError, ValueError) as error:
        raise Refused(database_problem(error)) from error
    try:
        yield conn
    except UNAVAILABLE as error:
        raise Refused(database_problem(error)) from error
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError) as error:
        raise Refused("the database has no schema yet: run `swiftreplies migrate`") from error
    except asyncpg.ForeignKeyViolationError as error:
        raise Refused(f"no such row: {error.detail}") from error
    except asyncpg.DataError as error:
        raise Refused(f"the database does not take this value: {error}") from error
    finally:
        await conn.close()


def check(env: Environment) -> None:
    if env.problems:
        raise Refused(
            "the environment is incomplete:\n" + "\n".join(f"  - {p}" for p in env.problems)
        )


def database_problem(error: BaseException) -> str:
    return (
        f"PostgreSQL at DATABASE_URL: {str(error) or type(error).__name__}. Is it running, and"
        " do user, password and database fit?"
    )


def log_problem(log_url: str, error: BaseException) -> str:
    """Of the server that keeps the ingest log."""
    told = {"rabbitmq": broker_problem, "postgresql": database_problem}
    return told[adapter(log_url).NAME](error)


def broker_problem(error: BaseException) -> str:
    return (
        f"RabbitMQ at AMQP_URL: {str(error) or type(error).__name__}. Is it running, and do"
        " user, password and virtual host fit?"
    )
