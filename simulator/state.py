"""Everything one running simulator knows."""

import asyncio
import itertools
import random
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from simulator.endpoint_record import Endpoints
from simulator.journal import Conversations, Journal, remember
from simulator.limits import Limits
from simulator.media import Media
from simulator.model_rules import Rule
from simulator.script import Fault, Script
from simulator.settings import Settings
from simulator.templates import Templates
from simulator.webhooks import Inbound

MAX_PEOPLE = 200_000


@dataclass(frozen=True, slots=True)
class Person:
    customer: str
    digits: str | None
    user_id: str | None
    name: str | None


class People:
    """Those who wrote, found by digits and by BSUID."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Person] = OrderedDict()

    def meet(self, inbound: Inbound, hides_number: bool = False) -> Person:
        digits = None if hides_number and inbound.user_id else inbound.digits
        person = Person(inbound.customer, digits, inbound.user_id, inbound.name)
        for key in (inbound.digits, inbound.user_id):
            if key is not None:
                remember(self._known, key, person, MAX_PEOPLE)
        return person

    def find(self, key: str) -> Person | None:
        return self._known.get(key)

    def clear(self) -> None:
        self._known.clear()


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that the business uploaded, to send it by its id."""

    phone_number_id: str
    mime_type: str
    size: int
    sha256: str
    at: float


class State:
    def __init__(self) -> None:
        self.settings = Settings()
        self.journal = Journal()
        self.conversations = Conversations()
        self.people = People()
        self.faults: Script[Fault] = Script()
        self.rules: Script[Rule] = Script()
        self.endpoints = Endpoints()
        self.limits = Limits()
        self.media = Media()
        self.upload_faults: Script[Fault] = Script()
        self.uploads: OrderedDict[str, Upload] = OrderedDict()  # by their ids
        self.templates = Templates()
        self.dice = random.Random()
        self.inbound: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self.held: dict[
            str, list[asyncio.Event]
        ] = {}  # webhooks that wait for the next, by customer
        self.batch: list[dict[str, object]] = []  # changes of the next POST
        self._closing = asyncio.Event()
        self._deliveries = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    def forget(self) -> None:
        """Empties the record and the scripts; the settings stay."""
        self.journal.clear()
        self.conversations.clear()
        self.people.clear()
        self.faults.replace([])
        self.upload_faults.replace([])
        self.rules.replace([])
        self.endpoints.forget()
        self.limits = Limits()
        self.media.clear()
        self.templates = Templates()
        self.inbound.clear()

    def heard(self, phone_number_id: str, customer: str, wamid: str, stamp: str) -> None:
        """A customer's message: it opens the window and can be marked as read."""
        remember(self.inbound, wamid, (phone_number_id, customer), MAX_PEOPLE)
        self.limits.wrote(phone_number_id, self.canonical(customer), float(stamp))

    def heard_raw(self, payload: object) -> None:
        """The customers' messages in a payload that somebody wrote by hand."""
        try:
            for entry in payload["entry"]:  # type: ignore[index]  # whatever does not fit ends it
                for change in entry["changes"]:
                    number = change["value"]["metadata"]["phone_number_id"]
                    for message in change["value"].get("messages", []):
                        customer = message.get("from") or message["from_user_id"]
                        self.heard(number, customer, message["id"], message["timestamp"])
        except (LookupError, TypeError, ValueError, AttributeError):
            return

    def canonical(self, customer: str) -> str:
        person = self.people.find(customer)
        return person.customer if person is not None else customer

    async def pause(self, ms: float) -> None:
        """Sleeps, but never past the server's end: a long scripted hang must not delay it."""
        if ms > 0:
            try:
                await asyncio.wait_for(self._closing.wait(), ms / 1000)
            except TimeoutError:
                return

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    def next_webhook_url(self) -> str:
        urls = self.settings.webhook_urls
        return urls[next(self._deliveries) % len(urls)]

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def wake_sleepers(self) -> None:
        self._closing.set()

    async def close(self) -> None:
        self.wake_sleepers()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


STATE = web.AppKey("state", State)
HTTP = web.AppKey("http", aiohttp.ClientSession)


def drop_connection(request: web.Request) -> web.Response:
    """Ends the connection without an answer; the returned response reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
