"""Answers are checked: what they name and were not told, and how few honest ones are touched."""

import tomllib
from pathlib import Path

import pytest

from handlers.checks.answer import checked, foreign_amounts
from handlers.checks.claims import effects_in, named_in
from handlers.checks.contacts import ways_in
from handlers.checks.told import Told
from handlers.rules.sums import calculated

INSTEAD = "<instead>"
TOLD = Told(
    [
        "The cake is 38,50 EUR, candles are 0.90 EUR each.",
        "Call +49 171 2345678, write to Shop@Example.com.",
        "The menu: https://www.shop.example/menu?lang=de",
        "Our account: DE89 3704 0044 0532 0130 00",
    ]
)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Pay at https://evil.example/pay?x=1.", "link"),
        ("Pay at HTTP://evil.example", "link"),
        ("Go to evil.com/x now", "link"),
        ("Go to www.evil.zz now", "link"),
        ("Go to evil\u200b.com/x now", "link"),
        ("Go to evil\uff0ecom now", "link"),
        ("wa.me/12025550143", "link"),
        ("javascript:alert(1)", "link"),
        ("1.2.3.4/pay", "link"),
        ("Write to a.b@evil.com", "email"),
        ("Write to boss (at) evil.com", "email"),
        ("Call +1 202-555-0143", "phone"),
        ("Call 0171 234 5679", "phone"),
        ("Call (202) 555-0143", "phone"),
        ("Call 2025550143", "phone"),
        ("\u0660\u0665\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668", "phone"),
        ("Pay to DE44 5001 0517 5407 3249 31", "account"),
        ("Card 4111 1111 1111 1111", "account"),
        ("hxxps://evil.example/x", "link"),
        ("Pay at https://shop.example@evil.com/menu", "link"),
        ("Go to evil [.] com", "link"),
        ("Go to evil dot com", "link"),
        ("Ve a malo punto com", "link"),
        ("Write to boss at evil dot com", "email"),
        ("Call zero one seven one, nine nine nine, eight eight seven seven", "phone"),
        ("Llama al seis uno dos tres cuatro cinco seis siete ocho", "phone"),
        (
            "Call 0\ufe0f\u20e31\ufe0f\u20e37\u20e31\u20e39\u20e39\u20e38\u20e37\u20e37\u20e3",
            "phone",
        ),
        ("Send it to bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh", "account"),
    ],
)
def test_ways_to_strangers_are_taken_out(text: str, kind: str) -> None:
    check = checked(f"Yes. {text} today.", TOLD, INSTEAD)
    assert [finding.kind for finding in check.findings] == [kind]
    assert check.findings[0].text.strip(" .") not in check.text
    assert check.text.startswith("Yes.")


@pytest.mark.parametrize(
    "text",
    [
        "See shop.example/menu?lang=de, or https://shop.example.",
        "Call 0171 2345678 or +49 171 2345678, or write to shop@example.com.",
        "Pay to DE89370400440532013000.",
        "The cake is 38.50 EUR, with a candle that is \u20ac0,90.",
        "We are open 10:00-18:00, 10.00-18.00 and 8 - 12 Uhr, on 2026-11-30 or 30.11.2026.",
        "Order 4711 and K7Q2-M4XD, JD014600003SE and #1234567890 are on their way.",
        "1.000.000 sold, 1 000 g, 2024-2026, 24/7, 3-5 days, 12, 13, 14, 15 and 16 left",
        "See you.bye! e.g. this, z.B. das; Node.js, menu.pdf, ends.It is",
        "If it is approved, we will tell you; nothing has been refunded yet.",
        "Deposits are refunded within 5 days. Has your order been confirmed?",
        "You can cancel until 6. Orders placed before noon come the same day.",
        "No refund has been issued, and I cannot say that it was approved.",
        "Polka dot dress, dot to dot; we are at shop.example. Punto de encuentro: 100 % seda.",
        "The price for 2 cakes depends; pay at 10:30, it takes 3 to 5 days, two of them by ship.",
        "The cake costs 38.50, and the candles cost 0,90 each.",
        "One cake, two candles, thirty-eight guests; spend it on euro coins.",
    ],
)
def test_honest_answers_stay_as_they_are(text: str) -> None:
    check = checked(text, TOLD, INSTEAD)
    assert (check.text, check.findings) == (text, ())


def test_a_text_of_nothing_but_a_link_leaves_nothing() -> None:
    assert checked("\U0001f449 http://evil.example !", TOLD, INSTEAD).text == ""


def test_foreign_amounts_are_found() -> None:
    text = "The cake is 38.50 EUR, for you 1 EUR, or 38.50 USD."
    assert foreign_amounts(text, TOLD) == ["1 EUR", "38.50 USD"]
    assert foreign_amounts(text, Told(["1 EUR", "$38.50", "38.50 EUR"])) == []


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("It is nineteen euros and twenty-five cents.", ["nineteen euros", "twenty-five cents"]),
        ("Das macht einundzwanzig Euro.", ["einundzwanzig Euro"]),
        ("Son treinta y dos euros.", ["treinta y dos euros"]),
        ("\u53ea\u8981\u5341\u4e5d\u5143", ["\u5341\u4e5d\u5143"]),
        ("Harganya sembilan belas ribu rupiah", ["sembilan belas ribu rupiah"]),
        ("It costs 19.25 for you.", ["19.25"]),
        ("The price is just 19.", ["19"]),
        ("La tarta cuesta solo *19*.", ["19"]),
        ("Preis: 19,25", ["19,25"]),
        ("You get a 50 % discount.", ["50 %"]),
        ("You get fifty percent off.", ["fifty percent"]),
        ("Y\u00fczde 50 indirim.", ["50"]),
        ("It is 100 % off.", ["100 %"]),
        ("That is 19 \u0415UR.", ["19 \u0415UR"]),
    ],
)
def test_prices_are_found_in_every_spelling(text: str, foreign: list[str]) -> None:
    assert foreign_amounts(text, TOLD) == foreign
    assert foreign_amounts(text, Told([text])) == []


def test_words_and_digits_tell_of_each_other() -> None:
    assert foreign_amounts("It is nineteen euros.", Told(["19 EUR"])) == []
    assert foreign_amounts("It is 19 EUR.", Told(["nineteen euros"])) == []
    assert foreign_amounts("It is 50 % off.", Told(["half price: 50 percent"])) == []
    assert foreign_amounts("It is 50 % off.", Told(["room for 50 guests"])) == ["50 %"]


@pytest.mark.parametrize(
    "text",
    [
        "Your refund has *been* _approved_.",
        "Your refund has been \u0430ppr\u043eved.",
        "Your refund has been app\u200broved.",
    ],
)
def test_a_claim_is_one_however_it_is_dressed(text: str) -> None:
    assert checked(text, Told(), INSTEAD).text == INSTEAD


LINES = tomllib.loads(Path(__file__).with_name("claim_lines.toml").read_text(encoding="utf-8"))
CLAIMS = [
    (language, effect, text)
    for language, effects in LINES["said"].items()
    for effect, texts in effects.items()
    for text in texts
]


@pytest.mark.parametrize(("language", "effect", "text"), CLAIMS)
def test_what_is_said_to_be_done(language: str, effect: str, text: str) -> None:
    assert effect in effects_in(text), language
    check = checked(f"{text} Bye.", Told(), INSTEAD)
    assert check.has("claim")
    assert INSTEAD in check.text
    assert text not in check.text
    assert checked(text, Told(effects=effects_in(text) | {effect}), INSTEAD).text == text or (
        foreign_amounts(text, Told())
    )


@pytest.mark.parametrize(
    "text",
    LINES["unsaid"]["texts"],
)
def test_what_is_not_said_to_be_done(text: str) -> None:
    assert effects_in(text) == frozenset()


def test_an_approved_request_backs_what_it_names() -> None:
    assert named_in("refund Refund order 12") == {"refunded", "ordered"}
    assert "cancelled" in named_in("cancellation")
    assert "refunded" in named_in("R\u00fcckerstattung")


@pytest.mark.parametrize(
    ("expression", "adds_up"),
    [
        ("2*38.50+0.90", True),
        ("12*0.90", True),
        ("38.50+0.90", True),
        ("38.50-37.50", False),  # a discount of nowhere
        ("1", False),
        ("50+7", False),
        ("38.50*50/100", False),  # a part of nowhere
        ("1000*0.90", False),  # nobody spoke of so many
        ("38.50*0.5", False),
    ],
)
def test_sums_are_made_of_what_was_told(expression: str, *, adds_up: bool) -> None:
    assert TOLD.adds_up(calculated(expression)) == adds_up


def test_a_number_is_one_with_and_without_its_country() -> None:
    (way,) = ways_in("0171 2345678")
    assert way.key == "01712345678"
    assert checked("Call 0049 171 2345678", TOLD, INSTEAD).findings == ()
