"""What follows from a refusal, and from what is found just before a message would leave."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from db.ids import ChatbotId, ContactId, ConversationId
from db.sends import Send
from handlers.sends.rules import (
    MAX_TRANSIENT,
    PAIR_BURST,
    PAIR_EVERY,
    Again,
    End,
    Pause,
    after_refusal,
    before_sending,
)
from handlers.sends.sending import _body
from handlers.whatsapp.cloud_api.errors import class_of
from simulator.graph_errors import Refused as GraphRefused
from simulator.interactive import interactive_text


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (1, 400, "transient"),
        (2, 503, "transient"),
        (131016, 500, "transient"),
        (131057, 500, "transient"),
        (133004, 503, "transient"),
        (2494100, 400, "transient"),
        (131056, 400, "pair"),
        (130429, 400, "number"),
        (4, 400, "app"),
        (80007, 400, "app"),
        (131047, 400, "window"),
        (0, 401, "account"),
        (10, 403, "account"),
        (190, 401, "account"),
        (200, 403, "account"),
        (299, 403, "account"),
        (131042, 400, "account"),
        (133010, 400, "account"),
        (368, 403, "policy"),
        (131031, 403, "policy"),
        (131048, 400, "policy"),
        (100, 400, "refused"),
        (131026, 400, "refused"),
        (130472, 400, "refused"),
        (135000, 400, "refused"),
        (987654, 400, "refused"),
        (None, 400, "refused"),
        (131000, 500, None),
        (131000, 400, None),
        (987654, 500, None),
        (None, 502, None),
    ],
)
def test_the_class_of_an_error(code: int | None, status: int, kind: str | None) -> None:
    assert class_of(code, status) == kind


def seconds(consequence: Any) -> float:
    assert isinstance(consequence, Again)
    return consequence.after.total_seconds()


def test_a_passing_reason_passes_for_two_minutes() -> None:
    waits = [
        seconds(after_refusal("transient", 131016, n, dice=1)) for n in range(MAX_TRANSIENT - 1)
    ]
    assert waits == [4, 8, 16, 32, 64]
    assert after_refusal("transient", 131016, MAX_TRANSIENT - 1, dice=1) == End(
        "failed", "transient"
    )


def test_a_pair_waits_four_times_as_long_each_time() -> None:
    again = [after_refusal("pair", 131056, n, dice=0) for n in range(7)]
    assert [seconds(one) for one in again] == [1, 4, 16, 64, 256, 256, 256]
    for one in again:
        assert isinstance(one, Again)
        # Nothing is left of the burst but the token with which this message tries again.
        assert (one.slow, one.pause) == ("pair", PAIR_EVERY * (PAIR_BURST - 1))


@pytest.mark.parametrize(("kind", "pause"), [("number", 1), ("app", 60)])
def test_a_number_slows_down_and_never_gives_up(kind: Any, pause: int) -> None:
    waits = []
    for times in range(40):
        one = after_refusal(kind, 130429, times, dice=0.5)
        assert isinstance(one, Again)
        assert (one.slow, one.pause) == ("number", timedelta(seconds=pause))
        assert one.after > one.pause
        waits.append(seconds(one))
    assert waits == sorted(waits)
    assert waits[-1] <= 60 + pause


def test_an_account_that_is_refused_pauses_the_number() -> None:
    first = after_refusal("account", 190, 50, dice=0)
    assert first == Pause(timedelta(seconds=5), timedelta(minutes=15), "account:190")
    blocked = after_refusal("policy", 368, 0, dice=0)
    assert blocked == Pause(timedelta(hours=1), timedelta(hours=24), "policy:368")


@pytest.mark.parametrize(("kind", "reason"), [("window", "window_closed"), ("refused", "refused")])
def test_what_is_refused_for_good_ends(kind: Any, reason: str) -> None:
    assert after_refusal(kind, 131047, 0, dice=0) == End("failed", reason)


FINE = Send(
    campaign_id=None,
    conversation_id=ConversationId(1),
    contact_id=ContactId(1),
    content_text="Yes",
    in_reply_to=None,
    send_attempts=0,
    usage_day=None,
    refused={},
    trace_id=None,
    too_old=False,
    waited=None,
    since_inbound=timedelta(hours=1),
    template=None,
    by_marketing_api=False,
    interactive=None,
    medium=None,
    left_behind=False,
    trying=False,
    phone_number="+12025550178",
    wa_id=None,
    bsuid=None,
    chatbot_id=ChatbotId(1),
    phone_number_id="1",
    access_token=None,
    chatbot_active=True,
    tenant_active=True,
    silenced=False,
    blocked=False,
)
LATE = {"since_inbound": timedelta(hours=25)}


@pytest.mark.parametrize(
    ("found", "has_token", "becomes"),
    [
        ({}, True, None),
        ({"silenced": True}, True, ("cancelled", "taken_over")),
        ({"blocked": True}, True, ("cancelled", "blocked")),
        ({"left_behind": True, "chatbot_active": False}, True, ("cancelled", "left_behind")),
        ({"tenant_active": False}, True, ("cancelled", "tenant_inactive")),
        ({"chatbot_active": False}, True, ("cancelled", "chatbot_inactive")),
        ({"too_old": True}, True, ("failed", "too_old")),
        ({"too_old": True}, False, ("failed", "too_old")),
        (LATE, False, ("cancelled", "window_closed")),
        ({"since_inbound": None}, True, ("cancelled", "window_closed")),
        (LATE | {"template": {"name": "n", "language": "en"}}, True, None),
        ({"phone_number_id": None}, True, "no_phone_number_id"),
        ({}, False, "no_access_token"),
    ],
)
def test_what_is_looked_at_before_a_message_leaves(
    found: dict[str, Any], has_token: bool, becomes: Any
) -> None:
    obstacle = before_sending(replace(FINE, **found), has_token=has_token)
    if isinstance(obstacle, End):
        assert (obstacle.status, obstacle.reason) == becomes
    else:
        assert (obstacle.reason if obstacle else None) == becomes


@pytest.mark.parametrize(
    ("kept", "kind", "action"),
    [
        (
            {"type": "buttons", "choices": [{"id": "a", "title": "Lemon"}]},
            "button",
            {"buttons": [{"type": "reply", "reply": {"id": "a", "title": "Lemon"}}]},
        ),
        (
            {
                "type": "list",
                "button": "See",
                "choices": [{"id": "a", "title": "Lemon", "description": "of Amalfi"}],
            },
            "list",
            {
                "button": "See",
                "sections": [{"rows": [{"id": "a", "title": "Lemon", "description": "of Amalfi"}]}],
            },
        ),
        (
            {"type": "link", "title": "Menu", "url": "https://luma.example/menu"},
            "cta_url",
            {
                "name": "cta_url",
                "parameters": {"display_text": "Menu", "url": "https://luma.example/menu"},
            },
        ),
    ],
)
def test_what_can_be_chosen_goes_out_as_meta_takes_it(
    kept: dict[str, Any], kind: str, action: dict[str, Any]
) -> None:
    body = _body(replace(FINE, interactive=kept), "ours")
    assert body["type"] == "interactive"
    assert body["interactive"] == {"type": kind, "body": {"text": "Yes"}, "action": action}
    assert (body["to"], body["biz_opaque_callback_data"]) == ("+12025550178", "ours")
    assert interactive_text(body["interactive"]) == "Yes", "the simulator takes it as Meta does"


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "buttons", "choices": [{"id": "a", "title": "x" * 21}]},
        {"type": "buttons", "choices": [{"id": str(n), "title": str(n)} for n in range(4)]},
        {"type": "buttons", "choices": [{"id": "a", "title": "x"}, {"id": "b", "title": "x"}]},
        {"type": "list", "button": "See", "choices": [{"id": "a", "title": "x" * 25}]},
        {"type": "link", "title": "Menu", "url": "javascript:alert(1)"},
    ],
)
def test_the_simulator_refuses_what_meta_does(wrong: dict[str, Any]) -> None:
    body = _body(replace(FINE, interactive=wrong), "ours")
    with pytest.raises(GraphRefused):
        interactive_text(body["interactive"])
