"""The simulator over real HTTP: what it refuses, what it plays, what it posts back."""

import asyncio
import hashlib
import hmac
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from simulator.app import create_app
from simulator.client import ControlRefused, Simulator
from simulator.meta import encode, sign

SECRET = "test_app_secret"
NUMBER = "409871234567890"
BSUID = "US.7749201836651042378"
CUSTOMER = "+12025550178"
Json = dict[str, Any]


class Ingress:
    """A receiver of webhooks that keeps what it got."""

    def __init__(self) -> None:
        self.posts: list[tuple[bytes, dict[str, str]]] = []
        self.answers: list[int] = []
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        self.posts.append((await request.read(), dict(request.headers)))
        return web.Response(status=self.answers.pop(0) if self.answers else 200, text="seen")

    def values(self, key: str) -> list[Json]:
        changes = [
            change["value"]
            for body, _ in self.posts
            for entry in json.loads(body)["entry"]
            for change in entry["changes"]
        ]
        return [value for value in changes if key in value]

    def statuses(self) -> list[Json]:
        return [status for value in self.values("statuses") for status in value["statuses"]]


class World:
    """One simulator, one ingress, and a client for what the product would call."""

    def __init__(self, sim: Simulator, ingress: Ingress, http: aiohttp.ClientSession) -> None:
        self.sim = sim
        self.ingress = ingress
        self.http = http

    async def send(
        self, *, token: str = "t0ken", number: str = NUMBER, version: str = "v25.0", **body: Any
    ) -> tuple[int, Json]:
        url = f"{self.sim.url}/{version}/{number}/messages"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.http.post(url, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def complete(self, *messages: Json, key: str = "k", **extra: Any) -> tuple[int, Json]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = {"model": "gpt-test", "messages": messages, **extra}
        url = f"{self.sim.url}/v1/chat/completions"
        async with self.http.post(url, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def reply(self, *messages: Json) -> Any:
        _, answer = await self.complete(*messages)
        return answer["choices"][0]["message"]["content"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    ingress = Ingress()
    receiver = web.Application()
    receiver.router.add_post("/webhooks/whatsapp", ingress.receive)
    async with (
        TestServer(receiver) as doorstep,
        TestServer(create_app()) as server,
        Simulator(str(server.make_url("/"))) as sim,
        aiohttp.ClientSession() as http,
    ):
        ingress.url = str(doorstep.make_url("/webhooks/whatsapp"))
        await sim.config(
            webhook_url=ingress.url,
            app_secret=SECRET,
            numbers=[
                {
                    "phone_number_id": NUMBER,
                    "display_phone_number": "+1 202-555-0143",
                    "token": "t0ken",
                }
            ],
            status_delay_ms=1,
        )
        yield World(sim, ingress, http)


async def eventually(condition: Callable[[], bool], within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.005)


def text_to(to: str = CUSTOMER, body: str = "Hello", **extra: Any) -> Json:
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": to,
        "type": "text",
        "text": {"body": body},
        **extra,
    }


# --- webhooks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (
            b'{"object":"whatsapp_business_account","entry":[]}',
            "sha256=dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756",
        ),
        (
            b'{"object": "whatsapp_business_account", "entry": []}',
            "sha256=56cbbaf4961c6cfdae48b7f116c047e5eb513d2c931baae63a2bc1afd26f803a",
        ),
    ],
)
async def test_signature_of_known_bodies(world: World, body: bytes, signature: str) -> None:
    assert sign(SECRET, body) == signature
    assert await world.sim.raw(body=body.decode()) == {"status": 200, "body": "seen"}
    received, headers = world.ingress.posts[0]
    assert received == body
    assert headers["X-Hub-Signature-256"] == signature


def test_encoding_is_escaped_as_metas_is() -> None:
    assert encode({"a": "äöå/🍋"}) == rb'{"a":"\u00e4\u00f6\u00e5\/\ud83c\udf4b"}'


async def test_customer_writes_in_the_2026_shape(world: World) -> None:
    told = await world.sim.say(
        NUMBER,
        "+1 (202) 555-0178",
        "Hi 🍋",
        "Two?",
        name="Noor",
        user_id=BSUID,
        timestamp=1795338000,
    )
    assert told["answers"] == [{"status": 200, "body": "seen"}]
    ((body, headers),) = world.ingress.posts
    assert hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest() == headers[
        "X-Hub-Signature-256"
    ].removeprefix("sha256=")
    assert body.isascii()
    (value,) = world.ingress.values("messages")
    assert value["metadata"] == {
        "display_phone_number": "12025550143",
        "phone_number_id": NUMBER,
    }
    assert value["contacts"] == [
        {"profile": {"name": "Noor"}, "wa_id": "12025550178", "user_id": BSUID}
    ]
    assert value["messages"][0] == {
        "from": "12025550178",
        "from_user_id": BSUID,
        "id": told["wamids"][0],
        "timestamp": "1795338000",
        "type": "text",
        "text": {"body": "Hi 🍋"},
    }
    assert [message["id"] for message in value["messages"]] == told["wamids"]
    assert len(set(told["wamids"])) == 2


async def test_customers_identity_is_derived_left_out_or_all_there_is(world: World) -> None:
    await world.sim.say(NUMBER, CUSTOMER, "derived")
    await world.sim.say(NUMBER, CUSTOMER, "without", user_id=None, name=None)
    await world.sim.say(NUMBER, None, "only", user_id=BSUID)
    derived, without, only = world.ingress.values("messages")
    assert derived["messages"][0]["from_user_id"] == "US.12025550178"
    assert without["contacts"] == [{"wa_id": "12025550178"}]
    assert "from_user_id" not in without["messages"][0]
    assert "from" not in only["messages"][0]
    assert "wa_id" not in only["contacts"][0]


async def test_one_post_each_and_forced_duplicates(world: World) -> None:
    world.ingress.answers = [200, 503]
    told = await world.sim.say(
        NUMBER, CUSTOMER, "a", "b", wamids=["wamid.x", "wamid.x"], one_post=False
    )
    assert told["wamids"] == ["wamid.x", "wamid.x"]
    assert [answer["status"] for answer in told["answers"]] == [200, 503]
    assert len(world.ingress.posts) == 2


async def test_raw_posts_with_wrong_missing_and_other_signatures(world: World) -> None:
    await world.sim.raw(payload={"a": [1]}, signature="sha256=00", headers={"X-Extra": "1"})
    await world.sim.raw(body="not json", signature=None)
    await world.sim.raw(payload=None, secret="other")
    (_, wrong), (text, missing), (null, other) = world.ingress.posts
    assert (wrong["X-Hub-Signature-256"], wrong["X-Extra"]) == ("sha256=00", "1")
    assert text == b"not json"
    assert "X-Hub-Signature-256" not in missing
    assert (null, other["X-Hub-Signature-256"]) == (b"null", sign("other", b"null"))


async def test_refused_webhook_is_repeated_byte_for_byte_when_asked(world: World) -> None:
    await world.sim.config(webhook_retry=True)
    world.ingress.answers = [503, 500]
    told = await world.sim.say(NUMBER, CUSTOMER, "again")
    assert told["answers"][0]["status"] == 503
    await eventually(lambda: len(world.ingress.posts) == 3)
    assert len({body for body, _ in world.ingress.posts}) == 1
    log: list[Json] = []
    while len(log) < 3:
        log = await world.sim.log("webhook")
    assert [(entry["attempt"], entry["status"]) for entry in log] == [(1, 503), (2, 500), (3, 200)]


async def test_unreachable_ingress_is_an_answer_too(world: World, unused_tcp_port: int) -> None:
    await world.sim.config(webhook_url=f"http://127.0.0.1:{unused_tcp_port}/")
    told = await world.sim.say(NUMBER, CUSTOMER, "anyone?")
    assert told["answers"][0]["status"] is None
    assert "ClientConnector" in told["answers"][0]["body"]


# --- Graph API --------------------------------------------------------------------------------


async def test_accepted_send_gets_its_statuses(world: World) -> None:
    await world.sim.say(NUMBER, CUSTOMER, "Hi", name="Noor", user_id=BSUID)
    status, answer = await world.send(
        **text_to(context={"message_id": "wamid.in"}, biz_opaque_callback_data="out:1")
    )
    wamid = answer["messages"][0]["id"]
    assert status == 200
    assert wamid.startswith("wamid.")
    assert answer["contacts"] == [{"input": CUSTOMER, "wa_id": "12025550178", "user_id": BSUID}]
    await eventually(lambda: len(world.ingress.statuses()) == 2)
    sent, delivered = world.ingress.statuses()
    assert (sent["status"], delivered["status"]) == ("sent", "delivered")
    assert sent["id"] == delivered["id"] == wamid
    assert sent["recipient_id"] == "12025550178"
    assert sent["recipient_user_id"] == BSUID
    assert sent["biz_opaque_callback_data"] == "out:1"
    assert "conversation" not in sent
    assert world.ingress.values("statuses")[0]["contacts"] == [
        {"profile": {"name": "Noor"}, "wa_id": "12025550178", "user_id": BSUID}
    ]
    (entry,) = await world.sim.sends(CUSTOMER)
    assert (entry["wamid"], entry["text"], entry["context"]) == (wamid, "Hello", "wamid.in")


async def test_status_for_a_stranger_names_no_bsuid(world: World) -> None:
    await world.send(**text_to())
    await eventually(lambda: bool(world.ingress.statuses()))
    assert "recipient_user_id" not in world.ingress.statuses()[0]


async def test_bsuid_goes_in_recipient_and_vanishes_in_to(world: World) -> None:
    _, vanished = await world.send(**text_to(BSUID))
    assert vanished["messages"][0]["id"].startswith("wamid.")
    body = text_to()
    del body["to"]
    _, accepted = await world.send(**body, recipient=BSUID)
    assert accepted["contacts"] == [{"input": BSUID, "user_id": BSUID}]
    await eventually(lambda: len(world.ingress.statuses()) == 2)
    assert {status["id"] for status in world.ingress.statuses()} == {accepted["messages"][0]["id"]}
    assert "recipient_id" not in world.ingress.statuses()[0]
    outcomes = [entry["outcome"] for entry in await world.sim.sends(outcome=None)]
    assert outcomes == ["vanished", "accepted"]


@pytest.mark.parametrize(
    "change",
    [
        {"messaging_product": "sms"},
        {"type": None},
        {"type": "fax"},
        {"to": None},
        {"to": "12025550178"},
        {"to": "+1 202 555 0178"},
        {"to": 12025550178},
        {"to": None, "recipient": CUSTOMER},
        {"text": {"body": ""}},
        {"text": {"body": "x" * 4097}},
        {"text": {"body": 5}},
        {"text": "Hello"},
        {"context": {"message_id": ""}},
        {"context": "wamid.x"},
        {"biz_opaque_callback_data": "x" * 513},
        {"biz_opaque_callback_data": 7},
        {"recipient_type": "crowd"},
        {"status": "unread"},
        {"status": "read"},
        {"status": "read", "message_id": "wamid.x", "typing_indicator": {"type": "voice"}},
    ],
    ids=str,
)
async def test_invalid_message_is_refused_with_code_100(world: World, change: Json) -> None:
    status, answer = await world.send(**{**text_to(), **change})
    assert (status, answer["error"]["code"]) == (400, 100)
    assert {"message", "type", "error_data", "fbtrace_id"} <= set(answer["error"])
    (entry,) = await world.sim.sends(outcome=None)
    assert (entry["outcome"], entry["wamid"]) == ("refused", None)


async def test_longest_text_and_callback_data_are_taken(world: World) -> None:
    longest = text_to(body="x" * 4096, biz_opaque_callback_data="x" * 512)
    assert (await world.send(**longest))[0] == 200


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        ({"token": ""}, 401, 190),
        ({"token": "stale"}, 401, 190),
        ({"number": "1"}, 400, 33),
    ],
)
async def test_credentials_and_number_are_checked(
    world: World, call: Json, status: int, code: int
) -> None:
    got, answer = await world.send(**call, **text_to())
    assert (got, answer["error"]["code"]) == (status, code)


async def test_mark_read_is_recorded_apart(world: World) -> None:
    read = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.in"}
    status, answer = await world.send(**read)
    assert (status, answer["error"]["code"]) == (400, 131009)  # nobody wrote that
    await world.sim.say(NUMBER, CUSTOMER, "hello", wamids=["wamid.in"])
    assert await world.send(**read) == (200, {"success": True})
    assert await world.send(**read, typing_indicator={"type": "text"}) == (200, {"success": True})
    entries = await world.sim.log("read")
    assert [entry["code"] for entry in entries] == [131009, None, None]
    assert [(entry["message_id"], entry["typing"]) for entry in entries[1:]] == [
        ("wamid.in", False),
        ("wamid.in", True),
    ]
    assert [entry["message_id"] for entry in await world.sim.log("typing")] == ["wamid.in"]
    assert (await world.sim.chat(NUMBER, CUSTOMER))[0]["status"] == "read"
    assert await world.sim.sends(outcome=None) == []


async def test_error_faults_are_played_in_order_where_they_fit(world: World) -> None:
    await world.sim.faults(
        {"kind": "error", "status": 400, "code": 131047, "to": "+12025550199"},
        {"kind": "error", "status": 500, "code": 131000, "phone_number_id": NUMBER, "times": 2},
        {"kind": "error", "code": 130429, "phone_number_id": "another"},
    )
    codes = [(await world.send(**text_to()))[1].get("error", {}).get("code") for _ in range(3)]
    assert codes == [131000, 131000, None]
    status, answer = await world.send(**text_to("+12025550199"))
    assert (status, answer["error"]["code"]) == (400, 131047)
    assert len(await world.sim.sends()) == 1


async def test_html_fault_is_not_json(world: World) -> None:
    await world.sim.faults({"kind": "html", "status": 502})
    url = f"{world.sim.url}/v25.0/{NUMBER}/messages"
    async with world.http.post(
        url, json=text_to(), headers={"Authorization": "Bearer t0ken"}
    ) as response:
        assert response.status == 502
        assert response.content_type == "text/html"


@pytest.mark.parametrize(
    ("fault", "outcome", "statuses"),
    [
        ({"kind": "timeout_after_accept", "hold_ms": 20}, "accepted", ["sent", "delivered"]),
        ({"kind": "timeout_after_accept", "hold_ms": 20, "statuses": []}, "accepted", []),
        ({"kind": "timeout_before_accept"}, "dropped", []),
    ],
    ids=str,
)
async def test_dropped_connections(
    world: World, fault: Json, outcome: str, statuses: list[str]
) -> None:
    await world.sim.faults(fault)
    with pytest.raises(aiohttp.ClientError):
        await world.send(**text_to(biz_opaque_callback_data="out:2"))
    (entry,) = await world.sim.sends(outcome=None)
    assert entry["outcome"] == outcome
    await eventually(lambda: len(world.ingress.statuses()) == len(statuses))
    await asyncio.sleep(0.02)
    assert [status["status"] for status in world.ingress.statuses()] == statuses


async def test_statuses_can_come_before_a_slow_answer(world: World) -> None:
    await world.sim.faults({"kind": "slow", "delay_ms": 150})
    call = asyncio.create_task(world.send(**text_to()))
    await eventually(lambda: len(world.ingress.statuses()) == 2)
    assert not call.done()
    assert (await call)[0] == 200


async def test_accepted_message_can_fail_later(world: World) -> None:
    await world.sim.faults({"kind": "async_failure", "code": 131047, "message": "Re-engagement"})
    assert (await world.send(**text_to(biz_opaque_callback_data="out:3")))[0] == 200
    await eventually(lambda: bool(world.ingress.statuses()))
    (failed,) = world.ingress.statuses()
    assert (failed["status"], failed["errors"][0]["code"]) == ("failed", 131047)
    assert failed["biz_opaque_callback_data"] == "out:3"


async def test_chat_shows_both_sides(world: World) -> None:
    await world.sim.say(NUMBER, CUSTOMER, "Hi")
    await world.send(**text_to(body="Hello!"))
    await eventually(lambda: len(world.ingress.statuses()) == 2)
    lines = await world.sim.chat(NUMBER, CUSTOMER)
    assert [(line["from"], line["text"], line["status"]) for line in lines] == [
        ("customer", "Hi", None),
        ("bot", "Hello!", "delivered"),
    ]


async def test_number_can_be_looked_up_with_its_token(world: World) -> None:
    url = f"{world.sim.url}/v25.0/{NUMBER}"
    async with world.http.get(url, headers={"Authorization": "Bearer t0ken"}) as response:
        assert (await response.json())["display_phone_number"] == "+12025550143"
    async with world.http.get(url, headers={"Authorization": "Bearer no"}) as response:
        assert response.status == 401


# --- model ------------------------------------------------------------------------------------


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def calls(*ids: str, content: Any = None) -> Json:
    function = {"name": "search", "arguments": "{}"}
    made = [{"id": each, "type": "function", "function": function} for each in ids]
    return {"role": "assistant", "content": content, "tool_calls": made}


def result(identity: str, content: Any = "{}") -> Json:
    return {"role": "tool", "tool_call_id": identity, "content": content}


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [user(None)],
        [user(7)],
        [user([])],
        [{"role": "user"}],
        [{"role": "robot", "content": "x"}],
        [{"role": "user", "content": "x", "name": "Noor Haddad"}],
        [{"role": "assistant", "content": None}],
        [{"role": "assistant", "content": "x", "tool_calls": []}],
        [user("x"), result("a")],
        [user("x"), calls("a")],
        [user("x"), calls("a"), user("y")],
        [user("x"), calls("a"), user("y"), result("a")],
        [user("x"), calls("a", "b"), result("a"), user("y")],
        [user("x"), calls("a"), result("b")],
        [user("x"), calls("a"), result("a"), result("a")],
        [user("x"), calls("a", "a"), result("a"), result("a")],
        [user("x"), calls("a"), result("a", None)],
        [user("x"), calls("a"), {"role": "tool", "content": "x"}],
        [user("x"), {**user("y"), "tool_calls": calls("a")["tool_calls"]}],
        ["x"],
    ],
    ids=str,
)
async def test_history_that_the_real_api_refuses(world: World, messages: list[Json]) -> None:
    status, answer = await world.complete(*messages)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    (entry,) = await world.sim.log("model")
    assert (entry["status"], entry["request"]["messages"]) == (400, messages)


async def test_history_with_answered_calls_is_valid(world: World) -> None:
    status, answer = await world.complete(
        {"role": "system", "content": "Be kind."},
        user([{"type": "text", "text": "cake?"}]),
        calls("a", "b"),
        result("b"),
        result("a"),
        tools=[{"type": "function", "function": {"name": "search", "parameters": {}}}],
    )
    assert status == 200
    assert answer["object"] == "chat.completion"
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Re: cake?", "refusal": None}
    assert choice["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 2


@pytest.mark.parametrize(
    "extra",
    [{"stream": True}, {"tools": []}, {"tool_choice": "auto"}, {"model": None}],
    ids=str,
)
async def test_request_that_the_real_api_or_we_refuse(world: World, extra: Json) -> None:
    assert (await world.complete(user("x"), **extra))[0] == 400


async def test_model_answers_as_servers_were_seen_to(world: World) -> None:
    await world.sim.rules(
        {"match": "parts", "message": {"content": [{"text": "a"}]}, "finish_reason": "length"},
        {"match": "stream", "reply": "abcd", "streamed": True},
        {"match": "page", "raw": {"body": "<p>", "content_type": "text/html", "filler": 2}},
    )
    assert (await world.complete(user("parts")))[1]["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": [{"text": "a"}]},
        "logprobs": None,
        "finish_reason": "length",
    }
    body = {"model": "m", "messages": [user("stream")]}
    url, headers = f"{world.sim.url}/v1/chat/completions", {"Authorization": "Bearer k"}
    async with world.http.post(url, json=body, headers=headers) as streamed:
        assert streamed.content_type == "text/event-stream"
        events = (await streamed.text()).split("\n\n")
    assert '"content": "abc"' in events[2]
    assert events[-2:] == ["data: [DONE]", ""]
    async with world.http.post(url, json=body | {"messages": [user("page")]}, headers=headers) as p:
        assert (p.content_type, await p.text()) == ("text/html", "<p>xx")


async def test_model_refuses_what_its_quirks_say(world: World) -> None:
    await world.sim.config(model_quirks={"no_system": True, "max_prompt_chars": 10})
    assert (await world.complete({"role": "system", "content": "x"}, user("y")))[0] == 400
    status, answer = await world.complete(user("x" * 11))
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert (await world.complete(user("x" * 10)))[0] == 200
    await world.sim.config(model_quirks=None)
    assert (await world.complete(user("x" * 11)))[0] == 200


async def test_model_needs_a_key(world: World) -> None:
    status, answer = await world.complete(user("x"), key="")
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")


async def test_default_reply_names_the_unanswered_inputs(world: World) -> None:
    assert await world.reply(user("a"), user("b")) == "Re: a | b"
    said: Json = {"role": "assistant", "content": "Re: a"}
    assert await world.reply(user("a"), said, user("c"), user("d")) == "Re: c | d"


async def test_rules_are_tried_in_order(world: World) -> None:
    await world.sim.rules(
        {"match": "refund", "tool_calls": [{"name": "act", "arguments": {"n": 1}}], "times": 1},
        {"tool_match": "approved", "reply": "It is approved."},
        {"match": "^one\ntwo$", "system_match": "Bakery", "reply": "both"},
        {"match": None, "reply": "otherwise"},
    )
    _, answer = await world.complete(user("refund please"))
    message = answer["choices"][0]["message"]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert message["content"] is None
    (call,) = message["tool_calls"]
    assert call["function"] == {"name": "act", "arguments": '{"n": 1}'}
    history = [user("refund please"), message, result(call["id"], "approved")]
    assert await world.reply(*history) == "It is approved."
    bakery: Json = {"role": "system", "content": "Lemon Street Bakery"}
    assert await world.reply(bakery, user("one"), user("two")) == "both"
    assert await world.reply(user("one"), user("two")) == "otherwise"
    assert await world.reply(user("refund again")) == "otherwise"


async def test_model_fails_and_hangs_as_told(world: World) -> None:
    await world.sim.rules(
        {"match": "busy", "status": 429, "retry_after": 2},
        {"match": "hang", "hang_ms": 20},
        {"match": "slow", "reply": "late", "latency_ms": 50},
    )
    url = f"{world.sim.url}/v1/chat/completions"
    body = {"model": "m", "messages": [user("busy")]}
    async with world.http.post(url, json=body, headers={"Authorization": "Bearer k"}) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "2")
    with pytest.raises(aiohttp.ClientError):
        await world.complete(user("hang"))
    started = time.monotonic()
    assert await world.reply(user("slow")) == "late"
    assert time.monotonic() - started >= 0.05
    assert [entry["status"] for entry in await world.sim.log("model")] == [429, None, 200]


# --- a tenant's endpoint, control, process ----------------------------------------------------


async def test_tenant_endpoint_records_and_plays_its_script(world: World) -> None:
    await world.sim.tenant("shop", {"status": 500, "times": 2}, {"status": 429, "delay_ms": 1})
    statuses = []
    for _ in range(4):
        async with world.http.post(
            f"{world.sim.url}/tenant/shop", data=b'{"id": 1}', headers={"X-Signature": "s"}
        ) as response:
            statuses.append(response.status)
    assert statuses == [500, 500, 429, 200]
    entries = await world.sim.log("endpoint")
    assert [entry["status"] for entry in entries] == statuses
    assert entries[0]["name"] == "shop"
    assert entries[0]["body"] == '{"id": 1}'
    assert entries[0]["headers"]["X-Signature"] == "s"


async def test_log_can_be_read_on_and_emptied(world: World) -> None:
    await world.sim.faults({"kind": "error", "code": 1, "times": None})
    await world.sim.rules({"reply": "scripted"})
    await world.sim.say(NUMBER, CUSTOMER, "a")
    await world.complete(user("x"))
    first, second = await world.sim.log()
    assert (first["kind"], second["kind"]) == ("webhook", "model")
    assert await world.sim.log(since=first["seq"]) == [second]
    assert await world.sim.log("webhook", "send") == [first]
    await world.sim.reset()
    assert await world.sim.log() == []
    assert await world.sim.chat(NUMBER, CUSTOMER) == []
    assert await world.reply(user("x")) == "Re: x"
    assert (await world.send(**text_to()))[0] == 200
    assert (await world.sim.log())[0]["seq"] == second["seq"] + 1


async def test_every_problem_of_a_configuration_is_named(world: World) -> None:
    with pytest.raises(ControlRefused) as refused:
        await world.sim.config(
            webhook_url="ftp://x",
            status_delay_ms=-1,
            statuses=["sent", "seen"],
            numbers=[{"phone_number_id": ""}],
            colour="red",
        )
    assert refused.value.status == 400
    problems = json.loads(refused.value.answer)["problems"]
    named = [
        "config.webhook_url",
        "config.status_delay_ms",
        "config.statuses",
        "config.numbers[0].phone_number_id",
        "config.numbers[0].display_phone_number",
        "config.colour",
    ]
    assert all(any(problem.startswith(name) for problem in problems) for name in named)
    assert len(problems) == len(named)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/_sim/model/rules", [{"match": "("}]),
        ("/_sim/model/rules", {}),
        ("/_sim/model/rules", [{"raw": {}}]),
        ("/_sim/model/rules", [{"finish_reason": "stop"}]),
        ("/_sim/config", {"model_quirks": {"colour": True}}),
        ("/_sim/config", {"model_quirks": {"filtered": "("}}),
        ("/_sim/graph/faults", [{"kind": "earthquake"}]),
        ("/_sim/graph/faults", [{"kind": "error"}]),
        ("/_sim/tenant/shop", [{"delay_ms": 1}]),
        ("/_sim/messages", {"phone_number_id": NUMBER, "texts": ["a"]}),
        ("/_sim/messages", {"phone_number_id": NUMBER, "from": CUSTOMER, "texts": []}),
        ("/_sim/raw", {"payload": {}, "body": "x"}),
    ],
    ids=str,
)
async def test_malformed_control_is_refused(world: World, path: str, body: Any) -> None:
    async with world.http.post(world.sim.url + path, json=body) as response:
        assert response.status == 400
        assert (await response.json())["problems"]


@pytest.mark.parametrize("header", ["Origin", "Sec-Fetch-Site"])
async def test_browsers_are_not_served(world: World, header: str) -> None:
    headers = {header: "http://shop.example"}
    async with world.http.post(f"{world.sim.url}/_sim/config", json={}, headers=headers) as no:
        assert no.status == 403


@asynccontextmanager
async def running_process() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulator",
        cwd=Path(__file__).parent.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_process_prints_its_address_and_ends_cleanly(number: signal.Signals) -> None:
    async with running_process() as process:
        assert process.stdout is not None
        url = json.loads(await process.stdout.readline())["url"]
        async with Simulator(url) as sim:
            await sim.rules({"hang_ms": 60_000})
            async with aiohttp.ClientSession() as http:
                body = {"model": "m", "messages": [user("x")]}
                hanging = asyncio.create_task(
                    http.post(
                        f"{url}/v1/chat/completions",
                        json=body,
                        headers={"Authorization": "Bearer k"},
                    )
                )
                while not await sim.log("model"):
                    await asyncio.sleep(0.01)
                process.send_signal(number)
                with pytest.raises(aiohttp.ClientError):
                    await hanging
        rest, errors = await asyncio.wait_for(process.communicate(), 10)
        assert (process.returncode, rest, errors) == (0, b"", b"")
