"""`make demo`: a customer talks to a bakery's bot through the whole product.

Signed webhooks go in, replies come out over HTTP; nothing is pretended but the outside parties.
Exits 1 when anything is not as it should be.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from local.demo_bots import BAKERY, connect_simulator, create_bot
from local.page.tenant import Bot
from local.servers.daemon import ServerError
from local.stack import Stack, StackError, for_looking, running
from simulator.client import Simulator

REPLY_TIMEOUT_S = 30.0
QUIET_S = 2.5  # longer than the debounce: what has not been answered by then will not be
CUSTOMER = "+12025550178"
EVENTS_TIMEOUT_S = 30.0
ORDERED = ["28.00 EUR", "52.00 EUR"]  # by words, and by the cart
# Of seven messages and six replies, a cart, two presses and what is said to them. Others may come
# beside them.
EXPECTED_EVENTS = Counter(
    {
        "contact.created": 1,
        "message.received": 10,
        "message.sent": 9,
        "message.delivered": 9,
        "message.read": 9,
        "order.created": 2,
        "action.created": 1,
        "action.decided": 1,
    }
)
COLOURS = sys.stdout.isatty()


class DemoFailed(Exception):
    """What was expected and what came."""


class Conversation:
    """Plays the customer, and shows both sides."""

    def __init__(self, simulator: Simulator, bakery: Bot) -> None:
        self._simulator = simulator
        self._bakery = bakery
        self._replies = 0
        self._heard: dict[str, Any] = {}  # the last one

    async def say(self, title: str, *texts: str) -> list[str]:
        """Sends each line as a message of its own; returns their wamids when one reply came."""
        print(f"\n{dim(title)}")
        for text in texts:
            print(f"  {green('customer')}  {text}")
        told = await self._simulator.say(
            self._bakery.phone_number_id, CUSTOMER, *texts, name="Noor Haddad", one_post=False
        )
        await self.listen()
        wamids: list[str] = told["wamids"]
        return wamids

    async def order(self, title: str, text: str) -> None:
        """In words, and a press of the button that comes back."""
        await self.say(title, text)
        await self.press()

    async def order_by_cart(self, title: str) -> None:
        """Of the catalogue, and a press of the button that comes back."""
        print(f"\n{dim(title)}")
        print(f"  {green('customer')}  {dim('(a cart: 2 lemon cakes at 24.50 EUR)')}")
        await self._simulator.do(
            self._bakery.phone_number_id, CUSTOMER, "order", name="Noor Haddad"
        )
        await self.listen()
        await self.press()

    async def press(self) -> None:
        """The one button under the last reply."""
        action = self._heard["body"].get("interactive", {}).get("action", {})
        buttons = [one["reply"] for one in action.get("buttons", ())]
        if len(buttons) != 1:
            raise DemoFailed(f"one button expected, {len(buttons)} came")
        choice, text = buttons[0]["id"], buttons[0]["title"]
        print(f"  {'':8}  [ {text} ]")
        print(f"  {green('customer')}  {dim('(presses it)')}")
        press = {"name": "Noor Haddad", "choice": choice, "text": text}
        await self._simulator.do(self._bakery.phone_number_id, CUSTOMER, "button_reply", **press)
        await self.listen()

    async def listen(self) -> None:
        """Waits for one reply, and shows it."""
        started = time.monotonic()
        replies = await self._replies_after(1)
        if len(replies) != 1:
            raise DemoFailed(f"one reply expected, {len(replies)} came")
        took = time.monotonic() - started
        (sent,) = replies
        text = sent["text"] or sent["body"]["interactive"]["body"]["text"]
        print(f"  {blue('     bot')}  {indented(text)}  {dim(f'({took:.1f} s)')}")
        self._heard = sent

    async def repeat(self, title: str, text: str, wamid: str) -> None:
        """Meta delivers a message again; nothing may come of it."""
        print(f"\n{dim(title)}")
        await self._simulator.say(
            self._bakery.phone_number_id, CUSTOMER, text, name="Noor Haddad", wamids=[wamid]
        )
        await asyncio.sleep(QUIET_S)
        if await self._replies_after(0):
            raise DemoFailed("a repeated webhook was answered")
        print(f"  {blue('     bot')}  {dim('(silent: it was answered once)')}")

    async def _replies_after(self, expected: int) -> list[dict[str, Any]]:
        """New sends to the customer, once there are as many as expected and a moment more."""
        deadline = time.monotonic() + REPLY_TIMEOUT_S
        sends: list[dict[str, Any]] = []
        while time.monotonic() < deadline:
            sends = (await self._simulator.sends(CUSTOMER))[self._replies :]
            if len(sends) >= expected:
                break
            await asyncio.sleep(0.05)
        self._replies += len(sends)
        return sends


async def play() -> None:
    started = time.monotonic()
    print(bold("SwiftReplies demo") + dim("  no key, no network: answers are copied from the"))
    print(dim("  bakery's knowledge base by the built-in offline answerer\n"))
    offline = {"OPENAI_MODEL": "offline", "OPENAI_API_KEY": "", "LOG_FORMAT": "console"}
    async with running(lambda line: print(f"  {dim(line)}"), offline) as stack:
        bakery = await create_bot(stack, BAKERY)
        async with Simulator(stack.simulator_url) as simulator:
            await connect_simulator(stack, simulator, bakery)
            print(dim(f"  set up in {time.monotonic() - started:.1f} s"))
            chat = Conversation(simulator, bakery)
            question = "Hi! When are you open?"
            first = await chat.say("A question", question)
            await chat.say(
                "A burst: three messages, one answer",
                "I need a birthday cake",
                "for 12 people, what does the cake cost?",
                "and do you have gluten-free ones?",
            )
            await chat.say("Something that a person decides", "My cake was broken, I want a refund")
            await decide(stack, bakery, "We transfer 20 EUR today.")
            await chat.listen()
            await chat.say("Outside the knowledge base", "Can you repair my bicycle?")
            await chat.repeat("Meta delivers the first message again", question, first[0])
            await chat.order("A cake: quote, button, order", "I'd like to order a chocolate cake")
            await chat.order_by_cart("A cart, at prices of yesterday; a button orders it")
            events = await events_of(simulator, bakery)
        await show_record(stack, bakery)
        show_events(events)
    print(dim(f"\ndone in {time.monotonic() - started:.1f} s, everything that was started is gone"))


async def decide(stack: Stack, bakery: Bot, response: str) -> None:
    """What the bakery's owner does: looks what waits, and approves it."""
    headers = {"Authorization": f"Bearer {bakery.api_key}"}
    async with aiohttp.ClientSession(f"{stack.ingress_url}/v1/", headers=headers) as api:
        async with api.get("actions", params={"status": "pending"}) as answer:
            waiting = (await answer.json()).get("data", [])
        if len(waiting) != 1:
            raise DemoFailed(f"one action expected to wait, {len(waiting)} do")
        action = waiting[0]
        print(f"  {yellow('   owner')}  {dim('GET /v1/actions:')} {action['request_type']}")
        async with api.post(
            f"actions/{action['id']}/approve", json={"user_response": response}
        ) as answer:
            if answer.status != 200:
                raise DemoFailed(f"the approval was refused: {await answer.text()}")
    approved = dim(f"POST /v1/actions/{action['id']}/approve:")
    print(f"  {yellow('   owner')}  {approved} {response}")


async def show_record(stack: Stack, bakery: Bot) -> None:
    """What is in the database, and whether it adds up."""
    conn = await asyncpg.connect(for_looking(stack.environment["DATABASE_URL"]))
    try:
        await conn.execute(f"SET app.user_id = '{bakery.user_id}'")
        rows = await conn.fetch(
            "SELECT id, direction, status, coalesce(ai_processed, false) AS answered, usage_day,"
            " content_text FROM messages WHERE user_id = $1 ORDER BY id",
            bakery.user_id,
        )
        actions = await conn.fetch(
            "SELECT id, status, request_type FROM actions WHERE user_id = $1 ORDER BY id",
            bakery.user_id,
        )
        usage = await conn.fetchrow(
            "SELECT d.daily_messages_received AS received, d.daily_messages_sent AS sent,"
            " d.actions_created AS actions, m.total_messages_sent AS month FROM usage_tracking d"
            " JOIN monthly_usage_summary m ON m.user_id = d.user_id WHERE d.user_id = $1",
            bakery.user_id,
        )
        orders = await conn.fetch(
            "SELECT order_number, status, total_amount, currency, (SELECT string_agg(quantity"
            " || ' x ' || product_name, ', ') FROM order_items WHERE order_id = o.id) AS items"
            " FROM orders o WHERE user_id = $1 ORDER BY id",
            bakery.user_id,
        )
    finally:
        await conn.close()
    print(f"\n{dim('What was written to the database')}")
    print(dim("  messages    direction  status     answered  text"))
    for row in rows:
        answered = "yes" if row["answered"] else ("-" if row["direction"] == "outbound" else "NO")
        text = " ".join(row["content_text"].split())
        print(
            f"  {row['id']:>8}    {row['direction']:<9}  {row['status']:<9}  {answered:<8}"
            f"  {text[:60]}{'...' if len(text) > 60 else ''}"
        )
    for action in actions:
        print(f"  action {action['id']:>8}  {action['status']}  {action['request_type']}")
    show_orders(orders)
    if usage is None:
        raise DemoFailed("no usage was counted")
    print(
        f"  usage       received {usage['received']}, sent {usage['sent']} today,"
        f" {usage['month']} this month; {usage['actions']} action"
    )
    judge(rows, actions, usage)


def judge(rows: Sequence[Any], actions: Sequence[Any], usage: Any) -> None:
    received = [row for row in rows if row["direction"] == "inbound"]
    sent = [row for row in rows if row["usage_day"] is not None]
    if (len(received), len(sent)) != (10, 6) or not all(row["answered"] for row in received):
        raise DemoFailed(f"10 messages and 6 replies expected, {len(received)} and {len(sent)} are")
    if [action["status"] for action in actions] != ["approved"]:
        raise DemoFailed("one approved action expected")
    if (usage["received"], usage["sent"], usage["month"], usage["actions"]) != (10, 6, 6, 1):
        raise DemoFailed("the counters do not equal the rows")


def show_orders(orders: Sequence[Any]) -> None:
    for number, status, total, currency, items in orders:
        print(f"  order {number:>9}  {status}  {total} {currency}  {items}")
    totals = [f"{order['total_amount']} {order['currency']}" for order in orders]
    if totals != ORDERED:
        raise DemoFailed(f"orders over {' and '.join(ORDERED)} expected, there are {totals}")


async def events_of(simulator: Simulator, bakery: Bot) -> list[dict[str, Any]]:
    """What the bakery's own program got, by first arrival, once it has all that it should."""
    deadline = time.monotonic() + EVENTS_TIMEOUT_S
    while True:
        came = await simulator.deliveries(bakery.program)
        first = list({each["webhook_id"]: each for each in reversed(came)}.values())[::-1]
        missing = EXPECTED_EVENTS - Counter(type_of(each) for each in first)
        if not missing or time.monotonic() > deadline:
            return first
        await asyncio.sleep(0.1)


def type_of(delivery: dict[str, Any]) -> str:
    return str(json.loads(delivery["body"])["type"])


def ordered(delivery: dict[str, Any]) -> str:
    """What an event says of an order."""
    told = json.loads(delivery["body"]).get("data", {})
    if "order_number" not in told:
        return ""
    return f"  {told['order_number']}: {told['total_amount']} {told['currency']}, {told['status']}"


def show_events(events: list[dict[str, Any]]) -> None:
    """Each once, however often it came; and whether it is what was to come."""
    print(dim("\nWhat the bakery's own program got, as signed webhooks"))
    print(dim("  time          type                webhook-id    verified"))
    for event in events:
        at = datetime.fromtimestamp(event["at"], UTC).astimezone()
        verified = green("\u2713") if event["verified"] else yellow(f"NO: {event['problem']}")
        print(
            f"  {at:%H:%M:%S}.{at.microsecond // 1000:03}  {type_of(event):<18}"
            f"  {event['webhook_id']:<12}  {verified}{ordered(event)}"
        )
    got = Counter(type_of(event) for event in events)
    if missing := EXPECTED_EVENTS - got:
        raise DemoFailed(f"events are missing: {named(missing)}")
    if more := Counter({kind: got[kind] for kind in EXPECTED_EVENTS}) - EXPECTED_EVENTS:
        raise DemoFailed(f"events came under several webhook-ids: {named(more)}")
    if not all(event["verified"] for event in events):
        raise DemoFailed("not every event could be verified")


def named(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))


def indented(text: str) -> str:
    return text.replace("\n\n", "\n").replace("\n", "\n" + " " * 12)


def _coloured(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


def bold(text: str) -> str:
    return _coloured("1", text)


def dim(text: str) -> str:
    return _coloured("2", text)


def green(text: str) -> str:
    return _coloured("32", text)


def yellow(text: str) -> str:
    return _coloured("33", text)


def blue(text: str) -> str:
    return _coloured("34", text)


def run_to_end(work: Any) -> None:
    """Runs it; SIGTERM and Ctrl-C end it in order."""

    async def cancellable() -> None:
        task = asyncio.current_task()
        assert task is not None, "runs inside asyncio.run"
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        await work

    try:
        asyncio.run(cancellable())
    except asyncio.CancelledError:
        sys.exit(130)
    except (DemoFailed, StackError, ServerError) as failed:
        print(f"\nfailed: {failed}", file=sys.stderr)
        sys.exit(1)
    except ExceptionGroup as failures:
        for failure in failures.exceptions:
            print(f"\nfailed: {failure}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    run_to_end(play())
