"""Sets this checkout up with nothing but a bare Python: `python3 local/bootstrap.py`.

Makes `.venv` with the locked packages, without touching the system's Python (Debian's has neither
pip nor ensurepip); with `--bench` also those that only benchmarks need. With `--rabbitmq` it makes
sure that a rabbitmq-server is installed instead, with `--chromium` that a Chromium is, with
`--receivers` that there is what the receivers of docs/webhooks.md run with. All do nothing, at
once, when nothing is to be done, and may run several times at the same time.

Only the standard library may be imported here, and the syntax must suit older Pythons, so that they
can find a newer one or say what is missing. The slower modules are imported where they are used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

OLDEST = (3, 11)
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")

PIP = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
UV = "uv==0.13.9"

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
# Beside the environment's packages, not among them: `uv sync` removes what is not locked.
UV_HOME = os.path.join(VENV, "uv")
STAMP = os.path.join(VENV, ".set-up")
STAMP_BENCH = os.path.join(VENV, ".set-up-bench")
UNFINISHED = os.path.join(VENV, ".unfinished")

POLICY = "/usr/sbin/policy-rc.d"
POLICY_TEXT = "#!/bin/sh\n# temporary, while packages are installed: start no service\nexit 101\n"
RABBITMQ = "rabbitmq-server"
RABBITMQ_PLACES = ("/usr/sbin/rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server")
CHROMIUM = "chromium"
# As tests/phone/browser.py looks for it.
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# What docs/webhooks.md installs with npm, which is 300 packages there: the tarballs alone, where
# tests/receivers looks. Integrity (sha512) as the registry and lock files write it.
NODE_MODULES = os.path.join(ROOT, ".cache", "node_modules")
NODE_PACKAGES = (
    (
        "standardwebhooks",
        "1.1.1",
        "bCbX9ZEyFkWPsRz7Bl3NuQUJohmwGSev/yhr7vhaGPlc4AfIrspIRa6cPTBuI1ItmrTDJ4d/S2hCsfe4+vQGnQ==",
    ),
    (
        "@stablelib/base64",
        "1.0.1",
        "1bnPQqSxSuc3Ii6MhBysoWCg58j97aUjuCSZrGSmDxNqtytIi0k8utUenAwTZN4V5mXXYGsVUI9zeBqy+jBOSQ==",
    ),
    (
        "fast-sha256",
        "1.3.0",
        "n11RGP/lrWEFI/bWdygLxhI+pVeo1ZYIVwvvPkW7azl/rOy+F3HYRZ2K5zeE9mmkhQppyv9sQFx0JM9UabnpPQ==",
    ),
)


def main(arguments: list[str]) -> None:
    signal.signal(signal.SIGTERM, _terminated)
    if arguments == ["--rabbitmq"]:
        ensure_rabbitmq(needed=True)
    elif arguments == ["--rabbitmq", "--optional"]:
        ensure_rabbitmq(needed=False)
    elif arguments == ["--chromium"]:
        ensure_chromium(needed=True)
    elif arguments == ["--chromium", "--optional"]:
        ensure_chromium(needed=False)
    elif arguments == ["--receivers"]:
        ensure_receivers(needed=True)
    elif arguments == ["--receivers", "--optional"]:
        ensure_receivers(needed=False)
    elif arguments == ["--bench"]:
        ensure_environment(STAMP_BENCH, ["--group", "bench"])
    elif not arguments:
        ensure_environment(STAMP, [])
    else:
        options = "[--bench|--rabbitmq|--chromium|--receivers [--optional]]"
        print(f"usage: python3 local/bootstrap.py {options}", file=sys.stderr)
        sys.exit(2)


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def fail(what: str, remedy: str) -> NoReturn:
    sys.exit(f"\nset-up failed: {what.strip()}\n{remedy}")


# The Python environment


def ensure_environment(stamp: str, groups: list[str]) -> None:
    if sys.version_info[:2] < OLDEST:
        _run_with_newer_python()
    if _stamped(stamp) == _stamp():
        return
    with _lock():
        if _stamped(stamp) == _stamp():  # somebody else's set-up has finished meanwhile
            return
        if not _usable():
            _make_environment()
        _install_uv()
        _install_packages(groups)
        _write_stamp(stamp)


def _run_with_newer_python() -> NoReturn:
    for name in NEWER_PYTHONS:
        path = shutil.which(name)
        if path:
            os.execv(path, [path, *sys.argv])
    fail(
        "Python {}.{} or newer is needed; {} is {}.{}.".format(
            *OLDEST, sys.executable, *sys.version_info[:2]
        ),
        "Install one (its name, e.g. python3.12, must be found on the PATH) and try again.",
    )


def _stamp() -> str:
    """What a finished set-up depends on: where it is, which Python, what is locked."""
    digest = hashlib.sha256()
    for name in ("uv.lock", "pyproject.toml", os.path.join("local", "bootstrap.py")):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return f"{ROOT}\n{os.path.realpath(PYTHON)}\n{digest.hexdigest()}\n"


def _stamped(stamp: str) -> str | None:
    try:
        with open(stamp) as file:
            return file.read()
    except OSError:
        return None


def _usable() -> bool:
    """Whether there is an environment that only needs its packages brought up to date."""
    if os.path.exists(UNFINISHED) or not os.path.exists(os.path.join(VENV, "pyvenv.cfg")):
        return False
    stamped = _stamped(STAMP)
    if stamped is not None and stamped.splitlines()[:2] != _stamp().splitlines()[:2]:
        return False  # moved, or its Python was replaced
    question = "import sys; sys.exit(sys.version_info[:2] < {} or sys.prefix != {!r})"
    command = [PYTHON, "-c", question.format(OLDEST, VENV)]
    try:
        return subprocess.call(command, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def _make_environment() -> None:
    _step("[1/3] making .venv with Python {}.{}.{}".format(*sys.version_info[:3]))
    if os.path.islink(VENV) or os.path.isfile(VENV):
        os.unlink(VENV)
    shutil.rmtree(VENV, ignore_errors=True)
    os.makedirs(VENV)
    _mark_unfinished()
    _run(
        [sys.executable, "-m", "venv", "--without-pip", VENV],
        "the virtual environment could not be made",
        "Is the standard library complete (Debian: apt-get install python3)?",
    )


def _mark_unfinished() -> None:
    with open(UNFINISHED, "w"):
        pass


def _install_uv() -> None:
    uv = os.path.join(UV_HOME, "bin", "uv")
    try:
        said = subprocess.check_output([uv, "--version"], universal_newlines=True)
        if said.split()[1] == UV.split("==")[1]:
            return
    except (OSError, subprocess.CalledProcessError, IndexError):
        pass
    import tempfile

    _step("[2/3] getting the installer, {}".format(UV.replace("==", " ")))
    with tempfile.TemporaryDirectory() as directory:
        wheel = os.path.join(directory, PIP)
        with open(wheel, "wb") as file:
            file.write(_download_pip())
        shutil.rmtree(UV_HOME, ignore_errors=True)
        pip = [PYTHON, os.path.join(wheel, "pip"), "--disable-pip-version-check", "install"]
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--root-user-action=ignore"]
        _run(
            [*pip, *options, "--target", UV_HOME, UV],
            "uv could not be installed",
            "If the package index is not reachable, set PIP_INDEX_URL (and PIP_CERT) to a mirror.",
        )


def _install_packages(groups: list[str]) -> None:
    _step("[3/3] installing the locked packages")
    _mark_unfinished()
    environment = dict(
        os.environ,
        UV_PROJECT_ENVIRONMENT=VENV,
        UV_PYTHON_DOWNLOADS="never",
        # Else the first of each process does it, and where writing it is forbidden every one: a
        # worker then takes 2.6 s of CPU to load instead of 1.4.
        UV_COMPILE_BYTECODE="1",
    )
    environment.pop("VIRTUAL_ENV", None)
    index, certificates = _pip_setting("index-url"), _pip_setting("cert")
    if index:
        environment.setdefault("UV_DEFAULT_INDEX", index)
    if certificates:
        environment.setdefault("SSL_CERT_FILE", certificates)
    _run(
        [os.path.join(UV_HOME, "bin", "uv"), "sync", "--frozen", "--python", PYTHON, *groups],
        "the locked packages could not be installed",
        "Try again; what was downloaded is kept.",
        environment,
        show=sys.stderr.isatty(),
    )
    # What is not asked for now is gone: the stamps of other groups go with it.
    for stamp in (STAMP, STAMP_BENCH):
        with contextlib.suppress(OSError):
            os.unlink(stamp)
    _write_stamp(STAMP)
    os.unlink(UNFINISHED)


def _write_stamp(stamp: str) -> None:
    temporary = stamp + ".new"
    with open(temporary, "w") as file:
        file.write(_stamp())
    os.replace(temporary, stamp)


def _download_pip() -> bytes:
    import html
    import re
    import urllib.parse

    page_url = (_pip_setting("index-url") or "https://pypi.org/simple").rstrip("/") + "/pip/"
    page = _download(page_url).decode("utf-8", "replace")
    for quoted in re.findall(r"href\s*=\s*[\"']([^\"']+)", page):
        link = urllib.parse.urljoin(page_url, html.unescape(quoted))
        if urllib.parse.urlsplit(link).path.endswith("/" + PIP):
            wheel = _download(urllib.parse.urldefrag(link).url)
            if hashlib.sha256(wheel).hexdigest() == PIP_SHA256:
                return wheel
            fail(f"{PIP} from {page_url} is not the one we know.", "Try another index.")
    fail(f"{page_url} has no {PIP}.", "Set PIP_INDEX_URL to an index that has it.")


def _download(url: str, mirror: str = "PIP_INDEX_URL") -> bytes:
    import ssl
    import time
    import urllib.request

    certificates = _pip_setting("cert")
    try:
        context = ssl.create_default_context(cafile=certificates)
    except OSError as error:
        fail(f"the certificates {certificates} cannot be read: {error}", "See PIP_CERT.")
    problem: Exception
    for pause in (1, 3, 0):
        try:
            request = urllib.request.Request(url, headers={"Accept": "text/html, */*"})
            with urllib.request.urlopen(request, timeout=60, context=context) as response:
                body: bytes = response.read()
                return body
        except (OSError, ValueError) as error:  # URLError and time-outs are OSErrors
            problem = error
            time.sleep(pause)
    fail(
        f"{url}: {problem}",
        f"Is the network up? A mirror is set with {mirror}, its certificates with PIP_CERT, "
        "a proxy with https_proxy. (Debian keeps certificates in the package ca-certificates.)",
    )


def _pip_setting(name: str) -> str | None:
    """An option of pip's, from where pip takes it: environment, user's file, machine's file."""
    value = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if value:
        return value
    import configparser

    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    user_files = ("~/.pip/pip.conf", os.path.join(config, "pip", "pip.conf"))
    files = ["/etc/pip.conf", *map(os.path.expanduser, user_files)]
    if "PIP_CONFIG_FILE" in os.environ:
        files = [os.environ["PIP_CONFIG_FILE"]]
    parser = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        parser.read(files)
    return parser.get("global", name, fallback=None)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    import fcntl

    os.makedirs(os.path.join(ROOT, ".cache"), exist_ok=True)
    with open(os.path.join(ROOT, ".cache", "set-up.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _step("waiting for another set-up of this checkout")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# Packages of the distribution


def ensure_rabbitmq(*, needed: bool) -> None:
    if os.environ.get("AMQP_URL") or (not needed and os.environ.get("INGEST_LOG") == "postgres"):
        return
    _ensure(RABBITMQ, _has_rabbitmq, ", or set AMQP_URL=amqp://...", needed=needed)


def _has_rabbitmq() -> bool:
    return any(map(os.path.exists, RABBITMQ_PLACES)) or bool(shutil.which("rabbitmq-server"))


def ensure_chromium(*, needed: bool) -> None:
    _ensure(CHROMIUM, _has_chromium, "", needed=needed)


def _has_chromium() -> bool:
    return any(map(shutil.which, CHROMIUM_NAMES))


def ensure_receivers(*, needed: bool) -> None:
    _ensure("nodejs", lambda: bool(shutil.which("node")), "", needed=needed)
    _ensure("php-cli", lambda: bool(shutil.which("php")), "", needed=needed)
    if not all(map(_has_node_package, NODE_PACKAGES)):
        with _lock():
            try:
                for package in NODE_PACKAGES:
                    if not _has_node_package(package):
                        _install_node_package(*package)
            except SystemExit as failure:
                if needed or isinstance(failure.code, int):
                    raise
                print(failure.code, file=sys.stderr)


def _has_node_package(package: tuple[str, str, str]) -> bool:
    import json

    try:
        with open(os.path.join(NODE_MODULES, package[0], "package.json")) as file:
            return bool(json.load(file)["version"] == package[1])
    except (OSError, ValueError, KeyError):
        return False


def _install_node_package(name: str, version: str, integrity: str) -> None:
    import base64
    import io
    import tarfile
    import tempfile

    # Spelt as npm spells it.
    registry = os.environ.get("npm_config_registry") or "https://registry.npmjs.org"  # noqa: SIM112
    _step(f"getting {name} {version} from {registry}")
    url = "{}/{}/-/{}-{}.tgz".format(registry.rstrip("/"), name, name.split("/")[-1], version)
    packed = _download(url, "npm_config_registry")
    if base64.b64encode(hashlib.sha512(packed).digest()).decode() != integrity:
        fail(f"{name} from {registry} is not the one we know.", "Try another registry.")
    place = os.path.join(NODE_MODULES, name)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(NODE_MODULES)) as directory:
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            # Not known to every 3.11, which then ignores it.
            tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            tar.extractall(directory)  # noqa: S202 - it is the one we know
        shutil.rmtree(place, ignore_errors=True)
        (unpacked,) = os.listdir(directory)  # "package", as a rule
        os.rename(os.path.join(directory, unpacked), place)


def _ensure(package: str, is_there: Callable[[], bool], otherwise: str, *, needed: bool) -> None:
    if is_there():
        return
    by_hand = f"sudo apt-get install {package}"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        with _lock():
            if is_there() or _install(package, otherwise, needed=needed):
                return
    elif needed:
        fail(f"{package} is not installed.", f"Install it ({by_hand}){otherwise}.")
    _step(f"going on without {package}. To have it: {by_hand}{otherwise}")


def _install(package: str, otherwise: str, *, needed: bool) -> bool:
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=3"]
    install = [*apt, "install", "--yes", "--no-install-recommends", package]
    steps = (
        (f"[1/2] {package} is missing: asking the distribution for it", [*apt, "update"]),
        (f"[2/2] installing {package} (about a minute); no service is started", install),
    )
    with _no_services():
        for title, command in steps:
            _step(title)
            try:
                _run(
                    command,
                    f"{package} could not be installed",
                    f"Install it by hand (apt-get install {package}){otherwise}.",
                    environment,
                )
            except SystemExit as failure:
                if needed or isinstance(failure.code, int):
                    raise
                print(failure.code, file=sys.stderr)
                return False
    return True


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Packages ask this file whether they may start their services; without it, they do."""
    ours = True
    with contextlib.suppress(FileNotFoundError), open(POLICY) as file:
        ours = file.read() == POLICY_TEXT  # left by a set-up that was killed
    if not ours:
        yield
        return
    try:
        with open(POLICY, "w") as file:
            file.write(POLICY_TEXT)
        os.chmod(POLICY, 0o755)
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(POLICY)


# Both


def _step(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(
    command: list[str],
    problem: str,
    remedy: str,
    environment: dict[str, str] | None = None,
    *,
    show: bool = False,
) -> None:
    """Runs a command, quietly unless it fails; ends it before we end."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=None if show else subprocess.PIPE,
        stderr=None if show else subprocess.STDOUT,
        universal_newlines=True,
        errors="replace",
    )
    try:
        output, _ = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.returncode != 0:
        tail = "\n".join((output or "").splitlines()[-30:])
        fail(f"{problem} (exit code {process.returncode}).\n{tail}", remedy)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
