"""Drives a running simulator from tests and from the demo."""

import base64
import io
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

Json = dict[str, Any]


class ControlRefused(Exception):
    """The simulator did not understand what it was told."""

    def __init__(self, status: int, answer: str) -> None:
        super().__init__(f"{status}: {answer}")
        self.status = status
        self.answer = answer


class Simulator:
    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def config(self, **changes: object) -> Json:
        answer: Json = await self._json("POST", "/_sim/config", changes)
        return answer

    async def template(self, **told: object) -> Json:
        """POST /_sim/templates: which there are, or what becomes of one."""
        answer: Json = await self._json("POST", "/_sim/templates", told)
        return answer

    async def say(
        self, phone_number_id: str, sender: str | None, *texts: str, **options: object
    ) -> Json:
        """Writes as a customer; options are the other keys of POST /_sim/messages."""
        told: Json = {"phone_number_id": phone_number_id, "texts": texts, **options}
        if sender is not None:
            told["from"] = sender
        answer: Json = await self._json("POST", "/_sim/messages", told)
        return answer

    async def do(
        self, phone_number_id: str, sender: str | None, kind: str, **options: object
    ) -> Json:
        """Sends what is no plain text; options are the other keys of POST /_sim/updates."""
        told: Json = {"phone_number_id": phone_number_id, "kind": kind, **options}
        if sender is not None:
            told["from"] = sender
        answer: Json = await self._json("POST", "/_sim/updates", told)
        return answer

    async def media(self, data: bytes | None = None, **options: object) -> str:
        """The id of a file to send; options are the other keys of POST /_sim/media."""
        told: Json = {**options}
        if data is not None:
            told["data"] = base64.b64encode(data).decode()
        answer: Json = await self._json("POST", "/_sim/media", told)
        return str(answer["id"])

    async def medium(self, media_id: str) -> bytes | None:
        """A file that somebody sent. None: there is none."""
        if self._http is None:
            raise RuntimeError("use `async with Simulator(url)`")
        path = f"{self.url}/_sim/media/{quote(media_id, safe='')}"
        async with self._http.get(path) as response:
            return await response.read() if response.status == 200 else None

    async def raw(self, **post: object) -> Json:
        """Posts to the ingress as told: payload= or body=, signature=, secret=, headers=."""
        answer: Json = await self._json("POST", "/_sim/raw", post)
        return answer

    async def rules(self, *rules: Json) -> None:
        await self._json("POST", "/_sim/model/rules", rules)

    async def faults(self, *faults: Json) -> None:
        await self._json("POST", "/_sim/graph/faults", faults)

    async def upload_faults(self, *faults: Json) -> None:
        """Of the next files that are uploaded."""
        await self._json("POST", "/_sim/graph/upload_faults", faults)

    async def forget_uploads(self) -> None:
        """As if Meta's ids of them had expired."""
        await self._json("DELETE", "/_sim/uploads")

    async def tenant(self, name: str, *answers: Json) -> None:
        await self._json("POST", f"/_sim/tenant/{name}", answers)

    def endpoint_url(self, name: str) -> str:
        return f"{self.url}/tenant/{name}"

    async def endpoint(self, name: str, **changes: object) -> Json:
        """Switches a tenant's endpoint: mode= and its keys, secrets=, journal=, keep=; its state.

        Without changes it only tells."""
        method = "POST" if changes else "GET"
        answer: Json = await self._json(method, f"/_sim/tenant/{name}", changes or None)
        return answer

    async def deliveries(
        self, name: str, webhook_id: str | None = None, *, since: int = 0
    ) -> list[Json]:
        """What an endpoint got, in the order in which it came."""
        query = [("since", str(since))]
        if webhook_id is not None:
            query.append(("webhook_id", webhook_id))
        path = f"/_sim/tenant/{name}/deliveries"
        answer: list[Json] = await self._json("GET", path, query=query)
        return answer

    async def events(self, name: str, *, order: str = "first") -> list[Json]:
        """What became of each webhook-id, in the order of first arrival; `taken`: of the first
        2xx."""
        path = f"/_sim/tenant/{name}/events"
        answer: list[Json] = await self._json("GET", path, query=[("order", order)])
        return answer

    async def forget_deliveries(self, name: str) -> None:
        """Of one endpoint; its mode and its secrets stay."""
        await self._json("DELETE", f"/_sim/tenant/{name}")

    async def log(self, *kinds: str, since: int = 0) -> list[Json]:
        query = [("since", str(since)), *(("kind", kind) for kind in kinds)]
        answer: list[Json] = await self._json("GET", "/_sim/log", query=query)
        return answer

    async def sends(
        self, customer: str | None = None, *, outcome: str | None = "accepted", since: int = 0
    ) -> list[Json]:
        """Graph calls in order; `customer` is `to` or `recipient` exactly as it was sent."""
        return [
            entry
            for entry in await self.log("send", since=since)
            if outcome in (None, entry["outcome"])
            and customer in (None, entry["to"] or entry["recipient"])
        ]

    async def chat(self, phone_number_id: str, customer: str) -> list[Json]:
        query = [("phone_number_id", phone_number_id), ("customer", customer)]
        answer: list[Json] = await self._json("GET", "/_sim/chat", query=query)
        return answer

    async def reset(self) -> None:
        await self._json("DELETE", "/_sim/log")

    async def _json(
        self,
        method: str,
        path: str,
        body: Json | Sequence[Json] | None = None,
        query: Sequence[tuple[str, str]] = (),
    ) -> Any:
        if self._http is None:
            raise RuntimeError("use `async with Simulator(url)`")
        # A stream: aiohttp warns of a big body in one piece.
        data = None if body is None else io.BytesIO(json.dumps(body).encode())
        headers = {} if data is None else {"Content-Type": "application/json"}
        async with self._http.request(
            method, self.url + path, data=data, headers=headers, params=query
        ) as response:
            if response.status != 200:
                raise ControlRefused(response.status, await response.text())
            return await response.json()
