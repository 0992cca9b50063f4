"""An account's templates at Meta: listed, made, edited, deleted. Nothing is held meanwhile.

A call whose answer is lost may have been done all the same: the next listing tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from db.ids import ChatbotId
from db.templates import Account, Told
from handlers.templates.checking import Definition
from handlers.templates.listing import page_of
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from handlers.whatsapp.cloud_api.management import Called, Declined, Done, NoAnswer
from handlers.whatsapp.cloud_api.templates import LISTED

PAGE = 100
PAGES_MAX = 100  # of one listing: Meta's ceiling is far below


class Tokens(Protocol):
    """Of chatbots: handlers/sends/tokens.py."""

    def of(self, chatbot_id: ChatbotId, stored: str | None) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Meta:
    """Who asks, and with which tokens."""

    graph: GraphApi
    tokens: Tokens

    def tokens_of(self, accounts: Sequence[Account]) -> list[str]:
        """Each once, in the order of the chatbots."""
        found = (self.tokens.of(one.chatbot_id, one.access_token) for one in accounts)
        return list(dict.fromkeys(token for token in found if token is not None))

    async def list_all(
        self, waba_id: str, tokens: Sequence[str]
    ) -> list[Told] | Declined | NoAnswer:
        """With the first token that Meta takes."""
        last: list[Told] | Declined | NoAnswer = NO_TOKEN
        for token in tokens:
            last = await self._list(waba_id, token)
            if not isinstance(last, Declined) or last.why != "token":
                break
        return last

    async def _list(self, waba_id: str, token: str) -> list[Told] | Declined | NoAnswer:
        found: list[Told] = []
        query = {"fields": LISTED, "limit": str(PAGE)}
        for _ in range(PAGES_MAX):
            answer = await self.graph.manage("GET", f"{_of(waba_id)}", token, query)
            if not isinstance(answer, Done):
                return answer
            if not isinstance(answer.fields.get("data"), list):
                return NoAnswer("no list")
            told, after = page_of(answer.fields)
            found += told
            if after is None:
                return found
            query["after"] = after
        return NoAnswer("it does not end")

    async def make(self, waba_id: str, token: str, given: Definition) -> Called:
        body = {
            "name": given.name,
            "language": given.language,
            "category": given.category,
            "parameter_format": given.parameter_format,
            "components": given.components,
        }
        return await self.graph.manage("POST", _of(waba_id), token, {}, body)

    async def edit(self, meta_id: str, token: str, components: list[Any]) -> Called:
        path = quote(meta_id, safe="")
        return await self.graph.manage("POST", path, token, {}, {"components": components})

    async def delete(self, waba_id: str, token: str, name: str, meta_id: str) -> Called:
        """This one alone: without its id all languages would go."""
        query = {"name": name, "hsm_id": meta_id}
        return await self.graph.manage("DELETE", _of(waba_id), token, query)


NO_TOKEN = Declined("token", None, None, "there is no access_token that can be read: give it anew")


def _of(waba_id: str) -> str:
    return f"{quote(waba_id, safe='')}/message_templates"
