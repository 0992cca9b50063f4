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
from tests.properties.test_wire import places, printed
from tests.unit.anything import any_json
from tests.unit.kinds import ECHO, FIELDS, MESSAGES, MORE, interactive, item
from tests.unit.payloads import (
    ADA_BSUID,
    OUT_OF_BAND_ERRORS,
    change,
    contact,
    text,
    value,
    webhook,
)

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


def test_notes_are_bounded_and_details_whole() -> None:
    long = "x" * 1_000
    cards = [{"name": {"formatted_name": long}, "phones": [{"phone": long}] * 99}] * 99
    items = [{"product_retailer_id": long, "quantity": 1, "item_price": 1, "currency": long}] * 99
    form = {long: [{long: long}] * 99}
    said = "y" * 100_000 + " and where is it?"
    sent: list[tuple[Any, str, Any]] = [
        (item("contacts", contacts=cards), "contacts", cards),
        (
            item("order", order={"product_items": items, "text": said}),
            "order",
            {"product_items": items, "text": said},
        ),
        (
            item("image", image={"caption": said, "id": long}),
            "media",
            {"caption": said, "id": long},
        ),
        (interactive("nfm_reply", response_json=json.dumps(form)), "form", form),
        (text(body=said, referral={"body": long}), "referral", {"body": long}),
        (item("hologram", hologram=form), "raw", item("hologram", hologram=form)),
    ]
    for raw, key, whole in sent:
        got = read(raw)
        assert isinstance(got, Inbound)
        ours = got.text.removesuffix(said)
        assert len(ours) < 25_000
        kept = got.details[key]
        assert (json.loads(kept) if key == "raw" else kept) == whole
        assert (got.text != ours) == (said in printed(raw))


ADDRESS = {"values": {"in_pin_code": "560001", "address": "12 Lake View", "name": "Asha"}}
CARD = {
    "name": {"first_name": "Grace", "last_name": "H"},
    "org": {"company": "Hopper Ltd", "title": "Lead"},
    "emails": [{"email": "grace@example.com", "type": "WORK"}],
    "addresses": [{"street": "1 Way", "city": "Menlo Park", "zip": "94025"}],
    "urls": [{"url": "https://example.com"}],
    "birthday": "1990-12-10",
    "vcard": "BEGIN:VCARD",
}
NESTED = {
    "flow_token": "t",
    "guest": {"name": "Ada [VIP]", "allergies": ["nuts", "milk"]},
    "cakes": [{"kind": "rye", "count": 2}, {"kind": "oat", "count": 1}],
    "note": None,
    "agreed": False,
}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            interactive("nfm_reply", name="address_message", response_json=json.dumps(ADDRESS)),
            "[sent an address: in_pin_code: 560001; address: 12 Lake View; name: Asha]",
        ),
        (
            interactive("nfm_reply", name="address_message", body="Asha\n12 Lake View"),
            "[sent an address: Asha 12 Lake View]",
        ),
        (
            interactive("nfm_reply", name="flow", response_json=json.dumps(NESTED)),
            (
                "[filled in a form: guest name: Ada (VIP); guest allergies: nuts, milk;"
                " cakes 1 kind: rye; cakes 1 count: 2; cakes 2 kind: oat; cakes 2 count: 1;"
                " agreed: false]"
            ),
        ),
        (
            item("contacts", contacts=[CARD]),
            (
                "[contact card: Grace H, Lead, Hopper Ltd, grace@example.com,"
                " 1 Way Menlo Park 94025, https://example.com, born 1990-12-10]"
            ),
        ),
        (
            item("contacts", contacts=[{"name": {"formatted_name": "G"}}] * 32),
            "\n".join(["[contact card: G]"] * 30 + ["[and 2 more contact cards]"]),
        ),
        (
            interactive("product", id="7", name="Rye", price={"amount": 4.5}),
            "[answered with product: name: Rye; price amount: 4.5]",
        ),
        (
            item("hologram", hologram={"id": "7", "title": "Where is my parcel?"}),
            "[a message of the kind hologram: title: Where is my parcel?]",
        ),
        (
            interactive("nfm_reply", response_json="{}") | {"text": {"body": "and [when]?"}},
            "[filled in a form: no fields]\nand (when)?",
        ),
    ],
)
def test_structured_data_is_shown_and_kept_whole(raw: Any, said: str) -> None:
    got = read(raw)
    assert isinstance(got, Inbound)
    assert (got.text, got.opaque) == (said, False)
    kept = printed(got.details)
    for sent in (ADDRESS, CARD, NESTED):
        for leaf in leaves(sent):
            assert (leaf in printed(raw)) <= (leaf in kept), leaf


def leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner)]
    return [printed(value)] if isinstance(value, str) else []


def test_what_stands_beside_is_kept() -> None:
    raw = text(
        context={"id": "wamid.Q", "referred_product": {"catalog_id": "5"}, "mentions": ["a"]},
        referral={"headline": "Fresh", "welcome_message": {"text": "Hi"}},
        errors=[{"code": 7}],
        hologram={"a": 10**30, "b": [float("nan")]},
    )
    got = read(raw)
    assert isinstance(got, Inbound)
    assert got.details == {
        "product": {"catalog_id": "5"},
        "context": {"mentions": ["a"]},
        "referral": {"headline": "Fresh", "welcome_message": {"text": "Hi"}},
        "errors": [{"code": 7}],
        "more": {"hologram": {"a": str(10**30), "b": ["nan"]}},
    }


def test_nesting_without_end_is_kept_as_text() -> None:
    deep: Any = "the bottom"
    for _ in range(400):
        deep = {"a": deep}
    got = read(interactive("nfm_reply", response_json=json.dumps(deep)))
    assert isinstance(got, Inbound)
    assert "the bottom" in printed(got.details)
    assert printed(got.details).count("{") < 60 + 400
    assert len(got.text) < 500


def test_a_long_part_keeps_both_its_ends() -> None:
    form = {"note": "Please write " + "very " * 200 + "HAPPY BIRTHDAY"}
    got = read(interactive("nfm_reply", response_json=json.dumps(form)))
    assert isinstance(got, Inbound)
    assert got.text.startswith("[filled in a form: note: Please write very very")
    assert got.text.endswith("HAPPY BIRTHDAY]")
    assert " \u2026 " in got.text


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
