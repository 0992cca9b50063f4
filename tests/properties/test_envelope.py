"""What crosses the ingest log."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.ingest.envelope import Envelope, Malformed, decode, encode, grouped, lane_of
from handlers.ingest_log.port import LANES
from handlers.whatsapp.cloud_api.wire import Update, split
from ingress.webhook import taken_apart
from tests.properties.test_wire import ANY_JSON
from tests.unit import payloads
from tests.unit.payloads import change, contact, text, value, webhook, without

FAST = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def lanes(payload: Any) -> list[str]:
    return [lane_of(update) for update in split(payload)]


def message(contacts: Any = None, pnid: str = payloads.PNID, **keys: Any) -> Any:
    return webhook(change(value(pnid, contacts=contacts, messages=[keys])))


def test_a_customers_messages_share_a_lane() -> None:
    (lane,) = lanes(payloads.TEXT)
    assert lane in LANES
    assert lanes(payloads.PARENT_BSUID) == lanes(payloads.BSUID_ONLY) == [lane]
    image = message([contact()], **payloads.IMAGE)
    assert lanes(image) == [lane]
    assert lanes(message([contact()], **without(text(), "from_user_id"))) == [lane]


def test_a_spelling_of_a_number_does_not_change_the_lane() -> None:
    spellings = ("13035550111", "+13035550111", "+1 303-555-0111")
    found = {lanes(message(**{"from": s}))[0] for s in spellings}
    assert len(found) == 1


def test_customers_spread_over_all_lanes() -> None:
    found = [lanes(message(from_user_id=f"US.{n}"))[0] for n in range(2_000)]
    assert set(found) == set(LANES)
    assert max(found.count(lane) for lane in LANES) < 2 * 2_000 / len(LANES)


def test_a_lane_is_for_ever() -> None:
    # Another function would mix up a customer's messages while two releases run.
    assert lanes(payloads.TEXT) == ["p09"]
    assert lanes(payloads.LEGACY) == ["p15"]


def test_statuses_and_the_rest_have_their_own() -> None:
    assert lanes(payloads.ALL["statuses"]) == ["status"] * 4
    assert lanes(payloads.OUT_OF_BAND_ERRORS) == lanes(payloads.ACCOUNT_UPDATE) == ["other"]


def test_within_a_lane_the_order_of_the_payload_is_kept() -> None:
    items = [text(n, from_user_id=f"US.{n % 50}") for n in range(500)]
    updates = split(webhook(change(value(messages=items))))
    lanes_of = grouped(updates)
    assert sum(len(group) for group in lanes_of.values()) == 500
    for group in lanes_of.values():
        numbers = [int(u.raw["id"].removeprefix("wamid.ADA")) for u in group]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("name", sorted(payloads.ALL))
def test_there_and_back(name: str) -> None:
    sent = Envelope(
        "trace", "2026-11-22T10:00:00+00:00", tuple(split(payloads.ALL[name])), {"1": 2}
    )
    assert decode(encode(sent)) == sent


@FAST
@given(ANY_JSON)
def test_any_json_there_and_back(payload: Any) -> None:
    body = encode(Envelope("trace", "now", tuple(taken_apart(json.dumps(payload).encode()))))
    assert encode(decode(body)) == body


@FAST
@given(st.binary(max_size=200) | ANY_JSON.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_an_envelope_or_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode(body)


GOOD: dict[str, Any] = json.loads(encode(Envelope("t", "now", tuple(split(payloads.TEXT)))))


@FAST
@given(
    st.sampled_from(["v", "trace_id", "received_at", "updates", "tenants", None]),
    st.sampled_from(["kind", "field", "phone_number_id", "display_number", "raw", "contact"]),
    ANY_JSON,
)
def test_a_spoilt_envelope_is_read_or_malformed(
    key: str | None, of_update: str, instead: Any
) -> None:
    spoilt = {**GOOD, "updates": [{**GOOD["updates"][0]}]}
    if key is None:
        spoilt["updates"][0][of_update] = instead
    else:
        spoilt[key] = instead
    try:
        envelope = decode(json.dumps(spoilt).encode())
    except Malformed:
        return
    for update in envelope.updates:
        assert lane_of(update) in {*LANES, "status", "other"}
        assert isinstance(update.field, str)
    assert isinstance(envelope.trace_id, str)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'"v"',
        b"[" * 100_000,
        json.dumps({**GOOD, "v": 2}).encode(),
        json.dumps({k: v for k, v in GOOD.items() if k != "updates"}).encode(),
        json.dumps({**GOOD, "updates": [{"kind": "message"}]}).encode(),
        json.dumps({**GOOD, "updates": [{**GOOD["updates"][0], "more": 1}]}).encode(),
        json.dumps({**GOOD, "updates": [{**GOOD["updates"][0], "kind": "gossip"}]}).encode(),
    ],
)
def test_what_is_no_envelope_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode(body)


@pytest.mark.parametrize("depth", [10, 300, 400, 700, 790, 900, 990, 2_000, 100_000])
def test_nesting_of_any_depth_crosses_the_log(depth: int) -> None:
    for deep in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        body = (
            '{"object":"whatsapp_business_account","entry":[{"id":"1","changes":['
            '{"field":"messages","value":{"messages":[' + deep + "]}}]}]}"
        )
        updates = taken_apart(body.encode())
        sent = encode(Envelope("t", "now", tuple(updates)))
        assert len(decode(sent).updates) == len(updates) == 1


def test_the_order_of_updates_does_not_move_between_releases() -> None:
    update = Update("other", "f", None, None, {"b": 1, "a": 2}, None)
    assert json.loads(encode(Envelope("t", "now", (update,)))) == {
        "v": 1,
        "trace_id": "t",
        "received_at": "now",
        "tenants": {},
        "updates": [
            {
                "kind": "other",
                "field": "f",
                "phone_number_id": None,
                "display_number": None,
                "raw": {"b": 1, "a": 2},
                "contact": None,
            }
        ],
        "accounts": [[None, None]],
    }


def test_the_account_travels_beside_the_update() -> None:
    """A worker of the release before refuses an update with keys that it does not know."""
    (update,) = split(payloads.ACCOUNT_UPDATE)
    assert (update.waba_id, update.entry_time) == ("440011", payloads.SENT_AT)
    body = encode(Envelope("t", "now", (update,)))
    assert set(json.loads(body)["updates"][0]) == {
        *("kind", "field", "phone_number_id", "display_number", "raw", "contact"),
    }
    assert decode(body).updates == (update,)


def test_an_envelope_of_the_release_before_is_read() -> None:
    (update,) = split(payloads.TEXT)
    value = json.loads(encode(Envelope("t", "now", (update,))))
    del value["accounts"]
    (read,) = decode(json.dumps(value).encode()).updates
    assert (read.raw, read.waba_id, read.entry_time) == (update.raw, None, None)


@pytest.mark.parametrize("accounts", [5, [5], [[1, 1]], [["a", "b"]], [["a"]], [None, None], {}])
def test_accounts_that_are_not_ours_are_refused_or_ignored(accounts: Any) -> None:
    (update,) = split(payloads.TEXT)
    value = json.loads(encode(Envelope("t", "now", (update,))))
    value["accounts"] = accounts
    with contextlib.suppress(Malformed):
        assert decode(json.dumps(value).encode()).updates[0].waba_id is None
