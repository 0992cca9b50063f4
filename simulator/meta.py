"""Meta's side of the webhooks: building, signing and delivering them."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import aiohttp

from simulator.journal import Line
from simulator.kinds import MEDIA, content
from simulator.lies import Fate
from simulator.media import Medium
from simulator.samples import sample, voice
from simulator.script import Fault
from simulator.settings import ACCOUNT_ID, STATUSES, Number, Status
from simulator.state import Person, State
from simulator.webhooks import Doing, Inbound, RawPost

RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0
RETRY_TRIES = 60
AGAIN_MS = 200  # a duplicate comes within
BATCH_UPDATES = 500  # of Meta's 1,000 a POST

Cause = Literal["messages", "status", "raw"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ingress answered; status is None when it gave no answer at all."""

    status: int | None
    body: str

    def as_json(self) -> dict[str, object]:
        return {"status": self.status, "body": self.body}


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that the Graph endpoint accepted."""

    phone_number_id: str
    recipient: str | None
    customer: str
    wamid: str
    opaque: str | None
    line: Line


class NoWebhookUrl(Exception):
    """The simulator was not told where the webhooks go: set webhook_url in /_sim/config."""


def new_wamid() -> str:
    return "wamid." + base64.b64encode(secrets.token_bytes(33)).decode()


def encode(payload: object) -> bytes:
    """Meta's spelling: compact, unicode escaped in lower case, slashes escaped.

    A receiver that parses and dumps again before checking the signature fails on it.
    """
    return json.dumps(payload, separators=(",", ":")).replace("/", "\\/").encode()


def sign(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Courier:
    """Delivers webhooks to the ingress and records each attempt with its answer."""

    def __init__(self, state: State, http: aiohttp.ClientSession) -> None:
        self._state = state
        self._http = http

    async def say(self, inbound: Inbound) -> tuple[list[str], list[Answer]]:
        self._need_url()
        person = self._meet(inbound)
        wamids = inbound.wamids or tuple(new_wamid() for _ in inbound.texts)
        stamp = inbound.timestamp or str(int(time.time()))
        messages = []
        for wamid, text in zip(wamids, inbound.texts, strict=True):
            self._hear(inbound, person, wamid, stamp, text)
            messages.append(_message(person, wamid, stamp, content("text", text, None)))
        batches = [messages] if inbound.one_post else [[message] for message in messages]
        answers = []
        for batch in batches:
            value = {"contacts": [_contact(person)], "messages": batch}
            answers.append(
                await self._post("messages", inbound.phone_number_id, person.customer, value)
            )
        lies = self._state.settings.lies
        if self._state.dice.random() < lies.extras:
            kind = self._state.dice.choice(lies.extra_kinds)
            own = replace(inbound, wamids=None)
            await self.do(Doing(own, kind, None, wamids[-1]))
        return list(wamids), answers

    async def do(self, doing: Doing) -> tuple[str, Answer]:
        """Everything that is no plain text."""
        self._need_url()
        inbound, kind = doing.by, doing.kind
        person = self._meet(inbound)
        wamid = inbound.wamids[0] if inbound.wamids else new_wamid()
        stamp = inbound.timestamp or str(int(time.time()))
        target = self._target(doing, person)
        told = content(
            kind, doing.text, target, self._medium(doing), choice=doing.choice, items=doing.items
        )
        if kind == "document" and doing.filename is not None:
            told[kind]["filename"] = doing.filename
        if kind == "echo":
            value = {"message_echoes": [self._echo(inbound, person, wamid, stamp, told)]}
            field = "smb_message_echoes"
        else:
            if kind not in ("reaction", "edit", "revoke"):
                shown = doing.text or f"[{kind}]"
                self._hear(inbound, person, wamid, stamp, shown)
            value = {
                "contacts": [_contact(person)],
                "messages": [_message(person, wamid, stamp, told)],
            }
            field = "messages"
        answer = await self._post(
            "messages", inbound.phone_number_id, person.customer, value, field
        )
        return wamid, answer

    def _meet(self, inbound: Inbound) -> Person:
        hides = self._state.settings.lies.hides_number(inbound.customer)
        return self._state.people.meet(inbound, hides)

    def _hear(self, inbound: Inbound, person: Person, wamid: str, stamp: str, text: str) -> None:
        line = Line("customer", text, wamid, time.time())
        self._state.conversations.add(inbound.phone_number_id, person.customer, line)
        self._state.heard(inbound.phone_number_id, person.customer, wamid, stamp)

    def _medium(self, doing: Doing) -> Medium | None:
        """What is sent: a file that was given before, or a small one of its kind."""
        if doing.kind not in MEDIA:
            return None
        known = self._state.media.find(doing.media) if doing.media is not None else None
        if known is not None:
            return known
        medium = Medium(*sample(doing.kind))
        if doing.kind == "audio" and doing.text:  # it has no caption: that is what is said
            medium.data, medium.says = voice(mark=doing.text), doing.text
        return self._state.media.keep(medium)

    def _target(self, doing: Doing, person: Person) -> str | None:
        if doing.target is not None or doing.kind not in ("reaction", "edit", "revoke"):
            return doing.target
        side = "bot" if doing.kind == "reaction" else "customer"
        return self._state.conversations.last(doing.by.phone_number_id, person.customer, side)

    def _echo(
        self, inbound: Inbound, person: Person, wamid: str, stamp: str, told: Mapping[str, object]
    ) -> dict[str, object]:
        line = Line("bot", str(inbound.texts[0]), wamid, time.time(), "sent")
        self._state.conversations.add(inbound.phone_number_id, person.customer, line)
        number = self._state.settings.number(inbound.phone_number_id)
        ends = _known(to=person.digits, to_user_id=person.user_id)
        us = {"from": number.display_phone_number, **ends}
        return {**us, "id": wamid, "timestamp": stamp, **told}

    async def post_raw(self, post: RawPost) -> Answer:
        body = (
            encode(post.payload) if post.body is None else post.body.encode(errors="surrogatepass")
        )
        secret = post.secret or self._state.settings.app_secret
        signature = sign(secret, body) if post.signed else post.signature
        self._need_url()
        self._state.heard_raw(post.payload)
        return await self._attempt("raw", body, signature, post.headers)

    async def report(
        self, sent: Sent, statuses: Iterable[Status], failure: Fault | None, fate: Fate
    ) -> None:
        """Posts what became of a message that was accepted."""
        told = list(statuses)
        if fate.late:
            await self._state.pause(self._state.settings.lies.late_ms)
        if fate.shuffled:
            self._state.dice.shuffle(told)
        for status in told:
            if not fate.early:
                await self._state.pause(self._state.settings.status_delay_ms)
            if not self._state.settings.webhook_urls:
                return
            person = self._state.people.find(sent.customer)
            value = _status_value(sent, status, person, failure)
            shown = sent.line.status
            if shown not in STATUSES or STATUSES.index(status) > STATUSES.index(shown):
                sent.line.status = status
            customer = person.customer if person is not None else sent.customer
            await self._post("status", sent.phone_number_id, customer, value)

    async def _post(
        self,
        cause: Cause,
        phone_number_id: str,
        customer: str,
        value: Mapping[str, object],
        field: str = "messages",
    ) -> Answer:
        """One change; the truth at once, or as the lies have it."""
        change = _change(self._state.settings.number(phone_number_id), value, field)
        if not self._state.settings.lies.in_background:
            return await self._deliver_twice(cause, [change])
        self._state.spawn(self._hold(cause, f"{phone_number_id}:{customer}", change))
        return Answer(None, "on its way")

    async def _hold(self, cause: Cause, key: str, change: dict[str, object]) -> None:
        state, lies, dice = self._state, self._state.settings.lies, self._state.dice
        if dice.random() < lies.delays:
            await state.pause(dice.random() * lies.delay_ms)
        if dice.random() < lies.swaps:
            overtaken = asyncio.Event()
            state.held.setdefault(key, []).append(overtaken)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(overtaken.wait(), lies.swap_ms / 1000)
        if lies.batch_ms:
            state.batch.append(change)
            if len(state.batch) == 1:
                state.spawn(self._post_batch(lies.batch_ms))
        else:
            await self._deliver_twice(cause, [change])
        for event in state.held.pop(key, []):
            event.set()

    async def _post_batch(self, after_ms: int) -> None:
        await self._state.pause(after_ms)
        changes, self._state.batch = self._state.batch, []
        for start in range(0, len(changes), BATCH_UPDATES):
            await self._deliver_twice("messages", changes[start : start + BATCH_UPDATES])

    async def _deliver_twice(self, cause: Cause, changes: Sequence[dict[str, object]]) -> Answer:
        """Or more often, as Meta does: it may ask a second server while the first still answers."""
        body = encode(_envelope(changes))
        lies, dice = self._state.settings.lies, self._state.dice
        if dice.random() < lies.duplicates:
            for _ in range(lies.duplicate_times):
                self._state.spawn(self._again(cause, body, dice.random() * AGAIN_MS))
        return await self._deliver(cause, body)

    async def _again(self, cause: Cause, body: bytes, after_ms: float) -> None:
        await self._state.pause(after_ms)
        await self._deliver(cause, body)

    def _need_url(self) -> None:
        if not self._state.settings.webhook_urls:
            raise NoWebhookUrl(NoWebhookUrl.__doc__)

    async def _deliver(self, cause: Cause, body: bytes) -> Answer:
        """The first attempt's answer; further attempts go on in the background, as Meta's do."""
        signature = sign(self._state.settings.app_secret, body)
        answer = await self._attempt(cause, body, signature, {})
        if answer.status != 200 and self._state.settings.webhook_retry:
            self._state.spawn(self._retry(cause, body, signature))
        return answer

    async def _retry(self, cause: Cause, body: bytes, signature: str) -> None:
        wait = RETRY_FIRST_S
        for number in range(2, RETRY_TRIES + 1):
            await asyncio.sleep(wait)
            answer = await self._attempt(cause, body, signature, {}, number)
            if answer.status == 200:
                return
            wait = min(wait * 2, RETRY_MAX_S)

    async def _attempt(
        self,
        cause: Cause,
        body: bytes,
        signature: str | None,
        extra: Mapping[str, str],
        number: int = 1,
    ) -> Answer:
        headers = {"Content-Type": "application/json", "User-Agent": "facebookexternalua", **extra}
        if signature is not None:
            headers["X-Hub-Signature-256"] = signature
        started = time.time()
        try:
            async with self._http.post(
                self._state.next_webhook_url(), data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = Answer(response.status, (await response.read()).decode(errors="replace"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            answer = Answer(None, f"{type(error).__name__}: {error}")
        self._state.journal.add(
            "webhook",
            cause=cause,
            attempt=number,
            body=body.decode(errors="replace"),
            signature=signature,
            status=answer.status,
            answer=answer.body,
            took_ms=round((time.time() - started) * 1000, 1),
        )
        return answer


def _envelope(changes: Sequence[dict[str, object]]) -> dict[str, object]:
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": ACCOUNT_ID, "changes": list(changes)}],
    }


def _change(number: Number, value: Mapping[str, object], field: str) -> dict[str, object]:
    metadata = {
        "display_phone_number": number.display_phone_number,
        "phone_number_id": number.phone_number_id,
    }
    whole = {"messaging_product": "whatsapp", "metadata": metadata, **value}
    return {"value": whole, "field": field}


def _contact(person: Person) -> dict[str, object]:
    return _known(
        profile=None if person.name is None else {"name": person.name},
        wa_id=person.digits,
        user_id=person.user_id,
    )


def _message(
    person: Person, wamid: str, stamp: str, told: Mapping[str, object]
) -> dict[str, object]:
    sender = _known(**{"from": person.digits, "from_user_id": person.user_id})
    return {**sender, "id": wamid, "timestamp": stamp, **told}


def _status_value(
    sent: Sent, status: Status, person: Person | None, failure: Fault | None
) -> dict[str, object]:
    """The shape of v24 and later: contacts, BSUIDs, no conversation."""
    unmet = Person(
        sent.customer, None if sent.recipient else sent.customer, sent.recipient, name=None
    )
    who = person or unmet
    report: dict[str, object] = {
        "id": sent.wamid,
        "status": status,
        "timestamp": str(int(time.time())),
        **_known(recipient_id=who.digits, biz_opaque_callback_data=sent.opaque),
    }
    if status == "failed":
        return {"statuses": [{**report, "errors": _status_errors(failure)}]}
    report |= _known(recipient_user_id=who.user_id)
    if status in ("sent", "delivered"):
        report["pricing"] = {
            "billable": False,
            "pricing_model": "PMP",
            "type": "free_customer_service",
            "category": "service",
        }
    return {"contacts": [_contact(who)], "statuses": [report]}


def _status_errors(failure: Fault | None) -> Sequence[object]:
    code, title, details = 131026, "Message undeliverable", "Message Undeliverable."
    if failure is not None:
        code, title, details = failure.code, failure.message, failure.details
    error_data = {"details": details}
    return [{"code": code, "title": title, "message": title, "error_data": error_data}]


def _known(**values: object) -> dict[str, object]:
    """Meta leaves out what it does not know; it does not send null."""
    return {name: value for name, value in values.items() if value is not None}
