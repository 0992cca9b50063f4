"""What requests are read as, and in which words they are refused."""

import json
import typing
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, Field, HttpUrl, JsonValue
from pydantic_core.core_schema import ErrorType

from db.ids import ContactId, ConversationId
from ingress.api.fields import (
    Body,
    MessageText,
    Moment,
    MomentAhead,
    Money,
    NoBody,
    Paged,
    RowId,
)
from ingress.api.mistakes import MISTAKES_MAX, UNSTORABLE, WORDS, Mistake
from ingress.api.problems import Problem
from ingress.api.reading import NESTING_MAX, read_json, read_parameters
from tests.properties.test_wire import ANY_JSON

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
MOMENT = "not a date and time with its zone, like 2030-01-31T17:00:00Z"


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Item(Body):
    sku: Annotated[str, Field(min_length=2, max_length=5, description="of the product")]
    quantity: Annotated[int, Field(ge=1, le=99)]
    price: Money | None = None


class ByText(Body):
    kind: Literal["text"]
    text: MessageText


class ByTemplate(Body):
    kind: Literal["template"]
    template_id: int


class Order(Body):
    """One field of each kind."""

    contact_id: RowId[ContactId] | None = None
    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=3)] | None = None
    tags: Annotated[list[str], Field(max_length=2)] | None = None
    note: Annotated[str | None, Field(max_length=10)] = None
    code: Annotated[str, Field(pattern="^[A-Z]+$")] = "A"
    paid: bool = False
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    dozens: Annotated[int, Field(multiple_of=12)] = 12
    total: Money | None = None
    status: Literal["open", "in transit", "done"] | None = None
    rating: Literal[1, 2] | None = None
    colour: Colour | None = None
    at: Moment | None = None
    aware: AwareDatetime | None = None
    until: MomentAhead | None = None
    day: date | None = None
    opens: time | None = None
    ref: UUID | None = None
    page: HttpUrl | None = None
    said: Annotated[ByText | ByTemplate, Field(discriminator="kind")] | None = None
    either: int | Annotated[list[str], Field(max_length=1)] | None = None
    custom: dict[str, JsonValue] | None = None
    by_name: dict[str, Item] | None = None


class Asked(Paged):
    conversation_id: RowId[ConversationId]
    message_id: RowId[int]
    status: Literal["open", "done"] | None = None
    q: Annotated[str | None, Field(max_length=5)] = None
    unanswered: bool | None = None
    since: Moment | None = None


PARAMETERS = "no such parameter; there are: limit, after, status, q, unanswered, since"


def read(body: Any) -> Order | list[tuple[str, str]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    got = read_json(Order, raw, NOW)
    return pairs(got) if isinstance(got, list) else got


def asked(query: Mapping[str, Any], **path: str) -> Asked | list[tuple[str, str]]:
    names = {name: v if isinstance(v, list) else [v] for name, v in query.items()}
    given_ids = {"conversation_id": "7", "message_id": "8"} | path
    got = read_parameters(Asked, given_ids, names, NOW)
    return pairs(got) if isinstance(got, list) else got


def pairs(mistakes: list[Mistake]) -> list[tuple[str, str]]:
    return [(one.field, one.detail) for one in mistakes]


# ---- what is right -------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"", b" \n", b"{}", b"\xef\xbb\xbf{}"])
def test_no_body_is_an_empty_object(raw: bytes) -> None:
    assert read_json(NoBody, raw, NOW) == NoBody()


def test_each_kind_of_value() -> None:
    body = {
        "contact_id": 17,
        "items": [{"sku": "cake", "quantity": 2, "price": "38.50"}, {"sku": "tea", "quantity": 1}],
        "tags": ["\U0001f642"],
        "note": None,
        "total": 38.5,
        "status": "in transit",
        "colour": "blue",
        "at": "2026-12-01T14:00:00+02:00",
        "until": "2026-12-01T12:00:01Z",
        "day": "2030-01-31",
        "opens": "09:00",
        "said": {"kind": "text", "text": "hi"},
        "custom": {"a": [1, {"b": None}]},
        "by_name": {"x": {"sku": "tea", "quantity": 1}},
    }
    order = read(body)
    assert isinstance(order, Order), order
    assert order.items == (
        Item(sku="cake", quantity=2, price=Decimal("38.50")),
        Item(sku="tea", quantity=1),
    )
    assert (order.contact_id, order.total, order.colour) == (17, Decimal("38.5"), Colour.BLUE)
    assert (order.at, order.until) == (NOW, NOW + timedelta(seconds=1))
    assert order.custom == {"a": [1, {"b": None}]}
    # What a merge patch needs: null was given, the others were not.
    assert order.model_fields_set == body.keys()
    assert "paid" not in order.model_fields_set


def test_an_amount_is_what_was_written() -> None:
    for written in ("1234567890123456.78", "-0.05", "38.10", "7"):
        order = read({"total": written})
        assert isinstance(order, Order)
        assert order.total == Decimal(written)
    for number in (38.1, 0.07, 7, 123_456_789_012.34, 1_234_567_890_123_456):
        order = read({"total": number})
        assert isinstance(order, Order)
        assert order.total == Decimal(str(number))


def test_parameters_of_path_and_query() -> None:
    got = asked({"limit": "200", "after": "17", "unanswered": "true", "since": NOW.isoformat()})
    assert isinstance(got, Asked), got
    assert (got.conversation_id, got.message_id, got.limit, got.after) == (7, 8, 200, 17)
    assert (got.status, got.unanswered, got.since) == (None, True, NOW)
    nothing = asked({})
    assert isinstance(nothing, Asked)
    assert (nothing.limit, nothing.after) == (50, None)


# ---- the words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("note", 7, "not a text"),
        ("note", "x" * 11, "has 11 characters, 10 at most"),
        ("code", "a", "not of the form ^[A-Z]+$"),
        ("paid", "yes", "not true or false"),
        ("paid", None, "not true or false"),
        ("contact_id", "17", "not a whole number"),
        ("contact_id", 1.0, "not a whole number"),
        ("contact_id", True, "not a whole number"),
        ("contact_id", -1, "0 at least"),
        ("contact_id", 10**18, "999999999999999999 at most"),
        ("contact_id", 10**30, "999999999999999999 at most"),
        ("share", "0.5", "not a number"),
        ("share", 0, "has to be more than 0.0"),
        ("share", 1, "has to be less than 1.0"),
        ("dozens", 13, "not a multiple of 12"),
        ("total", "38,50", 'not a decimal number, like "38.50"'),
        *(
            ("total", amount, 'not a decimal number, like "38.50"')
            for amount in (" 1", "1_0", "1e2", "\u0661", "+1", ".5", "Infinity", "", True)
        ),
        ("total", [], 'not a decimal number, like "38.50"'),
        (
            "total",
            1_234_567_890_123_456.78,
            "has more digits than a JSON number keeps: send it as a text",
        ),
        ("total", "1.005", "has more than 2 digits after the point"),
        ("total", "1" * 18, "has more than 16 digits before the point"),
        ("total", "1" * 19, "has more than 18 digits"),
        ("status", "closed", "none of open, in transit, done"),
        ("rating", 3, "none of 1 or 2"),
        ("colour", "green", "none of red, blue"),
        ("at", "2026-12-01T14:00:00", MOMENT),
        ("at", "2026-12-01", MOMENT),
        ("at", 1_796_126_400, MOMENT),
        ("aware", "2026-12-01T14:00:00", MOMENT),
        ("aware", "soon", MOMENT),
        ("aware", [], MOMENT),
        ("until", "2026-12-01T12:00:00Z", "in the past"),
        ("until", "2037-12-01T12:00:00Z", "more than ten years away"),
        ("until", "9999-12-31T23:59:59-23:00", MOMENT),
        ("day", "31.1.2030", "not a date, like 2030-01-31"),
        ("day", 7, "not a date, like 2030-01-31"),
        ("opens", "9", "not a time of day, like 09:00"),
        ("ref", "7", "not a UUID"),
        ("page", "example", "not an address, like https://example.com/path"),
        ("page", "ftp://example.com", "has to begin with one of http, https"),
        ("tags", "a", "not a list"),
        ("tags", ["a", "b", "c"], "has too many entries, 2 at most"),
        ("items", [], "has too few entries, 1 at least"),
        ("items", {"sku": "cake"}, "not a list"),
        ("custom", [], "not a JSON object"),
        ("said", {}, "lacks kind"),
        ("said", {"kind": "song"}, "kind is none of text, template"),
        ("said", "text", "not a JSON object"),
    ],
)
def test_each_kind_of_mistake_has_our_words(field: str, value: Any, detail: str) -> None:
    assert read({field: value}) == [(field, detail)]


@pytest.mark.parametrize(
    ("body", "mistakes"),
    [
        (
            {"items": [{"sku": "tea", "quantity": 1}, {"sku": "x", "quantity": 0, "price": "?"}]},
            [
                ("items.1.sku", "has 1 characters, 2 at least"),
                ("items.1.quantity", "1 at least"),
                ("items.1.price", 'not a decimal number, like "38.50"'),
            ],
        ),
        (
            {"items": [{"qty": 1}, 7]},
            [
                ("items.0.qty", "no such field; there are: sku, quantity, price"),
                ("items.0.sku", "missing: of the product"),
                ("items.0.quantity", "missing"),
                ("items.1", "not a JSON object"),
            ],
        ),
        # The name of the union's member is pydantic's, and no place in the body.
        ({"said": {"kind": "text"}}, [("said.text", "missing")]),
        ({"said": {"kind": "text", "text": " "}}, [("said.text", "empty")]),
        ({"either": {}}, [("either", "not a whole number"), ("either", "not a list")]),
        (
            {"by_name": {"tea": {"sku": 1, "quantity": 1}}},
            [("by_name.tea.sku", "not a text")],
        ),
        ({"tags": ["a", None]}, [("tags.1", "not a text")]),
        (
            {"until": "?", "who": 1, "note": 1},
            [("who", "no such field"), ("note", "not a text"), ("until", MOMENT)],
        ),
        ({"notes": "x"}, [("notes", "no such field; the nearest: note, opens, items")]),
        (
            {"said": {"kind": "template", "template_id": 1, "txt": 1}},
            [("said.txt", "no such field; there are: kind, text, template_id")],
        ),
    ],
)
def test_everything_is_told_at_once_with_its_place(
    body: Any, mistakes: list[tuple[str, str]]
) -> None:
    assert read(body) == mistakes


def test_a_message_is_measured_as_whatsapp_does() -> None:
    def said(text: str) -> Any:
        return read({"said": {"kind": "text", "text": text}})

    assert isinstance(said("\U0001f642" * 2_048), Order)
    too_long = "longer than the 4096 UTF-16 units of a WhatsApp message"
    assert said("\U0001f642" * 2_049) == [("said.text", too_long)]


def test_every_kind_of_error_that_pydantic_knows_has_words_or_cannot_come() -> None:
    elsewhere = {"missing", "extra_forbidden"}  # more than their own context
    of_python = {  # of arguments, attributes and classes, which JSON and texts do not have
        *("arguments_type", "missing_argument", "unexpected_keyword_argument"),
        *("missing_keyword_only_argument", "unexpected_positional_argument"),
        *("missing_positional_only_argument", "multiple_argument_values"),
        *("no_such_attribute", "get_attribute_error", "dataclass_type", "dataclass_exact_type"),
        *("named_tuple_type", "is_instance_of", "is_subclass_of", "callable_type", "invalid_key"),
        *("frozen_field", "frozen_instance", "needs_python_object", "default_factory_not_called"),
        *("recursion_loop", "iterable_type", "iteration_error", "mapping_type", "json_type"),
        *("set_item_not_hashable", "missing_sentinel_error", "ellipsis_error"),
    }
    not_ours = {  # of types that no model here has: who takes one gives it words
        *("bytes_type", "bytes_too_short", "bytes_too_long", "bytes_invalid_encoding"),
        *("time_delta_type", "time_delta_parsing", "fraction_type", "fraction_parsing"),
        *("complex_type", "complex_str_parsing", "counter_type", "deque_type"),
        *("ordered_dict_type", "frozen_dict_type", "timezone_naive", "timezone_offset"),
        *("recursion_depth_exceeded",),  # a model within itself
        *("value_error", "assertion_error"),  # our validators raise wrong()
    }
    known = set(typing.get_args(ErrorType))
    assert WORDS.keys() - {"wrong"} == known - elsewhere - of_python - not_ours


# ---- what is refused before --------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"\xff\xfe{\x00}\x00",
        b'{"note": "\xed\xa0\x80"}',
        b'{"share": NaN}',
        b'{"share": -Infinity}',
        b'{"note": "a\x00"}',
        b"[" * 60_000,
        b"{} {}",
        b'{"contact_id": ' + b"1" * 5_000 + b"}",
    ],
)
def test_what_is_not_json(raw: bytes) -> None:
    assert read(raw) == [("", "not JSON in UTF-8")]


def test_a_name_stands_once() -> None:
    raw = b'{"items": [{"sku": "tea", "quantity": 1, "sku": "cake"}], "note": 1}'
    assert read(raw) == [("sku", "given more than once")]


def test_no_number_is_infinite() -> None:
    assert read(b'{"custom": {"a": 1e999}}') == [("", "has a number that is too large")]


def test_nesting_is_bounded() -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: Any = "[{" * 100  # of a text they do not count
        for _ in range(levels - 2):
            value = [value]
        return {"custom": {"a": value}}

    assert isinstance(read(nested(NESTING_MAX)), Order)
    assert read(nested(NESTING_MAX + 1)) == [("", f"nests deeper than {NESTING_MAX} levels")]
    flat = {"custom": {"a": [[1]] * 100}}  # many brackets, few levels
    assert isinstance(read(flat), Order)


@pytest.mark.parametrize("bad", ["\x00", "\ud83d", "\ude42\ud83d"])
def test_what_cannot_be_stored_is_refused_wherever_it_stands(bad: str) -> None:
    assert read({"note": bad}) == [("note", UNSTORABLE)]
    assert read({"tags": ["a", bad]}) == [("tags.1", UNSTORABLE)]
    assert read({"custom": {"a": {bad: 1}}}) == [("custom.a", UNSTORABLE)]
    assert isinstance(read({"custom": {"\U0001f642": "\\u0000 \U0001f642"}}), Order)


def test_an_unstorable_text_hides_no_other_mistake() -> None:
    assert read({"note": "\x00", "paid": 1}) == [
        ("note", UNSTORABLE),
        ("paid", "not true or false"),
    ]


def test_many_mistakes_are_told_in_part() -> None:
    body = {f"name{n}": 1 for n in range(1_000)}
    got = read(body)
    assert isinstance(got, list)
    assert len(got) == MISTAKES_MAX
    assert all(detail.startswith("no such field") for _, detail in got)
    assert read({"x" * 500: 1}) == [("x" * 100, "no such field")]


# ---- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "mistakes"),
    [
        ({"limit": "0"}, [("limit", "1 at least")]),
        ({"limit": "201"}, [("limit", "200 at most")]),
        *(
            ({"limit": limit}, [("limit", "not a whole number")])
            for limit in ("-1", "+1", " 1", "1_0", "1e2", "\u0661", "", "9" * 50)
        ),
        ({"after": "x"}, [("after", "not the `next` of another page")]),
        ({"status": "closed"}, [("status", "none of open, done")]),
        ({"q": "x" * 6}, [("q", "has 6 characters, 5 at most")]),
        ({"q": "\x00"}, [("q", UNSTORABLE)]),
        ({"unanswered": "maybe"}, [("unanswered", "not true or false")]),
        ({"since": "now"}, [("since", MOMENT)]),
        ({"status": ["open", "done"]}, [("status", "given more than once")]),
        ({"sort": "id"}, [("sort", PARAMETERS)]),
        ({"conversation_id": "9"}, [("conversation_id", PARAMETERS)]),  # it is the path's
        (
            {"sort": "id", "limit": "x", "q": ["a", "b"]},
            [
                ("sort", PARAMETERS),
                ("q", "given more than once"),
                ("limit", "not a whole number"),
            ],
        ),
    ],
)
def test_bad_parameters(query: dict[str, Any], mistakes: list[tuple[str, str]]) -> None:
    assert asked(query) == mistakes


@pytest.mark.parametrize("row_id", ["x", "-1", "+1", "1_0", "9" * 19, "", "\u0661", "1.0"])
def test_an_id_that_cannot_be_is_not_found(row_id: str) -> None:
    with pytest.raises(Problem) as raised:
        asked({"limit": "0"}, message_id=row_id)
    assert raised.value.name == "not_found"


# ---- anything ------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(sorted(Order.model_fields)), ANY_JSON, max_size=4))
def test_any_json_is_read_or_refused_in_our_words(body: Any) -> None:
    got = read(json.dumps(body).encode())
    assert isinstance(got, Order) or all(detail != "not valid" for _, detail in got)
