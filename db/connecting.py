"""A connection to the first host that answers and can be worked on; else every host's cause."""

import asyncio
import socket
import ssl
from contextlib import ExitStack
from dataclasses import dataclass

import asyncpg

from db.driver import Plain
from db.pooling import TOLD, Connection, keeps_statements
from db.session import Found, Session, make_fit, problems
from db.urls import Target

CONNECT_TIMEOUT_S = 5.0  # a host

# Whatever ends an attempt, from a wire that is cut to a certificate's file that is not there.
_FAILED = (
    OSError,
    TimeoutError,
    UnicodeError,  # a host's name that is none
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.InternalClientError,
)
# The host that answered last is asked first, so that one that hangs is waited for once.
_keeping: set[tuple[str, int]] = set()  # poolers whose connections keep prepared statements
_answered: dict[tuple[tuple[str, int], ...], int] = {}


class CannotConnect(ConnectionError):
    """`told` is for people: each host and its cause, and no password."""

    def __init__(self, told: str, *, refused: bool) -> None:
        super().__init__(told)
        self.told = told
        self.refused = refused  # a server answered, and would not have us


class Unfit(CannotConnect):
    """A server answers, but not as one that may be worked on."""

    def __init__(self, found: list[str], *, by_migrate: bool = False) -> None:
        super().__init__("; ".join(found), refused=True)
        self.problems = found
        self.by_migrate = by_migrate  # that may mend it


@dataclass(frozen=True, slots=True)
class Server:
    """Where and as whom, and what a connection has to be then."""

    target: Target
    session: Session

    async def connect(self) -> Plain:
        """Raises CannotConnect."""
        hosts = self.target.hosts
        first = _answered.get(hosts, 0)
        causes: dict[int, str] = {}
        refused = False
        for place in (*range(first, len(hosts)), *range(first)):
            try:
                conn = await self._attempt(hosts[place])
            except Unfit:
                raise
            except _FAILED as error:
                causes[place] = cause(error, self.target, self.session)
                if _is_about_role(error, self.session):
                    raise Unfit([causes[place]], by_migrate=True) from error
                refused = refused or isinstance(error, asyncpg.PostgresError)
            except asyncio.CancelledError:  # whoever had less patience: not this one first again
                _answered[hosts] = (place + 1) % len(hosts)
                raise
            else:
                _answered[hosts] = place
                return conn
        told = "; ".join(f"{_spelt(hosts[place])}: {causes[place]}" for place in sorted(causes))
        raise CannotConnect(told, refused=refused)

    async def _attempt(self, host: tuple[str, int]) -> Plain:
        async with asyncio.timeout(self.target.patience_s or CONNECT_TIMEOUT_S):
            conn = await self._open(host)
            with ExitStack() as unproved:
                unproved.callback(conn.terminate)
                await self._prove(conn, host)
                unproved.pop_all()
            return conn

    async def _open(self, host: tuple[str, int]) -> Plain:
        target = self.target
        settings = self.session.asked_for()
        if target.options is not None:
            settings["options"] = target.options
        return await asyncpg.connect(
            target.dsn or None,
            host=host[0],
            port=host[1],
            user=target.user,
            password=target.password,
            database=target.database,
            ssl=_system_trust(target) if target.trusts_system else None,
            command_timeout=self.session.command_timeout_s,
            server_settings=settings,
            connection_class=Connection,
        )

    async def _prove(self, conn: Plain, host: tuple[str, int]) -> None:
        found: Found = await make_fit(conn, self.session)
        if found.running.standby:
            raise asyncpg.ReadOnlySQLTransactionError("it takes no writes: it is a standby")
        if told := problems(found, self.session):
            raise Unfit(told)
        if found.pooled and host not in _keeping:
            if not await keeps_statements(conn, lambda: self._open(host)):
                raise Unfit([TOLD])
            _keeping.add(host)


def _spelt(host: tuple[str, int]) -> str:
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _system_trust(target: Target) -> ssl.SSLContext:
    """Certificates are looked at as a browser does."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    files = dict(target.parameters)
    if "sslcert" in files:
        context.load_cert_chain(files["sslcert"], files.get("sslkey"), files.get("sslpassword"))
    return context


def cause(error: BaseException, target: Target, session: Session) -> str:
    """Why a host could not be connected, and what to do. What the server said stands in it: it
    names logins, databases and addresses, and no password."""
    said = " ".join(str(error).split()) or type(error).__name__
    match error:
        case TimeoutError():
            waited_s = target.patience_s or CONNECT_TIMEOUT_S
            what = f"no answer in {waited_s:.0f} s"
            return f"{what}: are host and port right, and does a firewall let us through?"
        case socket.gaierror():
            return f"the host's name is not known ({error.strerror})"
        case ConnectionRefusedError():
            return "nothing listens there: is PostgreSQL running, and is the port right?"
        case ssl.SSLError():
            return f"TLS failed ({said}): see sslmode and sslrootcert"
        case ConnectionError() if "rejected SSL upgrade" in said:
            if not target.needs_tls:
                return "what answers there does not speak PostgreSQL's protocol: is the port right?"
            return (
                "the server has no TLS, and sslmode asks for it: turn `ssl` on there, or where the"
                " network between is trusted say sslmode=disable"
            )
        case asyncpg.exceptions.ConnectionDoesNotExistError() | ConnectionResetError():
            return f"closed the connection before it was one ({said})"
        case asyncpg.ProtocolViolationError() if "startup parameter" in said:
            names = ",".join((*session.asked_for(), "extra_float_digits"))
            return (
                f"a pooler refuses it ({said}): connect to PostgreSQL itself, or see PgBouncer in"
                f" docs/operations.md; its ignore_startup_parameters = {names} lets it pass"
            )
        case asyncpg.InvalidSQLStatementNameError() | asyncpg.DuplicatePreparedStatementError():
            return TOLD
        case asyncpg.PostgresError() if _is_about_role(error, session):
            return f"{said}: {_granting(session.role, target.user)}"
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"{said}: are user and password right, and does pg_hba.conf let them in?"
        case asyncpg.ReadOnlySQLTransactionError():
            return said
        case _:
            pass
    return f"{type(error).__name__}: {said}"


def _is_about_role(error: BaseException, session: Session) -> bool:
    """It is not there, or the login may not take it."""
    return isinstance(error, asyncpg.PostgresError) and f'"{session.role}"' in str(error)


def _granting(role: str | None, login: str | None) -> str:
    if role == "swiftreplies_log":
        return (
            "the ingest log in PostgreSQL has a login of its own: CREATE ROLE swiftreplies_ingest"
            " LOGIN PASSWORD '...', put it into INGEST_LOG_URL, and run `swiftreplies migrate`"
        )
    return (
        f"run `swiftreplies migrate` with this DATABASE_URL, or as an administrator GRANT {role} TO"
        f" {login or 'its login'}"
    )
