"""The built-in answerer on a real knowledge base: what it finds, and what it leaves alone."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from handlers.agent.knowledge import Knowledge
from handlers.agent.offline import Offline, offline_rows
from handlers.agent.prompt import Row
from handlers.agent.tools import Toolbox
from handlers.fixed.texts import Kind, fixed_text
from tests.unit.test_rules import BRIEFING

BAKERY = Path(__file__).parents[2] / "local" / "demo_data" / "bakery.csv"


def bakery() -> tuple[Row, ...]:
    with BAKERY.open(encoding="utf-8") as file:
        return tuple(
            Row(n, row["category"], row["question"], row["answer"])
            for n, row in enumerate(csv.DictReader(file), start=1)
        )


KNOWLEDGE = bakery()
NO_ANSWER = fixed_text(Kind.NO_ANSWER, "en")  # nobody can be called


async def found(*asked: str) -> list[str]:
    return [row.question for row in await offline_rows(asked, Knowledge(1, KNOWLEDGE))]


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
    assert await offline_rows(["Do you sell red roses?"], Knowledge(1, twins)) == []


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
