"""docker-compose.yml: what it refers to is there, and what it promises about its containers holds.

There is no Docker in the suite; docs/deploy.md says what was tried and how.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from cli.main import command_line
from handlers.ingest_log.port import STOP_TIMEOUT_S
from ingress import settings as ingress
from ingress.app import SHUTDOWN_S
from tests.packaging import ROOT
from tests.packaging.composing import Missing, completed, composed
from worker import settings as worker
from worker.claims import DRAIN_S

OURS = ("migrate", "ingress", "worker", "operator")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = composed(completed())[0]["services"]
    return found


def seconds(text: str) -> float:
    (number,) = re.fullmatch(r"(\d+)s", text).groups()  # type: ignore[union-attr]
    return float(number)


@pytest.mark.parametrize(
    "name", sorted(n for n, v in completed().items() if v and n != "OPENAI_API_KEY")
)
def test_nothing_starts_without_its_secrets(name: str) -> None:
    with pytest.raises(Missing, match=rf"{name}: set it in \.env"):
        composed(completed() | {name: ""})


def test_no_secret_is_written_down() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for line in text.splitlines():
        if match := re.match(r"\s*\w*(?:PASS|PASSWORD|SECRET|KEY|TOKEN): (.*)", line):
            assert match[1].startswith("${"), line
    for password in re.findall(r"//\w+:([^@\s]+)@", text):
        assert password.startswith("${"), password


def test_what_the_processes_get_is_what_they_need(services: dict[str, Any]) -> None:
    """Less is refused by them; more would be a secret too many."""
    door, work = services["ingress"]["environment"], services["worker"]["environment"]
    assert ingress.read(door).port == 8080
    read = worker.read(work)
    assert (read.host, read.metrics_port) == ("0.0.0.0", 9090)
    assert not {"OPENAI_API_KEY", "WHATSAPP_ACCESS_TOKEN"} & set(door)
    assert door["SECRETS_KEY"] == work["SECRETS_KEY"]
    assert ingress.read(door).secrets_keys  # of the apps in the database
    assert not {"WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN"} & set(work)
    for environment in (door, work):
        assert "MIGRATION_DATABASE_URL" not in environment
        assert not {name for name in environment if name.startswith("POSTGRES_")}
    assert "runtime3" in door["DATABASE_URL"]
    assert "owner2" in services["migrate"]["environment"]["MIGRATION_DATABASE_URL"]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_may_do_little(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("volumes", ["media:/data"]) == ["media:/data"]
    if command := service.get("command"):
        command_line().parse_args(command)


def test_ports_are_on_this_machine_alone(services: dict[str, Any]) -> None:
    published = {name: s["ports"] for name, s in services.items() if "ports" in s}
    assert set(published) == {"rabbitmq", "ingress", "prometheus", "grafana"}
    assert published["rabbitmq"] == ["127.0.0.1:15672:15672"], "its page, not AMQP"
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_order_of_the_start(services: dict[str, Any]) -> None:
    healthy = {"condition": "service_healthy"}
    for name in OURS:
        after = services[name]["depends_on"]
        assert after["postgres"] == after["rabbitmq"] == healthy
    for name in ("ingress", "worker"):
        assert services[name]["depends_on"]["migrate"] == {
            "condition": "service_completed_successfully"
        }
        assert services[name]["restart"] == "unless-stopped"
    assert "restart" not in services["migrate"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
    for name in ("postgres", "rabbitmq"):
        assert services[name]["healthcheck"]


def test_time_to_drain(services: dict[str, Any]) -> None:
    """Docker kills after it what has not ended."""
    assert seconds(services["worker"]["stop_grace_period"]) > DRAIN_S + STOP_TIMEOUT_S
    assert seconds(services["ingress"]["stop_grace_period"]) > SHUTDOWN_S + 3


def test_what_is_referred_to_exists(services: dict[str, Any]) -> None:
    declared = composed(completed())[0]["volumes"]
    used = set()
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                used.add(source)
    assert used == set(declared)
    assert {s["image"].count(":") for s in services.values()} == {1}, "every image has a tag"
    assert not [s["image"] for s in services.values() if s["image"].endswith(":latest")]


def test_dockerfile_copies_what_exists_and_runs_as_nobody() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [shlex.split(line) for line in lines if line and not line.startswith("#")]
    for step in steps:
        if step[0] == "COPY" and not step[1].startswith("--from"):
            assert all((ROOT / source).exists() for source in step[1:-1]), step
    last = {step[0]: step[1:] for step in steps}  # of a keyword, what counts is the last
    assert last["USER"] == ["10001:10001"]
    assert last["STOPSIGNAL"] == ["SIGTERM"]
    assert last["ENTRYPOINT"] == ["[swiftreplies]"], "exec form: signals reach the process"
    assert "HEALTHCHECK" not in last
    assert sum(step[0] == "FROM" for step in steps) == 2


def test_the_installer_is_that_of_the_checkout() -> None:
    (pinned,) = re.findall(r"uv==[\d.]+", (ROOT / "Dockerfile").read_text())
    assert f'UV = "{pinned}"' in (ROOT / "local" / "bootstrap.py").read_text()


def test_the_image_gets_the_packages_and_nothing_else() -> None:
    listed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    pyproject = (ROOT / "pyproject.toml").read_text()
    (packages,) = re.findall(r"^packages = \[(.*)\]$", pyproject, re.MULTILINE)[:1]
    assert listed == {"pyproject.toml", "uv.lock", "README.md", "LICENSE"} | set(
        re.findall(r'"(\w+)"', packages)
    )
    assert all(Path(ROOT, name).exists() for name in listed)
