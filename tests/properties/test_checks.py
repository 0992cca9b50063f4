"""Checks of answers, on any text: nothing is raised, what was told stays, and what was not goes."""

import unicodedata
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.checks.answer import checked, foreign_amounts
from handlers.checks.contacts import ways_in
from handlers.checks.told import Told
from handlers.rules.amounts import Numbers, _known, _matches, amounts_in, readings
from handlers.rules.seen import plain
from handlers.rules.sums import NoSum, calculated

WORDS = st.sampled_from(
    [
        "cake",
        "open",
        "the",
        "\u0645\u0631\u062d\u0628\u0627",
        "\u3053\u3093",
        "+",
        "-",
        ":",
        "\n",
        ". ",
        ",",
    ]
)
NUMBERS = st.decimals(min_value=0, max_value=10**9, places=2)
SCRIPTS = (0x30, 0x660, 0x6F0, 0x966, 0x9E6, 0xFF10)
SIGNS = st.sampled_from(
    ["EUR", "\u20ac", "USD", "$", "CHF", "\u20b9", "\u5186", "kr", "euro", "R$"]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=30).map(" ".join))
LINKS = st.builds(
    "{}{}.{}/{}".format,
    st.sampled_from(["https://", "http://", "www.", ""]),
    st.from_regex("[a-z]{3,12}", fullmatch=True),
    st.sampled_from(["com", "org", "example", "io", "de"]),
    st.from_regex("[a-z0-9]{1,8}", fullmatch=True),
)


@settings(max_examples=400, deadline=None)
@given(TEXTS, TEXTS)
def test_any_text_is_checked_and_a_second_time_nothing_is_found(text: str, source: str) -> None:
    told = Told([source])
    check = checked(text, told, "")
    assert len(check.text) <= len(text) + 4
    again = checked(check.text, told, "")
    assert [one for one in again.findings if one.kind in ("link", "email")] == []


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_what_was_told_is_never_taken_out(text: str) -> None:
    told = Told([text])
    assert all(told.leads(way) for way in ways_in(text))
    assert foreign_amounts(text, told) == []


@settings(max_examples=200, deadline=None)
@given(NUMBERS, SIGNS, st.sampled_from(SCRIPTS), st.booleans())
def test_an_amount_is_read_in_any_script(
    number: Decimal, sign: str, zero: int, before: bool
) -> None:
    digits = "".join(chr(zero + int(c)) if c.isdigit() else c for c in f"{number:f}")
    text = f"{sign} {digits}" if before and sign != "\u5186" else f"{digits} {sign}"
    (found,) = amounts_in(text)
    assert number in found.values
    assert Numbers([f"it costs {number:f} today"]).have(found)
    other = number + 1
    assert not Numbers([f"it costs {other:f} today"]).have(found)


@settings(max_examples=300, deadline=None)
@given(LINKS, TEXTS)
def test_a_link_that_was_not_told_is_taken_out(link: str, text: str) -> None:
    answer = f"{text} {link} thanks"
    check = checked(answer, Told(["nothing"]), "")
    assert link not in check.text
    assert checked(f"See {link} now", Told([f"our page: {link}"]), "").findings == ()


@given(st.text(max_size=60))
def test_plain_is_as_long_and_readings_are_numbers(text: str) -> None:
    shown = plain(text)
    assert len(shown) == len(text)
    assert not any(unicodedata.category(c) == "Nd" and not c.isascii() for c in shown)
    if text and all(c in "0123456789.,' " for c in text) and text[0].isdigit():
        assert all(value >= 0 for value in readings(text.rstrip(".,' ")))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=80), st.text("0123456789+-*/()%. ", max_size=60)))
def test_any_expression_is_a_sum_or_none(expression: str) -> None:
    try:
        total = calculated(expression)
    except NoSum:
        return
    assert Decimal(total.text).is_finite()
    assert len(total.text) < 40


ODD = st.sampled_from(["Rs.", "Euros", "US$", " ", "1.234", "12", "@", "(at)", "www.", ".de", "/"])
MIXED = st.one_of(
    TEXTS,
    st.lists(st.one_of(WORDS, SIGNS, ODD, LINKS, NUMBERS.map(str)), max_size=12).map("".join),
)


@settings(max_examples=400, deadline=None)
@given(MIXED)
def test_what_is_looked_for_only_near_its_signs_is_nowhere_else(text: str) -> None:
    shown, known = plain(text), _known()
    everywhere = known.before.finditer(shown, overlapped=True)
    near = [match for match in _matches(shown, known) if match.re is known.before]
    assert [m.span() for m in near] == [m.span() for m in everywhere]
