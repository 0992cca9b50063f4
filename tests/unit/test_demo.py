"""When `make demo` says that what the bakery's program got is not what it should be."""

import json
from typing import Any

import pytest

from local.demo import EXPECTED_EVENTS, DemoFailed, show_events

Event = dict[str, Any]


def event(kind: str, number: int, verified: bool = True) -> Event:
    problem = None if verified else "webhook-signature: none fits"
    body = json.dumps({"type": kind})
    webhook_id = f"evt_{number}"
    seen = {"verified": verified, "problem": problem}
    return {"at": 1_795_953_600.25, "body": body, "webhook_id": webhook_id, **seen}


def all_that_is_expected() -> list[Event]:
    return [event(kind, n) for n, kind in enumerate(EXPECTED_EVENTS.elements())]


def test_what_is_expected_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    events = [*all_that_is_expected(), event("limit.warning", 900)]
    show_events(events)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split()[1:] == ["limit.warning", "evt_900", "\u2713"]
    assert sum("\u2713" in line for line in lines) == len(events)


def test_an_order_is_shown_as_its_event_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"order_number": "K7Q2-M4XD", "total_amount": "28.00", "currency": "EUR"}
    body = json.dumps({"type": "order.created", "data": {**told, "status": "pending"}})
    events = all_that_is_expected()
    place = [*EXPECTED_EVENTS.elements()].index("order.created")
    events[place] |= {"body": body}
    show_events(events)
    assert "K7Q2-M4XD: 28.00 EUR, pending" in capsys.readouterr().out


@pytest.mark.parametrize("place", range(EXPECTED_EVENTS.total()))
def test_each_that_is_missing_is_noticed(place: int) -> None:
    events = all_that_is_expected()
    del events[place]
    with pytest.raises(DemoFailed, match="missing"):
        show_events(events)


def test_one_that_is_not_verified_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    events = [*all_that_is_expected()[:-1], event("action.decided", 7, verified=False)]
    with pytest.raises(DemoFailed, match="verified"):
        show_events(events)
    assert "none fits" in capsys.readouterr().out


def test_one_under_two_names_is_noticed() -> None:
    events = [*all_that_is_expected(), event("action.decided", 901)]
    with pytest.raises(DemoFailed, match=r"several webhook-ids: 1 action\.decided"):
        show_events(events)
