"""A storm in the suite; STORM_DELIVERIES=10000 and STORM_SEED make it another one."""

import os
from dataclasses import replace
from typing import Any

import pytest

from tests.deliveries.storm import play
from tests.deliveries.storm_judge import Arrived, Endpoint, Row, judge

ROW = Row(
    event_id=7,
    message_id=1,
    conversation_id=3,
    body="{}",
    status="delivered",
    tries=1,
    attempts=(200,),
)
CAME = Arrived("evt_7", 1, verified=True, same_body=True, body="{}", taken=1, taken_place=5)
FINE = Endpoint("shop", True, True, [ROW], [CAME], {200: 1})


@pytest.mark.timeout(900)
async def test_each_event_reaches_whoever_can_take_it_whatever_dies(
    capsys: pytest.CaptureFixture[str],
) -> None:
    deliveries = int(os.environ.get("STORM_DELIVERIES", "2500"))
    lines: list[str] = []
    verdict = await play(deliveries, int(os.environ.get("STORM_SEED", "1")), lines.append)
    with capsys.disabled():
        print("\n" + lines[-1])
    print("\n".join(lines))
    assert verdict.violations == []
    assert verdict.deliveries == deliveries
    assert verdict.delivered > deliveries * 0.8


@pytest.mark.parametrize(
    ("row", "came", "answers", "what"),
    [
        ({"status": "pending", "attempts": ()}, None, {}, "never arrived"),
        ({"status": "pending", "tries": 0, "attempts": ()}, {}, {200: 1}, "is pending, and taken"),
        ({}, {"taken": 0, "taken_place": None}, {200: 1}, "is delivered, and taken 0 times"),
        ({}, {"same_body": False}, {200: 1}, "another body"),
        ({}, {"body": "{ }"}, {200: 1}, "another body"),
        ({}, {"verified": False}, {200: 1}, "a signature"),
        ({}, {"name": "evt_8"}, {200: 1}, "no row tells of it"),
        ({"attempts": ()}, {}, {200: 1}, "0 attempts on record"),
        ({"attempts": (500,)}, {}, {500: 1, 200: 1}, "by the attempts"),
        ({"attempts": (500, 200)}, {}, {500: 1, 200: 1}, "1 arrived"),
        ({"attempts": (500, 200)}, {"arrivals": 2}, {200: 2}, "and 0 such answers"),
        ({"status": "failed", "attempts": (500,)}, {}, {500: 1}, "given up after 1"),
    ],
)
def test_the_judge_sees_what_is_wrong(
    row: dict[str, Any], came: dict[str, Any] | None, answers: dict[int, int], what: str
) -> None:
    assert judge([FINE], {1: 1}).violations == []
    arrived = [] if came is None else [replace(CAME, **came)]
    wrong = replace(FINE, rows=[replace(ROW, **row)], arrived=arrived, answers=answers)
    assert any(what in one for one in judge([wrong], {1: 1}).violations)


def test_the_judge_sees_a_second_id_and_a_lost_event() -> None:
    second = replace(FINE, rows=[ROW, replace(ROW, event_id=8)])
    assert any("several ids" in one for one in judge([second], {1: 2}).violations)
    assert any("0 deliveries of 1" in one for one in judge([FINE], {1: 1, 2: 1}).violations)


def test_the_judge_sees_disorder_of_a_conversation_alone() -> None:
    rows = [ROW, replace(ROW, event_id=8, message_id=2)]
    later = [CAME, replace(CAME, name="evt_8", taken_place=4)]
    wrong = replace(FINE, rows=rows, arrived=later, answers={200: 2})
    told = {1: 1, 2: 1}
    assert any("was taken before evt_7" in one for one in judge([wrong], told).violations)
    assert judge([replace(wrong, ordered=False)], told).violations == []
    others = [ROW, replace(rows[1], conversation_id=4)]
    assert judge([replace(wrong, rows=others)], told).violations == []
