"""What operator commands share: the owner's connection, and what went wrong with a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from cli.command import Refused
from db.connecting import CannotConnect
from db.ids import UserId
from db.pool import UNAVAILABLE, Conn, connect_owner, tenant_transaction
from db.tenants import user_exists
from handlers.ingest_log.factory import adapter
from handlers.limits import NoRoom, NotInPlan, hold_place, tell_no_room
from handlers.plans import Feature, Limit, Permission
from handlers.process.configuration import Environment
from handlers.process.secrets import Vault


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


async def existing(conn: Conn, user_id: int) -> UserId:
    """Erased or not. Raises Refused."""
    async with tenant_transaction(conn, UserId(user_id)):
        if not await user_exists(conn, UserId(user_id)):
            raise Refused(f"there is no tenant {user_id}: see `swiftreplies tenant list`")
    return UserId(user_id)


@asynccontextmanager
async def with_place(conn: Conn, user_id: UserId, limit: Limit) -> AsyncIterator[None]:
    """A transaction of the tenant that makes one more of what its plan bounds."""
    try:
        async with tenant_transaction(conn, user_id):
            if not await hold_place(conn, user_id, limit):
                raise Refused(
                    f"there is no tenant {user_id}, or it is erased:"
                    " see `swiftreplies tenant create`"
                )
            yield
    except NotInPlan as why:
        raise not_in_plan(user_id, why.key) from None
    except NoRoom as why:
        async with tenant_transaction(conn, user_id):
            await tell_no_room(conn, user_id, why.key, why.most)
        what = "chatbots" if limit is Limit.MAX_CHATBOTS else "API keys"
        raise Refused(
            f"the plan of tenant {user_id} allows {why.most} {what} ({why.key}), and it has them:"
            " see `swiftreplies tenant plan`"
        ) from None


def not_in_plan(user_id: UserId, key: Feature | Permission) -> Refused:
    return Refused(
        f"the plan of tenant {user_id} does not allow {key}: see `swiftreplies tenant plan`"
    )


def check(env: Environment) -> None:
    if env.problems:
        raise Refused(
            "the environment is incomplete:\n" + "\n".join(f"  - {p}" for p in env.problems)
        )


def vault_of(env: Environment) -> Vault:
    keys = env.secrets_keys()
    env.database_url()  # so that both are told when both are missing
    check(env)
    return Vault(keys)


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
