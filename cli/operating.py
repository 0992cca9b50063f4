"""What operator commands share: the owner's connection, and what went wrong with a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from cli.command import Refused
from db.connecting import CannotConnect
from db.pool import UNAVAILABLE, Conn, connect_owner
from handlers.ingest_log.factory import adapter
from handlers.process.configuration import Environment


@asynccontextmanager
async def as_owner(env: Environment) -> AsyncIterator[Conn]:
    url = env.owner_url(env.database_url())
    check(env)
    try:
        conn = await connect_owner(url)
    except CannotConnect as error:
        raise Refused(database_problem(error, env.owner_name)) from error
    try:
        yield conn
    except UNAVAILABLE as error:
        raise Refused(database_problem(error, env.owner_name)) from error
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


def database_problem(error: BaseException, which: str = "DATABASE_URL") -> str:
    if isinstance(error, CannotConnect):
        return f"PostgreSQL at {which}: {error}"
    return f"PostgreSQL at {which}: {str(error) or type(error).__name__}. Does it run?"


def log_problem(log_url: str, error: BaseException) -> str:
    """Of the server that keeps the ingest log."""
    if adapter(log_url).NAME == "rabbitmq":
        return broker_problem(error)
    return database_problem(error, "INGEST_LOG_URL")


def broker_problem(error: BaseException) -> str:
    return f"RabbitMQ at AMQP_URL: {str(error) or type(error).__name__}"
