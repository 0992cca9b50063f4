"""Texts as vectors, by any server that speaks OpenAI's /embeddings.

What it answers is untrusted: as many vectors as were asked for, each of finite numbers and of the
same length, or nothing of it is used.
"""

import asyncio
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from handlers.agent.segment import Array
from handlers.agent.vectors import DIMENSIONS_MAX, unit

OPENAI_URL = "https://api.openai.com/v1"
TIMEOUT_S = 30.0  # of a batch; a question's is less
# A number is some 22 characters of JSON; more than this is no answer.
NUMBER_BYTES = 40
HEAD_BYTES = 65_536
FAILURES = 3  # in a row, of questions: then none is asked for REST_S
REST_S = 10.0
RETRY_AFTER_MAX_S = 600.0
INPUTS_FAULT = (400, 413, 422)
PLAIN_TEXT = "Are you open on Sundays?"  # every model takes it


class NotEmbedded(Exception):
    """In a word; `retry_after_s` is the server's wish."""

    def __init__(self, word: str, retry_after_s: float | None = None) -> None:
        super().__init__(word)
        self.retry_after_s = retry_after_s


class TextRefused(NotEmbedded):
    """Because of what was to be embedded: the same will be refused again."""


@dataclass(frozen=True, slots=True)
class Embedding:
    vectors: list[Array]  # of length 1
    tokens: int


@dataclass(slots=True)
class Embedder:
    """One for the process."""

    model: str
    url: str
    key: str = field(repr=False)
    session: aiohttp.ClientSession = field(repr=False)
    _failures: int = 0
    _rests_until: float = 0.0

    @classmethod
    def create(
        cls, model: str, key: str, base_url: str | None, session: aiohttp.ClientSession
    ) -> "Embedder":
        url = f"{(base_url or OPENAI_URL).rstrip('/')}/embeddings"
        return cls(model, url, key, session)

    async def question(self, text: str, timeout_s: float) -> Embedding:
        """Raises NotEmbedded; at once while the server is away, as others have found out."""
        if time.monotonic() < self._rests_until:
            raise NotEmbedded("away")
        try:
            async with asyncio.timeout(timeout_s):
                found = await self.embed([text])
        except TextRefused:  # the server is there, and others ask for other texts
            raise
        except (TimeoutError, NotEmbedded) as error:
            self._failures += 1
            if self._failures >= FAILURES:
                self._rests_until = time.monotonic() + REST_S
            if isinstance(error, NotEmbedded):
                raise
            raise NotEmbedded("late") from error
        self._failures = 0
        return found

    async def embed(self, texts: Sequence[str]) -> Embedding:
        """Raises NotEmbedded."""
        most = HEAD_BYTES + len(texts) * DIMENSIONS_MAX * NUMBER_BYTES
        try:
            async with self.session.post(
                self.url,
                json={"model": self.model, "input": list(texts), "encoding_format": "float"},
                headers={"Authorization": f"Bearer {self.key}"},
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    refused = TextRefused if response.status in INPUTS_FAULT else NotEmbedded
                    raise refused(f"http_{response.status}", _retry_after_s(response))
                body = await _read(response, most)
        except (TimeoutError, aiohttp.ClientError) as error:
            raise NotEmbedded("unreachable") from error
        # Of many rows it is megabytes of JSON, and the loop has others' turns.
        return await asyncio.to_thread(read_answer, body, len(texts))


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > most:
            raise NotEmbedded("answer_too_big")
    return bytes(body)


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    try:
        wait = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(wait, RETRY_AFTER_MAX_S) if math.isfinite(wait) and wait >= 0 else None


def read_answer(body: bytes, count: int) -> Embedding:
    """Raises NotEmbedded."""
    try:
        answer: Any = json.loads(body)
        placed = {int(one["index"]): one["embedding"] for one in answer["data"]}
        if sorted(placed) != list(range(count)):
            raise NotEmbedded("answer_incomplete")
        vectors = [unit(placed[place]) for place in range(count)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise NotEmbedded("answer_unreadable") from None
    good = [vector for vector in vectors if vector is not None]
    if len(good) < count or len({len(vector) for vector in good}) > 1:
        raise NotEmbedded("answer_unreadable")
    return Embedding(good, _tokens(answer))


def _tokens(answer: Any) -> int:
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) and 0 <= tokens < 2**31 else 0
