"""What a refused statement says about who is to blame: the data, the database, or neither."""

import asyncpg


def sqlstate_class(error: BaseException) -> str:
    """The first two characters; "" when the database did not say anything."""
    return (getattr(error, "sqlstate", None) or "")[:2]


def is_data(error: BaseException) -> bool:
    """The values themselves can never be stored: not representable (22), too big for an index or a
    row (54), or not even to be encoded. Nothing else is certain to be the item's own fault: a
    refused login, a missing grant or a trigger that raises is, seen from here, a refusal like any
    other, and ends when somebody mends it."""
    if isinstance(error, UnicodeEncodeError):
        return True
    # What asyncpg could not encode is a DataError of its own making, of class 22 too.
    return isinstance(error, asyncpg.PostgresError) and sqlstate_class(error) in ("22", "54")


def is_integrity(error: BaseException) -> bool:
    """It does not fit what is there (23): what is there may have changed since we looked."""
    return isinstance(error, asyncpg.PostgresError) and sqlstate_class(error) == "23"


def is_hidden(error: BaseException) -> bool:
    """A policy refused the row (42501): what it is about was hidden since we looked. A missing
    grant says the same, and ends when somebody mends it."""
    return isinstance(error, asyncpg.InsufficientPrivilegeError)


def is_overtime(error: BaseException) -> bool:
    """The statement took longer than it may: as a rule it waited for a row that somebody locked."""
    return isinstance(error, asyncpg.QueryCanceledError | asyncpg.LockNotAvailableError)
