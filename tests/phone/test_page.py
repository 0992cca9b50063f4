"""The page of `make dev` in a real browser, on the whole product."""

import json
from uuid import uuid4

import aiohttp
import pytest

from tests.phone.conftest import Page, Switch

HOSTILE = (
    "<img src=x onerror='window.broken = 1'><script>window.broken = 1</script>",
    "\u0645\u0631\u062d\u0628\u0627 \u202e abc \u202c \u05e9\u05dc\u05d5\u05dd 123",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1f3\U0001f1f1 Z\u0351\u036b\u0343\u036a",
    "x" * 4_096,
)


async def test_a_message_is_answered_and_ticked(page: Page) -> None:
    await page.say("When are you open?")
    assert await page.bubbles(1, "customer") == ["When are you open?"]
    (answer,) = await page.bubbles(1)
    assert answer.startswith("We are open Tuesday to Saturday from 7:00")
    await page.browser.until("document.querySelector('.line.customer .ticks.read')")
    await page.browser.until("document.querySelector('#turns .status')?.textContent == 'read'")
    turn = await page.browser.run("document.querySelector('#turns .turn').textContent")
    assert "When are you open?" in turn
    assert "modeloffline" in turn
    assert "1 knowledge row used" in turn
    quoted = await page.browser.run("document.querySelector('.line.bot .quote').textContent")
    assert quoted == "When are you open?"


async def test_it_is_counted_while_one_looks(page: Page) -> None:
    before = await page.browser.run("state.usage.today.daily_messages_sent")
    await page.say("Do you deliver?")
    await page.bubbles(1)
    await page.browser.until(f"state.usage.today.daily_messages_sent == {before + 1}")
    shown = await page.browser.run("document.getElementById('usage').textContent")
    assert f"{before + 1} of 100" in shown


async def test_what_is_approved_on_the_page_is_told_to_the_customer(page: Page) -> None:
    await page.say("My cake was broken, I want a refund")
    await page.bubbles(1)
    await page.browser.until("document.querySelector('.ask .approve')")
    await page.browser.run("document.querySelector('.ask input').focus()")
    await page.browser.type("We send 20 EUR today.")
    await page.click(".ask .approve")
    told = (await page.bubbles(2))[1]
    assert "approved" in told
    assert "We send 20 EUR today." in told
    await page.browser.until("!document.querySelector('.ask')")


async def test_the_key_does_not_reach_the_browser(page: Page) -> None:
    await page.say("Do you take cards?")
    await page.bubbles(1)
    seen = await page.browser.run(
        "Promise.all(['/', '/phone.js', '/bots', '/bots/0/v1/usage'].map((path) =>"
        " fetch(path).then((answer) => answer.text()))).then((texts) =>"
        " texts.join() + JSON.stringify(state) + document.documentElement.outerHTML)"
    )
    assert "daily_message_limit" in seen
    assert page.bot.api_key not in seen


async def test_with_duplicates_there_is_one_answer(page: Page, switch: Switch) -> None:
    await switch("duplicates")
    await page.say("Is there parking near the bakery?")
    await page.bubbles(1)
    posts = [e for e in await page.simulator.log("webhook") if "parking near" in e["body"]]
    assert len(posts) == 3
    await page.say("What do you have that is vegan?")
    answers = await page.bubbles(2)  # an answer to a copy would have come before
    assert "parking spaces" in answers[0]
    assert "sourdough" in answers[1]


async def test_a_customer_without_a_number_has_a_chat_too(page: Page, switch: Switch) -> None:
    await switch("hidden_numbers")
    await page.say("Do you take cards?")
    await page.bubbles(1)
    await page.browser.until("document.querySelector('#turns .turn')")
    last = (await page.simulator.sends())[-1]
    assert last["to"] is None
    assert last["recipient"].startswith("US.1202")


@pytest.mark.parametrize("hostile", HOSTILE, ids=["markup", "direction", "emoji", "long"])
async def test_hostile_texts_are_texts(page: Page, hostile: str) -> None:
    await page.browser.size(360, 740)
    await page.say(hostile)
    assert await page.bubbles(1, "customer") == [hostile]
    await page.bubbles(1)
    await page.browser.until("document.querySelector('#turns .out')")
    assert await page.browser.run("document.querySelector('#turns .in').textContent") == hostile
    assert await page.browser.run("window.broken") is None
    assert await page.browser.run("document.querySelectorAll('main img, main script').length") == 0
    assert await page.browser.run("document.documentElement.scrollWidth") == 360


async def test_whatsapp_s_marks(page: Page) -> None:
    await page.say("*cake* _for_ ~12~ `people` 2*3*4 snake_case_name")
    await page.bubbles(1)
    tags = "[...document.querySelectorAll('.line.customer .text *')].map((e) => e.outerHTML)"
    assert await page.browser.run(tags) == [
        "<strong>cake</strong>",
        "<em>for</em>",
        "<s>12</s>",
        "<code>people</code>",
    ]


async def test_samples_and_quotes(page: Page) -> None:
    await page.say("Where are you?")
    await page.bubbles(1)
    await page.click(".line.bot .reply")
    await page.say("And do you serve coffee there?")
    await page.browser.until("document.querySelectorAll('.line.customer .quote').length == 1")
    await page.click("[data-kind=reaction]")
    await page.browser.until("document.querySelector('.reactions')?.textContent == '\\u{1f44d}'")
    for kind in ("photo", "location", "menu"):
        await page.click(f"[data-kind={kind}]")
    await page.browser.until("document.querySelectorAll('.line.customer').length == 5")
    log = await page.simulator.log("webhook")
    sent = "".join(e["body"] for e in log if '"context"' in e["body"] or "_media_" in e["body"])
    assert "And do you serve coffee there?" in sent


async def test_everything_has_a_name_and_can_be_reached(page: Page) -> None:
    await page.say("Hello")
    await page.bubbles(1)
    nameless = await page.browser.run(
        "[...document.querySelectorAll('button, input, select, textarea, summary')].filter((e) =>"
        " !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []
    unreachable = (
        "[...document.querySelectorAll('button, input, select')].filter((e) => e.tabIndex < 0)"
    )
    assert await page.browser.run(f"{unreachable}.length") == 0


FOREIGN = "http://shop.example"


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Origin": FOREIGN}, "another web site"),
        ({}, "another web site"),
        ({"Origin": "own", "Host": "shop.example"}, "another host's name"),
        ({"Origin": "own", "Content-Type": "text/plain"}, "only JSON is taken"),
    ],
    ids=["origin", "no origin", "host", "form"],
)
async def test_another_site_cannot_drive_it(page: Page, headers: dict[str, str], why: str) -> None:
    own = page.url.rstrip("/")
    sent = {k: own if v == "own" else v for k, v in headers.items()}
    sent = {"Content-Type": "application/json", **sent}
    text = f"from another site {uuid4()}"
    body = json.dumps({"bot": "0", "customer": "12025550100", "text": text})
    async with aiohttp.ClientSession() as http:
        for path in ("/messages", "/lies/duplicates", "/bots/0/v1/actions/1/approve"):
            async with http.post(own + path, data=body, headers=sent) as response:
                assert response.status == 403
                assert (await response.json())["problem"] == why
        good = {"Content-Type": "application/json", "Origin": own}
        async with http.post(f"{own}/messages", data=body, headers=good) as response:
            assert response.status == 200
    assert len([e for e in await page.simulator.log("webhook") if text in e["body"]]) == 1


async def test_another_site_cannot_read_it(page: Page) -> None:
    async with aiohttp.ClientSession() as http:
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Host": "shop.example"}):
            async with http.get(f"{page.url}bots", headers=headers) as response:
                assert response.status == 403
        async with http.get(f"{page.url}bots") as response:
            assert response.status == 200
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
