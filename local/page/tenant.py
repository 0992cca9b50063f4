"""What the tenant's own API tells, asked with the key that the launcher made."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import aiohttp

Row: TypeAlias = Mapping[str, Any]

PAGE = 200
MESSAGES_MAX = 120
ACTIONS_MAX = 5
ORDERS_MAX = 5
DELIVERIES_MAX = 2_000  # the newest, among which one that is to be replayed is looked for
RECOVER = timedelta(days=1)
PATIENCE = aiohttp.ClientTimeout(total=3.0)  # what is on the phone waits for it too


@dataclass(frozen=True, slots=True)
class Bot:
    """One that can be written to, and the key of its tenant."""

    name: str
    business: str
    about: str
    try_this: tuple[str, ...]
    user_id: int
    chatbot_id: int
    phone_number_id: str
    number: str
    api_key: str
    currency: str  # of its prices
    webhook_id: int | None = None  # of the tenant's own program, which the simulator plays
    webhook_secret: str = ""

    @property
    def program(self) -> str:
        """The name of its endpoint at the simulator."""
        return f"program-{self.user_id}"


class Refused(Exception):
    """What the product said to something that was to be done."""

    def __init__(self, status: int, answer: str) -> None:
        super().__init__(f"{status}: {answer}")
        self.status = status
        self.answer = answer


class Api:
    """What is not the answer that was asked for is raised: aiohttp.ClientError or TimeoutError."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def usage(self, bot: Bot) -> Row:
        usage: Row = await self._get(bot, "usage")
        return usage

    async def waiting_actions(self, bot: Bot) -> Sequence[Row]:
        return await self._page(bot, f"actions?status=pending&limit={ACTIONS_MAX}")

    async def orders(self, bot: Bot) -> Sequence[Row]:
        """The newest, with their items."""
        newest = await self._page(bot, f"orders?chatbot_id={bot.chatbot_id}&limit={ORDERS_MAX}")
        whole = (self._get(bot, f"orders/{one['id']}") for one in newest)
        return list(await asyncio.gather(*whole))

    async def move(self, bot: Bot, order_id: int, status: str) -> Any:
        return await self._send("PATCH", bot, f"orders/{order_id}", {"status": status})

    async def messages(self, bot: Bot, conversation_id: int) -> Sequence[Row]:
        """The last ones, newest first."""
        path = f"conversations/{conversation_id}/messages?limit={MESSAGES_MAX}"
        return await self._page(bot, path)

    async def conversation_of(self, bot: Bot, number: str, bsuid: str) -> int | None:
        """The newest; of two, one that is known by number alone and one that is not, the latter."""
        by_number: int | None = None
        async for one in self._conversations(bot):
            conversation_id: int = one["id"]
            if one["chatbot_id"] == bot.chatbot_id and one["bsuid"] == bsuid:
                return conversation_id
            if one["chatbot_id"] == bot.chatbot_id and one["phone_number"] == number:
                by_number = by_number or conversation_id
        return by_number

    async def replay(self, bot: Bot, webhook_id: str) -> bool:
        """Sends an event again. False: it is not among the newest."""
        after, seen = "", 0
        while seen < DELIVERIES_MAX:
            path = f"webhooks/{bot.webhook_id}/deliveries?limit={PAGE}{after}"
            page = await self._get(bot, path)
            for delivery in page["data"]:
                if delivery["event_id"] == webhook_id:
                    await self._post(bot, f"deliveries/{delivery['id']}/replay", None)
                    return True
            if page["next"] is None:
                return False
            after, seen = f"&after={page['next']}", seen + PAGE
        return False

    async def recover(self, bot: Bot) -> Any:
        """Sends again what was not delivered of the last day."""
        since = (datetime.now(UTC) - RECOVER).isoformat()
        return await self._post(bot, f"webhooks/{bot.webhook_id}/recover", {"since": since})

    async def _conversations(self, bot: Bot) -> AsyncIterator[Row]:
        after = ""
        while True:
            page = await self._get(bot, f"conversations?limit={PAGE}{after}")
            for one in page["data"]:
                yield one
            if page["next"] is None:
                return
            after = f"&after={page['next']}"

    async def _page(self, bot: Bot, path: str) -> Sequence[Row]:
        rows: Sequence[Row] = (await self._get(bot, path))["data"]
        return rows

    async def _post(self, bot: Bot, path: str, body: Row | None) -> Any:
        return await self._send("POST", bot, path, body)

    async def _send(self, method: str, bot: Bot, path: str, body: Row | None) -> Any:
        headers = {"Authorization": f"Bearer {bot.api_key}"}
        url = f"{self._url}/v1/{path}"
        async with self._http.request(
            method, url, json=body, headers=headers, timeout=PATIENCE
        ) as response:
            if response.status >= 400:
                raise Refused(response.status, await response.text())
            return await response.json()

    async def _get(self, bot: Bot, path: str) -> Any:
        headers = {"Authorization": f"Bearer {bot.api_key}"}
        url = f"{self._url}/v1/{path}"
        async with self._http.get(url, headers=headers, timeout=PATIENCE) as response:
            response.raise_for_status()
            return await response.json()
