"""What each kind of item is read as, and that docs/messages.md names them all."""

import copy
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handlers.ingest.envelope import Envelope, decode, encode, lane_of
from handlers.rules.opaque import why_unanswered
from handlers.whatsapp.cloud_api.inbound import (
    ACCOUNT_FIELDS,
    CHANGES,
    KEPT_FIELDS,
    MESSAGE_TYPES,
    parse_message,
    parse_other,
)
from handlers.whatsapp.cloud_api.wire import ECHOES, NotUnderstood, Update, parse_status, split
from handlers.whatsapp.values import Change, Happening, Inbound, Moved, Parsed, Past, Preference
from ingress.webhook import taken_apart
from tests.unit.anything import any_json
from tests.unit.kinds import ECHO, FIELDS, MESSAGES, MORE, item
from tests.unit.payloads import (
    ADA_BSUID,
    OUT_OF_BAND_ERRORS,
    change,
    contact,
    text,
    value,
    webhook,
)
from tests.unit.test_wire import places, printed

DOCS = Path(__file__).parents[2] / "docs" / "messages.md"


def parsed(update: Update) -> list[Parsed | NotUnderstood]:
    if update.kind == "message" or update.is_echo:
        return [parse_message(update)]
    assert update.kind == "other"
    return parse_other(update)


def read(raw: Any) -> Parsed | NotUnderstood:
    (update,) = split(webhook(change(value(contacts=[contact()], messages=[raw]))))
    return parse_message(update)


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_of_each_type(kind: str) -> None:
    raw, said = MESSAGES[kind]
    got = read(raw)
    if said is None:
        assert isinstance(got, Change | Moved | Happening)
    else:
        assert isinstance(got, Inbound)
        assert (got.kind, got.text) == (kind, said)


@pytest.mark.parametrize("what", MORE)
def test_more_that_is_read(what: str) -> None:
    raw, said = MORE[what]
    got = read(raw)
    assert isinstance(got, Inbound)
    assert got.text == said


def test_every_type_is_played() -> None:
    assert set(MESSAGES) == set(MESSAGE_TYPES)


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_understood(field: str) -> None:
    for update in split(webhook(change(FIELDS[field], field))):
        for got in parsed(update):
            assert not isinstance(got, NotUnderstood), got
            if isinstance(got, Happening):
                assert (got.field, got.told) == (field, field in ACCOUNT_FIELDS)


def test_every_field_is_played() -> None:
    read_by_item = {"messages", "history", "user_preferences", "user_id_update", *ECHOES}
    assert set(FIELDS) == {*read_by_item, *ACCOUNT_FIELDS, *KEPT_FIELDS}


def test_the_table_names_everything() -> None:
    named = set(re.findall(r"^\| `([a-z_]+)`", DOCS.read_text(), flags=re.MULTILINE))
    assert named == {*FIELDS, *MESSAGES}


def test_the_tests_that_the_table_names_exist() -> None:
    tests = Path(__file__).parents[1]
    for file, name in re.findall(r"`(\w+/test_\w+\.py)`: `(test_\w+)`", DOCS.read_text()):
        assert f"def {name}(" in (tests / file).read_text(), name


def test_what_is_not_the_customer_s_is_told_apart() -> None:
    """Whatever a customer writes, the only square brackets are ours."""
    for raw, said in [*MESSAGES.values(), *MORE.values()]:
        if said is not None:
            assert said.count("[") == said.count("]") <= 2, raw
    own = read(text(body="see [1]"))
    assert isinstance(own, Inbound)
    assert (own.text, own.details) == ("see (1)", {"as_written": "see [1]"})


def test_notes_are_bounded() -> None:
    long = "x" * 100_000
    cards = [{"name": {"formatted_name": long}, "phones": [{"phone": long}] * 99}] * 99
    items = [{"product_retailer_id": long, "quantity": 1, "item_price": 1, "currency": long}] * 99
    for raw in (
        item("contacts", contacts=cards),
        item("order", order={"product_items": items, "text": long}),
        item("image", image={"caption": long, "id": long}),
        text(body=long, referral={"headline": long, "body": long}),
    ):
        got = read(raw)
        assert isinstance(got, Inbound)
        assert len(got.text) < 25_000
        assert len(printed(got.details)) < 25_000


# ---- lanes -------------------------------------------------------------------------------------


def test_what_concerns_a_message_follows_it_in_its_lane() -> None:
    messages = [text(), *(MESSAGES[kind][0] for kind in CHANGES), MESSAGES["system"][0]]
    updates = split(webhook(change(value(contacts=[contact()], messages=messages))))
    updates += split(webhook(change(FIELDS["smb_message_echoes"], "smb_message_echoes")))
    assert len({lane_of(u) for u in updates}) == 1
    assert lane_of(updates[0]) not in ("other", "status")
    assert {u.customer for u in updates} == {ADA_BSUID}


def test_a_worker_of_the_release_before_does_not_take_an_echo_for_a_customer() -> None:
    """It takes every object with an id in a customer's lane for a message to us."""
    (echo,) = split(webhook(change(FIELDS["smb_message_echoes"], "smb_message_echoes")))
    assert echo.kind == "other"
    assert echo.raw == {"echo": ECHO}


def test_errors_beside_nothing_are_a_happening() -> None:
    (update,) = split(OUT_OF_BAND_ERRORS)
    assert parse_other(update) == [Happening("messages", "errors", told=True)]


def test_a_back_fill_knows_who_spoke() -> None:
    (update,) = split(webhook(change(FIELDS["history"], "history")))
    first, second = parse_other(update)
    assert isinstance(first, Past)
    assert isinstance(second, Past)
    assert (first.direction, first.status, first.text) == ("inbound", "received", "Were you open?")
    assert (second.direction, second.status) == ("outbound", "read")
    assert first.who.bsuid == second.who.bsuid == ADA_BSUID


def test_a_preference() -> None:
    (update,) = split(webhook(change(FIELDS["user_preferences"], "user_preferences")))
    (got,) = parse_other(update)
    assert isinstance(got, Preference)
    assert (got.choice, got.who.bsuid) == ("stop", ADA_BSUID)


# ---- inputs that no model can read -------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ([], None),
        ([{}], None),
        ([{"opaque": True}], "media"),
        ([{"opaque": True}, {}], None),
        ([{"opaque": True}, {"opaque": True}], "media"),
        ([{"revoked": "x"}], "revoked"),
        ([{"revoked": "x"}, {"opaque": True}], "media"),
        ([{"revoked": "x"}, {}], None),
        ([{"revoked": "x", "opaque": True}], "revoked"),
    ],
)
def test_why_no_model_is_asked(inputs: list[Any], why: str | None) -> None:
    assert why_unanswered(inputs) == why


# ---- anything at all ---------------------------------------------------------------------------

EXAMPLES = 3_000  # of each of the three below
ALL_TYPES = [*MESSAGE_TYPES, "hologram"]
ALL_FIELDS = [*FIELDS, "hologram"]


def play(one: Callable[[int, random.Random], None]) -> None:
    for seed in range(EXAMPLES):
        try:
            one(seed, random.Random(seed))
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


def swallowed(updates: list[Update]) -> None:
    """As the product would read them: whatever it says, it can be stored."""
    body = encode(Envelope("t", "now", tuple(updates)))
    for update in decode(body).updates:
        if update.kind == "status":
            parse_status(update)
            continue
        for got in parsed(update):
            if isinstance(got, Inbound | Past):
                assert len(got.kind) <= 50
                stored = f"{got.text}{got.who}{json.dumps(got.details, allow_nan=False)}"
                assert "\0" not in stored
                stored.encode()


def test_any_bytes_are_swallowed() -> None:
    def one(seed: int, dice: random.Random) -> None:
        body = json.dumps(any_json(dice)).encode()
        if dice.random() < 0.5:
            body = dice.randbytes(dice.randrange(200))
        swallowed(taken_apart(body))

    play(one)


def test_any_content_of_any_type_is_swallowed() -> None:
    def one(seed: int, dice: random.Random) -> None:
        kind = dice.choice(ALL_TYPES)
        inner, around, to = (any_json(dice) for _ in range(3))
        raw = item(kind, **{kind: inner}, context=around, referral=around, errors=to)
        echo = ECHO | {"type": kind, kind: inner, "to": to}
        payload = webhook(
            change(value(contacts=to, messages=[raw])),
            change(value(contacts=to, message_echoes=[echo]), "smb_message_echoes"),
        )
        swallowed(split(payload))

    play(one)


def test_any_field_spoilt_anywhere_is_swallowed() -> None:
    payloads = [webhook(change(FIELDS.get(f, {"a": 1}), f)) for f in ALL_FIELDS]
    everywhere = [(payload, at) for payload in payloads for at in places(payload)]
    assert len(everywhere) < EXAMPLES

    def one(seed: int, dice: random.Random) -> None:
        payload, at = everywhere[seed % len(everywhere)]
        spoilt = copy.deepcopy(payload)
        *way, last = at
        node = spoilt
        for key in way:
            node = node[key]
        node[last] = any_json(dice)
        swallowed(split(spoilt))

    play(one)
