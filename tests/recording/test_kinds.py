"""What becomes of every kind of item, in a real database."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.pool import Conn, Pool
from handlers.ingest.accounts import _LEARNED
from handlers.ingest.envelope import Envelope, encode
from handlers.ingest.messages import ECHO_SILENCE
from handlers.ingest.others import take_others
from handlers.ingest.recording import record_batch
from handlers.whatsapp.cloud_api.inbound import ACCOUNT_FIELDS, KEPT_FIELDS
from handlers.whatsapp.cloud_api.wire import split
from tests.factories import Tenant, make_tenant
from tests.recording import (
    DEBOUNCE,
    TRACE,
    body,
    parked,
    plainly_logged,
    received,
    recorded,
    to,
    wrote,
)
from tests.unit import payloads
from tests.unit.kinds import ECHO, FIELDS, MESSAGES, item
from tests.unit.payloads import ADA, ADA_BSUID, NUMBER, PNID, SENT_AT, change, contact, text, value

ADA_S = f"+{ADA}"
NEW = "+13035550144"


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


@pytest.fixture
async def tenant(owner: Conn) -> Tenant:
    """With the number of the payloads; what processes learned is of other databases."""
    _LEARNED.clear()
    made = await make_tenant(owner, phone_number_id=PNID)
    await owner.execute(
        "UPDATE chatbots SET whatsapp_phone_number = $2 WHERE id = $1",
        made.chatbot_id,
        f"+{NUMBER}",
    )
    return Tenant(made.user_id, made.chatbot_id, f"+{NUMBER}", PNID)


async def message(owner: Conn, wamid: str) -> dict[str, Any]:
    (row,) = await owner.fetch("SELECT * FROM messages WHERE message_id = $1", wamid)
    return dict(row) | {"metadata": json.loads(row["metadata"])}


async def conversation(owner: Conn) -> dict[str, Any]:
    (row,) = await owner.fetch("SELECT * FROM conversations")
    return dict(row)


async def people(owner: Conn) -> list[tuple[Any, ...]]:
    rows = await owner.fetch("SELECT phone_number, wa_id, bsuid FROM contacts ORDER BY id")
    return [tuple(row) for row in rows]


async def happenings(owner: Conn, user_id: int) -> list[tuple[str, str | None]]:
    rows = await owner.fetch(
        "SELECT field, event FROM account_events WHERE user_id = $1 ORDER BY id", user_id
    )
    return [tuple(row) for row in rows]


def later(wamid: str, kind: str, seconds: int, **inner: Any) -> Any:
    return item(kind) | {"id": wamid, "timestamp": str(SENT_AT + seconds), kind: inner}


def edit(wamid: str, of: str, said: str, seconds: int) -> Any:
    new = {"type": "text", "text": {"body": said}}
    return later(wamid, "edit", seconds, original_message_id=of, message=new)


def echoed(tenant: Tenant, *echoes: Any) -> bytes:
    content = value(
        tenant.phone_number_id, tenant.number, contacts=[contact()], message_echoes=[*echoes]
    )
    return body(change(content, "smb_message_echoes"))


# ---- messages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k, (_, said) in MESSAGES.items() if said is not None])
async def test_a_message_of_each_type_is_recorded(
    pool: Pool, owner: Conn, tenant: Tenant, kind: str
) -> None:
    raw, said = MESSAGES[kind]
    await record_batch(pool, [to(tenant, raw, wrote("w2"))], DEBOUNCE)
    row = await message(owner, raw["id"])
    assert (row["message_type"], row["content_text"], row["content_url"]) == (kind, said, None)
    assert row["input_seq"] == 1
    assert row["metadata"].get("opaque", False) is ("cannot be" in str(said) or said == "[media]")
    if kind in ("image", "document"):
        media = row["metadata"]["details"]["media"]
        assert (media["id"], media["mime_type"]) == ("778899", "x/y")
    assert await received(owner, tenant) == 2
    assert await parked(owner) == []


async def test_what_is_quoted_stands_before_the_answer(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    await record_batch(
        pool, [to(tenant, wrote("w1", text={"body": "rye [bread]\nor oat?"}))], DEBOUNCE
    )
    await record_batch(pool, [to(tenant, wrote("w2", context={"id": "w1"}))], DEBOUNCE)
    row = await message(owner, "w2")
    assert row["content_text"] == '[in reply to "rye (bread) or oat?"]\ntext of w2'


# ---- what happens to messages ------------------------------------------------------------------


async def test_the_last_reaction_counts(pool: Pool, owner: Conn, tenant: Tenant) -> None:
    await record_batch(pool, [to(tenant, text(1))], DEBOUNCE)
    seq = (await conversation(owner))["input_seq"]
    steps = [
        later("r1", "reaction", 10, message_id="wamid.ADA1", emoji="A"),
        later("r3", "reaction", 30, message_id="wamid.ADA1", emoji="C"),
        later("r2", "reaction", 20, message_id="wamid.ADA1", emoji="B"),  # came late
    ]
    await record_batch(pool, [to(tenant, *steps)], DEBOUNCE)
    await record_batch(pool, [to(tenant, steps[0])], DEBOUNCE)
    mine = (await message(owner, "wamid.ADA1"))["metadata"]["reactions"]
    assert mine["customer"]["emoji"] == "C"
    gone = later("r4", "reaction", 40, message_id="wamid.ADA1", emoji="")
    theirs = ECHO | {
        "type": "reaction",
        "id": "r5",
        "reaction": {"message_id": "wamid.ADA1", "emoji": "D"},
    }
    await record_batch(pool, [to(tenant, gone), echoed(tenant, theirs)], DEBOUNCE)
    both = (await message(owner, "wamid.ADA1"))["metadata"]["reactions"]
    assert (both["customer"]["emoji"], both["business"]["emoji"]) == (None, "D")
    assert await recorded(owner, tenant) == ["wamid.ADA1"]
    assert (await conversation(owner))["input_seq"] == seq


async def test_a_reaction_to_what_we_do_not_have_is_parked(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    odd = later("r1", "reaction", 10, message_id="wamid.NEVER", emoji="A")
    await record_batch(pool, [to(tenant, wrote("w1"), odd, wrote("w2"))], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1", "w2"]
    assert [row["reason"] for row in await parked(owner)] == ["unknown_message"]


async def test_the_newest_edit_counts_and_the_first_text_is_kept(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    first, second = edit("e1", "wamid.ADA1", "one", 10), edit("e2", "wamid.ADA1", "two", 20)
    await record_batch(pool, [to(tenant, text(1), first, second)], DEBOUNCE)
    await owner.execute("UPDATE conversations SET rebuild_thread = false")
    await record_batch(pool, [to(tenant, first, second)], DEBOUNCE)  # repeated webhooks
    assert (await conversation(owner))["rebuild_thread"] is False
    await record_batch(pool, [to(tenant, edit("e0", "wamid.ADA1", "zero", 5))], DEBOUNCE)
    row = await message(owner, "wamid.ADA1")
    assert row["content_text"] == "two"
    assert row["metadata"]["original"] == "Do you bake rye bread?"
    assert await recorded(owner, tenant) == ["wamid.ADA1"]
    assert await received(owner, tenant) == 1
    await record_batch(pool, [to(tenant, edit("e3", "wamid.ADA1", "three", 30))], DEBOUNCE)
    assert (await conversation(owner))["rebuild_thread"] is True


async def test_what_an_edit_brings_is_kept_beside_what_was_sent_first(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    first = item("image", image={"id": "1", "caption": "this [one]?"})
    new = {"type": "image", "image": {"id": "1", "caption": "or [that]?"}}
    change_ = later("e1", "edit", 10, original_message_id=first["id"], message=new)
    await record_batch(pool, [to(tenant, first, change_)], DEBOUNCE)
    row = await message(owner, first["id"])
    assert row["content_text"] == "[photo] or (that)?"
    assert row["metadata"]["details"]["media"]["caption"] == "or [that]?"
    assert row["metadata"]["original_details"]["media"]["caption"] == "this [one]?"
    gone = later("d1", "revoke", 20, original_message_id=first["id"])
    await record_batch(pool, [to(tenant, gone)], DEBOUNCE)
    left = await message(owner, first["id"])
    assert not {"original", "original_details", "details"} & set(left["metadata"])


async def test_what_is_quoted_of_a_long_message_has_both_its_ends(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    long = wrote("w1", text={"body": "First of all, " + "x" * 5_000 + " is it ready?"})
    reply = wrote("w2", text={"body": "well?"}, context={"id": "w1"})
    for one in (long, reply):
        await record_batch(pool, [to(tenant, one)], DEBOUNCE)
    said = (await message(owner, "w2"))["content_text"]
    assert said.startswith('[in reply to "First of all, xx')
    assert said.endswith(' is it ready?"]\nwell?')
    assert len(said) < 160


async def test_an_edit_before_its_message_is_the_message(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    await record_batch(pool, [to(tenant, edit("e1", "wamid.ADA1", "new", 10))], DEBOUNCE)
    await record_batch(pool, [to(tenant, text(1)), to(tenant, text(1))], DEBOUNCE)
    row = await message(owner, "wamid.ADA1")
    assert (row["content_text"], row["input_seq"]) == ("new", 1)
    assert await received(owner, tenant) == 1


async def test_what_is_revoked_is_blank(pool: Pool, owner: Conn, tenant: Tenant) -> None:
    gone = later("d1", "revoke", 30, original_message_id="wamid.ADA1")
    edited = edit("e1", "wamid.ADA1", "one", 10)
    await record_batch(pool, [to(tenant, text(1, "a [b]"), edited, gone, gone)], DEBOUNCE)
    await record_batch(pool, [to(tenant, edit("e2", "wamid.ADA1", "two", 40))], DEBOUNCE)
    row = await message(owner, "wamid.ADA1")
    assert row["content_text"] is None
    assert {"original", "details"} & set(row["metadata"]) == set()
    assert datetime.fromisoformat(row["metadata"]["revoked"]).timestamp() == SENT_AT + 30


async def test_a_message_that_was_revoked_before_it_came_is_not_answered(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    gone = later("d1", "revoke", 30, original_message_id="wamid.ADA1")
    await record_batch(pool, [to(tenant, gone)], DEBOUNCE)
    await record_batch(pool, [to(tenant, text(1))], DEBOUNCE)
    row = await message(owner, "wamid.ADA1")
    assert (row["content_text"], row["input_seq"]) == (None, None)
    found = await conversation(owner)
    assert (found["input_seq"], found["ready_at"]) == (0, None)
    assert await received(owner, tenant) == 0


async def test_nobody_changes_what_the_other_side_wrote(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    await record_batch(pool, [to(tenant, text(1)), echoed(tenant, ECHO)], DEBOUNCE)
    theirs = [
        edit("e1", "wamid.PHONE1", "I owe you", 10),
        later("d1", "revoke", 30, original_message_id="wamid.PHONE1"),
    ]
    ours = ECHO | {
        "type": "revoke",
        "id": "d2",
        "revoke": {"original_message_id": "wamid.ADA1"},
    }
    await record_batch(pool, [to(tenant, *theirs), echoed(tenant, ours)], DEBOUNCE)
    assert (await message(owner, "wamid.PHONE1"))["content_text"] == ECHO["text"]["body"]
    assert (await message(owner, "wamid.ADA1"))["content_text"] == "Do you bake rye bread?"


# ---- said without us ---------------------------------------------------------------------------


def echo_at(when: datetime, wamid: str = "wamid.PHONE1") -> Any:
    return ECHO | {"id": wamid, "timestamp": str(int(when.timestamp()))}


async def test_a_person_on_the_phone_silences_the_bot(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    now = datetime.now(UTC)
    await record_batch(pool, [to(tenant, text(1)), echoed(tenant, echo_at(now))], DEBOUNCE)
    row = await message(owner, "wamid.PHONE1")
    assert (row["direction"], row["is_from_human"], row["status"]) == ("outbound", True, "sent")
    assert (row["content_text"], row["usage_day"]) == (ECHO["text"]["body"], None)
    held = await conversation(owner)
    assert row["conversation_id"] == held["id"]
    assert (held["taken_over_by"], held["taken_over_reason"]) == ("human", "echo")
    left = held["taken_over_until"] - now
    assert abs(left - ECHO_SILENCE) < timedelta(seconds=2)
    assert held["input_seq"] == 1
    assert await received(owner, tenant) == 1
    # Handed back by hand; the webhook once more changes nothing, a new message does.
    await owner.execute(
        "UPDATE conversations SET taken_over_at = NULL, taken_over_until = NULL,"
        " taken_over_by = NULL"
    )
    await record_batch(pool, [echoed(tenant, echo_at(now))], DEBOUNCE)
    assert (await conversation(owner))["taken_over_by"] is None
    await record_batch(pool, [echoed(tenant, echo_at(now, "wamid.PHONE2"))], DEBOUNCE)
    assert (await conversation(owner))["taken_over_by"] == "human"


async def test_an_old_echo_silences_nobody_and_none_shortens_a_silence(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    now = datetime.now(UTC)
    old = echo_at(now - ECHO_SILENCE - timedelta(minutes=1))
    await record_batch(pool, [echoed(tenant, old)], DEBOUNCE)
    assert (await conversation(owner))["taken_over_by"] is None
    await owner.execute(
        "UPDATE conversations SET taken_over_at = now(), taken_over_until = 'infinity',"
        " taken_over_by = 'human', taken_over_reason = 'mine'"
    )
    await record_batch(pool, [echoed(tenant, echo_at(now, "wamid.PHONE2"))], DEBOUNCE)
    assert (await conversation(owner))["taken_over_reason"] == "mine"


async def test_a_back_fill_is_past(pool: Pool, owner: Conn, tenant: Tenant) -> None:
    await record_batch(pool, [to(tenant, text(1))], DEBOUNCE)
    chunk = body(change(FIELDS["history"], "history"))
    media = {
        "from": NUMBER,
        "to": ADA,
        "id": "wamid.OLD2",
        "timestamp": str(SENT_AT - 80),
        "type": "image",
        "image": {"id": "5", "caption": "our rye"},
    }
    follow_up = body(change(value(messages=[media]), "history"))
    await asyncio.gather(*(take_others(pool, [chunk]) for _ in range(4)))
    await take_others(pool, [follow_up, chunk])
    rows = await owner.fetch(
        "SELECT message_id, direction, is_from_human, content_text, input_seq, usage_day,"
        " metadata ->> 'source' AS source FROM messages WHERE message_id LIKE 'wamid.OLD%'"
        " ORDER BY message_id"
    )
    assert [tuple(row) for row in rows] == [
        ("wamid.OLD1", "inbound", False, "Were you open?", None, None, "history"),
        ("wamid.OLD2", "outbound", True, "[photo] our rye", None, None, "history"),
    ]
    found = await conversation(owner)
    assert (found["input_seq"], found["taken_over_by"]) == (1, None)
    assert found["last_inbound_at"].timestamp() == SENT_AT + 1
    assert await received(owner, tenant) == 1
    assert await parked(owner) == []


# ---- who it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["system", "user_id_update"])
async def test_a_customer_moves_and_the_conversation_goes_on(
    pool: Pool, owner: Conn, tenant: Tenant, how: str
) -> None:
    await record_batch(pool, [to(tenant, text(1), contacts=[contact()])], DEBOUNCE)

    async def tell() -> None:
        if how == "system":
            await record_batch(pool, [to(tenant, MESSAGES["system"][0])], DEBOUNCE)
        else:
            await take_others(pool, [body(change(FIELDS[how], how))])

    for _ in range(3):
        await tell()
    assert await people(owner) == [(NEW, NEW.lstrip("+"), "US.new")]
    moved = text(2, **{"from": NEW.lstrip("+")}, from_user_id="US.new")
    await record_batch(pool, [to(tenant, moved)], DEBOUNCE)
    assert (await conversation(owner))["input_seq"] == 2
    # The old number belongs to whoever writes from it next.
    await record_batch(pool, [to(tenant, text(3, from_user_id="US.next"))], DEBOUNCE)
    assert await people(owner) == [
        (NEW, NEW.lstrip("+"), "US.new"),
        (ADA_S, ADA, "US.next"),
    ]
    told = await owner.fetchval(
        "SELECT count(*) FROM analytics_events WHERE event_type = 'contact.moved'"
    )
    assert told == 1
    assert await parked(owner) == []


async def test_moving_within_a_batch_keeps_its_place(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    moved = text(2, **{"from": NEW.lstrip("+")}, from_user_id="US.new")
    await record_batch(pool, [to(tenant, text(1), MESSAGES["system"][0], moved)], DEBOUNCE)
    assert await people(owner) == [(NEW, NEW.lstrip("+"), "US.new")]
    assert await recorded(owner, tenant) == ["wamid.ADA1", "wamid.ADA2"]


async def test_whoever_wrote_under_the_new_name_first_is_not_merged(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    moved = text(2, **{"from": NEW.lstrip("+")}, from_user_id="US.new")
    batches = [text(1), moved, MESSAGES["system"][0]]
    for raw in [*batches, MESSAGES["system"][0]]:
        await record_batch(pool, [to(tenant, raw)], DEBOUNCE)
    assert await people(owner) == [
        (None, None, ADA_BSUID),
        (NEW, NEW.lstrip("+"), "US.new"),
    ]
    assert await parked(owner) == []


async def test_a_move_of_nobody_is_parked(pool: Pool, owner: Conn, tenant: Tenant) -> None:
    await record_batch(pool, [to(tenant, MESSAGES["system"][0])], DEBOUNCE)
    assert [row["reason"] for row in await parked(owner)] == ["unknown_contact"]
    assert await people(owner) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5511988887777", "551188887777"),
        ("5213312345678", "523312345678"),
        ("5491123456789", "541123456789"),
    ],
)
async def test_another_spelling_of_a_number_is_the_same_customer(
    pool: Pool, owner: Conn, tenant: Tenant, one: str, other: str
) -> None:
    for first, second in ((one, other), (other, one)):
        await owner.execute("TRUNCATE contacts CASCADE")
        await record_batch(pool, [to(tenant, wrote("w1", first))], DEBOUNCE)
        await record_batch(pool, [to(tenant, wrote("w2", second, from_user_id="X.1"))], DEBOUNCE)
        # Found by either, written to as Meta spelled it last.
        assert await people(owner) == [(f"+{first}", second, "X.1")]
        # Somebody else's by now: a customer of their own, and the number is theirs alone.
        await record_batch(pool, [to(tenant, wrote("w3", second, from_user_id="X.2"))], DEBOUNCE)
        assert await people(owner) == [(None, None, "X.1"), (f"+{second}", second, "X.2")]


@pytest.mark.parametrize("numbers", [("551133334444", "5511933334444"), (ADA, f"1{ADA}")])
async def test_other_numbers_have_one_spelling(
    pool: Pool, owner: Conn, tenant: Tenant, numbers: tuple[str, str]
) -> None:
    items = [wrote(f"w{n}", number) for n, number in enumerate(numbers)]
    await record_batch(pool, [to(tenant, *items)], DEBOUNCE)
    assert len(await people(owner)) == 2


async def test_the_newest_preference_counts(pool: Pool, owner: Conn, tenant: Tenant) -> None:
    def said(choice: str, at: int) -> bytes:
        told = FIELDS["user_preferences"]["user_preferences"][0]
        again = told | {"value": choice, "timestamp": at}
        return body(change(value(user_preferences=[again]), "user_preferences"))

    await take_others(pool, [said("stop", SENT_AT), said("resume", SENT_AT + 9)])
    await take_others(pool, [said("stop", SENT_AT)])
    rows = await owner.fetch("SELECT phone_number, marketing_choice FROM contacts")
    assert [tuple(row) for row in rows] == [(ADA_S, "resume")]
    assert await owner.fetchval("SELECT count(*) FROM conversations") == 0


# ---- what is kept ------------------------------------------------------------------------------


async def test_what_is_known_is_kept_once(pool: Pool, owner: Conn, tenant: Tenant) -> None:
    """Also of fields that name the account alone: it is learned from a message."""
    await record_batch(pool, [to(tenant, text(1))], DEBOUNCE)
    fields = [*ACCOUNT_FIELDS, *KEPT_FIELDS]
    bodies = [body(change(FIELDS[field], field)) for field in fields]
    bodies.append(body(*payloads.OUT_OF_BAND_ERRORS["entry"][0]["changes"]))
    for _ in range(2):
        await take_others(pool, bodies)
    welcome = to(tenant, MESSAGES["request_welcome"][0], item("system"), text(2, group_id="G"))
    await record_batch(pool, [welcome, welcome], DEBOUNCE)
    kept = await happenings(owner, tenant.user_id)
    assert sorted(kept) == sorted(set(kept))
    in_messages = [event for field, event in kept if field == "messages"]
    assert sorted(in_messages, key=str) == [
        *("errors", "group_message", "request_welcome", "system:none"),
    ]
    assert {field for field, _ in kept} == {*fields, "messages"}
    told = await owner.fetch(
        "SELECT event_data ->> 'field' AS field FROM analytics_events"
        " WHERE event_type = 'account.event'"
    )
    assert sorted(row["field"] for row in told) == sorted([*ACCOUNT_FIELDS, "messages"])
    assert await recorded(owner, tenant) == ["wamid.ADA1"]
    assert await parked(owner) == []


async def test_an_account_s_event_is_told_to_everybody_on_it(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    other, stranger = await make_tenant(owner), await make_tenant(owner)
    update = body(change(FIELDS["account_update"], "account_update"))
    await take_others(pool, [update])
    (row,) = await parked(owner)
    assert (row["reason"], row["detail"]) == ("unknown_account", "account_update")
    await record_batch(pool, [to(tenant, wrote("w1")), to(other, wrote("w2"))], DEBOUNCE)
    elsewhere = split(
        {
            "object": "whatsapp_business_account",
            "entry": [
                {
                    "id": "7",
                    "changes": [
                        change(
                            value(stranger.phone_number_id, stranger.number, messages=[wrote("w3")])
                        )
                    ],
                }
            ],
        }
    )
    await record_batch(pool, [encode(Envelope(TRACE, "now", tuple(elsewhere)))], DEBOUNCE)
    await take_others(pool, [update])
    for one, expected in ((tenant, 1), (other, 1), (stranger, 0)):
        assert len(await happenings(owner, one.user_id)) == expected
    assert await owner.fetchval("SELECT count(*) FROM account_events WHERE chatbot_id IS NULL") == 2


@pytest.mark.parametrize(("before", "after"), [(56, 700), (1_000, 1_000), (20, 20)])
async def test_a_throughput_upgrade_raises_the_rate(
    pool: Pool, owner: Conn, tenant: Tenant, before: int, after: int
) -> None:
    field = "phone_number_quality_update"
    await owner.execute("UPDATE send_limits SET max_rate = $1", before)
    flagged = FIELDS[field] | {"event": "FLAGGED"}
    await take_others(pool, [body(change(flagged, field))])
    assert await owner.fetchval("SELECT max_rate FROM send_limits") == before
    await take_others(pool, [body(change(FIELDS[field], field))])
    assert await owner.fetchval("SELECT max_rate FROM send_limits") == after
    (row,) = await owner.fetch("SELECT DISTINCT chatbot_id FROM account_events")
    assert row["chatbot_id"] == tenant.chatbot_id


async def test_a_field_that_nobody_told_us_of_is_parked(
    pool: Pool, owner: Conn, tenant: Tenant
) -> None:
    known = body(change(FIELDS["calls"], "calls"))
    await take_others(pool, [body(change({"a": 1}, "hologram")), known])
    (row,) = await parked(owner)
    assert (row["reason"], row["detail"]) == ("not_understood", "field:hologram")
    assert len(await happenings(owner, tenant.user_id)) == 1
