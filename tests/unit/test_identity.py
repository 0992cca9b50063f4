"""Whose message it is: never guessed by place, and nobody gets another one's name."""

import random
from dataclasses import dataclass
from typing import Any

import pytest

from handlers.ingest.envelope import Envelope, decode, encode, lane_of
from handlers.rules.numbers import normalised
from handlers.whatsapp.cloud_api.inbound import parse_message, parse_other
from handlers.whatsapp.cloud_api.wire import NotUnderstood, Update, split
from handlers.whatsapp.values import Customer, Inbound, Moved, Past, Preference
from tests.unit.payloads import (
    ADA,
    ADA_BSUID,
    NUMBER,
    PNID,
    SENT_AT,
    change,
    contact,
    text,
    value,
    webhook,
    without,
)

BEN, BEN_BSUID = "4915550001", "DE.99001122"
BEN_CONTACT = {"profile": {"name": "Ben"}, "wa_id": BEN, "user_id": BEN_BSUID}


def of_ben(**keys: Any) -> Any:
    return text(2, from_user_id=BEN_BSUID) | {"from": BEN} | keys


def sent(n: int, sender: str) -> Any:
    """With nothing else that tells of the sender."""
    return without(text(n), "from_user_id") | {"from": sender}


def read(payload: Any) -> list[Any]:
    """As ingest gets it, through the log."""
    updates = decode(encode(Envelope("t", "now", tuple(split(payload))))).updates
    found: list[Any] = []
    for update in updates:
        if update.kind == "message" or update.is_echo:
            found.append(parse_message(update))
        else:
            found += parse_other(update)
    return found


def people(*messages: Any, contacts: Any) -> list[Customer]:
    payload = webhook(change(value(messages=[*messages], contacts=contacts)))
    return [m.who for m in read(payload) if isinstance(m, Inbound)]


# ---- one contact, several senders, and the other way round -------------------------------------


def test_the_only_contact_is_not_the_other_sender_s() -> None:
    bare = without(of_ben(), "from_user_id")
    for messages in ([text(), bare], [bare, text()]):
        found = {who.phone_number: who for who in people(*messages, contacts=[contact()])}
        assert found[f"+{ADA}"] == Customer(f"+{ADA}", ADA, ADA_BSUID, "Ada Brook")
        assert found[f"+{BEN}"] == Customer(f"+{BEN}", BEN, None)


@pytest.mark.parametrize("ben", [of_ben(), without(of_ben(), "from")])
def test_several_contacts_and_one_sender(ben: Any) -> None:
    for contacts in ([contact(), BEN_CONTACT], [BEN_CONTACT, contact()]):
        (who,) = people(ben, contacts=contacts)
        assert (who.name, who.bsuid) == ("Ben", BEN_BSUID)


def test_whoever_names_nobody_is_nobody() -> None:
    """Not even the only contact of a POST with one message is known to be its sender."""
    nameless = without(text(), "from", "from_user_id")
    payload = webhook(change(value(messages=[nameless], contacts=[contact()])))
    assert read(payload) == [NotUnderstood("message_without_sender")]


def test_a_contact_of_the_same_number_and_another_bsuid_is_another_person() -> None:
    (who,) = people(text(), contacts=[contact(user_id="US.7")])
    assert who == Customer(f"+{ADA}", ADA, ADA_BSUID)


def test_two_elements_that_differ_say_nothing() -> None:
    contacts = [contact(), contact(profile={"name": "Eve"})]
    assert people(text(), contacts=contacts) == people(text(), contacts=contacts[::-1])
    assert people(text(), contacts=contacts)[0].name is None
    (who,) = people(text(), contacts=[contact(), contact()])
    assert who.name == "Ada Brook"


def test_another_spelling_of_the_number_is_the_same_person() -> None:
    spelled = {"profile": {"name": "Rui"}, "wa_id": "551188887777"}
    (who,) = people(sent(1, "5511988887777"), contacts=[spelled])
    assert (who.name, who.wa_id) == ("Rui", "5511988887777")


def test_what_a_process_of_the_release_before_put_beside_an_item_is_looked_at() -> None:
    bare = without(of_ben(), "from_user_id")
    update = Update("message", "messages", PNID, NUMBER, bare, contact())
    parsed = parse_message(update)
    assert isinstance(parsed, Inbound)
    assert parsed.who == Customer(f"+{BEN}", BEN, None)
    assert update.customer == BEN


# ---- BSUIDs where numbers were -----------------------------------------------------------------


@pytest.mark.parametrize(
    "bsuid", ["US.7749201836651042378", "US.ENT.11815799212886844830", "GB.1a"]
)
def test_a_bsuid_is_never_a_number(bsuid: str) -> None:
    known = {"profile": {"name": "Noor"}, "user_id": bsuid}
    elsewhere = {"profile": {"name": "Noor"}, "wa_id": bsuid}
    for contacts in ([known], [elsewhere]):
        (who,) = people(sent(1, bsuid), contacts=contacts)
        assert who == Customer(None, None, bsuid, "Noor")
    at = str(SENT_AT)
    echo = sent(3, NUMBER) | {"to": bsuid}
    thread = {"id": bsuid, "messages": [sent(4, bsuid)]}
    choice = {"category": "marketing_messages", "value": "stop", "timestamp": at, "wa_id": bsuid}
    system = {"type": "user_changed_number", "wa_id": bsuid}
    moved = text(5) | {"type": "system", "system": system}
    found = [
        *read(webhook(change(value(message_echoes=[echo]), "smb_message_echoes"))),
        *read(webhook(change(value(history=[{"threads": [thread]}]), "history"))),
        *read(webhook(change(value(user_preferences=[choice]), "user_preferences"))),
    ]
    assert [type(one) for one in found] == [Past, Past, Preference]
    assert [one.who for one in found] == [Customer(None, None, bsuid)] * 3
    (move,) = read(webhook(change(value(messages=[moved]))))
    assert isinstance(move, Moved)
    assert move.after == Customer(None, None, bsuid)


def test_a_bsuid_in_from_keeps_the_person_s_order() -> None:
    plain, odd = text(), sent(2, ADA_BSUID)
    updates = split(webhook(change(value(messages=[plain, odd], contacts=[contact()]))))
    assert len({lane_of(update) for update in updates}) == 1
    assert {update.customer for update in updates} == {ADA_BSUID}


@pytest.mark.parametrize(
    ("spelled", "number"),
    [
        ("12025550143", "+12025550143"),
        ("+12025550143", "+12025550143"),
        ("6834000", "+6834000"),
        ("1" * 15, "+" + "1" * 15),
        ("0012025550143", None),
        ("02025550143", None),
        ("683400", None),
        ("1" * 16, None),
        ("7749201836651042378", None),
        ("120363025246125486", None),
        ("120363025246125486@g.us", None),
        ("12025550143-1595321314", None),
        ("US.7749201836651042378", None),
        ("12025550143x", None),
        ("1+2025550143", None),
        ("Y2FwaV9ncm91cDoxMjAyNTU1MDE0Mw==", None),
        ("tel:12025550143", None),
        (" " * 50_000 + "12025550143", None),
    ],
)
def test_what_is_a_number(spelled: str, number: str | None) -> None:
    assert normalised(spelled) == number
    found = people(sent(1, spelled), contacts=None)
    bsuid = spelled if spelled.startswith("US.") else None
    assert [(w.phone_number, w.bsuid) for w in found] == [(number, bsuid)] * bool(number or bsuid)


def test_a_thread_without_the_business_s_number_is_told_by_who_was_meant() -> None:
    thread = {
        "id": ADA,
        "context": {"wa_id": ADA, "user_id": ADA_BSUID},
        "messages": [
            sent(1, ADA_BSUID),
            sent(2, ADA),
            sent(3, "34600111222") | {"to": ADA},
        ],
    }
    for number, last in (
        ("34600111222", "outbound"),
        ("", "outbound"),
        ("34600111333", "outbound"),
    ):
        payload = webhook(change(value(number=number, history=[{"threads": [thread]}]), "history"))
        assert [p.direction for p in read(payload)] == ["inbound", "inbound", last]
        assert {p.who.bsuid for p in read(payload)} == {ADA_BSUID}


# ---- any batch at all --------------------------------------------------------------------------


@dataclass(frozen=True)
class Person:
    name: str
    number: str | None
    bsuid: str | None


def a_person(dice: random.Random, n: int) -> Person:
    number = f"1202555{n:04d}" if dice.random() < 0.8 else None
    bsuid = f"US.{7749201836651042000 + n}" if number is None or dice.random() < 0.6 else None
    return Person(f"name {n}", number, bsuid)


def said_by(dice: random.Random, who: Person, n: int) -> tuple[Any, set[str]]:
    """A message, and which of the person's ids it has, in whichever field."""
    item = without(text(n), "from", "from_user_id")
    ways = [
        w for w in ("number", "bsuid", "swapped") if getattr(who, w.replace("swapped", "bsuid"))
    ]
    way = set(dice.sample(ways, dice.randint(1, len(ways))))
    if "bsuid" in way:
        item["from_user_id"] = who.bsuid
    if "number" in way:
        item["from"] = who.number
    elif "swapped" in way:
        item["from"] = who.bsuid
    named = {i for w, i in (("number", who.number), ("bsuid", who.bsuid)) if w in way and i}
    return item, named | ({who.bsuid} if item.get("from") == who.bsuid and who.bsuid else set())


def listed(dice: random.Random, who: Person) -> tuple[Any, set[str]]:
    """Their contact element, and which ids it has."""
    ids = {k: v for k, v in (("wa_id", who.number), ("user_id", who.bsuid)) if v}
    kept = {k: v for k, v in ids.items() if dice.random() < 0.8}
    return {"profile": {"name": who.name}, **kept}, set(kept.values())


def test_each_message_of_any_batch_is_its_sender_s() -> None:
    names = 0
    for seed in range(1_500):
        dice = random.Random(seed)
        everybody = [a_person(dice, n) for n in range(dice.randint(1, 5))]
        senders = [dice.choice(everybody) for _ in range(dice.randint(1, 6))]
        messages = [said_by(dice, who, n) for n, who in enumerate(senders)]
        elements = {who: listed(dice, who) for who in everybody if dice.random() < 0.7}
        contacts = [element for element, _ in elements.values()]
        contacts += [{"profile": {"name": "stray"}}] * dice.randrange(2)
        dice.shuffle(contacts)
        found = people(*(item for item, _ in messages), contacts=contacts)
        assert len(found) == len(messages), seed
        for who, (_, named), sender in zip(found, messages, senders, strict=True):
            _, of_element = elements.get(sender, (None, set()))
            knows = bool(named & of_element)
            assert who.name == (sender.name if knows else None), seed
            known = named | (of_element if knows else set())
            assert who.phone_number == (f"+{sender.number}" if sender.number in known else None)
            assert who.bsuid == (sender.bsuid if sender.bsuid in known else None)
            names += knows
    assert names > 1_000
