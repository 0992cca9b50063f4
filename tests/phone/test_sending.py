"""What is sent besides words, pressed, and ordered; in a real browser, on the whole product."""

import asyncio
from typing import Any

import aiohttp
import pytest

from local.page.files import picture, tune
from simulator.samples import pdf
from tests.phone.conftest import Page

PATIENCE_S = 30.0
LAST_BOT = "[...document.querySelectorAll('.line.bot')].at(-1)"


async def opens(page: Page, sheet: str) -> None:
    await page.click(f"[data-opens={sheet}]")
    await page.browser.until(f"document.getElementById('{sheet}').open")


async def says(page: Page, text: str) -> None:
    """In the sheet of voice messages."""
    await opens(page, "voice")
    await page.browser.run("document.getElementById('said').select()")
    await page.browser.type(text)


async def is_ordered(page: Page) -> str:
    """Presses the button under the last answer; the order's number, once the shop has it."""
    await page.browser.until(f"{LAST_BOT}?.querySelector('button.press')", PATIENCE_S)
    await page.browser.run(f"{LAST_BOT}.querySelector('button.press').click()")
    thanks = "[...document.querySelectorAll('.line.bot .text')].map((e) => e.textContent)"
    found = f"{thanks}.map((t) => /Your order (\\S+) over/.exec(t)?.[1]).find(Boolean)"
    await page.browser.until(found, PATIENCE_S)
    number = str(await page.browser.run(found))
    await page.browser.until(f"state.orders.some((each) => each.order_number == '{number}')")
    return number


def of_order(number: str, inside: str) -> str:
    return (
        "[...document.querySelectorAll('.order')].find((e) =>"
        f" e.textContent.includes('{number}'))?.querySelector('{inside}')"
    )


async def stored(page: Page, kind: str, says: str) -> None:
    """Waits until the product has its file, and the message says so much."""
    found = f"state.record?.turns.some((turn) => turn.inputs.some((i) => i.kind == '{kind}'))"
    await page.browser.until(found, PATIENCE_S)
    conversation = await page.browser.run("state.record.conversation")
    url = f"{await page.browser.run('location.origin')}/bots/0/v1/conversations/{conversation}"
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{url}/messages") as answer:
                rows = (await answer.json())["data"]
            of_kind = [r for r in rows if r["message_type"] == kind and r["content_url"]]
            if of_kind and says in of_kind[0]["content_text"]:
                return
            await asyncio.sleep(0.2)


async def test_a_picture_is_seen_on_the_phone_and_stored(page: Page) -> None:
    await page.browser.run("document.getElementById('text').value = 'Can you make this?'")
    await page.browser.choose("#file", "cake.png", picture().data)
    shown = "document.querySelector('.line.customer img')"
    await page.browser.until(f"{shown}?.naturalWidth == 360")
    assert await page.bubbles(1, "customer") == ["Can you make this?"]
    assert await page.browser.run("document.getElementById('text').value") == ""
    await page.bubbles(1)
    await stored(page, "image", "Can you make this?")


async def test_a_pdf_is_read_and_saved_but_not_opened(page: Page) -> None:
    await page.browser.choose("#file", "guests <b>.pdf", pdf("Seventeen guests"))
    link = "document.querySelector('.line.customer a.file')"
    await page.browser.until(link)
    assert await page.browser.run(f"{link}.textContent") == "guests <b>.pdf"
    assert await page.browser.run(f"{link}.download") == "guests <b>.pdf"
    await stored(page, "document", "Seventeen guests")


async def test_nothing_of_a_file_is_run(page: Page) -> None:
    hostile = b"<!doctype html><script>window.broken = 1; opener && (opener.broken = 1)</script>"
    for name in ("cake.png", "cake.svg", "list.html"):
        await page.browser.choose("#file", name, hostile)
    await page.browser.until("document.querySelectorAll('.line.customer a.file').length == 3")
    assert await page.browser.run("document.querySelectorAll('main img').length") == 0
    url = await page.browser.run("document.querySelector('.line.customer a.file').href")
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"] == "attachment"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    async with (
        aiohttp.ClientSession(headers={"Sec-Fetch-Site": "cross-site"}) as http,
        http.get(url) as answer,
    ):
        assert answer.status == 403
    assert await page.browser.run("window.broken") is None


async def test_an_order_that_is_spoken_arrives_and_its_customer_hears_of_it(page: Page) -> None:
    await says(page, "I want two lemon cakes")
    await page.click("#hum")
    await page.browser.until("document.querySelector('.line.customer audio')?.duration > 1")
    number = await is_ordered(page)
    order = of_order(number, "p")
    assert await page.browser.run(f"{order}.textContent") == "2 \u00d7 Lemon cake, 20 cm"
    heard = "document.querySelector('#turns').textContent"
    assert "[voice message] I want two lemon cakes" in await page.browser.run(heard)
    await page.browser.until("document.body.innerText.includes('order.created')")
    await page.browser.run(f"{of_order(number, '.step.confirmed')}.click()")
    told = f"document.querySelector('#lines').textContent.includes('{number} is confirmed')"
    await page.browser.until(told, PATIENCE_S)
    await page.browser.until(f"{of_order(number, '.state')}.textContent == 'confirmed'")


async def test_what_a_microphone_records_is_heard_too(page: Page) -> None:
    await says(page, "When are you open?")
    await page.click("#record")
    await page.browser.until("recorder?.state == 'recording'")
    await page.browser.run("new Promise((done) => setTimeout(done, 600))")
    await page.click("#record")
    await page.browser.until("document.querySelector('.line.customer audio')")
    assert (await page.bubbles(1))[0].startswith("We are open Tuesday to Saturday")


async def test_a_cart_of_old_prices_is_priced_anew_and_ordered(page: Page) -> None:
    await opens(page, "cart")
    await page.click("[aria-label='One more of Apple tart']")
    await page.click("[aria-label='One more of Lemon cake, 20 cm']")
    await page.click("#old")
    sum_ = await page.browser.run("document.getElementById('sum').textContent")
    assert sum_ == "42.75 EUR"  # 23.40 and 19.35
    await page.click("#send-cart")
    (said,) = await page.bubbles(1)
    assert "23.40 EUR \u2192 26.00 EUR" in said
    assert "Total: 47.50 EUR" in said
    number = await is_ordered(page)
    assert "47.50 EUR" in await page.browser.run(f"{of_order(number, '.money')}.textContent")


async def test_what_there_is_is_a_list_that_opens(page: Page) -> None:
    await page.say("what cakes do you have?")
    await page.bubbles(1)
    rows = f"{LAST_BOT}.querySelectorAll('details button')"
    assert await page.browser.run(f"{rows}[0].checkVisibility()") is False
    await page.browser.run(f"{LAST_BOT}.querySelector('summary').click()")
    assert await page.browser.run(f"{rows}[0].checkVisibility()") is True
    titles = f"[...{rows}].map((e) => e.firstChild.textContent)"
    assert "Carrot cake, 20 cm" in await page.browser.run(titles)
    await page.browser.run(f"[...{rows}].find((e) => e.textContent.includes('Carrot')).click()")
    assert "1 x Carrot cake, 20 cm: 27.00 EUR" in (await page.bubbles(2))[1]


@pytest.mark.parametrize(
    ("url", "opens_it"),
    [
        ("https://shop.example/menu", True),
        ("javascript:window.broken = 1", False),
        ("data:,x", False),
    ],
)
async def test_a_link_opens_a_web_address_and_nothing_else(
    page: Page, url: str, opens_it: bool
) -> None:
    made = f"pressable({{ details: {{ link: {{ url: {url!r}, display_text: 'Menu' }} }} }})"
    assert await page.browser.run(f"{made}.querySelector('a') !== null") is opens_it
    assert url in await page.browser.run(f"{made}.textContent")
    if opens_it:
        assert await page.browser.run(f"{made}.querySelector('a').rel") == "noopener noreferrer"


async def test_a_cart_is_ordered_and_shipped_with_the_keyboard_alone(page: Page) -> None:
    tab = page.browser
    await tab.size(390, 844)
    await tab.run("document.getElementById('text').focus()")
    await tab.tab_to("#samples summary", back=True)
    await tab.press("Enter", 13)
    await tab.tab_to("[data-opens=cart]")
    await tab.press("Enter", 13)
    await tab.until("document.activeElement.matches('#goods input')")
    assert await tab.run("document.documentElement.scrollWidth") == 390
    await tab.press("ArrowUp", 38)
    await tab.press("Enter", 13)  # what is in a form sends it
    await tab.until("!document.getElementById('cart').open")
    assert await tab.run("document.activeElement.id") == "text"
    await page.bubbles(1)
    await tab.tab_to(".choices button", back=True)
    await tab.press("Enter", 13)
    await page.bubbles(2)
    await tab.until("document.querySelector('.order .state.pending')", PATIENCE_S)
    await tab.tab_to(".order .step.confirmed")
    await tab.press("Enter", 13)
    await tab.until("document.activeElement.matches('.order .step.preparing')", PATIENCE_S)
    assert "is confirmed" in (await page.bubbles(3))[2]


async def test_escape_sends_nothing_and_gives_the_focus_back(page: Page) -> None:
    for sheet in ("cart", "voice"):
        await opens(page, sheet)
        await page.browser.press("Escape", 27)
        await page.browser.until(f"!document.getElementById('{sheet}').open")
        assert await page.browser.run("document.activeElement.id") == "text"
    assert await page.browser.run("document.querySelectorAll('.line').length") == 0


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"kind": "picture"}, "a file has"),
        ({"kind": "picture", "file": {"name": "a", "data": "not base64!"}}, "a file has"),
        ({"kind": "voice", "file": {"name": "a", "data": "aGVsbG8="}}, "no sound"),
        ({"kind": "voice", "text": "x" * 301}, "characters"),
        ({"kind": "cart", "items": []}, "a cart has"),
        ({"kind": "cart", "items": [{"sku": "A", "quantity": 0, "price": "1"}]}, "a cart has"),
        ({"kind": "cart", "items": [{"sku": "A", "quantity": 1, "price": "NaN"}]}, "a cart has"),
        ({"kind": "button_reply", "text": "Yes"}, "nothing was pressed"),
        ({"kind": "text", "text": ""}, "characters"),
    ],
)
async def test_what_no_phone_sends_is_refused(page: Page, more: dict[str, Any], why: str) -> None:
    body = {"bot": "0", "customer": "12025550100", **more}
    headers = {"Origin": page.url.rstrip("/")}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{page.url}messages", json=body) as answer,
    ):
        assert answer.status == 400
        assert why in await answer.text()


def test_each_text_has_a_tune_of_its_own() -> None:
    tunes = {tune(text).data for text in ("", "yes", "no", "I want two lemon cakes")}
    assert len(tunes) == 4
