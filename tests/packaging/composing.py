"""docker-compose.yml as Docker would read it: merged, and with the variables put in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.packaging import ROOT

COMPOSE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")


class Missing(Exception):
    """Docker would refuse to start anything."""


@dataclass(slots=True)
class Interpolation:
    values: Mapping[str, str]
    used: dict[str, str | None] = field(default_factory=dict)  # name -> :-, :? or None

    def of(self, found: Any) -> Any:
        if isinstance(found, dict):
            return {key: self.of(value) for key, value in found.items()}
        if isinstance(found, list):
            return [self.of(value) for value in found]
        return VARIABLE.sub(self._one, found) if isinstance(found, str) else found

    def _one(self, match: re.Match[str]) -> str:
        name, how, text = match.groups()
        self.used[name] = how
        if value := self.values.get(name):
            return value
        if how == ":?":
            raise Missing(f"{name}: {text}")
        return text or ""


def composed(values: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str | None]]:
    interpolation = Interpolation(values)
    whole = interpolation.of(yaml.safe_load(COMPOSE.read_text()))
    return whole, interpolation.used


ENTRY = re.compile(r"^(#?)([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)


def example() -> dict[str, tuple[bool, str]]:
    """Of .env.example: whether it is set there, and to what."""
    text = (ROOT / ".env.example").read_text()
    found = [(name, (not off, value)) for off, name, value in ENTRY.findall(text)]
    assert len(found) == len(dict(found)), "a variable stands twice"
    return dict(found)


def completed() -> dict[str, str]:
    """.env.example as an operator leaves it."""
    filled = {
        "WHATSAPP_APP_SECRET": "app-secret",
        "WHATSAPP_VERIFY_TOKEN": "verify-token",
        "SECRETS_KEY": "a-key-of-32-characters-or-more--",
        "OPENAI_API_KEY": "sk-example",
        "POSTGRES_PASSWORD": "administrator1",
        "POSTGRES_OWNER_PASSWORD": "owner2",
        "POSTGRES_RUNTIME_PASSWORD": "runtime3",
        "POSTGRES_INGEST_PASSWORD": "ingest4",
        "RABBITMQ_PASSWORD": "broker4",
        "GRAFANA_PASSWORD": "grafana5",
    }
    given = {name: value for name, (is_set, value) in example().items() if is_set}
    assert all(not given[name] for name in filled), "no secret is baked in"
    return given | filled
