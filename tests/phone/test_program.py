"""What a tenant's own program got, as the page shows it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.phone.conftest import Page
from tests.signed import Post, event, new_secret

EVENT = "[...document.querySelectorAll('#told .event')].find((e) => e.dataset.key == {!r})"


class Program:
    """The endpoint that the page shows, posted to by hand."""

    def __init__(self, page: Page, http: aiohttp.ClientSession, secret: str) -> None:
        self.page = page
        self.secret = secret
        self._http = http

    async def gets(self, post: Post) -> int:
        return await post.to(self._http, self.page.simulator.endpoint_url(self.page.bot.program))

    async def events(self) -> list[dict[str, Any]]:
        """What became of each that came, with its type."""
        name, simulator = self.page.bot.program, self.page.simulator
        events = await simulator.events(name)  # before: what comes in between has no body here
        types = {d["webhook_id"]: d["body"] for d in await simulator.deliveries(name)}
        return [
            {**each, "type": json.loads(types[each["webhook_id"]])["type"]}
            for each in events
            if each["webhook_id"].removeprefix("evt_").isdigit()
        ]

    async def press(self, webhook_id: str, button: str) -> None:
        found = EVENT.format(webhook_id)
        buttons = f"[...({found}).querySelectorAll('button')]"
        await self.page.browser.run(f"{buttons}.find((e) => e.textContent == '{button}').click()")

    async def shows(self, webhook_id: str, *attempts: str) -> None:
        await self.page.browser.until(f"{self._told(webhook_id)} == {','.join(attempts)!r}")

    async def shows_last(self, webhook_id: str, attempt: str) -> None:
        """However many there were before; they have gaps of minutes after the second."""
        await self.page.browser.until(f"{self._told(webhook_id)}.endsWith({attempt!r})", 200.0)

    def _told(self, webhook_id: str) -> str:
        found = EVENT.format(webhook_id)
        items = f"[...({found})?.querySelectorAll('.attempts li') ?? []]"
        return f"String({items}.map((e) => e.textContent))"

    async def switch(self, mode: str) -> None:
        await self.page.click(f"#modes input[value={mode}]")
        await self.page.browser.until(f"state.program.mode == '{mode}'")


@pytest.fixture
async def program(page: Page) -> AsyncIterator[Program]:
    secret = page.bot.webhook_secret
    async with aiohttp.ClientSession() as http:
        program = Program(page, http, secret)
        yield program
        await program.switch("ok")


def name() -> str:
    return f"evt_{uuid4().hex}"


async def test_an_event_is_shown_with_what_was_answered(program: Program) -> None:
    webhook_id = name()
    post = event(webhook_id, program.secret, type="order.created", text="A cake")
    assert await program.gets(post) == 200
    await program.shows(webhook_id, "1 →200✓")
    shown = await program.page.browser.run(f"({EVENT.format(webhook_id)}).textContent")
    assert "order.created" in shown
    assert '"text": "A cake"' in shown
    folded = f"({EVENT.format(webhook_id)}).querySelector('details').open"
    assert await program.page.browser.run(folded) is False


async def test_each_switch_answers_as_it_says(program: Program) -> None:
    webhook_id = name()
    post = event(webhook_id, program.secret)
    await program.switch("fail")
    assert await program.gets(post) == 500
    await program.shows(webhook_id, "1 →500✓")
    await program.switch("dead")
    with pytest.raises(aiohttp.ClientError):
        await program.gets(post)
    await program.shows(webhook_id, "1 →500✓", "2 →no answer✓")
    await program.switch("slow")
    assert await program.gets(post) == 200  # shown as soon as it is answered
    await program.shows(webhook_id, "1 →500✓", "2 →no answer✓", "3 →200✓")


async def test_what_is_not_verified_is_marked(program: Program) -> None:
    webhook_id = name()
    await program.gets(event(webhook_id, new_secret()))
    await program.shows(webhook_id, "1 →200✗")
    seal = f"({EVENT.format(webhook_id)}).querySelector('.seal').getAttribute('aria-label')"
    assert "none fits" in await program.page.browser.run(seal)


async def test_hostile_bodies_are_texts(program: Program) -> None:
    hostile = "<img src=x onerror='window.broken = 1'><script>window.broken = 1</script>"
    await program.page.browser.size(360, 740)
    webhook_id = name()
    text = hostile + "x" * 3_000
    await program.gets(event(webhook_id, program.secret, type=hostile, text=text))
    await program.shows(webhook_id, "1 →200✓")
    run = program.page.browser.run
    await run(f"({EVENT.format(webhook_id)}).querySelector('details').open = true")
    assert hostile in await run(f"({EVENT.format(webhook_id)}).querySelector('pre').textContent")
    assert hostile in await run(f"({EVENT.format(webhook_id)}).querySelector('.type').textContent")
    assert await run("window.broken") is None
    assert await run("document.querySelectorAll('main img, main script').length") == 0
    assert await run("document.documentElement.scrollWidth") == 360


async def test_what_is_no_json_is_shown_as_it_came(program: Program) -> None:
    webhook_id = name()
    given = event(webhook_id, program.secret)
    await program.gets(Post(b"\xff{ not json", given.headers))
    await program.shows(webhook_id, "1 →200✗")
    body = f"({EVENT.format(webhook_id)}).querySelector('pre').textContent"
    assert await program.page.browser.run(body) == "\ufffd{ not json"


@pytest.mark.parametrize(
    ("does", "body", "status"),
    [("mode", {"mode": "sulk"}, 404), ("mode", {}, 404), ("explode", {}, 404)],
)
async def test_only_what_there_is_can_be_asked_for(
    page: Page, does: str, body: dict[str, str], status: int
) -> None:
    headers = {"Origin": page.url.rstrip("/")}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{page.url}bots/0/program/{does}", json=body) as answer,
    ):
        assert answer.status == status


async def answered_with(program: Program, text: str) -> list[str]:
    """The customer says this; the webhook-ids of what the program was told of it."""
    before = {e["webhook_id"] for e in await program.events()}
    await program.page.say(text)
    await program.page.bubbles(1)
    while True:
        told = [e for e in await program.events() if e["webhook_id"] not in before]
        if {"message.received", "message.sent"} <= {e["type"] for e in told}:
            return [e["webhook_id"] for e in told]
        await asyncio.sleep(0.05)


async def test_what_happens_is_told_to_the_program(program: Program) -> None:
    for webhook_id in await answered_with(program, "When are you open?"):
        await program.shows(webhook_id, "1 →200✓")


async def test_an_event_comes_again_when_replay_is_pressed(program: Program) -> None:
    webhook_id, *_ = await answered_with(program, "Do you deliver?")
    await program.shows(webhook_id, "1 →200✓")
    await program.press(webhook_id, "Replay")
    await program.shows(webhook_id, "1 →200✓", "2 →200✓")
    (kept,) = [e for e in await program.events() if e["webhook_id"] == webhook_id]
    assert kept["same_body"]
    answered = "document.getElementById('answered').textContent"
    await program.page.browser.until(f"{answered} == '{webhook_id} is sent again.'")


async def test_what_failed_is_tried_again_by_itself(program: Program) -> None:
    await program.switch("fail")
    webhook_id, *_ = await answered_with(program, "Do you take cards?")
    await program.shows(webhook_id, "1 →500✓")
    await program.switch("ok")
    await program.shows_last(webhook_id, "→200✓")


async def test_a_replay_that_is_not_possible_says_why(program: Program) -> None:
    webhook_id = name()  # of no delivery that the product knows
    await program.gets(event(webhook_id, program.secret))
    await program.shows(webhook_id, "1 →200✓")
    await program.press(webhook_id, "Replay")
    answered = "document.getElementById('answered').textContent"
    await program.page.browser.until(f"{answered}.includes('no such delivery')")
    await program.page.click("#recover")
    await program.page.browser.until(
        f"{answered} == 'What it missed in the last day is sent again.'"
    )
