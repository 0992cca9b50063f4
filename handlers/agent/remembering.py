"""The tool by which a model notes something about a customer. It writes nothing: what is noted
becomes rows in the turn's last transaction (handlers/facts.py). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.agent.prompt import Fact
from handlers.agent.tokens import AROUND, tokens
from handlers.checks.secrets import holds_secret
from handlers.rules.cutting import head, units
from handlers.rules.texts import slug, storable

REMEMBER = "remember_fact"
ABOUT_UNITS = 40
TEXT_UNITS = 200
REMEMBERED_MAX = 3  # a turn
FACTS_TOKENS = 1_000  # of a prompt
REFUSED = "error: passwords, codes, card and account numbers are never noted"
NOTED = "noted. Do not tell the customer, unless they asked you to remember it."

REMEMBER_SCHEMA: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": REMEMBER,
        "description": (
            "Notes one lasting thing that the customer said about themselves and that will matter"
            " in later conversations, such as an allergy or an address for deliveries. Nothing of"
            " this moment, nothing that you promised or suppose, never passwords, card or account"
            " numbers. What is noted about the same thing before is replaced."
        ),
        "parameters": {
            "type": "object",
            "properties": {
                "about": {
                    "type": "string",
                    "description": "In one or two words, for example: allergy",
                },
                "text": {"type": "string", "description": "The fact, in one short sentence."},
            },
            "required": ["about", "text"],
        },
    },
}


def known_facts(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """The newest that there is room for in a prompt, in the order given. `facts`: oldest first."""
    room, kept = FACTS_TOKENS, []
    for fact in reversed(facts):
        room -= tokens(fact.about) + tokens(fact.text) + AROUND
        if room < 0:
            break
        kept.append(fact)
    return tuple(reversed(kept))


@dataclass(frozen=True, slots=True)
class Remembered:
    about: str
    text: str


@dataclass(slots=True)
class Memory:
    """Of one turn."""

    facts: dict[str, Remembered] = field(default_factory=dict)

    def remember(self, arguments: dict[str, Any]) -> str:
        """The result, for the model."""
        given = {name: arguments.get(name) for name in ("about", "text")}
        for name, value in given.items():
            if not isinstance(value, str) or not value.strip():
                return f"error: {name} is missing"
        about = head(slug(storable(str(given["about"]))), ABOUT_UNITS)
        text = " ".join(storable(str(given["text"])).split())
        if not about:
            return "error: about has no letter"
        if units(text) > TEXT_UNITS:
            return f"error: text is longer than {TEXT_UNITS} characters"
        if holds_secret(f"{given['about']}: {text}"):
            return REFUSED
        if about not in self.facts and len(self.facts) >= REMEMBERED_MAX:
            return f"error: {REMEMBERED_MAX} facts in one turn are the most"
        self.facts[about] = Remembered(about, text)
        return NOTED
