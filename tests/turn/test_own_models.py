"""A chatbot's own models, over HTTP: where requests and keys go, what follows when one is away, and
what is kept of each reply."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from db.pool import Conn, Pool
from handlers.fixed.texts import Kind, fixed_text
from handlers.process.secrets import model_keys_of
from handlers.rules.models import Key, keys_text
from tests.turn.shop import VAULT, Shop, open_shop


@dataclass(slots=True)
class Theirs:
    """A tenant's own server."""

    url: str = ""
    status: int = 200
    location: str | None = None
    reply: dict[str, Any] = field(default_factory=lambda: {"content": "Theirs."})
    finish: str = "stop"
    asked: list[tuple[str | None, dict[str, Any]]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.headers.get("Authorization"), await request.json()))
        if self.location is not None:
            raise web.HTTPTemporaryRedirect(self.location)
        if self.status != 200:
            return web.json_response({"error": {"message": "no"}}, status=self.status)
        choice = {"message": {"role": "assistant", **self.reply}, "finish_reason": self.finish}
        usage = {
            "prompt_tokens": 1_000,
            "completion_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": 400},
        }
        return web.json_response({"choices": [choice], "usage": usage})


@asynccontextmanager
async def serving() -> AsyncIterator[Theirs]:
    theirs = Theirs()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", theirs.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    theirs.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield theirs
    await runner.cleanup()


@pytest.fixture
async def theirs() -> AsyncIterator[Theirs]:
    async with serving() as theirs:
        yield theirs


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        await shop.simulator.rules({"reply": "Ours."})
        yield shop


async def has(shop: Shop, model: dict[str, Any] | None, *keys: Key | None) -> None:
    text = keys_text(keys)
    await shop.owner.execute(
        "UPDATE chatbots SET model = $2, model_keys = $3 WHERE id = $1",
        shop.tenant.chatbot_id,
        model and json.dumps(model),
        text and VAULT.encrypt(text, model_keys_of(shop.tenant.chatbot_id)),
    )


def at(theirs: Theirs, name: str = "big", **more: Any) -> dict[str, Any]:
    return {"name": name, "base_url": theirs.url, **more}


async def kept(shop: Shop) -> dict[str, Any]:
    """The metadata of the last reply."""
    text = await shop.owner.fetchval(
        "SELECT metadata FROM messages WHERE metadata ->> 'kind' = 'reply' ORDER BY id DESC LIMIT 1"
    )
    found: dict[str, Any] = json.loads(text)
    return found


async def test_a_model_of_its_own_is_asked_as_it_was_wanted(shop: Shop, theirs: Theirs) -> None:
    more: dict[str, Any] = {"temperature": 0.2, "max_output_tokens": 300, "reasoning_effort": "low"}
    await has(shop, at(theirs, **more), Key(theirs.url, "sk-theirs"))
    turn = await shop.turn(await shop.customer(), "Hello?")
    assert (turn.said, turn.requests) == (["Theirs."], [])
    ((authorization, body),) = theirs.asked
    assert authorization == "Bearer sk-theirs"
    asked = {name: body[name] for name in ("model", "temperature", "reasoning_effort")}
    assert asked == {"model": "big", "temperature": 0.2, "reasoning_effort": "low"}
    assert body["max_completion_tokens"] == 300
    metadata = await kept(shop)
    assert (metadata["model"], metadata["finish_reason"]) == ("big", "stop")
    assert metadata["tokens"] == {"input": 1_000, "cached": 400, "output": 20}
    assert metadata["cost"] == "0"  # the tenant pays
    (row,) = await shop.owner.fetch(
        "SELECT model, calls, unpriced_calls, input_tokens, cached_tokens, output_tokens, cost"
        " FROM model_usage"
    )
    assert tuple(row) == ("own/big", 1, 0, 1_000, 400, 20, 0)


async def test_a_change_acts_with_the_next_turn(shop: Shop, theirs: Theirs) -> None:
    who = await shop.customer()
    assert (await shop.turn(who, "Hello?")).said == ["Ours."]
    await has(shop, at(theirs), Key(theirs.url, "sk-theirs"))
    assert (await shop.turn(who, "Hello?")).said == ["Theirs."]
    await has(shop, at(theirs, name="small"), Key(theirs.url, "sk-new"))
    await shop.turn(who, "Hello?")
    authorization, body = theirs.asked[-1]
    assert (authorization, body["model"]) == ("Bearer sk-new", "small")
    await has(shop, None)
    assert (await shop.turn(who, "Hello?")).said == ["Ours."]


async def test_a_name_alone_is_another_model_of_the_installation_s(shop: Shop) -> None:
    await has(shop, {"name": "tiny", "temperature": 1})
    turn = await shop.turn(await shop.customer(), "Hello?")
    assert turn.said == ["Ours."]
    assert [(r["model"], r["temperature"]) for r in turn.requests] == [("tiny", 1)]
    assert await shop.owner.fetchval("SELECT model FROM model_usage") == "tiny"


@pytest.mark.parametrize("keys", [(), (Key("https://elsewhere.example/v1", "sk-x"),)], ids=str)
async def test_a_url_never_gets_a_key_that_is_not_its_own(
    shop: Shop, theirs: Theirs, keys: tuple[Key, ...]
) -> None:
    """Neither the installation's nor one that was given for another, whatever is stored."""
    await has(shop, at(theirs), *keys)
    turn = await shop.turn(await shop.customer(), "Hello?")
    assert (turn.said, theirs.asked, turn.requests, turn.due) == ([], [], [], True)


async def test_keys_of_another_chatbot_open_nothing(shop: Shop, theirs: Theirs) -> None:
    await has(shop, at(theirs), Key(theirs.url, "sk-theirs"))
    other = VAULT.encrypt(keys_text((Key(theirs.url, "sk-x"),)) or "", model_keys_of(999))
    await shop.owner.execute("UPDATE chatbots SET model_keys = $1", other)
    await shop.turn(await shop.customer(), "Hello?")
    assert theirs.asked == []


async def test_an_inner_address_is_reached_only_where_the_operator_allows_it(
    pool: Pool, owner: Conn, theirs: Theirs
) -> None:
    async with open_shop(pool, owner, allow="") as shop:
        # By https:// too: that session would reach public addresses.
        for url in (theirs.url, theirs.url.replace("http:", "https:")):
            await has(shop, {"name": "x", "base_url": url}, Key(url, "sk-theirs"))
            turn = await shop.turn(await shop.customer(), "Hello?")
            assert (turn.said, turn.due) == ([], True)
        reason = await owner.fetchval(
            "SELECT count(*) FROM conversations WHERE failing_since IS NOT NULL"
        )
        assert reason == 2
    assert theirs.asked == []


async def test_a_redirect_is_not_followed(shop: Shop, theirs: Theirs) -> None:
    async with serving() as elsewhere:
        theirs.location = f"{elsewhere.url}/chat/completions"
        await has(shop, at(theirs), Key(theirs.url, "sk-theirs"))
        turn = await shop.turn(await shop.customer(), "Hello?")
        assert (turn.said, len(theirs.asked), elsewhere.asked) == ([], 1, [])


# ---- fallbacks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said"), [(500, "Ours."), (429, "Ours."), (402, "Ours."), (401, None), (400, None)]
)
async def test_who_answers_when_the_first_does_not(
    shop: Shop, theirs: Theirs, status: int, said: str | None
) -> None:
    theirs.status = status
    model = at(theirs, fallbacks=[{"name": "spare"}])
    await has(shop, model, Key(theirs.url, "sk-theirs"), None)
    turn = await shop.turn(await shop.customer(), "Hello?")
    assert turn.said == ([said] if said else [])
    assert [r["model"] for r in turn.requests] == (["spare"] if said else [])
    if said:
        assert (await kept(shop))["model"] == "spare"


async def test_an_answer_without_a_word_is_another_s_to_give(shop: Shop, theirs: Theirs) -> None:
    theirs.reply = {"content": "", "reasoning_content": "Hm."}
    await has(shop, at(theirs, fallbacks=[{"name": "spare"}]), Key(theirs.url, "sk-theirs"), None)
    turn = await shop.turn(await shop.customer(), "Hello?")
    assert turn.said == ["Ours."]
    models = await shop.owner.fetch("SELECT model, calls FROM model_usage ORDER BY model")
    assert [tuple(row) for row in models] == [("own/big", 2), ("spare", 1)]
    assert (await kept(shop))["tokens"]["input"] > 2_000  # what came to nothing was paid for too


async def test_one_tenant_s_server_that_is_away_is_nobody_else_s(
    shop: Shop, theirs: Theirs
) -> None:
    """After three failures it is not asked any more; who has the same model name and another key,
    and who has the installation's, is."""
    theirs.status = 503
    await has(shop, at(theirs), Key(theirs.url, "sk-theirs"))
    who = await shop.customer()
    for _ in range(3):
        await shop.turn(who, "Hello?")
    asked = len(theirs.asked)
    turn = await shop.turn(who, "Hello?")
    assert (turn.said, len(theirs.asked)) == ([], asked)
    await has(shop, at(theirs), Key(theirs.url, "sk-another"))
    await shop.turn(who, "Hello?")
    assert len(theirs.asked) > asked
    await has(shop, None)
    assert (await shop.turn(who, "Hello?")).said == ["Ours."]


async def test_the_built_in_answerer_may_be_the_last(shop: Shop, theirs: Theirs) -> None:
    theirs.status = 500
    model = at(theirs, fallbacks=[{"name": "offline"}])
    await has(shop, model, Key(theirs.url, "sk-theirs"), None)
    turn = await shop.turn(await shop.customer(), "When are you open?")
    assert turn.said == ["From 7 to 18."]
    assert (await kept(shop))["model"] == "offline"


# ---- how an answer ends --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "finish"),
    [({"content": None, "refusal": "No."}, "stop"), ({"content": "Well"}, "content_filter")],
)
async def test_what_is_declined_is_declined_politely(
    shop: Shop, theirs: Theirs, reply: dict[str, Any], finish: str
) -> None:
    theirs.reply, theirs.finish = reply, finish
    await has(shop, at(theirs), Key(theirs.url, "sk-theirs"))
    await shop.owner.execute("UPDATE contacts SET language = 'es'")
    turn = await shop.turn(await shop.customer(), "¿Puede ayudarme con esto?")
    assert turn.said == [fixed_text(Kind.REFUSED, "es")]
    assert not turn.with_a_person


async def test_a_model_that_thinks_gets_room_for_it(shop: Shop, theirs: Theirs) -> None:
    """Once its thoughts have used an answer's tokens up, and unless the tenant has set them."""
    theirs.reply, theirs.finish = {"content": "", "reasoning_content": "Hm."}, "length"
    await has(shop, at(theirs), Key(theirs.url, "sk-theirs"))
    await shop.turn(await shop.customer(), "Hello?")
    assert [body["max_completion_tokens"] for _, body in theirs.asked] == [800, 4_800]
    theirs.asked.clear()
    await has(shop, at(theirs, max_output_tokens=500), Key(theirs.url, "sk-theirs"))
    await shop.turn(await shop.customer(), "Hello?")
    assert [body["max_completion_tokens"] for _, body in theirs.asked] == [500]


async def test_a_reply_says_what_it_cost(shop: Shop) -> None:
    await shop.owner.execute(
        "INSERT INTO model_prices (model, kind, valid_from, input_price, cached_price,"
        " output_price) VALUES ('some-model', '*', '2020-01-01', 2, 0.5, 8)"
    )
    usage = {
        "prompt_tokens": 1_000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 400},
    }
    await shop.simulator.rules({"reply": "Ours.", "usage": usage})
    await shop.turn(await shop.customer(), "Hello?")
    metadata = await kept(shop)
    assert metadata["cost"] == "0.0022"
    assert metadata["tokens"] == {"input": 1_000, "cached": 400, "output": 100}
    assert await shop.owner.fetchval("SELECT cost FROM model_usage") == Decimal("0.0022")
    await shop.owner.execute("DELETE FROM model_prices")
    await shop.turn(await shop.customer(), "Hello?")
    assert "cost" not in await kept(shop)


# ---- budgets -------------------------------------------------------------------------------------


async def test_a_budget_has_no_thoughts_in_it_that_were_wanted(shop: Shop, theirs: Theirs) -> None:
    await shop.owner.execute("""UPDATE chatbots SET budgets = '{"output_tokens": 120}'""")
    for more, most in (
        ({}, 120),
        ({"reasoning_effort": "low"}, 2_120),
        ({"reasoning_effort": "none"}, 120),
        ({"reasoning_effort": "low", "max_output_tokens": 300}, 300),
    ):
        theirs.asked.clear()
        await has(shop, at(theirs, **more), Key(theirs.url, "sk-theirs"))
        assert (await shop.turn(await shop.customer(), "Hello?")).said == ["Theirs."]
        assert [body["max_completion_tokens"] for _, body in theirs.asked] == [most]


async def test_money_is_counted_at_the_price_of_who_is_asked(shop: Shop) -> None:
    """A request costs some 1,000 tokens here; the rule would call for ever."""
    await shop.owner.execute(
        "INSERT INTO model_prices (model, kind, valid_from, input_price, cached_price,"
        " output_price) VALUES ('spare', '*', '2020-01-01', 1, 1, 1)"
    )
    await shop.owner.execute("""UPDATE chatbots SET budgets = '{"cost": "0.0015"}'""")
    await has(shop, {"name": "big", "fallbacks": [{"name": "spare"}]})
    call = {"name": "search_knowledge_base", "arguments": {"query": "hours"}}
    usage = {"prompt_tokens": 1_000, "completion_tokens": 0, "total_tokens": 1_000}
    await shop.knows(*((f"What is item {n}?", "x" * 200) for n in range(80)))
    await shop.simulator.rules(
        {"status": 503, "times": 2}, {"tool_calls": [call], "usage": usage, "times": 2}
    )
    turn = await shop.turn(await shop.customer(), "When are you open?")
    assert [(r["model"], r.get("tool_choice")) for r in turn.requests[-2:]] == [
        ("spare", None),
        ("spare", "none"),
    ]
