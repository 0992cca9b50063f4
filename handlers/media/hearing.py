"""Sound becomes words, by any server that speaks OpenAI's /audio/transcriptions.

What it answers is a customer's text, and as untrusted as one.
"""

import json
import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp

from handlers.media.sniffing import ending

OPENAI_URL = "https://api.openai.com/v1"
HEAR_S = 60.0
ANSWER_BYTES = 1024 * 1024
SECONDS_MAX = 4 * 3_600  # 16 MB of speech are less; what says more is not believed
# Because of what was sent: the same will be refused again.
OF_THE_SOUND = (400, 413, 415, 422)


class NotHeard(Exception):
    """In a word of handlers/media/rules.py."""


@dataclass(frozen=True, slots=True)
class Heard:
    text: str
    seconds: Decimal | None  # as the server counts
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Transcriber:
    """One for the process."""

    model: str
    url: str
    key: str = field(repr=False)
    session: aiohttp.ClientSession = field(repr=False)

    @classmethod
    def create(
        cls, model: str, key: str, base_url: str | None, session: aiohttp.ClientSession
    ) -> "Transcriber":
        url = f"{(base_url or OPENAI_URL).rstrip('/')}/audio/transcriptions"
        return cls(model, url, key, session)

    async def hear(self, data: bytes, content_type: str, language: str | None) -> Heard:
        """Raises NotHeard."""
        form = aiohttp.FormData()
        # By its bytes, whatever it was called.
        name = f"voice.{ending(content_type)}"
        form.add_field("file", data, filename=name, content_type=content_type)
        form.add_field("model", self.model)
        form.add_field("response_format", "json")
        if language:
            form.add_field("language", language.partition("-")[0])
        try:
            async with self.session.post(
                self.url,
                data=form,
                headers={"Authorization": f"Bearer {self.key}"},
                timeout=aiohttp.ClientTimeout(total=HEAR_S, sock_connect=5.0),
                allow_redirects=False,
            ) as response:
                body = await _bounded(response)
                if response.status in OF_THE_SOUND:
                    raise NotHeard("not_understood")
                if response.status != 200:
                    raise NotHeard(f"http_{response.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotHeard("unreachable") from error
        return read_answer(body)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while piece := await response.content.readany():
        body += piece
        if len(body) > ANSWER_BYTES:
            raise NotHeard("answer_too_big")
    return bytes(body)


def read_answer(body: bytes) -> Heard:
    """Raises NotHeard."""
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise NotHeard("answer_unreadable") from None
    text = answer.get("text") if isinstance(answer, dict) else None
    if not isinstance(text, str):
        raise NotHeard("answer_unreadable")
    usage = answer.get("usage")
    told = usage if isinstance(usage, dict) else {}
    return Heard(
        text=text.strip(),
        seconds=seconds_of(told.get("seconds", answer.get("duration"))),
        input_tokens=_count(told.get("input_tokens")),
        output_tokens=_count(told.get("output_tokens")),
    )


def seconds_of(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return Decimal(f"{value:.1f}") if 0 <= value <= SECONDS_MAX else None


def _count(value: object) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return value if isinstance(value, int) and is_count else 0
