"""The agent's tools. What they may do is bound to one run: its tenant, its conversation, its lease.

No tool writes: a request becomes an action in the turn's last transaction (handlers/actions.py),
so that a turn that dies leaves none. A tool that fails says so to the model and does not end the
turn.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from handlers.actions import Request
from handlers.agent.knowledge import Known, NotReady
from handlers.rules.cutting import both_ends, head, units
from handlers.rules.texts import same, slug, storable

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

PENDING = "pending: a person will decide. Tell the customer so, and that they will hear here."
AT_LIMIT = "not requested: no more can be requested today. Tell the customer to ask again tomorrow."
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
                "context": {
                    "type": "object",
                    "description": "What helps to decide: order number, amount, reason.",
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
    ) -> None:
        """`reserve` holds so many requests in all for the turn; None: the plan has no actions."""
        self.knowledge = knowledge
        self.requests: list[Request] = []
        self.kb_ids: list[int] = []
        self._reserve = reserve
        self._customer_wrote = customer_wrote
        self._searches = not knowledge.fits_prompt

    @property
    def requests_actions(self) -> bool:
        return self._reserve is not None

    @property
    def schemas(self) -> list[dict[str, Any]]:
        return [
            *([_SEARCH_SCHEMA] if self._searches else ()),
            *([_REQUEST_SCHEMA] if self.requests_actions else ()),
        ]

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The result, for the model. Raises nothing but NotReady: then the turn comes again."""
        try:
            match name:
                case "request_human_action" if self._reserve is not None:
                    return await self._request(arguments, self._reserve)
                case "search_knowledge_base" if self._searches:
                    return await self._search(arguments)
                case _:
                    return "error: there is no such tool"
        except NotReady:
            raise
        except Exception as error:  # also of the database: the model can still say something
            log.warning("tool.failed", tool=name[:50], exc_info=error)
            return "error: the tool failed; nothing was done"

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
        if any(r.request_type == kind and same(r.details, details) for r in self.requests):
            return PENDING
        if len(self.requests) >= MAX_REQUESTS:
            return f"error: {MAX_REQUESTS} requests at once are the most"
        plain = _plain(context)
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False)  # PostgreSQL knows no NaN
        if len(text) > MAX_CONTEXT_CHARS:
            plain = {"note": both_ends(text, MAX_CONTEXT_CHARS)}
        outcome = await reserve(len(self.requests) + 1)
        if outcome == "max_actions_per_day":
            return AT_LIMIT
        if outcome != "granted":
            return "error: nothing can be requested at this moment"
        # The person who decides sees the customer's own words beside the model's: the model may
        # have been talked into something.
        plain["customer_wrote"] = newest(self._customer_wrote)
        self.requests.append(Request(kind, details, plain))
        return PENDING

    async def _search(self, arguments: dict[str, Any]) -> str:
        query = arguments.get("query")
        if not isinstance(query, str) or not query.strip():
            return "error: query is missing"
        found: list[dict[str, Any]] = []
        room = SEARCH_CHARS
        for row, _ in await self.knowledge.search(query, SEARCH_ROWS):
            room -= len(row.question) + len(row.answer)
            if room < 0 and found:
                break
            found.append(
                {
                    "id": row.id,
                    "category": row.category,
                    "question": row.question,
                    "answer": row.answer,
                }
            )
        self.kb_ids += [one["id"] for one in found]
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
