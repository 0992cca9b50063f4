"""A private RabbitMQ node."""

import asyncio
import re
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local.servers.daemon import (
    SUPERUSER,
    Daemon,
    ServerError,
    base_environment,
    free_ports,
    on_free_ports,
    version_numbers,
    workplace,
)


@dataclass(frozen=True, slots=True)
class RabbitMQ:
    """A running private RabbitMQ node; `url` is that of its administrator."""

    url: str
    origin: str
    version: str
    directory: Path
    _daemon: "Daemon" = field(repr=False)

    @property
    def pid(self) -> int:
        return self._daemon.pid

    async def start(self) -> None:
        """Starts it again after `crash` or `stop`: same port, same data."""
        await self._daemon.start()

    async def stop(self) -> None:
        """Shuts it down in order; durable queues and their messages are kept."""
        await self._daemon.end(signal.SIGTERM)

    async def crash(self) -> None:
        """Kills every process of it at once, as a crash of the machine would."""
        await self._daemon.crash()


def rabbitmq_available() -> bool:
    return _rabbitmq_home() is not None and _erlang_program("epmd") is not None


def _rabbitmq_home() -> Path | None:
    # Not what is on the PATH: the distribution's wrapper there changes the user and its settings.
    homes = [
        home
        for home in Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")
        if (home / "sbin" / "rabbitmq-server").is_file()
    ]
    if on_path := shutil.which("rabbitmq-server"):
        real = Path(on_path).resolve()
        if real.parent.name == "sbin" and (real.parent / "rabbitmq-env").is_file():
            homes.append(real.parent.parent)
    return max(homes, key=lambda home: version_numbers(home.name), default=None)


def _erlang_program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(f"/usr/lib/erlang/bin/{name}")


@asynccontextmanager
async def rabbitmq(*, in_memory: bool = False) -> AsyncIterator[RabbitMQ]:
    """A private RabbitMQ node with its own Erlang cookie and port mapper, without plugins;
    `in_memory` as for `postgres`."""
    home, epmd = _rabbitmq_home(), _erlang_program("epmd")
    if home is None or epmd is None:
        raise ServerError(
            "No RabbitMQ found. Install the package rabbitmq-server, or set AMQP_URL."
        )
    version = home.name.partition("-")[2]
    node = f"swiftreplies-{secrets.token_hex(4)}@localhost"
    password = secrets.token_hex(16)
    async with workplace("rabbitmq", "KILL", in_memory=in_memory) as place:
        place.directory("data")
        place.file("data/.erlang.cookie", secrets.token_hex(16), mode=0o400)
        place.file("enabled_plugins", "[].\n")
        _link_applications(home, place.path / "rabbitmq")

        async def start() -> tuple[Daemon, Daemon, str]:
            amqp, distribution, names = free_ports(3)
            place.file("rabbitmq.conf", _rabbitmq_settings(amqp, password))
            environment = _rabbitmq_environment(place.path, node, distribution, names)
            mapping: list[str | Path] = [epmd, "-address", "127.0.0.1", "-port", str(names)]
            mapper = Daemon("epmd", place, mapping, environment, lambda: _listens(names))
            serving: list[str | Path] = [home / "sbin" / "rabbitmq-server"]
            daemon = Daemon(
                "RabbitMQ", place, serving, environment, lambda: _answers_amqp(amqp, node)
            )
            await mapper.start()
            try:
                await daemon.start()
            except BaseException:
                await mapper.crash()
                raise
            return daemon, mapper, f"amqp://{SUPERUSER}:{password}@127.0.0.1:{amqp}/"

        daemon, mapper, url = await on_free_ports(start)
        origin = f"RabbitMQ {version} of this machine, private node with data in {place.path}"
        try:
            yield RabbitMQ(url, origin, version, place.path, daemon)
        finally:
            await daemon.crash()
            await mapper.crash()


def _link_applications(home: Path, target: Path) -> None:
    """Makes a RabbitMQ home of links to just the Erlang applications that the core needs.

    Erlang looks for each of some thousand modules in every application's directory, and the
    distribution carries fifty plugins that a private node never enables: with them, starting takes
    twice as long.
    """
    plugins = {path.name.rpartition("-")[0]: path for path in (home / "plugins").glob("*-*")}
    needed: set[str] = set()
    wanted = {"rabbit"}
    while wanted:
        name = wanted.pop()
        described = plugins[name] / "ebin" / f"{name}.app" if name in plugins else None
        if name not in needed and described and described.is_file():
            needed.add(name)
            lists = re.findall(r"applications\s*,\s*\[([^\]]*)\]", described.read_text())
            wanted.update(re.findall(r"\w+", " ".join(lists)))
    # Packed applications (.ez) do not say what they need: then all are kept.
    packed = any(path.suffix == ".ez" for path in plugins.values())
    kept = plugins.values() if packed or not needed else [plugins[name] for name in needed]
    (target / "plugins").mkdir(parents=True)
    for path in kept:
        (target / "plugins" / path.name).symlink_to(path)
    for name in ("sbin", "escript"):
        (target / name).symlink_to(home / name)


def _rabbitmq_settings(port: int, password: str) -> str:
    return f"""\
listeners.tcp.1 = 127.0.0.1:{port}
default_user = {SUPERUSER}
default_pass = {password}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 1GB
raft.wal_max_size_bytes = 67108864
log.console = true
log.console.level = info
log.file = false
"""


def _rabbitmq_environment(
    directory: Path, node: str, distribution: int, names: int
) -> dict[str, str]:
    return base_environment(directory / "data") | {
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names),
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{directory}/absent.config",
        "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq.conf",
        "RABBITMQ_CONFIG_FILES": f"{directory}/absent",
        "RABBITMQ_CONF_ENV_FILE": f"{directory}/absent.conf",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/enabled_plugins",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_LOG_BASE": f"{directory}/data",
        "RABBITMQ_MNESIA_BASE": f"{directory}/data",
        "RABBITMQ_NODENAME": node,
        "RABBITMQ_SCRIPTS_DIR": f"{directory}/rabbitmq/sbin",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the server; no shell in between
    }


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _answers_amqp(port: int, node: str) -> bool:
    """Whether Connection.Start comes, and from our node: it carries the node's name."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        async with asyncio.timeout(5):
            writer.write(b"AMQP\x00\x00\x09\x01")
            header = await reader.readexactly(7)
            start = await reader.readexactly(int.from_bytes(header[3:7], "big"))
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.close()
    return node.partition("@")[0].encode() in start
