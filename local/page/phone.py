"""What the parts of the page's server share: whom it asks, and how it reads the page."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import aiohttp
from aiohttp import web

from local.page.chats import Chats
from local.page.lies import Lies
from local.page.program import Program
from local.page.record import Record
from local.page.tenant import Api, Bot
from simulator.client import Simulator

Hears: TypeAlias = Literal["simulator", "model", "nobody"]


@dataclass(slots=True)
class Phone:
    bots: Sequence[Bot]
    api_url: str
    simulator: Simulator
    http: aiohttp.ClientSession
    api: Api
    record: Record
    lies: Lies
    chats: Chats
    programs: dict[str, Program]
    hears: Hears
    pages: int = 0
    closing: bool = False


PHONE = web.AppKey("phone", Phone)


def bot_of(request: web.Request, index: object) -> Bot:
    bots = request.app[PHONE].bots
    if isinstance(index, str) and index.isascii() and index.isdigit() and int(index) < len(bots):
        return bots[int(index)]
    raise web.HTTPNotFound(text="no such bot")


async def object_of(request: web.Request) -> dict[str, Any]:
    try:
        value = json.loads(await request.read())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(text="not a JSON object")
    return value


def bsuid(digits: str) -> str:
    """As the simulator makes it."""
    return f"US.{digits}"
