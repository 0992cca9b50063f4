"""What webhooks are taken apart into, whatever they look like."""

import copy
import json
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.ids import Wamid
from handlers.rules.numbers import normalised
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.inbound import parse_message, parse_other
from handlers.whatsapp.cloud_api.wire import (
    NotUnderstood,
    Status,
    Update,
    callback_data,
    error_report,
    parse_status,
    split,
)
from handlers.whatsapp.values import Customer, Inbound, Parsed
from tests.unit import payloads
from tests.unit.payloads import (
    ADA,
    ADA_BSUID,
    FAILURE,
    NUMBER,
    PNID,
    change,
    contact,
    status,
    text,
    value,
    webhook,
    without,
)

FAST = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,  # a suite that is red by chance is not believed
    suppress_health_check=list(HealthCheck),
    database=None,
)
LONE_SURROGATE = "\ud83c"


def only(payload: Any) -> Update:
    (update,) = split(payload)
    return update


def message(payload: Any) -> Inbound:
    parsed = parse_message(only(payload))
    assert isinstance(parsed, Inbound), parsed
    return parsed


def odd_message(item: Any, contacts: Any = None) -> Parsed | NotUnderstood:
    return parse_message(only(webhook(change(value(contacts=contacts, messages=[item])))))


def odd_status(item: Any) -> Status | NotUnderstood:
    return parse_status(only(webhook(change(value(statuses=[item])))))


# ---- documented shapes -------------------------------------------------------------------------


def test_a_text() -> None:
    assert message(payloads.TEXT) == Inbound(
        wamid=Wamid("wamid.ADA1"),
        sent_at=datetime.fromtimestamp(payloads.SENT_AT + 1, UTC),
        who=Customer(f"+{ADA}", ADA, ADA_BSUID, "Ada Brook"),
        kind="text",
        text="Do you bake rye bread?",
        replies_to=None,
    )
    update = only(payloads.TEXT)
    assert (update.kind, update.field) == ("message", "messages")
    assert (update.phone_number_id, update.display_number) == (PNID, NUMBER)
    assert update.customer == ADA_BSUID
    assert update.raw == text()
    assert update.contact == contact()


def test_a_parent_bsuid_changes_nothing() -> None:
    assert message(payloads.PARENT_BSUID) == message(payloads.TEXT)


def test_a_customer_without_a_number() -> None:
    parsed = message(payloads.BSUID_ONLY)
    assert (parsed.who.phone_number, parsed.who.wa_id, parsed.who.bsuid) == (None, None, ADA_BSUID)
    assert only(payloads.BSUID_ONLY).customer == ADA_BSUID


def test_the_shape_before_bsuids() -> None:
    parsed = message(payloads.LEGACY)
    assert (parsed.who.phone_number, parsed.who.wa_id, parsed.who.bsuid) == (f"+{ADA}", ADA, None)
    assert only(payloads.LEGACY).customer == ADA


def test_the_message_that_is_quoted() -> None:
    assert message(payloads.QUOTING).replies_to == "wamid.QUOTED"


def test_the_sample_of_metas_dashboard() -> None:
    parsed = message(payloads.DASHBOARD_TEST)
    assert (parsed.wamid, parsed.sent_at.year) == ("ABCDxyz123", 2017)


def test_a_batch_of_two_businesses_keeps_its_order() -> None:
    updates = split(payloads.BATCH)
    assert [(u.kind, u.phone_number_id, u.raw["id"]) for u in updates] == [
        ("message", PNID, "wamid.ADA1"),
        ("message", PNID, "wamid.ADA2"),
        ("status", PNID, "wamid.OURS1"),
        ("status", PNID, "wamid.OURS1"),
        ("message", payloads.OTHER_PNID, "wamid.ADA3"),
        ("status", payloads.OTHER_PNID, "wamid.OURS9"),
    ]
    photo = parse_message(updates[1])
    assert isinstance(photo, Inbound)
    assert (photo.kind, photo.opaque) == ("image", True)
    iker = parse_message(updates[4])
    assert isinstance(iker, Inbound)
    assert (iker.who.name, iker.who.phone_number, iker.who.bsuid) == (
        "Iker",
        "+34600555001",
        "ES.55",
    )


@pytest.mark.parametrize("kind", ["sent", "delivered", "read", "played", "failed"])
def test_every_kind_of_status(kind: str) -> None:
    parsed = odd_status(status(kind, biz_opaque_callback_data=callback_data(77, 2)))
    assert parsed == Status(
        wamid=Wamid("wamid.OURS1"),
        status=kind,
        at=datetime.fromtimestamp(payloads.SENT_AT + 1, UTC),
        our_id=77,
        attempt=2,
        errors=(),
    )


def test_a_failure_says_why() -> None:
    parsed = odd_status(status("failed", errors=[FAILURE, {"code": 1, "details": "old place"}]))
    assert isinstance(parsed, Status)
    assert parsed.errors == (
        {
            "code": 131026,
            "title": "Message undeliverable",
            "details": "The recipient cannot be reached.",
        },
        {"code": 1, "title": None, "details": "old place"},
    )


def test_what_has_no_message_and_no_status_is_kept_whole() -> None:
    for payload in (payloads.OUT_OF_BAND_ERRORS, payloads.ACCOUNT_UPDATE):
        update = only(payload)
        assert update.kind == "other"
        assert update.raw == payload["entry"][0]["changes"][0]
    assert only(payloads.OUT_OF_BAND_ERRORS).phone_number_id == PNID
    assert only(payloads.ACCOUNT_UPDATE).field == "account_update"


def test_errors_beside_messages_are_kept_too() -> None:
    payload = webhook(change(value(messages=[text()], errors=[FAILURE])))
    assert [u.kind for u in split(payload)] == ["message", "other"]


@pytest.mark.parametrize("odd", [{"0": text()}, "text", 7, True])
def test_messages_that_are_no_list_are_kept_beside_statuses_that_are(odd: Any) -> None:
    payload = webhook(change(value(messages=odd, statuses=[status()])))
    kinds = [u.kind for u in split(payload)]
    assert kinds == ["status", "other"]
    assert split(payload)[1].raw["value"]["messages"] == odd


# ---- whose message it is -----------------------------------------------------------------------


def test_contacts_are_matched_and_not_counted() -> None:
    ben = {"profile": {"name": "Ben"}, "wa_id": "4915550001", "user_id": "DE.1"}
    items = [text(), text(2, **{"from": "4915550001"}, from_user_id="DE.1")]
    for contacts in ([contact(), ben], [ben, contact()]):
        updates = split(webhook(change(value(contacts=contacts, messages=items))))
        parsed = [parse_message(u) for u in updates]
        assert [p.who.name for p in parsed if isinstance(p, Inbound)] == ["Ada Brook", "Ben"]


def test_with_several_contacts_none_is_guessed() -> None:
    contacts = [{"profile": {"name": "Ben"}, "wa_id": "1"}, {"profile": {"name": "Cy"}}]
    parsed = odd_message(text(), contacts)
    assert isinstance(parsed, Inbound)
    assert parsed.who.name is None


def test_the_bsuid_of_the_only_contact_counts() -> None:
    parsed = odd_message(without(text(), "from_user_id"), [contact()])
    assert isinstance(parsed, Inbound)
    assert parsed.who.bsuid == ADA_BSUID


def test_from_is_what_is_answered_to() -> None:
    parsed = odd_message(text(), [contact(wa_id="13035550999")])
    assert isinstance(parsed, Inbound)
    assert (parsed.who.wa_id, parsed.who.phone_number) == (ADA, f"+{ADA}")


@pytest.mark.parametrize("nothing", [None, "", [], {}, 5])
def test_absent_identifiers_take_any_form(nothing: Any) -> None:
    item = text(**{"from": nothing})
    parsed = odd_message(item, [contact(wa_id=nothing)])
    assert isinstance(parsed, Inbound)
    assert (parsed.who.phone_number, parsed.who.bsuid) == (None, ADA_BSUID)
    assert odd_message(text(**{"from": nothing}, from_user_id=nothing)) == NotUnderstood(
        "message_without_sender"
    )


@pytest.mark.parametrize(
    ("item", "customer"),
    [
        ({"group_id": "G", "from_user_id": "U", "from": "+1 202"}, "G"),
        ({"from_user_id": "U", "from": "1202"}, "U"),
        ({"from": "+1 (202)"}, "1202"),
        ({"from": 1202}, ""),
        ({}, ""),
        ("text", ""),
        (None, ""),
    ],
)
def test_by_what_order_is_kept(item: Any, customer: str) -> None:
    assert Update("message", "messages", PNID, NUMBER, item, None).customer == customer


# ---- what is not as documented -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("text", "message_not_an_object"),
        (without(text(), "id"), "message_without_id"),
        (text(id=""), "message_without_id"),
        (text(id=5), "message_without_id"),
        (without(text(), "timestamp"), "message_without_timestamp"),
        (text(timestamp="soon"), "message_without_timestamp"),
        (text(timestamp="-5"), "message_without_timestamp"),
        (text(timestamp="9" * 30), "message_without_timestamp"),
        (text(timestamp=True), "message_without_timestamp"),
        (text(timestamp="\u0661\u0662"), "message_without_timestamp"),
        (text(type="reaction"), "reaction_without_target"),
        (text(type="revoke", revoke={}), "revoke_without_target"),
    ],
)
def test_what_is_not_understood_says_why(item: Any, reason: str) -> None:
    assert odd_message(item) == NotUnderstood(reason)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (7, "status_not_an_object"),
        (without(status(), "id"), "status_without_id"),
        (status("warmed_up"), "status_of_unknown_kind"),
        (without(status(), "status"), "status_of_unknown_kind"),
        (status(timestamp=None), "status_without_timestamp"),
    ],
)
def test_a_status_that_is_not_understood_says_why(item: Any, reason: str) -> None:
    assert odd_status(item) == NotUnderstood(reason)
    unhashable = odd_status({**status(), "status": ["sent"]})
    assert unhashable == NotUnderstood("status_of_unknown_kind")


@pytest.mark.parametrize(
    "data", ["", "sr:", "sr:x:1", "sr:1", "out:5:1", "sr:1:1 ", "sr:" + "1" * 30 + ":1", 5, None]
)
def test_somebody_elses_callback_data_is_not_our_id(data: Any) -> None:
    parsed = odd_status(status(biz_opaque_callback_data=data))
    assert isinstance(parsed, Status)
    assert parsed.our_id is None


def test_a_timestamp_may_be_a_number() -> None:
    parsed = odd_message(text(timestamp=payloads.SENT_AT))
    assert isinstance(parsed, Inbound)
    assert parsed.sent_at == datetime.fromtimestamp(payloads.SENT_AT, UTC)


@pytest.mark.parametrize("bad", ["\0", LONE_SURROGATE])
def test_everything_that_is_stored_can_be(bad: str) -> None:
    spoilt = f"a{bad}b"
    item = text(id=spoilt, body=spoilt, from_user_id=spoilt, context={"id": spoilt})
    item["from"] = f"{spoilt}12025550178"
    parsed = odd_message(item, [contact(user_id=spoilt, profile={"name": spoilt})])
    assert isinstance(parsed, Inbound)
    for stored in (
        *(
            parsed.wamid,
            parsed.text,
            parsed.who.name,
            parsed.who.bsuid,
            parsed.who.wa_id,
            parsed.replies_to,
        ),
    ):
        assert stored
        assert bad not in stored
        assert stored.encode()
    assert parsed.wamid == "a\ufffdb"
    failed = odd_status(
        status(
            "failed",
            id=spoilt,
            errors=[{"title": spoilt, "details": spoilt, "code": 2**40}],
        )
    )
    assert isinstance(failed, Status)
    assert failed.wamid == "a\ufffdb"
    assert failed.errors == ({"code": None, "title": "a\ufffdb", "details": "a\ufffdb"},)


def test_storable_keeps_what_can_be_stored() -> None:
    assert storable("caf\u00e9 \U0001f34b \u05e9\u05dc\u05d5\u05dd\n") == (
        "caf\u00e9 \U0001f34b \u05e9\u05dc\u05d5\u05dd\n"
    )


def test_a_long_text_is_whole_and_a_long_name_fits_its_column() -> None:
    parsed = odd_message(text(body="x" * 10_000 + "?"), [contact(profile={"name": "n" * 1_000})])
    assert isinstance(parsed, Inbound)
    assert parsed.text == "x" * 10_000 + "?"
    assert len(parsed.who.name or "") == 255
    flags = odd_message(text(), [contact(profile={"name": "x" + "\U0001f1e9\U0001f1ea" * 100})])
    assert isinstance(flags, Inbound)
    assert flags.who.name == "x" + "\U0001f1e9\U0001f1ea" * 63


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        ("12025550143", "+12025550143"),
        ("+1 (202) 555-0143", "+12025550143"),
        ("+1 202.555.0143", "+12025550143"),
        ("1234", None),
        ("1" * 21, None),
        ("", None),
        (None, None),
        ("\u0661\u0662\u0663\u0664\u0665\u0666", None),
    ],
)
def test_numbers_have_one_form(number: str | None, stored: str | None) -> None:
    assert normalised(number) == stored


# ---- anything at all ---------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(
    ["text", "sent", "messages", "", "\0", LONE_SURROGATE, "12025550178", "1795000000"]
)
KEYS = st.sampled_from(
    [
        *("object", "entry", "changes", "field", "value", "metadata", "phone_number_id"),
        *("display_phone_number", "contacts", "messages", "statuses", "errors", "from", "id"),
        *("from_user_id", "user_id", "wa_id", "profile", "name", "text", "body", "type"),
        *("timestamp", "status", "context", "group_id", "biz_opaque_callback_data", "code"),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
ANY_JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | TEXTS, inner, max_size=6),
    max_leaves=25,
)


def read_all(payload: Any) -> list[Update]:
    updates = split(payload)
    for update in updates:
        parse_message(update)
        parse_other(update)
        parse_status(update)
        assert isinstance(update.customer, str)
    return updates


def printed(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def nothing_is_lost(payload: Any, updates: list[Update]) -> None:
    """Every item of every change is an update of its own, or inside one that is a whole part."""
    entries = payload.get("entry") if isinstance(payload, dict) else None
    whole = Counter(printed(u.raw) for u in updates if u.kind == "other")
    if not isinstance(entries, list):
        assert whole[printed(payload)] == 1
        return
    items = {
        kind: Counter(printed(u.raw) for u in updates if u.kind == kind)
        for kind in ("message", "status")
    }
    expected: dict[str, Counter[str]] = {"message": Counter(), "status": Counter()}
    for entry in entries:
        changes = entry.get("changes") if isinstance(entry, dict) else None
        if not isinstance(changes, list):
            assert whole[printed(entry)]
            continue
        for one in changes:
            content = one.get("value") if isinstance(one, dict) else None
            if not isinstance(content, dict) or one.get("field") != "messages":
                assert whole[printed(one)]
                continue
            parts = {"message": content.get("messages"), "status": content.get("statuses")}
            if content.get("errors") or any(
                part and not isinstance(part, list) for part in parts.values()
            ):
                assert whole[printed(one)]
            if not any(isinstance(part, list) and part for part in parts.values()):
                assert whole[printed(one)]
            for kind, part in parts.items():
                if isinstance(part, list):
                    expected[kind].update(printed(item) for item in part)
    assert items == expected


@FAST
@given(ANY_JSON)
def test_any_json_is_taken_apart(payload: Any) -> None:
    nothing_is_lost(payload, read_all(payload))


@FAST
@given(st.lists(ANY_JSON, max_size=3), st.lists(ANY_JSON, max_size=3), ANY_JSON)
def test_any_items_are_kept_one_by_one(messages: Any, statuses: Any, contacts: Any) -> None:
    payload = webhook(change(value(messages=messages, statuses=statuses, contacts=contacts)))
    nothing_is_lost(payload, read_all(payload))


def places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    found = [at] if at else []
    for key, child in inner:
        found += places(child, (*at, key))
    return found


PLACES = {name: places(payload) for name, payload in payloads.ALL.items()}


@FAST
@given(st.sampled_from(sorted(PLACES)), st.integers(0), st.integers(1, 4), LEAVES | ANY_JSON)
def test_spoilt_webhooks_are_taken_apart(name: str, seed: int, spoils: int, instead: Any) -> None:
    dice = random.Random(seed)
    payload = copy.deepcopy(payloads.ALL[name])
    for _ in range(spoils):
        *way, last = dice.choice(PLACES[name])
        node: Any = payload
        try:
            for key in way:
                node = node[key]
            if dice.random() < 0.5:
                del node[last]
            else:
                node[last] = copy.deepcopy(instead)  # else it could come to hold itself
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    nothing_is_lost(payload, read_all(payload))


@FAST
@given(ANY_JSON)
def test_any_error_is_reported(error: Any) -> None:
    report = error_report(error)
    assert set(report) == {"code", "title", "details"}
    printed(report).encode()
