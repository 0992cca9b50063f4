"""A run of the agent that is looked at: what it found, and which tools it would have used. Nothing
is reserved, and nobody is asked to decide anything."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from handlers.agent.files import SEND_FILE
from handlers.agent.graph import Reply
from handlers.agent.knowledge import Known, fits_prompt
from handlers.agent.offering import OFFER
from handlers.agent.offline import OFFLINE
from handlers.agent.own_tools import SANDBOX
from handlers.agent.powers import CALCULATE, HAND_OVER, Powers
from handlers.agent.prompt import Row
from handlers.agent.remembering import REMEMBER, Memory
from handlers.agent.retrieval import Hit
from handlers.agent.selling import TOOLS as SELLING
from handlers.agent.tools import AT_LIMIT, REQUEST, SEARCH, Toolbox
from handlers.asks.answer import AskedRow, AskedTool
from handlers.rules.budgets import Budget
from handlers.rules.cutting import head

ROWS_MAX = 6  # of a base that the model was shown whole: those that fit the question best
SCORE_DIGITS = 3
QUERY_UNITS = 500


@dataclass(slots=True)
class Watched:
    """Knowledge, and what was found in it."""

    known: Known
    found: dict[int, tuple[Row, float]] = field(default_factory=dict)
    searched: bool = False  # it was not shown whole

    @property
    def version(self) -> int:
        return self.known.version

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.known.rows

    @property
    def count(self) -> int:
        return self.known.count

    @property
    def tokens(self) -> int | None:
        return self.known.tokens

    @property
    def languages(self) -> tuple[str, ...]:
        return self.known.languages

    @property
    def complete(self) -> bool:
        return self.known.complete

    @property
    def nbytes(self) -> int:
        return self.known.nbytes

    @property
    def crowds(self) -> bool:
        return self.known.crowds

    @crowds.setter
    def crowds(self, crowds: bool) -> None:
        self.known.crowds = crowds

    async def search(self, query: str, limit: int) -> list[tuple[Row, Hit]]:
        hits = await self.known.search(query, limit)
        for row, hit in hits:
            _, before = self.found.get(row.id, (row, 0.0))
            self.found[row.id] = (row, max(before, hit.share))
        return hits

    async def answered_from(self, question: str, reply: Reply) -> list[AskedRow]:
        """Those that it cites, with how well the question fits them where that is known. Of a model
        that cites none: what it found, or of all that it was shown those that fit the question."""
        if reply.kb_cited and not self.searched and reply.model != OFFLINE:
            for row, hit in await self.known.search(question, ROWS_MAX):
                self.found.setdefault(row.id, (row, hit.share))
        shares = {row_id: share for row_id, (_, share) in self.found.items()}
        rows = {row.id: row for row in self.rows} | {n: row for n, (row, _) in self.found.items()}
        cited = [(rows[n], shares.get(n)) for n in reply.kb_cited if n in rows]
        if cited or reply.model == OFFLINE:
            return [_shown(*one) for one in sorted(cited, key=lambda one: -(one[1] or 0.0))]
        if self.searched:
            found = [self.found[n] for n in reply.kb_shown if n in self.found]
            return [_shown(*one) for one in sorted(found, key=lambda one: -one[1])]
        hits = await self.known.search(question, ROWS_MAX)
        return [_shown(row, hit.share) for row, hit in hits]


def _shown(row: Row, share: float | None) -> AskedRow:
    return AskedRow(row.id, row.question, None if share is None else round(share, SCORE_DIGITS))


async def _granted(_: int) -> str:
    return "granted"


class WatchedToolbox(Toolbox):
    """The model hears what it would in a turn."""

    def __init__(
        self,
        knowledge: Watched,
        budget: Budget,
        powers: Powers,
        *,
        asks: bool,
        reserve: Callable[[int], Awaitable[str]] = _granted,
        wrote: tuple[str, ...] = (),
    ) -> None:
        """`asks`: the plan lets the bot ask a person."""
        super().__init__(
            *(knowledge, reserve if asks else None, wrote),
            memory=Memory(),
            budget=budget,
            powers=powers,
        )
        knowledge.searched = not fits_prompt(knowledge, budget.knowledge_tokens)
        self.used: list[AskedTool] = []
        self.refused: list[AskedTool] = []  # nothing came of it
        self.results: list[str] = []  # what the model heard

    def answered_before(self, name: str, arguments: dict[str, Any]) -> str | None:  # noqa: ARG002
        """What a call gave once, if that is to be given again."""
        return None

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        before = len(self.requests)
        result = self.answered_before(name, arguments)
        if result is None:
            result = await super().call(name, arguments)
        self.results.append(result)
        if result.startswith("error:") or result == AT_LIMIT:
            self.refused.append(AskedTool(name, arguments))
        for request in self.requests[before:]:
            context = {k: v for k, v in request.context.items() if k != "customer_wrote"}
            given = {"type": request.request_type, "details": request.details}
            if request.money is not None:
                given |= {"amount": str(request.money.amount), "currency": request.money.currency}
            self.used.append(AskedTool(REQUEST, given | ({"context": context} if context else {})))
        if name == REMEMBER and not result.startswith("error:"):
            self.used.append(AskedTool(REMEMBER, asdict(self.remembered[-1])))
        if name == SEARCH and not result.startswith("error:"):
            query = head(str(arguments["query"]), QUERY_UNITS)
            self.used.append(AskedTool(SEARCH, {"query": query}))
        if name == HAND_OVER and self.handed_over is not None:
            self.used.append(AskedTool(HAND_OVER, {"reason": self.handed_over}))
        if name == CALCULATE and not result.startswith("error:"):
            self.used.append(AskedTool(CALCULATE, {"expression": arguments["expression"]}))
        if name in SELLING and self.powers.selling is not None and not result.startswith("error:"):
            self.used.append(AskedTool(name, arguments))
        if result == SANDBOX:  # of a tenant's own that a person approves the request is among them
            self.used.append(AskedTool(name, arguments))
        if name == SEND_FILE and not result.startswith("error:"):
            self.used.append(AskedTool(SEND_FILE, {"file": arguments["file"]}))
        if name == OFFER and self.offered is not None:
            text, offer = self.offered
            choices = [asdict(one) for one in offer.choices]
            link = {} if offer.link is None else {"link": asdict(offer.link)}
            self.used.append(AskedTool(OFFER, {"text": text, "choices": choices} | link))
        return result
