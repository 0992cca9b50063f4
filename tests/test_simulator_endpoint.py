"""A tenant's endpoint as the simulator plays it: each way to answer, and what it keeps."""

import asyncio
import json
import signal
import time
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from simulator.client import ControlRefused, Simulator
from simulator.endpoint_record import KEPT_TOGETHER, Endpoint, Endpoints
from simulator.standard_webhooks import judge, key_of
from tests.signed import VECTOR, VECTOR_BODY, VECTOR_SECRET, Post, event, new_secret
from tests.test_simulator import World, running_process, world

__all__ = ["world"]

SHOP = "shop"


async def post(world: World, given: Post, name: str = SHOP) -> int:
    return await given.to(world.http, world.sim.endpoint_url(name))


# --- signatures -------------------------------------------------------------------------------


def test_the_published_vector_is_verified() -> None:
    now = float(VECTOR["webhook-timestamp"])
    verdict = judge([key_of(VECTOR_SECRET)], VECTOR, VECTOR_BODY, now)
    assert (verdict.verified, verdict.problem, verdict.fits) == (True, None, (0,))


@pytest.mark.parametrize(
    ("changed", "body", "later", "problem"),
    [
        ({}, VECTOR_BODY + b" ", 0, "none fits"),
        ({"webhook-id": "msg_other"}, VECTOR_BODY, 0, "none fits"),
        ({"webhook-timestamp": "1614265331"}, VECTOR_BODY, 0, "none fits"),
        ({"webhook-timestamp": "soon"}, VECTOR_BODY, 0, "not whole seconds"),
        ({"webhook-signature": "v1,é nonsense ,"}, VECTOR_BODY, 0, "none fits"),
        ({"webhook-signature": ""}, VECTOR_BODY, 0, "webhook-signature: missing"),
        ({}, VECTOR_BODY, 301, "301 s old"),
        ({}, VECTOR_BODY, -301, "-301 s old"),
    ],
)
def test_what_is_not_as_it_was_signed_is_not_verified(
    changed: dict[str, str], body: bytes, later: int, problem: str
) -> None:
    now = float(VECTOR["webhook-timestamp"]) + later
    verdict = judge([key_of(VECTOR_SECRET)], {**VECTOR, **changed}, body, now)
    assert verdict.verified is False
    assert problem in str(verdict.problem)


async def test_it_says_of_each_delivery_whether_its_signature_fits(world: World) -> None:
    old, new = new_secret(), new_secret()
    first = event("msg_1", old)
    await post(world, first)  # before it was told a secret
    told = await world.sim.endpoint(SHOP, secrets=[old, new])
    assert told["secrets"] == 2
    assert old not in str(told)
    await post(world, first)
    await post(world, event("msg_2", new, old))
    await post(world, event("msg_3", new_secret()))
    await post(world, Post(first.body + b" ", first.headers))
    await post(world, event("msg_4", old, age_s=400))
    found = [(d["verified"], d["fits"]) for d in await world.sim.deliveries(SHOP)]
    assert found == [(None, []), (True, [0]), (True, [0, 1]), (False, []), (False, []), (False, [])]
    state = await world.sim.endpoint(SHOP)
    assert (state["count"], state["unverified"]) == (6, 3)


# --- how it answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "status", "headers"),
    [
        ({"mode": "ok"}, 200, {}),
        ({"mode": "ok", "status": 204}, 204, {}),
        ({"mode": "fail"}, 500, {}),
        ({"mode": "fail", "status": 404, "headers": {"X-A": "b"}}, 404, {"X-A": "b"}),
        ({"mode": "slow", "delay_ms": 1}, 200, {}),
        ({"mode": "gone"}, 410, {}),
        ({"mode": "retry_after", "retry_after": 7}, 429, {"Retry-After": "7"}),
        (
            {"mode": "retry_after", "status": 503, "retry_after": "Sun, 29 Nov 2026 12:00:00 GMT"},
            503,
            {"Retry-After": "Sun, 29 Nov 2026 12:00:00 GMT"},
        ),
        (
            {"mode": "redirect", "location": "http://x.example/"},
            302,
            {"Location": "http://x.example/"},
        ),
        ({"mode": "redirect", "location": "/", "status": 307}, 307, {"Location": "/"}),
    ],
    ids=str,
)
async def test_each_mode_answers_as_it_says(
    world: World, told: dict[str, Any], status: int, headers: dict[str, str]
) -> None:
    await world.sim.endpoint(SHOP, **told)
    async with world.http.post(
        world.sim.endpoint_url(SHOP), data=b"{}", allow_redirects=False
    ) as answer:
        assert answer.status == status
        assert {name: answer.headers[name] for name in headers} == headers
    (delivery,) = await world.sim.deliveries(SHOP)
    assert delivery["status"] == status


async def test_seconds_are_told_as_a_date(world: World) -> None:
    await world.sim.endpoint(SHOP, mode="retry_after", retry_after=3600, as_date=True)
    before = int(time.time())
    async with world.http.post(world.sim.endpoint_url(SHOP), data=b"{}") as answer:
        told = parsedate_to_datetime(answer.headers["Retry-After"]).timestamp()
    assert before + 3600 <= told <= time.time() + 3600


async def test_a_body_of_its_own_is_answered(world: World) -> None:
    await world.sim.endpoint(SHOP, mode="fail", body="<b>down</b>")
    async with world.http.post(world.sim.endpoint_url(SHOP), data=b"{}") as answer:
        assert await answer.text() == "<b>down</b>"


async def test_the_dead_close_the_connection(world: World) -> None:
    await world.sim.endpoint(SHOP, mode="dead")
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await post(world, event("msg_1"))
    (delivery,) = await world.sim.deliveries(SHOP)
    assert delivery["status"] is None
    assert (await world.sim.endpoint(SHOP))["unanswered"] == 1


@pytest.mark.parametrize("mode", [{"mode": "hang"}, {"mode": "slow", "delay_ms": 3_600_000}])
async def test_who_left_before_an_answer_was_not_answered(
    world: World, mode: dict[str, Any]
) -> None:
    await world.sim.endpoint(SHOP, **mode)
    waiting = asyncio.create_task(post(world, event("msg_1")))
    while not await world.sim.deliveries(SHOP):
        await asyncio.sleep(0.01)
    await world.sim.endpoint(SHOP, mode="ok")
    assert await post(world, event("msg_2")) == 200  # the way of those who come later
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert [d["status"] for d in await world.sim.deliveries(SHOP)] == [None, 200]


async def test_an_endless_body_does_not_end(world: World) -> None:
    await world.sim.endpoint(SHOP, mode="endless")
    read = 0
    async with world.http.post(world.sim.endpoint_url(SHOP), data=b"{}") as answer:
        while read < 4_000_000:
            read += len(piece := await answer.content.read(100_000))
            assert piece
        answer.close()
    assert (await world.sim.endpoint(SHOP))["answers"] == {"200": 1}


async def test_each_event_s_first_attempts_fail(world: World) -> None:
    await world.sim.endpoint(SHOP, mode="flaky", times=2, status=503)
    statuses = [await post(world, event(f"msg_{n}")) for n in (1, 2, 1, 1, 2, 2, 2)]
    assert statuses == [503, 503, 503, 200, 503, 200, 200]


async def test_a_redirect_that_is_followed_is_seen(world: World) -> None:
    await world.sim.endpoint(SHOP, mode="redirect", location=world.sim.endpoint_url("inner"))
    async with world.http.post(world.sim.endpoint_url(SHOP), data=b"{}") as answer:
        assert answer.status == 200
    (delivery,) = await world.sim.deliveries("inner")
    assert delivery["method"] == "GET"


async def test_a_script_goes_before_the_mode(world: World) -> None:
    await world.sim.endpoint(SHOP, mode="gone")
    await world.sim.tenant(SHOP, {"status": 500})
    assert [await post(world, event("msg_1")) for _ in range(2)] == [500, 410]


@pytest.mark.parametrize(
    "told",
    [
        {"mode": "sulk"},
        {"status": 500},
        {"mode": "redirect"},
        {"mode": "retry_after"},
        {"mode": "flaky", "times": 0},
        {"secrets": "abc"},
        {"secrets": "whsec_!"},
        {"secrets": ["whsec_"]},
        {"keep": 10_001},
        {"colour": "red"},
    ],
    ids=str,
)
async def test_what_it_does_not_understand_changes_nothing(
    world: World, told: dict[str, Any]
) -> None:
    before = await world.sim.endpoint(SHOP, mode="fail", status=418)
    with pytest.raises(ControlRefused, match="endpoint"):
        await world.sim.endpoint(SHOP, **{"journal": False, **told})
    assert await world.sim.endpoint(SHOP) == before


# --- what it keeps ----------------------------------------------------------------------------


async def test_what_came_can_be_asked_for(world: World) -> None:
    secret = new_secret()
    await world.sim.endpoint(SHOP, secrets=secret, mode="fail")
    for name in ("msg_a", "msg_b"):
        await post(world, event(name, secret))
    await world.sim.endpoint(SHOP, mode="ok")
    for name in ("msg_b", "msg_c", "msg_a"):
        await post(world, event(name, secret, text="é"))
    found = await world.sim.deliveries(SHOP)
    assert [(d["webhook_id"], d["arrival"], d["status"]) for d in found] == [
        ("msg_a", 1, 500),
        ("msg_b", 1, 500),
        ("msg_b", 2, 200),
        ("msg_c", 1, 200),
        ("msg_a", 2, 200),
    ]
    assert found[0]["headers"]["webhook-id"] == "msg_a"
    assert '"type": "ping"' in found[0]["body"]
    assert await world.sim.deliveries(SHOP, since=found[2]["seq"]) == found[3:]
    assert await world.sim.deliveries(SHOP, "msg_b") == found[1:3]
    by_first = await world.sim.events(SHOP)
    assert [e["webhook_id"] for e in by_first] == ["msg_a", "msg_b", "msg_c"]
    a, _, c = by_first
    assert (a["arrivals"], a["taken"], a["first_seq"], a["taken_seq"]) == (
        *(2, 1, found[0]["seq"], found[4]["seq"]),
    )
    assert (a["same_body"], c["same_body"]) == (False, True)
    by_taken = await world.sim.events(SHOP, order="taken")
    assert [e["webhook_id"] for e in by_taken] == ["msg_b", "msg_c", "msg_a"]


async def test_it_forgets_what_it_is_told_to(world: World) -> None:
    secret = new_secret()
    await world.sim.endpoint(SHOP, secrets=secret, mode="fail")
    await post(world, event("msg_a", secret))
    (first,) = await world.sim.deliveries(SHOP)
    await world.sim.forget_deliveries(SHOP)
    state = await world.sim.endpoint(SHOP)
    assert (state["count"], state["events"], state["mode"]) == (0, 0, "fail")
    await post(world, event("msg_a", secret))
    (again,) = await world.sim.deliveries(SHOP)
    assert (again["arrival"], again["verified"], again["seq"]) == (1, True, first["seq"] + 1)
    await world.sim.reset()
    state = await world.sim.endpoint(SHOP)
    assert (state["count"], state["mode"], state["secrets"]) == (0, "ok", 1)


async def test_the_journal_is_spared_where_it_is_told(world: World) -> None:
    await world.sim.endpoint(SHOP, journal=False)
    await post(world, event("msg_a"))
    assert await world.sim.log("endpoint") == []


async def test_the_last_are_kept_and_all_are_counted(world: World) -> None:
    await world.sim.endpoint(SHOP, keep=3)
    for n in range(5):
        await post(world, event(f"msg_{n}"))
    kept = [d["webhook_id"] for d in await world.sim.deliveries(SHOP)]
    state = await world.sim.endpoint(SHOP)
    assert (kept, state["count"], state["events"]) == (["msg_2", "msg_3", "msg_4"], 5, 5)


def test_all_endpoints_together_keep_no_more_than_they_may() -> None:
    endpoints = Endpoints()

    def took(endpoint: Endpoint, body: bytes) -> None:
        endpoints.took(endpoint, "POST", {}, body, 0.0)

    busy = [endpoints.of(f"busy{n}") for n in range(20)]
    for n in range(KEPT_TOGETHER + 5_000):
        took(busy[n % 20], b"")
    assert sum(len(each.deliveries) for each in busy) == KEPT_TOGETHER
    big = endpoints.of("big")
    body = b"x" * 1_000_000
    for _ in range(200):
        took(big, body)
    assert len(big.deliveries) == 134  # 128 MiB
    assert not any(each.deliveries for each in busy)
    endpoints.forget()
    took(big, b"y")
    assert len(big.deliveries) == 1


async def test_many_at_once_are_all_there(world: World) -> None:
    secret = new_secret()
    await world.sim.endpoint(SHOP, secrets=secret, journal=False)
    posts = [event(f"msg_{n}", secret) for n in range(300)]
    statuses = await asyncio.gather(*(post(world, each) for each in posts))
    assert statuses == [200] * 300
    events = await world.sim.events(SHOP)
    assert {e["webhook_id"] for e in events} == {f"msg_{n}" for n in range(300)}
    assert {(e["arrivals"], e["unverified"]) for e in events} == {(1, 0)}


async def test_who_waits_for_ever_does_not_keep_it_from_ending() -> None:
    async with running_process() as process:
        assert process.stdout is not None
        url = json.loads(await process.stdout.readline())["url"]
        async with Simulator(url) as sim, aiohttp.ClientSession() as http:
            for mode in ("hang", "endless"):
                await sim.endpoint(mode, mode=mode)
            endless = await http.post(sim.endpoint_url("endless"), data=b"{}")
            waiting = asyncio.create_task(event("msg_1").to(http, sim.endpoint_url("hang")))
            while not await sim.deliveries("hang"):
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(aiohttp.ClientError):
                await waiting
            endless.close()
        rest, errors = await process.communicate()
        assert (process.returncode, rest, errors) == (0, b"", b"")
