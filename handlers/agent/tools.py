"""The agent's tools. What they may do is bound to one run: its tenant, its conversation, its lease.

No tool writes: a request becomes an action in the turn's last transaction (handlers/actions.py),
so that a turn that dies leaves none. A tool that fails says so to the model and does not end the
turn.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import structlog

from handlers.actions import Request
from handlers.agent.knowledge import Known, NotReady, fits_prompt, row_tokens
from handlers.agent.offering import OFFERED, NotOffered, offer_of
from handlers.agent.own_tools import OwnTools
from handlers.agent.powers import HANDED_OVER, Powers, reason_of, sum_of
from handlers.agent.prompt import Row
from handlers.agent.remembering import REMEMBER_SCHEMA, Memory, Remembered
from handlers.agent.retrieval import Hit
from handlers.agent.selling import SCHEMAS as SELLING_SCHEMAS
from handlers.agent.selling import TOOLS as SELLING
from handlers.checks.told import Told
from handlers.rules.budgets import Budget
from handlers.rules.choices import Offer
from handlers.rules.cutting import both_ends, head, units
from handlers.rules.quotes import Quoted
from handlers.rules.requests import NoMoney, money_of
from handlers.rules.texts import slug, storable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

REQUEST = "request_human_action"
SEARCH = "search_knowledge_base"

MAX_REQUESTS = 3  # a turn
MAX_TYPE_CHARS = 50  # of the column, in UTF-16 units at most
MAX_DETAILS_UNITS = 2_000
MAX_CONTEXT_CHARS = 4_000  # as JSON
# Of what the customer wrote, beside a request: a burst may have 30 messages of 4,096, and 200 such
# requests, which a tenant lists in one page, were 25 MB.
WROTE_UNITS = 8_000
WROTE_TEXT_UNITS = 4_096  # of one message
SEARCH_ROWS = 6
SEARCH_CHARS = 12_000  # of a result: as much as a knowledge base that is in the prompt whole

NO_MORE = "error: no more rows can be looked up in this turn: answer from what you have"
PENDING = "pending: a person will decide. Tell the customer so, and that they will hear here."
ALREADY = "already requested, and a person will still decide. Tell the customer so."
AT_LIMIT = "not requested: no more can be requested today. Tell the customer to ask again tomorrow."
NOT_ASKED = (
    "error: the customer has asked for nothing that is not answered yet, so there is nothing to"
    " request. Tell them only what was decided."
)
NOTHING_ASKED = "nothing_asked"  # what `reserve` says then
INCOMPLETE = (
    "(The knowledge base is still being read in, so there may be rows that fit better. What these"
    " do not answer, you cannot look up at this moment; never say that there is no such thing.)"
)

_REQUEST_SCHEMA: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": REQUEST,
        "description": (
            "Asks a person of the business to decide something that you may not decide: a refund,"
            " a discount, an exception, a cancellation, anything the instructions reserve for a"
            " person. The decision comes later, as a system event."
        ),
        "parameters": {
            "type": "object",
            "properties": {
                "type": {
                    "type": "string",
                    "description": "What kind, in one or two words, the same word for the same"
                    " kind, for example: refund",
                },
                "details": {
                    "type": "string",
                    "description": "What exactly the person is to decide, in one or two sentences.",
                },
                "amount": {
                    "type": "string",
                    "description": "How much money it is about, if it is about money, as digits:"
                    " 38.50",
                },
                "currency": {"type": "string", "description": "Of the amount: EUR, USD"},
                "context": {
                    "type": "object",
                    "description": "What helps to decide: order number, reason.",
                },
            },
            "required": ["type", "details"],
        },
    },
}

_SEARCH_SCHEMA: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": SEARCH,
        "description": (
            "Finds rows of the knowledge base. Write the query in the language of the knowledge"
            " base, as a customer would ask. One search for each question."
        ),
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string"}},
            "required": ["query"],
        },
    },
}


class Toolbox:
    """Of one run."""

    def __init__(
        self,
        knowledge: Known,
        reserve: Callable[[int], Awaitable[str]] | None,
        customer_wrote: tuple[str, ...] = (),
        *,
        memory: Memory | None = None,
        budget: Budget | None = None,
        powers: Powers | None = None,
    ) -> None:
        """`reserve` holds so many requests in all for the turn; None: the plan has no actions.
        `memory`: what is noted about the customer; None: nothing can be."""
        self.knowledge = knowledge
        self.requests: list[Request] = []
        self.handed_over: str | None = None  # the reason, once the model asked for a person
        self.told = Told()  # what sums and choices are made of
        self.offered: tuple[str, Offer] | None = None  # the answer, and what stands under it
        self.powers = powers or Powers()
        self.kb_ids: list[int] = []  # of what was found
        self.found: dict[int, Row] = {}
        self.shares: dict[int, float] = {}  # how sure the searches of the run were, by row
        self.found_nothing = False  # a search, the last one
        self._reserve = reserve
        self._customer_wrote = customer_wrote
        self._memory = memory
        self._knowledge_tokens = (budget or Budget()).knowledge_tokens
        self._searches = not fits_prompt(knowledge, self._knowledge_tokens)

    @property
    def requests_actions(self) -> bool:
        return self._reserve is not None

    @property
    def remembered(self) -> list[Remembered]:
        return [] if self._memory is None else list(self._memory.facts.values())

    @property
    def quoted(self) -> Quoted | None:
        return self.powers.selling.quoted if self.powers.selling is not None else None

    @property
    def files(self) -> tuple[int, ...]:
        """That go out behind the answer."""
        return tuple(self.powers.files.chosen) if self.powers.files is not None else ()

    @property
    def effects(self) -> frozenset[str]:
        """That the ledger of the tenant's own tools says were done."""
        return self.powers.own.effects if self.powers.own is not None else frozenset()

    @property
    def orders(self) -> dict[str, frozenset[str]]:
        """That its results tell of: by number, what became of them."""
        return self.powers.selling.orders if self.powers.selling is not None else {}

    @property
    def schemas(self) -> list[dict[str, Any]]:
        return [
            *([_SEARCH_SCHEMA] if self._searches else ()),
            *([_REQUEST_SCHEMA] if self.requests_actions else ()),
            *([REMEMBER_SCHEMA] if self._memory is not None else ()),
            *self.powers.schemas,
            *(SELLING_SCHEMAS if self.powers.selling is not None else ()),
            *(self.powers.own.schemas(requests=self.requests_actions) if self.powers.own else ()),
        ]

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The result, for the model. Raises nothing but NotReady: then the turn comes again."""
        try:
            match name:
                case "request_human_action" if self._reserve is not None:
                    return await self._request(arguments, self._reserve)
                case "search_knowledge_base" if self._searches:
                    return await self._search(arguments)
                case "remember_fact" if self._memory is not None:
                    return self._memory.remember(arguments)
                case "hand_over_to_human" if self.powers.hands_over:
                    self.handed_over = reason_of(arguments)
                    return HANDED_OVER
                case "calculate" if self.powers.calculates:
                    return sum_of(arguments, self.told)
                case _ if name in SELLING and self.powers.selling is not None:
                    return await self.powers.selling.call(name, arguments)
                case "send_file" if self.powers.files is not None:
                    return self.powers.files.choose(arguments)
                case "offer_choices" if self.powers.offers:
                    return self._offer(arguments)
                case _ if self.powers.own is not None and name in self.powers.own.offered:
                    return await self._own(self.powers.own, name, arguments)
                case _:
                    return "error: there is no such tool"
        except NotReady:
            raise
        except Exception as error:  # also of the database: the model can still say something
            log.warning("tool.failed", tool=name[:50], exc_info=error)
            return "error: the tool failed; nothing was done"

    def _offer(self, arguments: dict[str, Any]) -> str:
        try:
            self.offered = offer_of(arguments, self.told, blocks=self.powers.blocks)
        except NotOffered as wrong:
            return f"error: {wrong}"
        return OFFERED

    async def _request(
        self, arguments: dict[str, Any], reserve: Callable[[int], Awaitable[str]]
    ) -> str:
        details = arguments.get("details")
        context = arguments.get("context") or {}
        kind = request_type(str(arguments.get("type") or ""))
        if not kind:
            return "error: type is missing"
        if not isinstance(details, str) or not details.strip():
            return "error: details is missing"
        if not isinstance(context, dict):
            context = {"note": context}
        details = head(storable(details).strip(), MAX_DETAILS_UNITS)
        try:
            given = arguments.get("amount"), arguments.get("currency")
            money = money_of(*given, self.powers.currency)
        except NoMoney as wrong:
            return f"error: {wrong}"
        return await self._ask(Request(kind, details, context, money), reserve)

    async def _own(self, own: OwnTools, name: str, arguments: dict[str, Any]) -> str:
        if (wrong := own.wrong(name, arguments)) is not None:
            return wrong
        if not own.offered[name].needs_approval:
            return await own.call(name, arguments)
        if self._reserve is None:
            return "error: nobody can approve it"
        return await self._ask(own.request(name, arguments), self._reserve)

    async def _ask(self, wanted: Request, reserve: Callable[[int], Awaitable[str]]) -> str:
        """A person, with the turn's last transaction."""
        if any(one.key == wanted.key for one in self.requests):
            return PENDING
        if wanted.key in self.powers.requested:
            return ALREADY
        if len(self.requests) >= MAX_REQUESTS:
            return f"error: {MAX_REQUESTS} requests at once are the most"
        plain = _plain(wanted.context)
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False)  # PostgreSQL knows no NaN
        if len(text) > MAX_CONTEXT_CHARS:
            plain = {"note": both_ends(text, MAX_CONTEXT_CHARS)}
        outcome = await reserve(len(self.requests) + 1)
        if outcome == "max_actions_per_day":
            return AT_LIMIT
        if outcome == NOTHING_ASKED:
            return NOT_ASKED
        if outcome != "granted":
            return "error: nothing can be requested at this moment"
        # The person who decides sees the customer's own words beside the model's: the model may
        # have been talked into something.
        plain["customer_wrote"] = newest(self._customer_wrote)
        self.requests.append(replace(wanted, context=plain))
        return PENDING

    def sure_of(self, cited: Iterable[int]) -> float | None:
        """How sure the search was of the surest of these rows; None: none was found by one."""
        return max((self.shares[row] for row in cited if row in self.shares), default=None)

    async def search(self, query: str, limit: int) -> list[tuple[Row, Hit]]:
        """As the knowledge base's, and how sure it was is kept."""
        found = await self.knowledge.search(query, limit)
        for row, hit in found:
            self.shares[row.id] = max(hit.share, self.shares.get(row.id, 0.0))
        return found

    async def _search(self, arguments: dict[str, Any]) -> str:
        query = arguments.get("query")
        if not isinstance(query, str) or not query.strip():
            return "error: query is missing"
        if self._knowledge_tokens <= 0:
            return NO_MORE
        found: list[dict[str, Any]] = []
        room = SEARCH_CHARS
        for row, _ in await self.search(query, SEARCH_ROWS):
            room -= len(row.question) + len(row.answer)
            takes = row_tokens(row)
            if (room < 0 or takes > self._knowledge_tokens) and found:
                break
            self._knowledge_tokens -= takes
            self.found[row.id] = row
            found.append(
                {
                    "id": row.id,
                    "category": row.category,
                    "question": row.question,
                    "answer": row.answer,
                }
            )
        self.kb_ids += [one["id"] for one in found]
        self.found_nothing = not found
        if not found:
            return "nothing found: try other words, or say that you do not have the information"
        text = json.dumps(found, ensure_ascii=False)
        return text if self.knowledge.complete else f"{text}\n{INCOMPLETE}"


def newest(texts: Sequence[str]) -> list[str]:
    """The last that there is room for, oldest first, and before them how many are left out."""
    kept: list[str] = []
    room = WROTE_UNITS
    for text in reversed(texts):
        shown = both_ends(text, WROTE_TEXT_UNITS)
        room -= units(shown)
        if room < 0:
            break
        kept.append(shown)
    left_out = len(texts) - len(kept)
    marker = [f"[earlier messages that are left out: {left_out}]"] if left_out else []
    return [*marker, *reversed(kept)]


def request_type(text: str) -> str:
    """One spelling, since equal types are approved alike."""
    return head(slug(storable(text)), MAX_TYPE_CHARS)


def _plain(value: Any) -> Any:
    """As PostgreSQL takes it: no NUL, no lone surrogates."""
    match value:
        case str():
            return storable(value)
        case dict():
            return {storable(str(key)): _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value
