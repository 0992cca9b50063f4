"""The built-in answerer as a shop's: the tools that it calls as a model would, and what it says of
what they found. The sums and the button are code's, as under every answer. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from langchain_core.messages import AnyMessage, ToolCall, ToolMessage

from handlers.agent.buying import Product, Sale, Wish, products_in, sale_of, wish_of
from handlers.agent.lines import Line
from handlers.agent.offering import OFFER
from handlers.agent.selling import FIND, QUOTE
from handlers.fixed.texts import Kind
from handlers.fixed.voice import Voice
from handlers.rules.choices import DESCRIPTION_UNITS, ROW_UNITS, ROWS_MAX
from handlers.rules.cutting import units

WISHES_MAX = 3  # of a burst: each is a search


@dataclass(frozen=True, slots=True)
class Shopping:
    """Of one turn. Before anything was looked for there are no sales."""

    wishes: tuple[tuple[Line, Wish], ...] = ()
    is_found: bool = False
    sales: Mapping[Line, Sale] = field(default_factory=dict)

    @property
    def searches(self) -> list[ToolCall]:
        """What is to be looked for first."""
        wanted = () if self.is_found else self.wishes
        return [called(FIND, {"query": wish.query}) for _, wish in wanted]

    @property
    def items(self) -> list[tuple[Product, int]]:
        return [item for sale in self.sales.values() for item in sale.items]

    @property
    def shown(self) -> list[Product]:
        every = (one for sale in self.sales.values() for one in sale.shown if one.is_left)
        return list(dict.fromkeys(every))

    @property
    def quotes(self) -> list[ToolCall]:
        items = [{"sku": one.sku, "quantity": count} for one, count in self.items]
        return [called(QUOTE, {"items": items})] if items else []

    def offers(self, text: str) -> list[ToolCall]:
        """What is shown, to be pressed, where the names are short enough to be a list's."""
        names = [one.name for one in self.shown]
        fits = 0 < len(names) <= ROWS_MAX and all(
            units(one.name) <= ROW_UNITS and units(one.price) <= DESCRIPTION_UNITS
            for one in self.shown
        )
        if self.items or not fits or len(set(names)) < len(names):
            return []
        choices = [{"title": one.name, "description": one.price} for one in self.shown]
        return [called(OFFER, {"text": text, "choices": choices})]

    def says(self, results: Mapping[str | None, str], voice: Voice) -> list[str]:
        """Of what nobody else says: a quote stands under the answer by itself."""
        said = []
        if results.get(QUOTE, "").startswith("error:"):
            lines = (f"{count} x {one.name}" for one, count in self.items)
            said.append(voice.says(Kind.UNAVAILABLE, items="\n".join(lines)))
        elif QUOTE in results:
            said.append(voice.says(Kind.GLADLY))
        if self.shown:
            lines = (f"{one.name}: {one.price}" for one in self.shown)
            said.append(voice.says(Kind.PRODUCTS, items="\n".join(lines)))
        gone = [one.name for of in self.sales.values() for one in of.shown if not one.is_left]
        if gone and not self.shown:
            said.append(voice.says(Kind.UNAVAILABLE, items="\n".join(dict.fromkeys(gone))))
        return said


def shopping(lines: Sequence[Line], earlier: Sequence[str], turn: Sequence[AnyMessage]) -> Shopping:
    """`earlier`: what was written in the turns before; `turn`: this one's messages."""
    found = [m.text for m in turn if isinstance(m, ToolMessage) and m.name == FIND]
    read = ((line, wish_of(line.question)) for line in lines if line.question)
    wishes = tuple((line, wish) for line, wish in read if wish is not None)[:WISHES_MAX]
    before = wish_of(earlier[-1]) if earlier else None
    sales = {
        line: sale
        for (line, wish), result in zip(wishes, found, strict=False)
        if (sale := sale_of(wish, products_in(result), before)) is not None
    }
    return Shopping(wishes, bool(found), sales)


def called(name: str, arguments: dict[str, Any]) -> ToolCall:
    return ToolCall(name=name, args=arguments, id=f"call_{uuid4().hex}")
