"""The product, the page beside it, and a browser that has it open."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import pytest

from local.demo_bots import BAKERY, connect_simulator, create_bot
from local.page.server import create_phone, serving
from local.page.tenant import Bot
from local.servers.postgres import Postgres
from local.servers.rabbitmq import RabbitMQ
from local.stack import running, who_hears
from simulator.client import Simulator
from tests.conftest import TEMPLATE, runtime_url, with_database
from tests.phone.browser import Browser, browser


@dataclass(frozen=True, slots=True)
class Page:
    url: str
    bot: Bot
    browser: Browser
    simulator: Simulator

    async def say(self, text: str) -> None:
        """With the keyboard."""
        await self.browser.run("document.getElementById('text').focus()")
        await self.browser.type(text)
        await self.browser.press("Enter", 13)

    async def click(self, selector: str) -> None:
        await self.browser.run(f"document.querySelector({selector!r}).click()")

    async def bubbles(self, count: int, sender: str = "bot") -> list[str]:
        """What is on the phone from one side, once it is so much."""
        bubbles = f"[...document.querySelectorAll('.line.{sender} .text')]"
        await self.browser.until(f"{bubbles}.length >= {count}")
        texts: list[str] = await self.browser.run(f"{bubbles}.map((b) => b.textContent)")
        assert len(texts) == count
        return texts


@pytest.fixture(scope="package")
async def package_page(postgres_server: Postgres, rabbitmq_server: RabbitMQ) -> AsyncIterator[Page]:
    name = "phone"
    admin = await asyncpg.connect(postgres_server.url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    await admin.close()
    overrides = {
        "DATABASE_URL": runtime_url(postgres_server.url, name),
        "MIGRATION_DATABASE_URL": with_database(postgres_server.url, name),
        "INGEST_LOG": "rabbitmq",
        "AMQP_URL": rabbitmq_server.url,
        "OPENAI_API_KEY": "",
        "OPENAI_MODEL": "offline",
        "DEBOUNCE_MS": "300",
        "LOG_FORMAT": "json",
    }
    async with (
        browser() as tab,  # first: without one, nothing else has to be started
        running(lambda line: None, overrides) as stack,
        Simulator(stack.simulator_url) as simulator,
    ):
        bot = await create_bot(stack, BAKERY)
        await connect_simulator(stack, simulator, bot)
        await simulator.config(status_delay_ms=30)
        phone = create_phone(
            [bot],
            simulator_url=stack.simulator_url,
            api_url=stack.ingress_url,
            database_url=stack.environment["DATABASE_URL"],
            hears=who_hears(stack.environment),
        )
        async with serving(phone) as url:
            yield Page(url, bot, tab, simulator)


@pytest.fixture
async def page(package_page: Page) -> Page:
    """Opened by a customer whom nobody knows."""
    tab = package_page.browser
    await tab.size(1280, 860)
    await tab.open(package_page.url)
    await tab.run("localStorage.clear()")
    await tab.open(package_page.url)
    await tab.until("state.usage && document.querySelectorAll('#lies input').length")
    return package_page


Switch = Callable[[str], Awaitable[None]]


@pytest.fixture
async def switch(page: Page) -> AsyncIterator[Switch]:
    """Presses a switch of the page; it is off again afterwards."""
    pressed = []

    async def press(name: str) -> None:
        pressed.append(name)
        await page.click(f"#lies input[name={name}]")
        await page.browser.until(f"state.lies.includes('{name}')")

    yield press
    for name in pressed:
        await page.click(f"#lies input[name={name}]")
        await page.browser.until(f"!state.lies.includes('{name}')")
