"""What a turn does, decided from values alone: no database, no model."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from db.conversation_events import DECIDED, HANDED_BACK, Event
from db.conversations import TurnContext
from db.ids import ChatbotId, ContactId, EventId, MessageId, Wamid
from db.messages import TurnMessage
from db.usage import Reservation
from handlers.actions import Request
from handlers.agent.answerer import Kind as Why
from handlers.agent.answerer import NoAnswer
from handlers.agent.graph import Reply
from handlers.agent.memory import Slot
from handlers.agent.offline import OFFLINE
from handlers.fixed.texts import Kind, fixed_text
from handlers.turns.decide import (
    FIXED,
    MAX_FAILURES,
    Apologise,
    Decision,
    Later,
    Notice,
    Read,
    Say,
    Silent,
    decide,
    unsaid,
)
from handlers.turns.inputs import STALE, found
from handlers.turns.ladder import WAIT_MIN, NoThought

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = date(2026, 3, 1)
GRANTED = Reservation(outcome="granted", usage_day=DAY, overage=True, notice=None)


def context(**changed: Any) -> TurnContext:
    values: dict[str, Any] = {
        "chatbot_id": ChatbotId(1),
        "contact_id": ContactId(1),
        "thread_id": "t",
        "answered_seq": 0,
        "attempts": 0,
        "rebuild_thread": False,
        "failing_since": None,
        "model_tries": 0,
        "told_slow": False,
        "chatbot_failing": False,
        "mine": True,
        "now": NOW,
        "last_inbound_at": NOW,
        "taken_over": False,
        "by_human": False,
        "paused": False,
        "blocked": False,
        "over_limit": False,
        "contact_name": None,
        "contact_language": None,
        "chatbot_name": "Luma",
        "chatbot_language": None,
        "texts": {},
        "chatbot_active": True,
        "business_hours": None,
        "answer_checks": "block",
        "phone_number_id": None,
        "access_token": None,
        "general_instructions": None,
        "timezone": "UTC",
        "tenant_language": None,
        "currency": "USD",
        "instructions": [],
        "kb_version": 1,
        "plan": {},
        "open_actions": [],
    }
    values |= {"facts": [], "budgets": {}}
    return TurnContext(**values | changed)


def written(seq: int, *, age: timedelta = timedelta(), **metadata: Any) -> TurnMessage:
    return TurnMessage(
        id=MessageId(seq),
        direction="inbound",
        is_from_human=False,
        status="received",
        content_text="Are you open?",
        sent_at=NOW - age,
        created_at=NOW,
        input_seq=seq,
        wamid=Wamid(f"wamid.{seq}"),
        metadata=metadata,
    )


def event(seq: int, kind: str = DECIDED, **data: Any) -> Event:
    return Event(id=EventId(seq), input_seq=seq, kind=kind, data=data, created_at=NOW)


def read(
    *rows: TurnMessage,
    events: tuple[Event, ...] = (),
    reserved: Reservation | None = None,
    **changed: Any,
) -> Read:
    return Read(found(context(**changed), rows, events), Slot(None), reserved)


def thought(text: str, model: str = "m", **changed: Any) -> Reply:
    return Reply(text, model, (7, 9), (9,), 10, 5, Slot(None), **changed)


def no_thought(word: str, kind: Why, took_s: float = 0) -> NoThought:
    none = NoAnswer(word, kind)
    return NoThought(reason=f"model:{word}", none=none, took=timedelta(seconds=took_s))


def test_an_answer_is_said_as_whatsapp_shows_it_and_costs_its_unit() -> None:
    refund = Request("refund", "the cake", {})
    this = read(written(1, trace_id="t1"), reserved=GRANTED)
    reply = thought("**Yes**, until six.", requests=(refund,))
    said = decide(this, reply)
    assert said == Say(
        text="*Yes*, until six.",
        metadata={
            "kind": "reply",
            "model": "m",
            "kb_shown": [7, 9],
            "kb_cited": [9],
            "trace_id": "t1",
        },
        unit=GRANTED,
        requests=(refund,),
        slot=reply.slot,
    )


def test_a_stored_answer_is_said_word_for_word() -> None:
    said = decide(read(written(1), reserved=GRANTED), thought("**Yes**", OFFLINE))
    assert isinstance(said, Say)
    assert said.text == "**Yes**"


def test_who_asked_and_gets_no_answer_gets_an_apology() -> None:
    this = read(written(1), events=(event(2, status="approved"),), reserved=GRANTED)
    assert decide(this, no_thought("http_400", Why.NEVER)) == Apologise(
        fixed_text(Kind.APOLOGY, "en"), "model:http_400"
    )


@pytest.mark.parametrize("word", ["refused", "content_filter"])
def test_what_is_declined_is_declined_politely_and_a_decision_is_told_with_it(word: str) -> None:
    this = read(written(1), events=(event(2, status="approved"),), reserved=GRANTED)
    said = decide(this, no_thought(word, Why.NEVER))
    assert isinstance(said, Say)
    assert said.text.startswith(fixed_text(Kind.APPROVED, "en", details=""))
    assert said.text.endswith("\n\n" + fixed_text(Kind.REFUSED, "en"))
    assert said.reason == f"model:{word}"


def test_what_may_pass_is_waited_for_and_told_once() -> None:
    this = read(written(1), reserved=GRANTED)
    first = decide(this, no_thought("timeout", Why.LATER, took_s=3))
    assert first == Later(
        wait=WAIT_MIN,
        reason="model:timeout",
        paid=True,
        failing_for=timedelta(seconds=3),
        text=None,
    )
    began = NOW - timedelta(seconds=30)
    for told, text in ((False, fixed_text(Kind.SLOW, "en")), (True, None)):
        this = read(
            written(1), reserved=GRANTED, failing_since=began, model_tries=1, told_slow=told
        )
        later = decide(this, no_thought("timeout", Why.LATER, took_s=3))
        assert isinstance(later, Later)
        assert (later.failing_for, later.text) == (timedelta(seconds=33), text)


@pytest.mark.parametrize("kind", Why)
def test_what_a_tool_requested_before_the_failure_is_kept(kind: Why) -> None:
    refund = Request("refund", "two tarts", {})
    thought = replace(no_thought("timeout", kind), requests=(refund,))
    said = decide(read(written(1), reserved=GRANTED), thought)
    assert isinstance(said, Say)
    assert said.requests == (refund,)
    assert said.text == fixed_text(Kind.REQUEST_KEPT, "en")
    assert (said.unit, said.slot, said.reason) == (GRANTED, None, "model:timeout")


def test_a_decision_is_told_without_a_model() -> None:
    this = read(events=(event(1, details="the cake", status="approved"),), reserved=GRANTED)
    said = decide(this, no_thought("timeout", Why.LATER))
    assert said == Say(
        text='Your request "the cake" has been approved.',
        metadata={"kind": "reply", "model": FIXED, "kb_shown": [], "kb_cited": []},
        unit=GRANTED,
        reason="model:timeout",
    )
    assert isinstance(said, Say)
    assert said.slot is None, "the thread does not know of it"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"chatbot_active": False, "paused": True, "taken_over": True}, "chatbot_inactive"),
        ({"paused": True, "taken_over": True}, "conversation_paused"),
        ({"blocked": True, "chatbot_active": False}, "blocked"),
        ({"over_limit": True}, "contact_limit"),
        ({"taken_over": True, "by_human": True}, "taken_over"),
    ],
)
def test_a_silenced_bot_says_nothing(changed: dict[str, Any], reason: str) -> None:
    this = read(written(1), **changed)
    assert not this.speaks
    assert decide(this, None) == Silent(reason, changed.get("by_human", False))


def test_what_is_too_old_is_history() -> None:
    old = written(1, age=timedelta(hours=13))
    this = read(old)
    assert decide(this, None) == Silent(STALE, by_human=False)
    assert [row.metadata["reason"] for row in this.found.history] == [STALE]
    assert this.found.read_seq == 1
    assert read(old, written(2), reserved=GRANTED).speaks


def test_media_alone_gets_a_notice() -> None:
    assert decide(read(written(1, opaque=True)), None) == Notice(
        fixed_text(Kind.MEDIA, "en"), "media", usage_day=None
    )
    assert read(written(1, opaque=True), written(2), reserved=GRANTED).speaks


def test_at_a_limit_the_plan_s_words_are_told_to_whoever_asked() -> None:
    words = "We answer again tomorrow."
    at_limit = Reservation(
        outcome="daily_message_limit", usage_day=DAY, overage=False, notice=words
    )
    told = Notice(words, "daily_message_limit", DAY)
    assert decide(read(written(1), reserved=at_limit), None) == told
    # Who only would have heard a decision asked nothing.
    this = read(events=(event(1, status="denied"),), reserved=at_limit)
    assert decide(this, None) == Silent("daily_message_limit", by_human=False)
    wordless = Reservation(outcome="daily_message_limit", usage_day=DAY, overage=False, notice=None)
    assert decide(read(written(1), reserved=wordless), None) == Silent(
        "daily_message_limit", by_human=False
    )


def test_a_hand_back_is_answered_where_the_customer_had_the_last_word() -> None:
    back = event(9, HANDED_BACK)
    assert read(written(3), events=(back,), answered_seq=5).speaks
    this = read(events=(back,))
    assert not this.speaks
    assert decide(this, None) == Silent(None, by_human=False)


def test_failures_have_an_end() -> None:
    assert not read(written(1), attempts=MAX_FAILURES - 1).failed_too_often
    assert read(written(1), attempts=MAX_FAILURES).failed_too_often


@pytest.mark.parametrize(
    ("decision", "left"),
    [
        (Say("Yes", {}, GRANTED), Silent("taken_over", by_human=True)),
        (Apologise("Sorry", "model:timeout"), Silent("taken_over", by_human=True)),
        (Notice("No pictures", "media", None), Silent("media", by_human=False)),
        (Silent(None, by_human=False), Silent(None, by_human=False)),
    ],
)
def test_what_a_person_was_faster_than_stays_unsaid(decision: Decision, left: Silent) -> None:
    assert unsaid(decision, read(written(1))) == left


def test_what_would_be_said_to_who_is_blocked_meanwhile_has_the_reason() -> None:
    decision = Apologise("sorry", "model:timeout")
    assert unsaid(decision, read(written(1)), "blocked") == Silent("blocked", by_human=True)
