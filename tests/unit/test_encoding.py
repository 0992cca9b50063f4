"""Answers of the API: rows become JSON, and what is stored as JSON goes out as it is stored."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from db.pages import StoredJson
from ingress.api.encoding import encoded, pieces

OWN, OTHER = StoredJson('{"a":  1}'), StoredJson('{"b":  [2]}')
MOMENT = datetime(2026, 11, 30, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Inner:
    id: int
    own: StoredJson = OWN


@dataclass(frozen=True, slots=True)
class Row:
    id: int = 7
    name: str | None = "María"
    tags: list[str] = field(default_factory=lambda: ["vip", '"'])
    own: StoredJson = OTHER
    inner: list[Inner] = field(default_factory=list)
    at: datetime = MOMENT
    price: Decimal = Decimal("12.50")


def written(one: Any) -> str:
    return b"".join(pieces(one)).decode()


def test_a_row_is_an_object_of_its_fields() -> None:
    assert json.loads(written(Row())) == {
        "id": 7,
        "name": "María",
        "tags": ["vip", '"'],
        "own": {"b": [2]},
        "inner": [],
        "at": "2026-11-30T12:00:00Z",
        "price": "12.50",
    }


def test_stored_json_is_written_as_it_is_stored_wherever_it_stands() -> None:
    text = written([Row(inner=[Inner(1), Inner(2)])])
    assert text.count('{"a":  1}') == 2
    assert '{"b":  [2]}' in text
    assert json.loads(text)[0]["inner"][1] == {"id": 2, "own": {"a": 1}}


@pytest.mark.parametrize(
    "one",
    [
        {},
        [],
        {"only": {"inner": [1, {"x": None}]}},
        {"texts": ["a", "b"], "mixed": [1, {"own": "x"}, ["y"]]},
        [{"a": 1}, {"b": []}],
    ],
)
async def test_plain_values_are_plain_json(one: Any) -> None:
    assert json.loads(await encoded(one)) == one


async def test_stored_json_within_lists_and_objects_is_not_a_text() -> None:
    one = {"data": [StoredJson('{"c":  3}')], "more": {"own": StoredJson("[4]")}}
    assert json.loads(await encoded(one)) == {"data": [{"c": 3}], "more": {"own": [4]}}
