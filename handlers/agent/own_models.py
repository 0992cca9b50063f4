"""The models that chatbots have of their own: made when a turn first needs them, shared, bounded.

What the installation has (its key, its address, its connections) is for the installation's address
alone. An address that a tenant names is reached through the guard (handlers/outbound), follows no
redirect, and gets the key that was given for it.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from json import dumps
from typing import Any, Generic, TypeVar

import aiohttp
import structlog

from db.conversations import TurnContext
from db.ids import ChatbotId, UserId
from db.pool import Pool, tenant
from db.prices import Rate, rates
from handlers.agent.answerer import Answerer, Kind, NoAnswer
from handlers.agent.breaker import Breaker
from handlers.agent.chain import Chain
from handlers.agent.model import Model
from handlers.agent.offline import OFFLINE, Offline
from handlers.process.secrets import Undecryptable, Vault, model_keys_of
from handlers.rules.budgets import Budget
from handlers.rules.models import THINKING_TOKENS, Wanted, read_keys, wanted

log: structlog.stdlib.BoundLogger = structlog.get_logger()

KEPT = 512  # models, and as many breakers and chatbots; one has some 10 KB
OWN = "own/"  # before the name, in usage: the tenant pays it
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Kept(Generic[K, V]):
    """The newest ones used."""

    def __init__(self) -> None:
        self._kept: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        if key not in self._kept:
            self._kept[key] = make()
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


@dataclass(frozen=True, slots=True)
class Installed:
    """What the operator has."""

    name: str
    api_key: str | None
    base_url: str | None
    session: aiohttp.ClientSession


class Unusable:
    """A model that cannot be asked before somebody mends it."""

    def __init__(self, name: str, word: str) -> None:
        self.name = name
        self._word = word

    async def answer(self, *_: Any) -> Any:
        none = NoAnswer(self._word, Kind.BROKEN)
        none.billed = False
        raise none


class OwnModels:
    def __init__(
        self, ours: Installed, guarded: Callable[[str], aiohttp.ClientSession], vault: Vault
    ) -> None:
        """`guarded`: of an address that a tenant names, the session that may go there."""
        self._ours = ours
        self._guarded = guarded
        self._vault = vault
        self._chatbots: _Kept[tuple[Any, ...], tuple[Answerer, ...]] = _Kept()
        self._models: _Kept[tuple[UserId, Wanted], Answerer] = _Kept()
        self._breakers: _Kept[tuple[Any, ...], Breaker] = _Kept()

    def of(self, user_id: UserId, context: TurnContext) -> Answerer | None:
        """None: it has none. As it was stored when the turn read it, so that a change acts with the
        next turn."""
        model, sealed = context.model, context.model_keys
        if model is None:
            return None
        key = (user_id, context.chatbot_id, dumps(model, sort_keys=True), sealed)
        links = self._chatbots.get(
            key, lambda: self._links(user_id, context.chatbot_id, model, sealed)
        )
        return links[0] if len(links) == 1 else Chain(links)

    def _links(
        self, user_id: UserId, chatbot_id: ChatbotId, model: dict[str, Any], sealed: str | None
    ) -> tuple[Answerer, ...]:
        try:
            keys = read_keys(sealed and self._vault.decrypt(sealed, model_keys_of(chatbot_id)))
        except Undecryptable as error:
            log.error("credential.undecryptable", chatbot_id=chatbot_id, reason=str(error))
            keys = ()
        return tuple(
            self._models.get((user_id, one), partial(self._made, user_id, one))
            for one in wanted(model, keys)
        )

    def _made(self, user_id: UserId, one: Wanted) -> Answerer:
        ours, own = self._ours, one.api_key is not None
        name = one.name or ours.name
        if one.base_url is None and not own and name == OFFLINE:
            return Offline()
        api_key = one.api_key if own or one.base_url is not None else ours.api_key
        if api_key is None:
            return Unusable(name, "no_key")
        base_url = one.base_url or ours.base_url
        session = ours.session if one.base_url is None else self._guarded(one.base_url)
        made = Model.create(name, api_key, base_url, session, follows=one.base_url is None)
        if one.base_url is not None:  # the environment's are not for others either
            made.client.root_async_client.organization = None
            made.client.root_async_client.project = None
        made.wishes = wishes(one)
        made.sees_images = one.sees_images
        made.thinking = THINKING_TOKENS.get(one.reasoning_effort or "", 0)
        made.billed_as = f"{OWN}{name}" if own else name
        made.breaker = self._breakers.get(
            (user_id, base_url, api_key, name), lambda: Breaker(ours=False)
        )
        return made


def billed_as(answerer: Answerer) -> list[str]:
    """In the table of prices, of all that it may ask."""
    links = answerer.links if isinstance(answerer, Chain) else (answerer,)
    return [(isinstance(one, Model) and one.billed_as) or one.name for one in links]


async def rates_for(
    pool: Pool, user_id: UserId, budget: Budget, answerer: Answerer, kind: str
) -> dict[str, Rate]:
    """What its answers cost, where a budget of money wants to know."""
    if budget.cost is None:
        return {}
    async with tenant(pool, user_id) as conn:
        return await rates(conn, user_id, billed_as(answerer), kind)


def wishes(one: Wanted) -> dict[str, Any]:
    """As members of a request."""
    given: dict[str, Any] = {}
    if one.temperature is not None:
        given["temperature"] = one.temperature
    if one.reasoning_effort is not None:
        given["reasoning_effort"] = one.reasoning_effort
    if one.max_output_tokens is not None:
        given["max_completion_tokens"] = one.max_output_tokens
    return given
