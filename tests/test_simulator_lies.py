"""The simulator's lies: each is told when it is switched on, and only then."""

import json
import time
from typing import Any

import pytest

from simulator.client import ControlRefused
from tests.test_simulator import CUSTOMER, NUMBER, World, eventually, text_to, world

__all__ = ["world"]

TEMPLATE = {"name": "write_again", "language": {"code": "en_US"}}


async def lie(world: World, **lies: Any) -> None:
    await world.sim.config(lies={"seed": 7, **lies})


def template(**content: Any) -> dict[str, Any]:
    body = text_to(type="template", template={**TEMPLATE, **content})
    del body["text"]
    return body


def texts(world: World) -> list[str]:
    return [m["text"]["body"] for v in world.ingress.values("messages") for m in v["messages"]]


async def test_switches_are_shown_changed_and_ended(world: World) -> None:
    await lie(world, duplicates=0.5, refusals={"131056": 0.1})
    shown = (await world.sim.config(lies={"delay_ms": 20}))["lies"]
    assert (shown["duplicates"], shown["delay_ms"], shown["refusals"]) == (0.5, 20, {"131056": 0.1})
    assert (await world.sim.config(lies=None))["lies"]["duplicates"] == 0.0


@pytest.mark.parametrize(
    "lies", [{"duplicates": 2}, {"refusals": {"7": 1}}, {"extra_kinds": ["song"]}, {"nonsense": 1}]
)
async def test_switches_that_do_not_exist_are_refused(world: World, lies: Any) -> None:
    with pytest.raises(ControlRefused, match="lies"):
        await world.sim.config(lies=lies)


async def test_duplicates_come_again(world: World) -> None:
    await lie(world, duplicates=1, duplicate_times=3)
    await world.sim.say(NUMBER, CUSTOMER, "hello")
    await eventually(lambda: texts(world) == ["hello"] * 4)


async def test_swapped_webhooks_come_the_other_way_round(world: World) -> None:
    await lie(world, swaps=1, swap_ms=200)
    await world.sim.say(NUMBER, CUSTOMER, "first")
    await world.sim.config(lies={"swaps": 0, "delays": 0.0001})
    await world.sim.say(NUMBER, CUSTOMER, "second")
    await eventually(lambda: texts(world) == ["second", "first"])


async def test_a_batch_holds_several_customers_and_numbers(world: World) -> None:
    await lie(world, batch_ms=50)
    for n in range(3):
        await world.sim.say(NUMBER if n else "77", f"+1202555017{n}", "hi")
    await eventually(lambda: len(texts(world)) == 3)
    (post,) = world.ingress.posts
    changes = json.loads(post[0])["entry"][0]["changes"]
    assert {c["value"]["metadata"]["phone_number_id"] for c in changes} == {NUMBER, "77"}


async def test_a_hidden_number_is_nowhere_and_the_customer_can_be_answered(world: World) -> None:
    await lie(world, hidden_numbers=1)
    await world.sim.say(NUMBER, CUSTOMER, "who am I?")
    (value,) = world.ingress.values("messages")
    assert CUSTOMER.lstrip("+") not in json.dumps(value).replace("US.12025550178", "")
    bsuid = value["messages"][0]["from_user_id"]
    body = text_to()
    del body["to"]
    assert (await world.send(**body, recipient=bsuid))[0] == 200
    assert [line["from"] for line in await world.sim.chat(NUMBER, CUSTOMER)] == ["customer", "bot"]


async def test_extras_follow_what_is_said(world: World) -> None:
    await lie(world, extras=1, extra_kinds=["edit"])
    told = await world.sim.say(NUMBER, CUSTOMER, "hello")
    edit = world.ingress.values("messages")[1]["messages"][0]
    assert edit["edit"]["original_message_id"] == told["wamids"][0]
    assert edit["id"] != told["wamids"][0]


@pytest.mark.parametrize(
    "kind", ["image", "audio", "video", "document", "sticker", "location", "order", "unsupported"]
)
async def test_a_customer_sends_what_is_no_text(world: World, kind: str) -> None:
    told = await world.sim.do(NUMBER, CUSTOMER, kind, text="look", wamid="wamid.it")
    (message,) = world.ingress.values("messages")[0]["messages"]
    assert (message["type"], message["id"], told["wamid"]) == (kind, "wamid.it", "wamid.it")
    if kind in ("image", "video", "document"):
        assert message[kind]["caption"] == "look"


async def test_an_owner_writes_on_the_phone(world: World) -> None:
    await world.sim.do(NUMBER, CUSTOMER, "echo", text="I'll take this one")
    change = json.loads(world.ingress.posts[0][0])["entry"][0]["changes"][0]
    (echo,) = change["value"]["message_echoes"]
    assert (change["field"], echo["text"]["body"]) == ("smb_message_echoes", "I'll take this one")
    assert (echo["from"], echo["to"]) == ("12025550143", "12025550178")


async def test_a_pair_gets_45_messages_and_then_one_in_6_s(world: World) -> None:
    await lie(world, enforce_limits=True)
    codes = [(await world.send(**text_to()))[0] for _ in range(45)]
    assert codes == [200] * 45
    status, answer = await world.send(**text_to())
    assert (status, answer["error"]["code"]) == (400, 131056)
    assert (await world.send(**text_to("+12025550199")))[0] == 200


async def test_a_number_gets_80_messages_a_second(world: World) -> None:
    await lie(world, enforce_limits=True)
    started = time.monotonic()
    codes = []
    for n in range(400):
        status, answer = await world.send(**text_to(f"+12025{n:06d}"))
        codes.append(answer["error"]["code"] if status != 200 else 200)
    took = time.monotonic() - started
    assert codes[:80] == [200] * 80
    assert codes.count(200) <= 80 + 80 * took + 1
    assert set(codes) <= {200, 130429}


async def test_free_text_needs_an_open_window_and_a_template_does_not(world: World) -> None:
    await lie(world, enforce_window=True)
    status, answer = await world.send(**text_to())
    assert (status, answer["error"]["code"]) == (400, 131047)
    day_old = int(time.time()) - 24 * 3600 - 5
    await world.sim.say(NUMBER, CUSTOMER, "long ago", timestamp=day_old)
    assert (await world.send(**text_to()))[0] == 400
    status, answer = await world.send(**template())
    assert (status, answer["messages"][0]["message_status"]) == (200, "accepted")
    await world.sim.say(NUMBER, CUSTOMER, "now")
    assert (await world.send(**text_to()))[0] == 200


async def test_templates_are_checked(world: World) -> None:
    for wrong in ({"name": "With Blanks"}, {"language": "en"}, {"components": [{"type": "song"}]}):
        status, answer = await world.send(**template(**wrong))
        assert (status, answer["error"]["code"]) == (400, 100), wrong
    await world.sim.config(templates=["another"])
    assert (await world.send(**template()))[1]["error"]["code"] == 132001


@pytest.mark.parametrize("code", [131056, 130429, 131026, 131047])
async def test_refusals_by_share(world: World, code: int) -> None:
    await lie(world, refusals={str(code): 0.5})
    codes = []
    for _ in range(40):
        status, answer = await world.send(**text_to())
        codes.append(answer["error"]["code"] if status != 200 else 200)
    assert set(codes) == {200, code}
    assert 8 < codes.count(code) < 32


async def test_a_lost_answer_was_accepted(world: World) -> None:
    await lie(world, lost_answers=1)
    with pytest.raises(Exception, match=r"disconnected|reset"):
        await world.send(**text_to())
    (entry,) = await world.sim.sends()
    assert entry["lies"] == ["lost_answer"]
    await eventually(lambda: len(world.ingress.statuses()) == 2)


async def test_early_statuses_are_there_before_the_answer(world: World) -> None:
    await lie(world, statuses_early=1, statuses_anonymous=1)
    await world.send(**text_to(biz_opaque_callback_data="sr:1:1"))
    statuses = world.ingress.statuses()
    assert [s["status"] for s in statuses] == ["sent", "delivered"]
    assert all("biz_opaque_callback_data" not in s for s in statuses)


async def test_statuses_out_of_order_late_and_never(world: World) -> None:
    await world.sim.config(statuses=["sent", "delivered", "read"])
    await lie(world, statuses_shuffled=1, statuses_late=1, late_ms=150)
    for _ in range(5):
        await world.send(**text_to())
    assert world.ingress.statuses() == []
    await eventually(lambda: len(world.ingress.statuses()) == 15)
    wamids = [s["id"] for s in world.ingress.statuses()]
    orders = {
        tuple(s["status"] for s in world.ingress.statuses() if s["id"] == wamid) for wamid in wamids
    }
    assert len(orders) > 1
    await lie(world, statuses_never=1)
    await world.send(**text_to())
    (last,) = [e for e in await world.sim.sends() if "never" in e["lies"]]
    assert last["wamid"] not in [s["id"] for s in world.ingress.statuses()]
