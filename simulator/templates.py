"""Templates that Meta keeps for its accounts: what it takes, and what becomes of it."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.graph_errors import Refused, invalid

EDITABLE = ("APPROVED", "REJECTED", "PAUSED")
CATEGORIES = ("MARKETING", "UTILITY", "AUTHENTICATION")
FIRST_ID = 1_450_098_723_340
VARIABLE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
NAME = re.compile(r"[a-z0-9_]{1,512}")


@dataclass
class Kept:
    id: str
    account_id: str
    name: str
    language: str
    category: str
    components: list[Any]
    parameter_format: str = "POSITIONAL"
    status: str = "PENDING"
    quality_score: str = "UNKNOWN"
    rejected_reason: str = "NONE"
    correct_category: str | None = None
    edits: int = 0

    def shown(self, fields: str | None) -> dict[str, Any]:
        told: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "language": self.language,
            "status": self.status,
            "category": self.category,
            "parameter_format": self.parameter_format,
            "components": self.components,
            "quality_score": {"score": self.quality_score, "date": 1_795_338_000},
            "rejected_reason": self.rejected_reason,
        }
        if self.correct_category is not None:
            told["correct_category"] = self.correct_category
        wanted = (fields or "name,language,status,category,components").split(",")
        return {name: value for name, value in told.items() if name == "id" or name in wanted}

    def body(self) -> str:
        for one in self.components:
            if isinstance(one, dict) and str(one.get("type")).upper() == "BODY":
                return str(one.get("text", ""))
        return ""


@dataclass
class Templates:
    kept: dict[str, Kept] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)  # by account
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(FIRST_ID))

    def of(self, account_id: str) -> list[Kept]:
        return [one for one in self.kept.values() if one.account_id == account_id]

    def named(self, account_id: str, name: str, language: str | None = None) -> list[Kept]:
        return [
            one
            for one in self.of(account_id)
            if one.name == name and language in (None, one.language)
        ]

    def make(self, account_id: str, body: Mapping[str, Any]) -> Kept:
        """Refuses in Meta's words."""
        name, language, category = (body.get(n) for n in ("name", "language", "category"))
        components = body.get("components")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise invalid("Param name must match [a-z0-9_].")
        if not isinstance(language, str) or not isinstance(components, list):
            raise invalid("The parameters language and components are required.")
        if category not in CATEGORIES:
            raise invalid(f"Param category must be one of {{{', '.join(CATEGORIES)}}}.")
        if self.named(account_id, name, language):
            raise _said(2388024, "Content in This Language Already Exists", name)
        made = Kept(
            id=str(next(self._ids)),
            account_id=account_id,
            name=name,
            language=language,
            category=str(category),
            components=components,
            parameter_format=str(body.get("parameter_format", "POSITIONAL")).upper(),
        )
        text = made.body().strip()
        if VARIABLE.match(text) or text.endswith("}}"):
            raise _said(
                2388299,
                "Leading or Trailing Variables",
                "Variables can't be at the start or end of the template.",
            )
        self.kept[made.id] = made
        return made

    def edit(self, template_id: str, body: Mapping[str, Any]) -> Kept:
        kept = self.kept[template_id]
        if kept.status not in EDITABLE:
            raise _said(2388003, "Template Cannot Be Edited", f"Its status is {kept.status}.")
        if kept.status == "APPROVED" and kept.edits:
            detail = "You can only edit an approved template once in 24 hours."
            raise _said(2388041, "Edit Limit Reached", detail)
        if not isinstance(body.get("components"), list):
            raise invalid("The parameter components is required.")
        kept.edits += kept.status == "APPROVED"
        kept.components, kept.status = body["components"], "PENDING"
        return kept

    def delete(self, account_id: str, name: str | None, template_id: str | None) -> None:
        found = [one for one in self.named(account_id, name or "") if template_id in (None, one.id)]
        if not found:
            raise _said(2593002, "Message Template Not Found", f"{name} does not exist.")
        for one in found:
            del self.kept[one.id]

    def check_send(self, account_id: str, content: Mapping[str, Any]) -> Kept | None:
        """None: nobody told which templates there are. Refuses what cannot be sent."""
        if not self.of(account_id):
            return None
        name, code = str(content.get("name")), content["language"]["code"]
        found = self.named(account_id, name, code)
        if not found:
            detail = f"template name ({name}) does not exist in {code}"
            raise Refused(404, 132001, "(#132001) Template name does not exist", detail)
        (kept,) = found
        if kept.status != "APPROVED":
            code_ = {"PAUSED": 132015, "DISABLED": 132016}.get(kept.status, 132001)
            raise Refused(
                400, code_, f"(#{code_}) Template is {kept.status}", f"{name}: {kept.status}"
            )
        wanted, given = set(VARIABLE.findall(kept.body())), parameters(content, "body")
        if len(given) != len(wanted):
            detail = (
                f"body: number of localizable_params ({len(given)}) does not match the expected"
            )
            raise Refused(
                400, 132000, "(#132000) Number of parameters", f"{detail} ({len(wanted)})"
            )
        if kept.parameter_format == "NAMED" and {g.get("parameter_name") for g in given} != wanted:
            raise Refused(400, 132012, "(#132012) Parameter format does not match", "names")
        for one in given:
            text = one.get("text")
            if not isinstance(text, str) or not text or re.search(r"[\n\t]| {5}", text):
                detail = "Param text cannot have new-line/tab characters or more than 4 spaces"
                raise Refused(400, 132018, "(#132018) Template parameter invalid", detail)
        return kept


def parameters(content: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    for one in content.get("components", []):
        if one.get("type") == kind:
            return [p for p in one.get("parameters", []) if isinstance(p, dict)]
    return []


def filled(kept: Kept, content: Mapping[str, Any]) -> str:
    """The body as the customer reads it."""
    given = parameters(content, "body")
    values = {str(one.get("parameter_name", n)): one.get("text") for n, one in enumerate(given, 1)}
    return VARIABLE.sub(lambda m: str(values.get(m[1], m[0])), kept.body())


def _said(subcode: int, title: str, message: str) -> Refused:
    return Refused(400, 100, "Invalid parameter", subcode=subcode, user=(title, message))
