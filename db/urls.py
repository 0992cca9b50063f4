"""A database's URL as hosters print it, and what is made of it here.

libpq's parameters, those that other clients made up, and several hosts. What has an equivalent is
translated, what has none is left out and said, and what would quietly be weaker than it was meant
(an `sslmode` that nobody knows) is refused. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlencode

DEFAULT_PORT = 5432
PATIENCE_MAX_S = 30.0  # of a `connect_timeout`, a host: longer, and a process seems dead
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# As other clients spell it: JDBC, node-postgres, Prisma, SQLAlchemy.
SSL_SPELLINGS = {
    "ssl": {"true": "require", "1": "require", "false": "disable", "0": "disable"},
    "requiressl": {"1": "require", "0": "prefer"},
    "sslmode": {"no-verify": "require"},
}
_TLS_FILES = ("sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword")
_PASSED_ON = (
    *_TLS_FILES,
    *("ssl_min_protocol_version", "ssl_max_protocol_version", "sslnegotiation"),
    *("krbsrvname", "gsslib", "passfile"),
)
_OF_OTHER_CLIENTS = "is another client's"
_LEFT_OUT = {
    "application_name": "every process names itself",
    "fallback_application_name": "every process names itself",
    "client_encoding": "it is UTF-8 always",
    "sslsni": "the host's name is sent along always",
    "sslcompression": "TLS has none any more",
    "tcp_user_timeout": "a dead line is noticed by the limits of statements",
    "load_balance_hosts": "hosts are tried in their order",
    "replication": "it is no replica",
    **dict.fromkeys(
        ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
        "a dead line is noticed by the limits of statements",
    ),
    **dict.fromkeys(
        (
            *("pgbouncer", "connection_limit", "pool_timeout", "socket_timeout", "schema"),
            *("pool_mode", "pool", "pool_size", "max_pool_size", "prepareThreshold"),
            *("statement_cache_size", "prepared_statement_cache_size", "prepare_threshold"),
            *("supa", "workaround", "sslidentity", "sslaccept", "uselibpqcompat"),
        ),
        _OF_OTHER_CLIENTS,
    ),
}
# Parameters whose value decides: which say nothing new, which are left out, and why; others are
# refused. A server that takes no writes is passed over whatever `target_session_attrs` says.
_CHOICES: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "channel_binding": (
        ("disable", "prefer"),
        ("require",),
        "the driver has none; sslmode=verify-full with sslrootcert=system protects as well",
    ),
    "gssencmode": (("disable", "prefer"), (), "the driver encrypts by TLS only"),
    "target_session_attrs": (("any", "primary", "read-write"), (), "the product has to write"),
}
# Whoever wrote a name like this meant something by it that must not be lost.
_WEIGHTY = re.compile(
    "ssl|tls|cert|auth|bind|enc|crl|peer|session|standby|host|port|user|pass|role|service",
    re.IGNORECASE,
)


class BadUrl(ValueError):
    """Every problem of it, each with what to do; never a password."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and as whom."""

    hosts: tuple[tuple[str, int], ...]
    user: str | None
    password: str | None = field(repr=False)
    database: str | None
    parameters: tuple[tuple[str, str], ...]  # of TLS and logins, for asyncpg
    trusts_system: bool  # `sslrootcert=system`: certificates as a browser checks them
    patience_s: float | None  # for one host; None: nothing is said
    options: str | None  # for the server: some hosters find the database by it
    ignored: tuple[str, ...]  # what was left out, and why

    @property
    def needs_tls(self) -> bool:
        mode = dict(self.parameters).get("sslmode", "")
        return self.trusts_system or mode == "require" or mode.startswith("verify")

    @property
    def dsn(self) -> str:
        """asyncpg takes these from a URL only; all else is handed over by itself."""
        return f"postgresql:///?{urlencode(self.parameters)}" if self.parameters else ""


def read(url: str) -> Target:
    """Raises BadUrl."""
    reading = _Reading()
    match = re.fullmatch(r"(?s)postgres(?:ql)?://([^/?]*)(?:/([^?]*))?(?:\?(.*))?", url.strip())
    if match is None:
        raise BadUrl(["postgresql://... or postgres://... expected"])
    place, path, query = match.groups()
    login, _, hosts = place.rpartition("@")
    user, _, password = login.partition(":")
    given = reading.query(query or "")
    reading.hosts(hosts, given.pop("host", ""), given.pop("port", ""))
    options = given.pop("options", None)
    patience_s = reading.patience(given.pop("connect_timeout", None))
    database = given.pop("dbname", None) or given.pop("database", None)
    query_user, query_password = given.pop("user", None), given.pop("password", None)
    reading.tls(given)
    reading.others(given)
    if reading.problems:
        raise BadUrl(reading.problems)
    return Target(
        hosts=tuple(reading.found),
        user=unquote(user) or query_user,
        password=unquote(password) or query_password,
        database=unquote(path or "") or database,
        parameters=tuple(sorted(reading.parameters.items())),
        trusts_system=reading.trusts_system,
        patience_s=patience_s,
        options=options,
        ignored=tuple(reading.ignored),
    )


@dataclass(slots=True)
class _Reading:
    """What was understood so far, and all that was not."""

    problems: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    found: list[tuple[str, int]] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    trusts_system: bool = False

    def query(self, text: str) -> dict[str, str]:
        given = {}
        for part in filter(None, text.split("&")):
            name, is_one, value = part.partition("=")
            if not is_one:
                self.problems.append("what stands behind the ? is not name=value&name=value")
            given[unquote(name)] = unquote(value)
        return given

    def hosts(self, authority: str, query_hosts: str, query_ports: str) -> None:
        """Several are told apart by commas; each may have its port."""
        named = [unquote(one) for one in authority.split(",")] if authority else []
        named = named or [one for one in query_hosts.split(",") if one]
        ports = [one for one in query_ports.split(",") if one]
        if not named:
            self.problems.append("it names no host")
        if len(ports) > 1 and len(ports) != len(named):
            self.problems.append(f"it has {len(named)} hosts and {len(ports)} ports")
            return
        for place, one in enumerate(named):
            default = ports[place if len(ports) > 1 else 0] if ports else str(DEFAULT_PORT)
            self._host(one, default)

    def _host(self, text: str, default_port: str) -> None:
        host, port = text, default_port
        is_socket = text.startswith("/")  # a directory
        is_ipv6 = re.fullmatch(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*", text)
        if not is_socket and not is_ipv6:
            match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:@\s]+))(?::(\d*))?", text)
            if match is None:
                self.problems.append(
                    "a host of it is none, or its port no number; in user and password, characters"
                    " like / : @ # have to be written as %2F %3A %40 %23"
                )
                return
            host, port = match[1] or match[2], match[3] or default_port
        if not re.fullmatch(r"\d{1,5}", port) or not 1 <= int(port) <= 65_535:
            self.problems.append("a port of it is not from 1 to 65535")
            return
        self.found.append((host, int(port)))

    def patience(self, text: str | None) -> float | None:
        if text is None:
            return None
        if not re.fullmatch(r"-?\d{1,9}", text):
            self.problems.append("connect_timeout is not a number of seconds")
            return None
        seconds = float(text)
        if seconds <= 0:
            self.ignored.append(f"connect_timeout={text}: nothing waits for ever here")
            return None
        if seconds > PATIENCE_MAX_S:
            self.ignored.append(f"connect_timeout={text}: {PATIENCE_MAX_S:.0f} s are the most")
        return min(seconds, PATIENCE_MAX_S)

    def tls(self, given: dict[str, str]) -> None:
        modes = {}
        for name, spellings in SSL_SPELLINGS.items():
            if (value := given.pop(name, None)) is not None:
                modes[name] = spellings.get(value, value)
                if modes[name] not in SSL_MODES:
                    self.problems.append(f"{name} is none of {', '.join(SSL_MODES)}")
        if len(set(modes.values())) > 1:
            self.problems.append(f"{' and '.join(modes)} say different things of TLS")
        mode = next(iter(modes.values()), None)
        if given.get("sslrootcert") == "system":
            del given["sslrootcert"]
            if mode not in (None, "verify-full"):
                self.problems.append("sslrootcert=system goes with sslmode=verify-full only")
            self.trusts_system = True
        elif mode is not None:
            self.parameters["sslmode"] = mode
        for name in _PASSED_ON:
            if value := given.pop(name, ""):
                self.parameters[name] = value

    def others(self, given: Mapping[str, str]) -> None:
        for name, value in given.items():
            if name in _CHOICES:
                self._choice(name, value)
            elif name in _LEFT_OUT:
                self.ignored.append(f"{name}: {_LEFT_OUT[name]}")
            elif _WEIGHTY.search(name):
                self.problems.append(
                    f"{_name(name)} is no parameter that is known here: mend its spelling, or leave"
                    " it out"
                )
            else:
                self.ignored.append(f"{_name(name)}: it is no parameter of a connection")

    def _choice(self, name: str, value: str) -> None:
        fine, left_out, why = _CHOICES[name]
        if value in left_out:
            self.ignored.append(f"{name}={value}: {why}")
        elif value not in fine:
            known = ", ".join((*fine, *left_out))
            self.problems.append(f"{name} is none of {known}" + ("" if left_out else f": {why}"))


def _name(text: str) -> str:
    return re.sub(r"[^\w.-]", "?", text)[:40]
