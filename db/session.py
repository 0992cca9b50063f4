"""What a connection has to be before anything is done on it, and how that is proved.

A pooler may drop what a connection asks for when it starts, and a database or a login may have
settings of its own. So nothing of it is believed: each new connection is asked as whom and with
which settings it runs. What is not as it has to be is set, where it stays set; else the connection
is not used. One look is one query; a second one, and the setting, are for those that need it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from db.driver import Conn, Plain
from db.sql import load

_SQL = load(__file__)

STATEMENT_TIMEOUT = "15s"
IDLE_IN_TRANSACTION_TIMEOUT = "30s"
COMMAND_TIMEOUT_S = 20.0

# As current_setting() spells them. Of several the first is what is set; the others will do.
# `synchronous_commit` is no matter of speed: with `off`, what was committed, and so acknowledged to
# RabbitMQ or answered to Meta, is gone after a crash (61 of 160 webhooks, once).
DURABLE = {"synchronous_commit": ("on", "remote_apply", "remote_write", "local")}
# A login may have a tenant, for statements that were written for one: ours name theirs for each
# transaction, and none outside means no rows.
NO_TENANT: dict[str, tuple[str, ...]] = {"app.user_id": ("",)}
_NEEDS: dict[str, tuple[str, ...]] = {
    **DURABLE,
    **NO_TENANT,
    "search_path": ("public",),
    "statement_timeout": (STATEMENT_TIMEOUT,),
    "idle_in_transaction_session_timeout": (IDLE_IN_TRANSACTION_TIMEOUT,),
    "lock_timeout": ("0",),  # who waits for a lock is ended by the statement's limit
    "idle_session_timeout": ("0",),
    "row_security": ("on",),
    "session_replication_role": ("origin",),  # in a replica neither triggers nor foreign keys work
    "default_transaction_isolation": ("read committed",),  # who waited goes by what is there then
    "default_transaction_read_only": ("off",),
    "standard_conforming_strings": ("on",),
}
_SUPERUSER_ONLY = ("session_replication_role",)
# Asked for at the start, which spares the round trips of setting them. The rest is as a server is
# by itself.
_ASKED_FOR = ("search_path", "statement_timeout", "idle_in_transaction_session_timeout")
# Planning again for the parameters at hand took a fifth of recording; no query needs it.
_WISHES = {"plan_cache_mode": "force_generic_plan"}


@dataclass(frozen=True, slots=True)
class Session:
    """What is needed, and what would be good."""

    name: str | None  # as pg_stat_activity shows it
    role: str | None  # None: whatever the login is
    command_timeout_s: float | None  # on our side, for a server that stopped answering altogether
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wishes: Mapping[str, str] = field(default_factory=dict)

    def asked_for(self) -> dict[str, str]:
        """The start-up parameters."""
        asked = {name: self.needs[name][0] for name in _ASKED_FOR if name in self.needs}
        if self.role is not None:
            asked["role"] = self.role
        if self.name is not None:
            asked["application_name"] = self.name
        return {**asked, **self.wishes}


def runtime(name: str, role: str, **wishes: str) -> Session:
    """A wish takes the place of a need of the same name."""
    needs = {name: values for name, values in _NEEDS.items() if name not in wishes}
    return Session(name, role, COMMAND_TIMEOUT_S, needs, _WISHES | wishes)


def owner(name: str) -> Session:
    """For operator commands, as the login of the URL. A migration takes as long as it takes."""
    needs = {**DURABLE, **NO_TENANT, "search_path": ("public",), "row_security": ("on",)}
    return Session(name, None, None, needs)


def as_it_comes(name: str) -> Session:
    """For a look at the login itself."""
    return Session(name, None, COMMAND_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Running:
    """As which role, where, and with which settings statements run."""

    role: str
    login: str
    database: str
    pid: int  # of the server's process
    standby: bool
    superuser: bool
    bypasses: bool
    settings: list[str | None]


async def read_session(conn: Conn, names: Sequence[str]) -> Running:
    """`names`: of the settings."""
    row = await conn.fetchrow(_SQL["read_session"], names)
    assert row is not None, "who is connected has a role"
    return Running(**row)


async def set_session(conn: Conn, names: Sequence[str], values: Sequence[str]) -> None:
    await conn.execute(_SQL["set_session"], names, values)


@dataclass(frozen=True, slots=True)
class Found:
    """How a connection was found."""

    running: Running
    pooled: bool  # what answers is not the process that the connection was begun with
    settings: Mapping[str, str | None]


async def look(conn: Plain, session: Session) -> Found:
    names = [*session.needs, *session.wishes]
    running = await read_session(conn, names)
    pooled = running.pid != conn.get_server_pid()
    return Found(running, pooled, dict(zip(names, running.settings, strict=True)))


def lacking(found: Found, session: Session) -> dict[str, str]:
    """What would have to be set, and to what; the role last, because the login may set more."""
    lacks = {
        name: values[0]
        for name, values in session.needs.items()
        if (found.settings[name] or "") not in values  # None: never set, as a tenant as a rule
    }
    # A wish alone is not worth being refused for, and behind a pooler it could not be kept.
    if not found.pooled:
        lacks |= {n: v for n, v in session.wishes.items() if found.settings[n] != v}
    if session.role is not None and found.running.role != session.role:
        lacks["role"] = session.role
    return lacks


def problems(found: Found, session: Session) -> list[str]:
    """Why it cannot be worked on, each with what to do. Empty: it is as it has to be."""
    told = []
    lacks = lacking(found, session)
    runs = found.running
    if found.pooled and lacks:
        told.append(_pooled(runs, lacks))
    elif lacks:
        what = ", ".join(f"{name} to {value!r}" for name, value in lacks.items())
        told.append(
            f"the login {runs.login} cannot set {what}: ALTER ROLE or ALTER DATABASE gave it"
            " another value, which it may not change"
        )
    if session.role is not None and (runs.superuser or runs.bypasses):
        power = "a superuser" if runs.superuser else "free of row-level security (BYPASSRLS)"
        if runs.role == session.role:
            told.append(
                f"{runs.role} is {power}, so tenants would not be kept apart: as an administrator"
                f" ALTER ROLE {runs.role} NOSUPERUSER NOBYPASSRLS"
            )
        else:
            told.append(f"it runs as {runs.role}, who is {power}: no tenant is kept from another")
    return told


def _pooled(runs: Running, lacks: Mapping[str, str]) -> str:
    where = f"ALTER ROLE {_quoted(runs.login)} IN DATABASE {_quoted(runs.database)} SET"
    statements = "; ".join(
        f"{where} {name} = " + (_quoted(value) if name == "search_path" else f"'{value}'")
        for name, value in lacks.items()
    )
    return (
        f"a pooler before PostgreSQL dropped what the connection asked for ({', '.join(lacks)}),"
        " and may lend each transaction another connection, so that nothing stays set. Connect to"
        " PostgreSQL itself; or give the login these settings, then restart the pooler:"
        f" {statements}"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def make_fit(conn: Plain, session: Session) -> Found:
    """How it is found in the end: see `problems`."""
    found = await look(conn, session)
    lacks = lacking(found, session)
    can = {name: value for name, value in lacks.items() if name not in _SUPERUSER_ONLY}
    # Behind a pooler it would be set for whoever gets that connection next, and not for us.
    if can and not found.pooled:
        await set_session(conn, list(can), list(can.values()))
        found = await look(conn, session)
    return found
