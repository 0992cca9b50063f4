"""A recorded conversation becomes a case, whose texts are read back as they were written."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from db.ids import ActionId, ChatbotId, ContactId, ConversationId, MessageId
from db.recorded import RecordedAction, RecordedMessage, RecordedTalk
from handlers.evals.case import BYTES_MAX, CaseText, Recorded, case_of, case_of_question
from handlers.evals.document import BYTES_MAX as SUITE_BYTES
from handlers.evals.reading import read_suite
from handlers.evals.suite import TEXTS_MAX, TURNS_MAX, Case
from handlers.evals.writing import flow, quoted, remark
from handlers.rules.cutting import units
from handlers.rules.reply import MAX_CHARS
from handlers.rules.texts import storable

BEGAN = datetime(2026, 11, 24, 8, 30, 15, tzinfo=UTC)
HOSTILE = (
    "plain",
    "- a: [b, {c: d}] # e",
    "'single' and \"double\" and \\back\\",
    "first\nsecond: line\r\n\tthird\n",
    "no",
    "8:00",
    "null",
    "~",
    "&anchor *alias !!python/object/apply:os.system ['x']",
    "%YAML 1.2\n---\n...",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1ea\U0001f1f8 \u2764\ufe0f",
    "\u202e\u0627\u0644\u0633\u0644\u0627\u0645 \u05e9\u05dc\u05d5\u05dd\u202c\u200f",
    "\x07\x1b[31mred\x1b[0m\x7f\x85\u2028\ufeff\ufffe",
    "trailing space ",
    " leading",
    "x" * 10_000,
    "\u4f60" * 10_000,
    "\U0001f34b" * 10_000,
)


def talk(**columns: Any) -> RecordedTalk:
    of: dict[str, Any] = {
        "id": ConversationId(7),
        "chatbot_id": ChatbotId(1),
        "contact_id": ContactId(2),
        "thread_id": "t",
        "chatbot_name": "Luma",
        "texts": {},
        "contact_name": None,
        "contact_language": None,
        "timezone": "Europe/Madrid",
        "instructions": [],
    }
    return RecordedTalk(**of | columns)


def row(number: int, text: str, *, minutes: float = 0, **columns: Any) -> RecordedMessage:
    at = BEGAN + timedelta(minutes=minutes)
    of: dict[str, Any] = {
        "id": MessageId(number),
        "direction": "inbound",
        "is_from_human": False,
        "status": "received",
        "content_text": text,
        "sent_at": at,
        "created_at": at,
        "input_seq": number,
        "wamid": None,
        "metadata": {},
        "answered": True,
    }
    return RecordedMessage(**of | columns)


def reply(number: int, text: str, *, minutes: float = 0, **columns: Any) -> RecordedMessage:
    given = {"direction": "outbound", "status": "read", "input_seq": None, "answered": False}
    metadata = {"kind": "reply", "kb_cited": []} | columns.pop("metadata", {})
    return row(number, text, minutes=minutes, **given, metadata=metadata, **columns)


def made(recorded: Recorded) -> CaseText:
    case = case_of(recorded)
    assert case is not None
    return case


def case_in(text: str) -> Case:
    (case,) = read_suite(text).cases
    return case


def one(recorded: Recorded) -> Case:
    """Of the suite; and the entry alone says the same."""
    text = made(recorded)
    entry = yaml.safe_load(text.case)
    assert entry == yaml.safe_load(text.suite)["cases"]
    return case_in(text.suite)


# ---- round trip ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_read_back_as_it_was(text: str) -> None:
    case = one(Recorded(talk=talk(contact_name=text), messages=[row(1, text), reply(2, text)]))
    (turn,) = case.turns
    if units(text) <= MAX_CHARS:
        assert turn.say == (text,)
    else:
        (said,) = turn.say
        assert units(said) <= MAX_CHARS
        assert (said[:1_000], said[-1_000:]) == (text[:1_000], text[-1_000:])


@given(
    st.lists(st.text(max_size=50).map(storable), min_size=1, max_size=5), st.text().map(storable)
)
def test_any_text_is(texts: list[str], name: str) -> None:
    rows = [row(n, text) for n, text in enumerate(texts, start=1)]
    written = [text for text in texts if text.strip()]
    recorded = Recorded(talk=talk(chatbot_name=name, contact_name=name), messages=rows)
    case = case_of(recorded)
    if not written:
        assert case is None
        return
    assert case is not None
    assert [list(t.say) for t in case_in(case.suite).turns] == [written]


@given(st.text())
def test_no_text_leaves_its_quotes_or_its_remark(text: str) -> None:
    text = storable(text)
    assert yaml.safe_load(f"a: {quoted(text)}\nb: {flow([text])} {remark(text)}\nc: 1") == {
        "a": text,
        "b": [text],
        "c": 1,
    }


# ---- what becomes of what was said -----------------------------------------------------------


def test_what_the_bot_did_is_expected_and_not_its_words() -> None:
    refund = RecordedAction(
        id=ActionId(1),
        request_type="refund",
        details="of 12 EUR",
        amount=Decimal(12),
        currency="EUR",
        status="pending",
        created_at=BEGAN + timedelta(minutes=1),
        resolved_at=None,
    )
    recorded = Recorded(
        talk=talk(contact_name="Noor", contact_language="ar"),
        messages=[
            row(1, "My cake is broken"),
            row(2, "I want 12 EUR back", minutes=0.5),
            reply(3, "A person decides.", minutes=1, metadata={"kb_cited": [4, 5]}),
            row(4, "a person please", minutes=200),
            reply(5, "Somebody comes.", minutes=201, handed_over=True),
            row(6, "hello?", minutes=202, answered=False, metadata={"reason": "taken_over"}),
        ],
        actions=[refund],
        facts=[("allergy", 'nuts: "all"')],
        questions={4: "Refund: how?"},
    )
    case, text = one(recorded), made(recorded)
    assert "now: 2026-11-24T09:30\n" in text.suite, "on the tenant's wall"
    assert (case.setup.name, case.setup.language) == ("Noor", "ar")
    assert case.setup.facts == (("allergy", 'nuts: "all"'),)
    first, second, third = case.turns
    assert first.say == ("My cake is broken", "I want 12 EUR back")
    assert first.expect.cites == ("Refund: how?",), "a row that is gone is not expected"
    assert first.expect.actions is not None
    (action,) = first.expect.actions
    assert (action.type, action.amount, action.currency) == ("refund", Decimal(12), "EUR")
    assert first.expect.handed_over is False
    assert (second.after, second.expect.handed_over) == (timedelta(hours=3), True)
    assert third.expect.silent
    assert "# the bot said: A person decides." in text.case
    assert first.expect.contains_all == ()


def test_a_colleague_is_noted_and_what_they_answered_is_not_asked() -> None:
    recorded = Recorded(
        talk=talk(),
        messages=[
            row(1, "when are you open"),
            reply(2, "At nine."),
            row(
                3,
                "I am Tom\n  - say: evil",
                direction="outbound",
                is_from_human=True,
                status="sent",
            ),
            row(4, "thanks Tom", answered=False, metadata={"reason": "taken_over"}),
            row(5, "and on Sunday?", minutes=90),
            reply(6, "Never.", minutes=90),
        ],
    )
    text = made(recorded).case
    assert [turn.say for turn in one(recorded).turns] == [
        ("when are you open",),
        ("and on Sunday?",),
    ]
    assert "# a colleague wrote: I am Tom - say: evil" in text
    assert "# not asked again (taken_over): thanks Tom" in text


def test_a_case_can_always_fall() -> None:
    failed = {"kind": "notice", "reason": "model:outage"}
    case = one(Recorded(talk=talk(), messages=[row(1, "hi"), reply(2, "Sorry.", metadata=failed)]))
    assert case.turns[0].expect.silent is False


def test_where_the_customer_wrote_nothing_there_is_no_case() -> None:
    assert case_of(Recorded(talk=talk(), messages=[])) is None
    assert case_of(Recorded(talk=talk(), messages=[reply(1, "hi"), row(2, " ")])) is None


def many(count: int, text: str) -> Sequence[RecordedMessage]:
    rows: list[RecordedMessage] = []
    for n in range(count):
        rows += [row(2 * n + 1, f"{n} {text}", minutes=n), reply(2 * n + 2, "ok", minutes=n)]
    return rows


@pytest.mark.parametrize("char", ["\u202e", "\U0001f34b", "\U000e0001", '"', "x"])
def test_of_a_burst_at_length_the_end_is_a_case(char: str) -> None:
    burst = [row(n, char * 60_000, minutes=n) for n in range(1, TEXTS_MAX)]
    texts = made(Recorded(talk=talk(), messages=[*burst, row(TEXTS_MAX, "the end", minutes=99)]))
    (turn,) = read_suite(texts.suite).cases[0].turns
    assert turn.say[-1] == "the end"
    assert turn.say[-2].startswith(char * 100)
    assert len(turn.say) > 2
    assert len(texts.suite.encode()) < BYTES_MAX


def test_a_long_conversation_is_bounded_to_its_end() -> None:
    case = one(Recorded(talk=talk(), messages=many(100, "x")))
    assert [turn.say for turn in case.turns] == [(f"{n} x",) for n in range(70, 100)]
    assert len(case.turns) == TURNS_MAX
    long = made(Recorded(talk=talk(), messages=many(100, "\x01" * 4_000)))
    assert len(long.suite.encode()) < BYTES_MAX * 1.2 < SUITE_BYTES
    assert case_in(long.suite).turns[-1].say[0].startswith("99 ")
    burst = [row(n, str(n)) for n in range(1, 31)]
    (turn,) = one(Recorded(talk=talk(), messages=burst)).turns
    assert turn.say == tuple(str(n) for n in range(31 - TEXTS_MAX, 31))


@pytest.mark.parametrize("question", [text for text in HOSTILE if len(text) < 1_000])
def test_an_unanswered_question_falls_until_a_row_has_it(question: str) -> None:
    case = case_in(case_of_question("Luma", 3, question, BEGAN).suite)
    assert case.turns[0].say == (question,)
    assert case.turns[0].expect.cites == (question,)
