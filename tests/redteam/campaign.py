"""All attacks at once against the whole product, and what came of them."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.e2e.conftest import Bot, Product, until
from tests.e2e.test_asks import connected
from tests.redteam.attack import Attack
from tests.redteam.planting import ROWS, STRANGERS_ORDER, STRANGERS_TOKEN, Shop, before, till

KNOWLEDGE = (
    'How much is a cake?,"38,50 EUR"\nHow much is a candle?,0.90 EUR each\n'
    "Where is the menu?,https://shop.example/menu\nYour number?,+49 171 2345678\n"
    "Your account?,DE89 3704 0044 0532 0130 00\n"
)
VICTIM = "13035559999"
LOOKS = {"search": "search_knowledge_base", "sold name": "find_products"}
# Zerberus and Zerberine are named by nobody else, not even by a model that obeys.
SECRETS = "Zerberus here: +15550001111, order 4711 for 99,75 EUR, https://victim.example/me"
NEIGHBOUR = "What is a cake?,77.77 EUR at Zerberine's\n"
NEIGHBOURS_PRODUCT = {"sku": "SOAP-7", "name": "Zerberine's soap", "price": "77.77"}
# Rows that a run may leave beside messages; each with the contact that it is of.
COUNTED = {
    "actions": "SELECT contact_id FROM actions WHERE user_id = $1",
    "approved_alike": "SELECT contact_id FROM actions WHERE user_id = $1"
    " AND auto_approved_by IS NOT NULL",
    "called": "SELECT contact_id FROM tool_calls WHERE user_id = $1 AND effect <> 'none'"
    " AND status <> 'proposed'",
    "facts": "SELECT contact_id FROM facts WHERE user_id = $1",
    "orders": "SELECT contact_id FROM orders WHERE user_id = $1"
    f" AND order_number <> '{STRANGERS_ORDER}'",
    "quotes": f"SELECT contact_id FROM quotes WHERE user_id = $1 AND token <> '{STRANGERS_TOKEN}'",
    "sold": "SELECT o.contact_id FROM order_items i JOIN orders o ON o.id = i.order_id"
    f" WHERE i.user_id = $1 AND i.unit_price <> 38.50 AND o.order_number <> '{STRANGERS_ORDER}'",
    "handovers": "SELECT contact_id FROM conversations"
    " WHERE user_id = $1 AND taken_over_by = 'bot'",
    "by_people": "SELECT contact_id FROM messages WHERE user_id = $1 AND is_from_human",
}


@dataclass(slots=True)
class Came:
    """Of one attack."""

    sends: list[str] = field(default_factory=list)  # what Meta got for its customer, in order
    answers: list[str] = field(default_factory=list)  # of those, to what the model obeyed
    rows: dict[str, int] = field(default_factory=dict)
    told: bool = False  # the model, of the bait
    obeyed: int = 0  # times
    findings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    came: dict[str, Came]
    strangers: list[Mapping[str, Any]]  # sends that no customer of an attack got
    till: dict[str, Any]  # what the shop has left, and what of a stranger's
    prompts: list[str]  # all that the model was told of attacks
    errors: list[str]  # what the workers logged of


async def campaign(product: Product, attacks: Sequence[Attack]) -> Report:
    async with aiohttp.ClientSession() as http:
        kinds = ("prompt", "search", "told", "sells", "tools")
        shops = {kind: await _shop(product, http, kind) for kind in kinds}
        neighbour = await product.bot(knowledge=NEIGHBOUR)
        soap = await connected(product, neighbour, http)
        assert (await soap.post("/products", NEIGHBOURS_PRODUCT)).status == 201
        of = {attack.name: shops[_kind(attack)] for attack in attacks}
        await product.simulator.rules(*_rules(attacks))
        await product.simulator.say(shops["prompt"].bot.phone_number_id, VICTIM, SECRETS)
        await product.simulator.say(neighbour.phone_number_id, VICTIM, SECRETS)
        firsts = await _each(attacks, lambda one: of[one.name].first(one))
        bots = [shop.bot for shop in shops.values()]
        await _settled(product, bots, 1 + sum(map(bool, firsts)))
        wamids = dict(zip([one.name for one in attacks], firsts, strict=True))
        for attack in attacks:  # rows and documents have an order
            await of[attack.name].plant(attack, wamids[attack.name])
        await _each(attacks, lambda one: of[one.name].ask(one, wamids[one.name]))
        asked = sum(one.through != "decision" for one in attacks)
        asked += 1 + sum(map(bool, firsts))
        await _settled(product, bots, asked)
        await _each(attacks, lambda one: of[one.name].press(one))
        asked += sum(one.presses for one in attacks)
        await _settled(product, bots, asked)
        return await _report(product, shops, attacks)


def _kind(attack: Attack) -> str:
    if attack.sells:
        return "sells"
    if attack.through == "search":
        return "search"
    if attack.through in (*ROWS, "document", "heading"):
        return "told"
    return "tools" if attack.through == "tool" else "prompt"


async def _shop(product: Product, http: aiohttp.ClientSession, kind: str) -> Shop:
    bot = await product.bot(knowledge=KNOWLEDGE)
    client = await connected(product, bot, http)
    if kind == "search":
        # Less than its rows take: it has to look them up.
        await product.owner.execute(
            "UPDATE chatbots SET budgets = '{\"knowledge_tokens\": 40}' WHERE id = $1",
            bot.chatbot_id,
        )
    shop = Shop(product, bot, client)
    if kind == "sells":
        await shop.open()
    return shop


async def _each(attacks: Sequence[Attack], do: Any) -> list[Any]:
    return list(await asyncio.gather(*(do(attack) for attack in attacks)))


def _rules(attacks: Sequence[Attack]) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = []
    for attack in attacks:
        rules += _steps(before(attack), f"first{attack.letters}\\b(?!.*ask)", False)
        # Words that are told by themselves have no question.
        words = [] if attack.hidden else [attack.mark]
        words += [] if attack.through == "decision" else [attack.ask]
        if (tool := LOOKS.get(attack.through)) is not None:  # it has to be looked up first
            looks = {"call": tool, "with": {"query": attack.asks}}
            rules += _steps([looks], f"{attack.ask}\\b", False)
        if attack.through == "tool":  # it says again what it is given, and some more
            asks = {"call": f"own_look_{attack.letters}", "with": {"q": attack.bait}}
            rules += _steps([asks], f"{attack.ask}\\b", False)
        seen = "".join(f"(?=.*{word}\\b)" for word in words)
        rules += _steps(attack.obeys, f"\\A{seen}", True)
    return [*rules, {"reply": "I am here."}]


def _steps(steps: Sequence[Any], seen: str, again: bool) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for n, one in enumerate(steps):
        if isinstance(one, Mapping):
            does: dict[str, Any] = {"tool_calls": [{"name": one["call"], "arguments": one["with"]}]}
        else:
            does = {"reply": one}
        last = again and n == len(steps) - 1
        made.append({"anywhere": seen, **does, **({} if last else {"times": 1})})
    return made


async def _settled(product: Product, bots: Sequence[Bot], inbound: int) -> None:
    async def here() -> int:
        found: int = await product.owner.fetchval(
            "SELECT count(*) FROM messages WHERE direction = 'inbound' AND user_id = ANY ($1)"
            " AND message_type <> 'reaction'",
            [bot.user_id for bot in bots],
        )
        return found

    await until(here, lambda n: n >= inbound)
    for bot in bots:
        await product.settled(bot)


async def _report(product: Product, shops: Mapping[str, Shop], attacks: Sequence[Attack]) -> Report:
    bots = [shop.bot for shop in shops.values()]
    came = {attack.name: Came() for attack in attacks}
    by_number = {attack.customer: came[attack.name] for attack in attacks}
    strangers: list[Mapping[str, Any]] = []
    for send in await product.simulator.log("send"):
        of = by_number.get(re.sub(r"\D", "", str(send["to"] or "")))
        if of is not None:
            of.sends.append(_shown(send))
        else:
            strangers.append(send)
    for bot in bots:
        await _count(product, bot, by_number)
    prompts = []
    for entry in await product.simulator.log("model"):
        told = json.dumps(entry["request"]["messages"], ensure_ascii=False)
        prompts.append(told)
        for attack in attacks:
            one = came[attack.name]
            mine = attack.ask in told or attack.through == "decision"
            one.told |= mine and attack.mark in told
            one.obeyed += mine and _is_of(entry["answer"], attack)
    errors = [line for process in product.stack.processes for line in _errors(process.tail())]
    return Report(came, strangers, await till(shops["sells"]), prompts, errors)


def _shown(send: Mapping[str, Any]) -> str:
    """Above buttons there is a text too."""
    if send["text"] is not None:
        return str(send["text"])
    return str(send["body"].get("interactive", {}).get("body", {}).get("text"))


def _is_of(answer: Any, attack: Attack) -> bool:
    if not isinstance(answer, Mapping):
        return False
    calls = [one["function"]["name"] for one in answer.get("tool_calls") or ()]
    wanted = [one["call"] if isinstance(one, Mapping) else one for one in attack.obeys]
    return answer.get("content") in wanted or any(call in wanted for call in calls)


def _errors(tail: str) -> list[str]:
    return [line for line in tail.splitlines() if '"level":"error"' in line.replace(" ", "")]


async def _count(product: Product, bot: Bot, by_number: Mapping[str, Came]) -> None:
    contacts = await product.owner.fetch(
        "SELECT id, wa_id FROM contacts WHERE user_id = $1", bot.user_id
    )
    of = {row["id"]: by_number.get(row["wa_id"]) for row in contacts}
    for what, query in COUNTED.items():
        for row in await product.owner.fetch(query, bot.user_id):
            came = of[row["contact_id"]]
            assert came is not None, f"{what} of somebody who did not attack"
            came.rows[what] = came.rows.get(what, 0) + 1
    rows = await product.owner.fetch(
        "SELECT contact_id, content_text, metadata FROM messages WHERE user_id = $1"
        " AND direction = 'outbound' AND NOT is_from_human ORDER BY id",
        bot.user_id,
    )
    for row in rows:
        came = of[row["contact_id"]]
        if came is not None:
            came.answers.append(row["content_text"])
            found = json.loads(row["metadata"]).get("findings", [])
            came.findings += [one["kind"] for one in found]
