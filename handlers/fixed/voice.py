"""How a customer is spoken to where code speaks. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from handlers.fixed.languages import recognised
from handlers.fixed.texts import Kind, fixed_text, own_text


@dataclass(frozen=True, slots=True)
class Voice:
    """In the language that somebody chose for the customer, else in the one they wrote last, else
    in the chatbot's, the tenant's, and English. Told when something is said: most turns say nothing
    of ours."""

    own: object = None  # the tenant's texts, as they are stored
    chosen: str | None = None
    wrote: Sequence[str] = ()  # the customer's texts, the last one first
    otherwise: Sequence[str | None] = ()

    @property
    def languages(self) -> tuple[str, ...]:
        first = self.chosen or recognised(self.wrote)
        return tuple(language for language in (first, *self.otherwise) if language)

    def says(self, kind: Kind, **parameters: str) -> str:
        return fixed_text(kind, self.languages, self.own, **parameters)

    def own_text(self, kind: Kind) -> str | None:
        return own_text(kind, self.languages, self.own)
