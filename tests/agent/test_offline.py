"""The built-in answerer on a real knowledge base: what it finds, and what it leaves alone."""

import csv
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from handlers.agent.courtesy import Heard, accepts, heard
from handlers.agent.knowledge import Knowledge
from handlers.agent.lines import lines_of
from handlers.agent.lookup import rows_for
from handlers.agent.offline import Offline
from handlers.agent.prompt import Row
from handlers.agent.tools import Toolbox
from handlers.fixed.texts import Kind, fixed_text, languages_spoken
from handlers.fixed.voice import Voice
from handlers.rules.hours import DAYS, opening
from tests.unit.test_rules import BRIEFING

AGENT = Path(__file__).parents[2] / "handlers" / "agent"
BAKERY = Path(__file__).parents[2] / "local" / "demo_data" / "bakery.csv"


def bakery() -> tuple[Row, ...]:
    with BAKERY.open(encoding="utf-8") as file:
        return tuple(
            Row(n, row["category"], row["question"], row["answer"])
            for n, row in enumerate(csv.DictReader(file), start=1)
        )


KNOWLEDGE = bakery()
NO_ANSWER = fixed_text(Kind.NO_ANSWER, "en")  # nobody can be called


async def found(*asked: str, before: tuple[str, ...] = ()) -> list[str]:
    return [row.question for row in await rows(asked, KNOWLEDGE, before)]


async def rows(
    asked: tuple[str, ...], knowledge: tuple[Row, ...], before: tuple[str, ...] = ()
) -> list[Row]:
    lines = [line for line in lines_of(asked, before, None, BRIEFING) if line.question]
    found = [row for _, row in await rows_for(lines, Knowledge(1, knowledge))]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(
    ("asked", "question"),
    [
        ("When are you open?", "What are your opening hours? When are you open?"),
        ("what time do u close on saturday", "What are your opening hours? When are you open?"),
        ("When do you open on Mondays?", "What are your opening hours? When are you open?"),
        ("what's your adress", "Where are you? What is your address?"),
        ("Can I park my car near you?", "Is there parking near the bakery?"),
        ("I'd like to order a birthday cake", "How do I order a birthday cake?"),
        ("how much is a birthday cake for 12", "How much does a birthday cake cost?"),
        ("any gluten free stuff?", "Do you have gluten-free bread or cakes?"),
        ("do you have glutenfree bread", "Do you have gluten-free bread or cakes?"),
        ("is there anything vegan", "What do you have that is vegan?"),
        ("which products have nuts in them?", "Which of your products contain nuts?"),
        ("can i pay with card?", "How can I pay? Do you take cards?"),
        ("do you deliver to my house?", "Do you deliver?"),
        ("I NEED TO CANCEL MY ORDER", "Can I change or cancel my order?"),
        ("breakfast?", "Do you serve coffee and breakfast?"),
        ("my order was wrong, I want my money back", "Refund for a wrong or broken cake"),
    ],
)
async def test_phrasings_find_their_row(asked: str, question: str) -> None:
    assert await found(asked) == [question]


@pytest.mark.parametrize(
    "asked",
    [
        "Who won the world cup?",
        "Can you fix my bicycle?",
        "What is the capital of France?",
        "do you sell pizza",
        "do you have wifi?",
        "can I bring my dog",
        "what is the weather tomorrow",
        "tell me a joke",
        "asdfgh",
        "hello",
        "thanks!",
        "",
        "???",
        "\U0001f34b",
        "\u3053\u3093\u306b\u3061\u306f",
    ],
)
async def test_what_no_row_answers_is_left_alone(asked: str) -> None:
    assert await found(asked) == []


async def test_a_burst_is_answered_line_by_line_and_once() -> None:
    both = await found("when are you open?", "do you deliver?", "and when are you open?")
    assert both == ["What are your opening hours? When are you open?", "Do you deliver?"]


async def test_a_question_in_pieces_is_read_as_a_whole() -> None:
    assert await found("hi", "how much does a", "birthday cake", "cost") != []


async def test_a_close_call_is_no_answer() -> None:
    twins = (
        Row(1, None, "Do you sell red roses?", "Yes."),
        Row(2, None, "Do you sell red roses?", "No."),
    )
    assert await rows(("Do you sell red roses?",), twins) == []


async def test_a_long_message_is_answered_by_what_it_asks_at_its_end() -> None:
    story = "My aunt came by train and we had such a long and lovely walk in the rain. " * 20
    assert await found(story + "Now tell me, do you deliver?") == ["Do you deliver?"]
    assert await found("Do you deliver? " + story) == ["Do you deliver?"]
    assert await found(story) == []


async def reply(*messages: AnyMessage, knowledge: tuple[Row, ...] = KNOWLEDGE) -> AIMessage:
    briefing = replace(BRIEFING, knowledge=knowledge)
    tools = Toolbox(Knowledge(1, knowledge), None)
    return await Offline().answer(briefing, messages, tools, True)


async def test_the_stored_answer_is_copied_word_for_word() -> None:
    answer = await reply(HumanMessage("do you deliver?"))
    row = next(r for r in KNOWLEDGE if r.question == "Do you deliver?")
    assert answer.text == row.answer
    assert answer.response_metadata == {"kb_cited": [row.id], "says_nothing": False}


async def test_only_the_latest_burst_is_answered() -> None:
    answer = await reply(
        HumanMessage("do you deliver?"), AIMessage("Yes."), HumanMessage("Who are you?")
    )
    assert answer.text == NO_ANSWER
    assert answer.response_metadata == {"kb_cited": [], "says_nothing": True}


async def test_without_knowledge_it_says_so() -> None:
    assert (await reply(HumanMessage("do you deliver?"), knowledge=())).text == NO_ANSWER
    assert (await reply()).text == NO_ANSWER


# ---- what follows from what was asked before -------------------------------------------------


@pytest.mark.parametrize(
    ("before", "asked", "question"),
    [
        ("I need a birthday cake", "how much is it?", "How much does a birthday cake cost?"),
        (
            "Do you make a birthday cake?",
            "and for 20 people?",
            "How much does a birthday cake cost?",
        ),
        ("do you deliver?", "how much is that?", "Do you deliver?"),
        ("do you have anything vegan?", "and nuts?", "Which of your products contain nuts?"),
        # What says enough by itself is not about what was before.
        ("I need a birthday cake", "Where are you?", "Where are you? What is your address?"),
        ("do you deliver?", "can I pay by card?", "How can I pay? Do you take cards?"),
    ],
)
async def test_a_follow_up_is_read_with_the_question_before(
    before: str, asked: str, question: str
) -> None:
    assert await found(asked, before=(before,)) == [question]
    assert await found(before, asked, before=())  # also within a burst


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        ("do you deliver?", "and can you repair my bicycle?"),
        ("do you deliver?", "Who are you?"),
        ("where are you?", "how much is it?"),  # no price stands there
        ("Can you repair my bicycle?", "how much is it?"),
        ("Can you repair my bicycle?", "and then?"),
    ],
)
async def test_a_follow_up_that_no_row_answers_is_left_alone(before: str, asked: str) -> None:
    assert await found(asked, before=(before,)) == []


async def test_a_follow_up_looks_past_follow_ups_and_courtesy() -> None:
    before = ("I need a birthday cake", "and for 12?", "thanks!", "ok")
    assert await found("how much is it?", before=before) == ["How much does a birthday cake cost?"]


# ---- courtesy --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        *(("hi", Kind.GREETING), ("Hello Luma!", Kind.GREETING), ("hellooo", Kind.GREETING)),
        *(("Good morning, how are you?", Kind.GREETING), ("\U0001f44b", Kind.GREETING)),
        *(("thanks!", Kind.THANKED), ("ok, thank you so much :)", Kind.THANKED)),
        *(("thanks, bye!", Kind.GOODBYE), ("See you tomorrow", Kind.GOODBYE)),
        *(("ok", Kind.AGREED), ("no", Kind.AGREED), ("no, thanks", Kind.AGREED)),
        *(("\U0001f44d\U0001f3fd", Kind.AGREED), ("yes", Kind.AGREED)),
        *(("Hola, ¿qué tal?", Kind.GREETING), ("¡Muchas gracias!", Kind.THANKED)),
        *(("Guten Tag", Kind.GREETING), ("vielen Dank", Kind.THANKED), ("nein", Kind.AGREED)),
        *(("tschüß, schönen Tag noch", Kind.GOODBYE), ("Merci beaucoup", Kind.THANKED)),
        *(("السلام عليكم", Kind.GREETING),),
        *(("你好 在吗", Kind.GREETING), ("谢谢", Kind.THANKED)),
        *(("ありがとうございます", Kind.THANKED),),
        *(("привет", Kind.GREETING), ("teşekkürler", Kind.THANKED)),
        *(("terima kasih", Kind.THANKED), ("धन्यवाद", Kind.THANKED)),
    ],
)
async def test_courtesy_is_returned_and_is_no_question(said: str, kind: Kind) -> None:
    answer = await reply(HumanMessage(said))
    assert answer.text == fixed_text(kind, "en")  # of a voice that knows no other language
    assert answer.response_metadata == {"kb_cited": [], "says_nothing": False}


@pytest.mark.parametrize(
    "said",
    [
        "Hi! do you deliver?",
        "Good evening Luma, do you deliver? Thanks a lot!",
        "no. do you deliver?",
        '[in reply to "Hello"]\nthanks, and do you deliver?',
    ],
)
async def test_a_question_beside_courtesy_is_all_that_is_answered(said: str) -> None:
    answer = await reply(HumanMessage(said))
    assert answer.text == next(r.answer for r in KNOWLEDGE if r.question == "Do you deliver?")


async def test_what_is_left_beside_courtesy_is_as_it_was_written() -> None:
    said = heard("Hi! Do you deliver? If so: when, exactly? Thanks a lot. Bye")
    assert said == Heard(
        frozenset({"greeting", "thanks", "goodbye"}), "Do you deliver? If so: when, exactly?"
    )
    story = "We had such a long and lovely walk in the rain. " * 20
    assert await found(f"Hello! {story[:200]} Now tell me. Do you deliver?") == ["Do you deliver?"]


async def test_a_question_that_only_begins_with_courtesy_stays_one() -> None:
    for said in ("thanks for nothing, idiots", "hello kitty cakes", "no nuts please", "good pizza"):
        assert (await reply(HumanMessage(said))).response_metadata["kb_cited"] != [] or (
            await reply(HumanMessage(said))
        ).text == NO_ANSWER


@pytest.mark.parametrize("said", ["hi", "hola", "danke", "bye", "nein"])
def test_no_courtesy_counts_as_a_yes(said: str) -> None:
    offer = fixed_text(Kind.NO_INFORMATION, "en")
    assert not accepts(heard(said), offer, None)


@pytest.mark.parametrize(
    "said", ["yes", "Yes, please!", "ok thanks", "\U0001f44d", "sí, gracias", "ja bitte", "好的"]
)
def test_a_yes_counts_after_an_offer_alone(said: str) -> None:
    assert accepts(heard(said), fixed_text(Kind.NO_INFORMATION, "de"), None)
    assert not accepts(heard(said), "We bake rye bread.", None)
    assert not accepts(heard(f"{said}, no"), fixed_text(Kind.NO_INFORMATION, "de"), None)


def test_every_language_has_words_for_everything() -> None:
    for kind, phrases in tomllib.loads((AGENT / "courtesy.toml").read_text()).items():
        lines = [line for line in phrases.strip().splitlines() if any(map(str.isalpha, line))]
        assert len(lines) == len(languages_spoken()), kind
    hours = tomllib.loads((AGENT / "when_open.toml").read_text())
    assert set(hours) == languages_spoken()
    keys = {*DAYS, "today", "tomorrow", "weekend", "open", "shut", "when", "around", "now"}
    assert all(set(of) == keys for of in hours.values())


# ---- the hours -------------------------------------------------------------------------------

HOURS: dict[str, Any] = {
    "tue": [["07:00", "13:00"], ["14:00", "18:00"]],
    "wed": [["07:00", "18:00"]],
    "thu": [["07:00", "18:00"]],
    "sat": [["20:00", "02:00"]],
    "sun": [["00:00", "24:00"]],
    "closed": ["2026-12-06"],
}
TUESDAY = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)


async def hours_told(*said: str, knowledge: tuple[Row, ...] = (), at: datetime = TUESDAY) -> str:
    told = opening(HOURS, at)
    messages: list[AnyMessage] = []
    for text in said[:-1]:
        messages += [HumanMessage(text), AIMessage("...")]
    voice = Voice(wrote=said[::-1])
    briefing = replace(BRIEFING, knowledge=knowledge, opening=told, voice=voice)
    tools = Toolbox(Knowledge(1, knowledge), None)
    answer = await Offline().answer(briefing, [*messages, HumanMessage(said[-1])], tools, True)
    return answer.text


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Are you open now?", "Yes, we are open now: 09:30\u201313:00."),
        ("are you open?", "Yes, we are open now: 09:30\u201313:00."),
        (  # no "yes"
            "are you closed?",
            "Tuesday 2026-12-01: we are open 07:00\u201313:00, 14:00\u201318:00.",
        ),
        (
            "Are you closed right now?",
            "Tuesday 2026-12-01: we are open 07:00\u201313:00, 14:00\u201318:00.",
        ),
        ("Are you open or closed?", "Yes, we are open now: 09:30\u201313:00."),
        ("Are you closed on Monday?", "Monday 2026-12-07: we are closed."),
        (
            "\u00bfEst\u00e1n cerrados?",
            "Martes 2026-12-01: est\u00e1 abierto 07:00\u201313:00, 14:00\u201318:00.",
        ),
        (
            "are you open today?",
            "Tuesday 2026-12-01: we are open 07:00\u201313:00, 14:00\u201318:00.",
        ),
        ("when do you close tomorrow", "Wednesday 2026-12-02: we are open 07:00\u201318:00."),
        ("Hi! Are you open on Monday?", "Monday 2026-12-07: we are closed."),
        ("open on Saturday?", "Saturday 2026-12-05: we are open 20:00\u201302:00."),
        ("and are you open on Sunday?", "Sunday 2026-12-06: we are closed."),  # that Sunday
        ("¿Abren mañana?", "Miércoles 2026-12-02: está abierto 07:00\u201318:00."),
        ("¿Están abiertos los lunes?", "Lunes 2026-12-07: está cerrado."),
        (
            "Haben Sie am Samstag offen?",
            "Samstag 2026-12-05: Wir haben geöffnet von 20:00\u201302:00.",
        ),
        (
            "Vous êtes ouverts demain ?",
            "Mercredi 2026-12-02 : nous sommes ouverts 07:00\u201318:00.",
        ),
        ("你们明天营业吗", "星期三 2026-12-02\uff1a营业时间 07:00\u201318:00。"),
        ("вы работаете завтра?", "Среда 2026-12-02: открыто 07:00\u201318:00."),
    ],
)
async def test_the_hours_of_a_day(said: str, told: str) -> None:
    assert await hours_told(said) == told


@pytest.mark.parametrize(
    "said",
    [
        *("are you still open?", "you guys open right now", "Is the shop open at the moment?"),
        *("¿Están abiertos ahora?", "¿Está abierto?", "Vocês estão abertos agora?"),
        *("Vous êtes ouverts maintenant ?", "êtes-vous ouverts ?", "Habt ihr jetzt offen?"),
        *("Haben Sie noch geöffnet?", "Siete aperti adesso?", "Zijn jullie nu open?"),
        *("Şu anda açık mısınız?", "هل أنتم مفتوحون الآن؟", "क्या आप अभी खुले हैं?"),  # noqa: RUF001
        *("Apakah sekarang buka?", "Вы сейчас открыты?", "你们现在营业吗", "今開いていますか"),
    ],
)
async def test_whether_it_is_open_now_is_understood_in_every_language(said: str) -> None:
    assert "09:30\u201313:00" in await hours_told(said)


@pytest.mark.parametrize(
    "said",
    [
        *("Are you open on 31 February?", "are you open december 25?", "are you open 24.12.?"),
        *("are you open the 25th?", "are you open 10pm", "are you open after 6?"),
        *("are you open over the holidays?", "are you open easter?", "are you open mañana?"),
        *("are you open to suggestions?", "are the windows open", "is my account open now?"),
        *("is it true that you are open now even on the 24th", "were you open yesterday"),
        *("¿están abiertos en Navidad?", "¿están abiertos a las 22?", "está aberto no feriado?"),
        *("haben Sie noch Brötchen auf Lager", "ist noch etwas auf Lager?"),
        *("zijn er nog plekken open", "şimdi açık büfe var mı", "сейчас вы работаете с картой?"),  # noqa: RUF001
        *("ещё открыты вакансии?", "现在营业执照", "今日やっているセール"),
    ],
)
async def test_of_another_time_or_thing_it_does_not_say_that_it_is_open_now(said: str) -> None:
    told = await hours_told(said)
    assert not any(char.isdigit() for char in told), told


async def test_the_weekend_is_two_days() -> None:
    told = await hours_told("Are you open at the weekend?")
    assert told.splitlines() == [
        "Saturday 2026-12-05: we are open 20:00\u201302:00.",
        "Sunday 2026-12-06: we are closed.",
    ]


async def test_the_hours_of_the_week_where_no_row_tells_them() -> None:
    assert await hours_told("When are you open?") == (
        "Our opening hours:\nMonday: \u2013\nTuesday: 07:00\u201313:00, 14:00\u201318:00\n"
        "Wednesday\u2013Thursday: 07:00\u201318:00\nFriday: \u2013\nSaturday: 20:00\u201302:00\n"
        "Sunday: 00:00\u201324:00"
    )
    assert await hours_told("When are you open?", knowledge=KNOWLEDGE) == KNOWLEDGE[0].answer


async def test_a_burst_gets_its_hours_beside_its_rows() -> None:
    briefing = replace(BRIEFING, opening=opening(HOURS, TUESDAY), voice=Voice(chosen="de"))
    burst = [HumanMessage("Wann habt ihr geöffnet?"), HumanMessage("do you deliver?")]
    tools = Toolbox(Knowledge(1, KNOWLEDGE), None)
    answer = await Offline().answer(briefing, burst, tools, True)
    delivery, hours = answer.text.split("\n\n")
    assert delivery.startswith("We deliver")
    assert hours.startswith("Unsere Öffnungszeiten:")


async def test_a_day_alone_follows_a_question_about_hours_only() -> None:
    assert (await hours_told("When are you open?", "and on Monday?")).endswith("we are closed.")
    told = await hours_told("When are you open?", "and on Monday?", "what about tomorrow?")
    assert told.startswith("Wednesday 2026-12-02")
    assert "2026" not in await hours_told("Can you repair my bicycle?", "and on Monday?")


@pytest.mark.parametrize(
    "said",
    ["Is the pool open on Monday?", "Can I get a cake on Sunday?", "open a ticket", "Monday"],
)
async def test_what_asks_more_than_the_hours_is_not_answered_by_them(said: str) -> None:
    assert await hours_told(said) == NO_ANSWER


async def test_without_hours_nothing_is_said_of_them() -> None:
    for said in ("Are you open on Monday?", "are you open now?", "When are you open?"):
        assert (await reply(HumanMessage(said), knowledge=())).text == NO_ANSWER
