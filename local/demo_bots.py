"""The businesses of `make demo` and `make dev`, made with the operator's commands."""

import asyncio
import time
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from local.page.tenant import Bot
from local.stack import Stack, StackError
from simulator.client import Simulator

DATA = Path(__file__).parent / "demo_data"
CAKE = "CAKE-LEMON-20"
CURRENCY = "EUR"
# Of which states of an order its customer is told.
TOLD_STATES = ("confirmed", "preparing", "shipped", "delivered", "cancelled")


@dataclass(frozen=True, slots=True)
class Business:
    knowledge: str
    bot: str
    name: str
    instructions: str
    about: str
    try_this: tuple[str, ...]
    timezone: str
    language: str
    hours: dict[str, list[list[str]]]
    products: tuple[dict[str, object], ...] = ()


def _weekly(**hours: str) -> dict[str, list[list[str]]]:
    """Days of one name, as tue_wed="07:00-18:00"."""
    return {
        day: [span.split("-") for span in spans.split()]
        for days, spans in hours.items()
        for day in days.split("_")
    }


def _product(sku: str, name: str, price: str, description: str, stock: int) -> dict[str, object]:
    told = {"sku": sku, "name": name, "price": price, "description": description}
    return {**told, "stock": stock}


BAKERY = Business(
    "bakery.csv",
    "Luma",
    "Lemon Street Bakery",
    "You are Luma of Lemon Street Bakery: warm, brief, never pushy. Refunds are decided by a"
    " colleague.",
    "You write to a bakery. Its bot knows hours, cakes, prices and what contains nuts.",
    (
        "When are you open?",
        "What cakes do you have?",
        "I want 2 lemon cakes",
        "My cake was broken, I want a refund",
        "Can you repair my bicycle?",
    ),
    timezone="Europe/Dublin",
    language="en",
    hours=_weekly(tue_wed_thu_fri_sat="07:00-18:00", sun="08:00-13:00"),
    products=(
        # As the simulated catalogue has it, at another price.
        _product(CAKE, "Lemon cake, 20 cm", "26.00", "With lemon curd.", 12),
        _product("CAKE-CHOC-20", "Chocolate cake, 20 cm", "28.00", "Flourless.", 8),
        _product("CAKE-CARROT-20", "Carrot cake, 20 cm", "27.00", "With walnuts.", 3),
        _product("TART-APPLE", "Apple tart", "21.50", "Vegan.", 6),
    ),
)
BUSINESSES = (
    BAKERY,
    Business(
        "dentist.csv",
        "Milo",
        "Harbour Dental",
        "You are Milo of Harbour Dental: calm, exact. Appointments are moved by the front desk.",
        "You write to a dentist, in English or German. Its bot knows hours, prices and what to do"
        " when it hurts.",
        (
            "When are you open?",
            "My tooth hurts badly",
            "Was kostet eine Zahnreinigung?",
            "Can you move my appointment to Friday?",
        ),
        timezone="Europe/Berlin",
        language="en",
        hours=_weekly(mon_tue_wed_fri="08:00-17:30", thu="08:00-20:00"),
    ),
    Business(
        "hostel.csv",
        "Paloma",
        "Hostal del Olmo",
        "Eres Paloma, del Hostal del Olmo: amable y breve. La recepción decide sobre devoluciones.",
        "Escribe a un hostal. Su bot conoce horarios, precios y el desayuno.",
        (
            "¿A qué hora es el desayuno?",
            "¿Cuánto cuesta una doble?",
            "Quiero cancelar mi reserva",
        ),
        timezone="Europe/Madrid",
        language="es",
        hours=_weekly(mon_tue_wed_thu_fri_sat_sun="08:00-23:00"),
    ),
)


async def create_bot(stack: Stack, business: Business) -> Bot:
    """A tenant with a plan, a chatbot with its number and knowledge, a key of the tenant API."""
    stamp = str(time.time_ns())[-10:]  # a database of one's own may have earlier ones in it
    tenant = await stack.command(
        *("tenant", "create", "--email", f"demo-{stamp}@{business.bot.lower()}.example"),
        *("--name", business.name, "--currency", CURRENCY, "--json"),
        *("--timezone", business.timezone, "--language", business.language),
    )
    user = str(tenant["user_id"])
    number, phone_number_id = f"+1{stamp}", f"40987{stamp}"

    async def chatbot() -> int:
        made = await stack.command(
            *("chatbot", "create", "--user", user, "--name", business.bot),
            *("--number", number, "--phone-number-id", phone_number_id),
            *("--instructions", business.instructions, "--json"),
        )
        chatbot_id: int = made["chatbot_id"]
        knowledge = str(DATA / business.knowledge)
        await stack.command("kb", "import", "--chatbot", str(chatbot_id), knowledge)
        return chatbot_id

    chatbot_id, key = await asyncio.gather(
        chatbot(),
        # With all permissions: a webhook reads what it delivers.
        stack.command("apikey", "create", "--user", user, "--name", "demo", "--json"),
    )
    bot = Bot(
        name=business.bot,
        business=business.name,
        about=business.about,
        try_this=business.try_this,
        user_id=tenant["user_id"],
        chatbot_id=chatbot_id,
        phone_number_id=phone_number_id,
        number=number,
        api_key=key["api_key"],
        currency=CURRENCY,
    )
    await _set_up(stack, bot, business)
    await stock(stack, bot, business)
    return await with_webhook(stack, bot)


async def _set_up(stack: Stack, bot: Bot, business: Business) -> None:
    """As data, so that the bot knows whether it is open; and what customers are told of orders."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {bot.api_key}"}) as api,
        api.patch(
            f"{stack.ingress_url}/v1/chatbots/{bot.chatbot_id}",
            json={"business_hours": business.hours, "order_messages": TOLD_STATES},
        ) as answer,
    ):
        if answer.status != 200:
            raise StackError(f"the bot's settings were refused: {await answer.text()}")


async def stock(stack: Stack, bot: Bot, business: Business) -> None:
    """What the business sells."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {bot.api_key}"}) as api:
        for product in business.products:
            async with api.post(f"{stack.ingress_url}/v1/products", json=product) as answer:
                if answer.status != 201:
                    raise StackError(f"the product was refused: {await answer.text()}")


async def with_webhook(stack: Stack, bot: Bot) -> Bot:
    """The tenant's own program, which the simulator plays, is told everything."""
    url = Simulator(stack.simulator_url).endpoint_url(bot.program)
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {bot.api_key}"}) as api,
        api.post(f"{stack.ingress_url}/v1/webhooks", json={"url": url, "events": ["*"]}) as answer,
    ):
        if answer.status != 201:
            raise StackError(f"the webhook was refused: {await answer.text()}")
        made = await answer.json()
    return replace(bot, webhook_id=made["id"], webhook_secret=made["secret_token"])


async def connect_simulator(stack: Stack, simulator: Simulator, *bots: Bot) -> None:
    """Tells the simulated Meta where our webhook is and whose numbers there are, and each tenant's
    program the secret that what it gets is signed with."""
    await simulator.config(
        webhook_url=f"{stack.ingress_url}/webhooks/whatsapp",
        app_secret=stack.environment["WHATSAPP_APP_SECRET"],
        numbers=[
            {
                "phone_number_id": bot.phone_number_id,
                "display_phone_number": bot.number.lstrip("+"),
                "token": stack.environment["WHATSAPP_ACCESS_TOKEN"],
            }
            for bot in bots
        ],
        statuses=["sent", "delivered", "read"],
        status_delay_ms=400,  # so that one sees them come
        webhook_retry=True,
    )
    for bot in bots:
        await simulator.endpoint(bot.program, secrets=bot.webhook_secret)
