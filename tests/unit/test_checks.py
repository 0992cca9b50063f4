"""Answers are checked: what they name and were not told, and how few honest ones are touched."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from handlers.checks.answer import checked, foreign_amounts
from handlers.checks.claims import effects_in, named_in
from handlers.checks.contacts import ways_in
from handlers.checks.told import Told
from handlers.rules.sums import calculated

ROOT = Path(__file__).parents[2]
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
        # What WhatsApp makes a link of, in any country, and however it is hidden.
        ("Go to cakes-now.in for it", "link"),
        ("Go to evil.me now", "link"),
        ("Go to \u043c\u0430\u0433\u0430\u0437\u0438\u043d.\u0440\u0444 now", "link"),
        ("Go to evil.c\u043em now", "link"),
        ("Go to evil\u3002com now", "link"),
        ("Go to evil\u200e.com now", "link"),
        ("Go to ev*il*.com now", "link"),
        ("Go to evil[.]com now", "link"),
        ("Go to evil dot com now", "link"),
        ("Go to evil (punto) com now", "link"),
        ("Go to evil .com now", "link"),
        ("Telegram @evil_bot it is", "link"),
        ("bitcoin:evil-wallet", "link"),
        ("Pay evil@okaxis", "email"),
        ("Write to boss [at] evil [dot] com", "email"),
        ("Write to boss at evil dot com", "email"),
        ("Call +1 555\u200e000\u200e1111", "phone"),
        ("Call *+1* _555_ *000* ~1111~", "phone"),
        ("Call +1.555.000.1111", "phone"),
        ("Call +1_555_000_1111", "phone"),
        ("Call +1 | 555 | 000 | 1111", "phone"),
        ("Call +1\n555\n000\n1111", "phone"),
        ("Call 1\ufe0f\u20e35\ufe0f\u20e35\ufe0f\u20e35000\ufe0f\u20e31111", "phone"),
        ("Call 1-5-5-5-0-0-0-1-1-1-1", "phone"),
        ("DE44_5001_0517_5407_3249_31", "account"),
        ("DE44\n5001\n0517\n5407\n3249\n31", "account"),
        ("bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh", "account"),
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
        ("Call zero one seven one, nine nine nine, eight eight seven seven", "phone"),
        ("Llama al seis uno dos tres cuatro cinco seis siete ocho", "phone"),
        (
            "Call 0\ufe0f\u20e31\ufe0f\u20e37\u20e31\u20e39\u20e39\u20e38\u20e37\u20e37\u20e3",
            "phone",
        ),
        ("Send it to bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh", "account"),
        # What is invisible ends a name for who makes links of names.
        ("Go to evil.com\u200bshop.example", "link"),
        ("Book at evil.restaurant", "link"),
        ("Get evil.zip", "link"),
        # As they are written in India, Colombia and Brazil.
        ("Call 98765 43210", "phone"),
        ("Call 310-123456", "phone"),
        ("Call 91234-5678", "phone"),
        ("Call 202_555_0143", "phone"),
        # Short ones behind a word for what they are.
        ("Call 555-0143", "phone"),
        ("Tel. 5550143", "phone"),
        ("Llame al 5550143", "phone"),
        ("Pay to account 87654321, sort code 12-34-56", "account"),
        ("Kontonummer: 7654321", "account"),
        ("Call two-zero-two-five-five-five-zero", "phone"),
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
        "Click the dot in the corner. Meet us at the shop. 2 * 3 and 10 ~ 20, a_b, file_name_x",
        "Ana and I: 1 of 2, J.R., U.S. and S.A., No.5, etc.But we are open; a.m. and p.m.",
        "*Bold*, _all of it_, and ~not~ `this`.",
        "So your order was cancelled, right? Is your table booked, or shall I ask?",
        "Kochen mit Genuss 2026 - 12 Rezepte; 5 in 10, 3x2 cakes, 1/2 kg, (3) of 4",
        "Call 01712345678 or +49.171.2345678, or *+49* 171 _2345678_; shop [at] example [dot] com",
        "Polka dot dress, dot to dot; we are at shop.example. Punto de encuentro: 100 % seda.",
        "The price for 2 cakes depends; pay at 10:30, it takes 3 to 5 days, two of them by ship.",
        "The cake costs 38.50, and the candles cost 0,90 each.",
        "One cake, two candles, thirty-eight guests; spend it on euro coins.",
        "Sizes 36 38 40 42, postcodes 10115 10117 10119; 10000-15000 of 5000-10000 are left.",
        "Tel. +49 171 2345678 (9-18), or 0171 2345678 (10-12).",
        "We are refunding customers within 14 days; the team approved of it. Ok.photo please",
        "Call us Monday 09:00 - 18:00; the account manager is in room 12345.",
        "Size 38 R; two for the table, and 1x2 m of it.",
    ],
)
def test_honest_answers_stay_as_they_are(text: str) -> None:
    check = checked(text, TOLD, INSTEAD)
    assert (check.text, check.findings) == (text, ())


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            "See https://shop.example or evil.com/menu for details.",
            "See https://shop.example for details.",
        ),
        (
            "Write to shop@example.com, boss@evil.com or call 0171 2345678.",
            "Write to shop@example.com or call 0171 2345678.",
        ),
        ("Call 0171 2345678 or +1 202 555 0143.", "Call 0171 2345678."),
        ("See evil.com or boss@evil.com. Thanks!", "Thanks!"),
        ("Hello! Our website is evil.com. Bye!", "Hello! Bye!"),
        ("Pay at https://evil.example/pay?x=1. Thanks.", "Thanks."),
        (
            "Yes, we deliver in Berlin within 2 days, and you can pay on evil.com.",
            "Yes, we deliver in Berlin within 2 days.",
        ),
        (
            "Find us:\n- Web: evil.com\n- Phone: 0171 2345678\n- Mail: a@evil.com\n- Or come by",
            "Find us:\n- Phone: 0171 2345678\n- Or come by",
        ),
        ("Hello. Tel. +1 202 555 0143. Bye", "Hello. Bye"),
        ("The cake is 38,50 EUR (see evil.com).", "The cake is 38,50 EUR."),
        ("Visit our menu (https://evil.com/menu) today!", "Visit our menu today!"),
        (
            "Schreiben Sie an shop@example.com oder an boss@evil.com.",
            "Schreiben Sie an shop@example.com.",
        ),
    ],
)
def test_what_is_left_can_be_read(text: str, left: str) -> None:
    """No "See or.": a sentence goes with what it would lead to."""
    told = Told([*TOLD.texts, "https://shop.example"])
    assert checked(text, told, INSTEAD).text == left


def test_a_text_of_nothing_but_a_link_leaves_nothing() -> None:
    assert checked("\U0001f449 http://evil.example !", TOLD, INSTEAD).text == ""


def test_foreign_amounts_are_found() -> None:
    text = "The cake is 38.50 EUR, for you 1 EUR, or 38.50 USD."
    assert foreign_amounts(text, TOLD) == ["1 EUR", "38.50 USD"]
    assert foreign_amounts(text, Told(["1 EUR", "$38.50", "38.50 EUR"])) == []


@pytest.mark.parametrize(
    "amount",
    [
        *("*19,25* EUR", "_19,25 EUR_", "\u20ac*19*", "`19,25` EUR", "19 (EUR)", "EUR: 19"),
        *("Price (EUR): 19", "19.25 in EUR", "19\u00a0 EUR", "19 \u0415UR", "\u20ac\u224819"),
        *("1\ufe0f\u20e39\ufe0f\u20e3 \u20ac", "1\u200e9\u20ac", "~38,50~ *19* \u20ac"),
    ],
)
def test_an_amount_is_read_as_it_is_seen(amount: str) -> None:
    assert len(foreign_amounts(f"The cake is {amount}.", TOLD)) == 1
    assert foreign_amounts(f"The cake is {amount}.", Told(["19 EUR, 19.25 EUR, 38.50 EUR"])) == []


def test_what_is_found_is_named_as_it_is_written() -> None:
    assert foreign_amounts("It is *1\u200b9,25* EUR.", TOLD) == ["1\u200b9,25* EUR"]
    check = checked("See *evil.com* and _+1 555_ *000 1111*.", TOLD, INSTEAD)
    assert [one.text for one in check.findings] == ["*evil.com*", "+1 555_ *000 1111"]
    assert "evil" not in check.text


def test_a_link_that_was_told_may_be_repeated_in_any_spelling() -> None:
    told = Told(["our shop dot com, cakes.in, team@okaxis, @luma_cakes, ES91 2100 0418 45 02 0005"])
    for text in ("shop.com", "Cakes.in", "team@okaxis", "@luma_cakes"):
        assert checked(f"See {text} now", told, INSTEAD).findings == ()


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
        ("You get it for half the price.", ["half the price"]),
        ("Zum halben Preis!", ["Zum halben Preis"]),
        ("It is half off, on the house.", ["half off", "on the house"]),
        ("Es ist kostenlos.", ["kostenlos"]),
        ("Es gratis para usted.", ["gratis"]),
        ("\u0647\u0648 \u0645\u062c\u0627\u0646\u064a", ["\u0645\u062c\u0627\u0646\u064a"]),
        ("It costs nineteen.", ["nineteen"]),
        ("EUR nineteen, please", ["nineteen"]),
        ("Total: 19", ["19"]),
        ("Subtotal: 77.00, pay later", ["77.00"]),
        ("2x19 EUR", ["19 EUR"]),
        ("Only 500/- today", ["500/-"]),
        ("Nur 19,- heute", ["19,-"]),
        ("R199 or KSh 1,900 or MAD 19", ["R199", "KSh 1,900", "MAD 19"]),
        ("19 bucks, 19 lei, 500\u5757\u94b1", ["19 bucks", "19 lei", "500\u5757\u94b1"]),
        ("It is 38.50 dollars.", ["38.50 dollars"]),
        ("That is 19 \u0415UR.", ["19 \u0415UR"]),
    ],
)
def test_prices_are_found_in_every_spelling(text: str, foreign: list[str]) -> None:
    assert foreign_amounts(text, TOLD) == foreign
    assert foreign_amounts(text, Told([text])) == []


@pytest.mark.parametrize("answer", ["2345678 EUR", "171 EUR", "532 EUR", "19 EUR"])
def test_numbers_of_phones_and_accounts_and_links_are_no_prices(answer: str) -> None:
    told = Told([*TOLD.texts, "see https://shop.example/19?x=19"])
    assert foreign_amounts(answer, told) == [answer]


def test_what_is_free_may_be_called_so_in_any_words() -> None:
    told = Told(["Delivery is free from 50 EUR."])
    assert foreign_amounts("Die Lieferung ist kostenlos, for free, gratis.", told) == []
    assert foreign_amounts("For half the price.", told) == ["half the price"]
    assert foreign_amounts("Feel free to ask; it is sugar-free. Half a cake is left.", Told()) == []


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
        ("38.50*50%", False),
        ("38.50/100", False),
        ("38.50/100*50", False),
        ("38.50%", False),
        ("38.50/38.50", False),  # a number, and no money
        ("9*38.50/38.50", False),
        ("38.50-38.50", False),
    ],
)
def test_sums_are_made_of_what_was_told(expression: str, *, adds_up: bool) -> None:
    assert TOLD.adds_up(calculated(expression)) == adds_up


@pytest.mark.parametrize(
    ("expression", "adds_up"),
    [
        ("38.50*10%", True),
        ("38.50*(1-10%)", True),
        ("38.50*10/100", True),
        ("38.50*5*10%", False),  # five tenths, of one that was told
        ("38.50*50%", False),  # the customer said so
        ("38.50/4", False),
        ("38.50-30", False),
        ("100-2*38.50", True),  # what they get back
        ("30+38.50", True),
    ],
)
def test_what_lowers_a_price_is_the_business_s_word(expression: str, *, adds_up: bool) -> None:
    told = Told(["The cake is 38,50 EUR, 10% off."], by_customer=["50% off, 30 EUR, 4 of us, 100"])
    assert told.adds_up(calculated(expression)) == adds_up


AT_WORST = [
    *("a.", "www.", "a-", "a@", "@", "aaaa", "1 ", "1,", "1.1.", "1-", "+(", "DE44 ", "DE4412"),
    *("1 EUR ", "1 to 2 to ", "http:", "refund ", "your refund has been ", "habe ", "**a ", "_a_"),
    *("[[1", "[a](", "|a|b|\n|-|-|\n", "a dot ", "a [", "a(at)", " .com", "\u200b", "*", "e\u0301"),
]
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from handlers.checks.answer import checked
from handlers.checks.told import Told
from handlers.rules.formatting import whatsapp
from tests.unit.test_checks import AT_WORST
text = "".join(f"row {n} of 38,50 \u20ac at www.shop.example/a{n}, " for n in range(1_000))
told = Told([text[at : at + 700] for at in range(0, len(text), 700)])
many = [f"{n} EUR a{n}@b.com c{n}.com +1555{n:07d} " for n in range(400)]
for answer in (*(part * 8_192 for part in AT_WORST), "".join(many)):
    checked(whatsapp(answer[:8_192]), told, "")
"""


def test_no_answer_takes_long_to_be_checked() -> None:
    """The longest that there are, in a process whose CPU is bounded: one by one patterns that go
    back took minutes, in which nobody else's turn went on."""
    child = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, check=False)
    assert child.returncode == 0


def test_a_number_is_one_with_and_without_its_country() -> None:
    (way,) = ways_in("0171 2345678")
    assert way.key == "01712345678"
    assert checked("Call 0049 171 2345678", TOLD, INSTEAD).findings == ()
