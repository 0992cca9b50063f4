"""Cuts, marks, words and equality in texts of every script that Unicode has."""

import random
import unicodedata
from typing import TypeAlias

import pytest
import regex

from handlers.agent.retrieval import index_of
from handlers.agent.segment import terms
from handlers.agent.tools import request_type
from handlers.rules.cutting import both_ends, head, tail, units
from handlers.rules.formatting import whatsapp
from handlers.rules.reply import MAX_CHARS, sentences
from handlers.rules.texts import same, searched
from tests.unit.test_rules import SHORTENED, fitted

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
FLAG = "\U0001f1e9\U0001f1ea"
JAMO = "\u1112\u1161\u11ab"  # one syllable, in its three parts
WAVE = "\U0001f44b\U0001f3fd"
CLUSTERS = [
    FAMILY,
    FLAG,
    JAMO,
    WAVE,
    "e\u0301\u0323",
    "\u0928\u093f",
    "\u0e01\u0e49",
    "1\ufe0f\u20e3",
]


Alphabet: TypeAlias = tuple[list[str], list[str]]  # letters; letters and marks


def assigned() -> list[Alphabet]:
    """Of every stretch of 128 code points that has letters."""
    found = []
    for start in range(0, 0x20000, 128):
        block = [chr(c) for c in range(start, start + 128)]
        letters = [c for c in block if unicodedata.category(c)[0] == "L"]
        if len(letters) >= 5:
            found.append((letters, [c for c in block if unicodedata.category(c)[0] in "LM"]))
    return found


ALPHABETS = assigned()
ENDS = [
    chr(c)
    for c in range(0x20000)
    if regex.match(r"\p{Sentence_Break=STerm}", chr(c)) and unicodedata.category(chr(c)) != "Cn"
]


def test_there_are_scripts_and_ends_enough() -> None:
    assert len(ALPHABETS) > 250
    assert len(ENDS) > 120
    for known in "\u0964\u061f\u06d4\u3002\u1362\u0589\u17d4\u104b\uff01\u203c":
        assert known in ENDS


def word(dice: random.Random, alphabet: Alphabet) -> str:
    return dice.choice(alphabet[0]) + "".join(dice.choices(alphabet[1], k=dice.randint(1, 7)))


def sentence(dice: random.Random, alphabet: Alphabet, end: str) -> str:
    space = dice.choice([" ", " ", ""])
    return space.join(word(dice, alphabet) for _ in range(dice.randint(2, 9))) + end


def clusters(text: str) -> list[str]:
    return [str(c) for c in regex.findall(r"\X", text)]


def is_between_clusters(text: str, place: int) -> bool:
    seen = 0
    for cluster in clusters(text):
        if seen >= place:
            break
        seen += len(cluster)
    return seen == place


# ---- cuts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_nothing_is_cut_within_what_people_see_as_a_character(cluster: str) -> None:
    text = cluster * 3_000
    for room in (1, 7, 50, 1_001):
        for cut in (head(text, room), tail(text, room)):
            assert units(cut) <= room
            if units(cluster) <= room:
                assert cut == cluster * (room // units(cluster))
    both = both_ends(text, 101)
    assert set(clusters(both)) <= {cluster, " ", "\u2026"}
    assert units(both) <= 101
    reply = fitted(text)
    assert set(clusters(reply.removesuffix(SHORTENED))) == {cluster}


def test_one_endless_character_is_cut_all_the_same() -> None:
    reply = fitted("a" + "\u0301" * 9_000)
    assert MAX_CHARS - 1 <= units(reply) <= MAX_CHARS


@pytest.mark.parametrize("seed", range(4))
def test_a_reply_in_any_script_ends_with_a_sentence(seed: int) -> None:
    for n in range(seed, len(ALPHABETS), 4):
        dice = random.Random(n)
        end = dice.choice(ENDS) + dice.choice([" ", "", "\u201d ", ") "])
        if dice.random() < 0.2:
            end = ". "
        once = "".join(sentence(dice, ALPHABETS[n], end) for _ in range(40))
        text = once * (1 + (MAX_CHARS + dice.randint(1, 3_000)) // units(once))
        reply = fitted(text)
        kept = reply.removesuffix(SHORTENED)
        assert units(reply) <= MAX_CHARS
        assert text.startswith(kept)
        assert kept.endswith(end.rstrip()), n
        assert units(kept) > MAX_CHARS / 2
        place = len(kept)
        while place < len(text) and text[place].isspace():
            place += 1
        assert is_between_clusters(text, len(kept)) or is_between_clusters(text, place)


@pytest.mark.parametrize("seed", range(4))
def test_without_an_end_it_is_cut_between_characters(seed: int) -> None:
    for n in range(seed, len(ALPHABETS), 4):
        dice = random.Random(n)
        between = ["", "", FAMILY, FLAG, JAMO]
        once = "".join(word(dice, ALPHABETS[n]) + dice.choice(between) for _ in range(99))
        text = once * (1 + MAX_CHARS // units(once))
        kept = fitted(text).removesuffix(SHORTENED)
        assert text.startswith(kept)
        assert units(kept) > MAX_CHARS / 2
        assert is_between_clusters(text, len(kept)), n


def test_a_heading_is_not_all_that_is_left_of_a_long_answer() -> None:
    heading = "\u0928\u092e\u0938\u094d\u0924\u0947:\n"
    line = "\u0928\u0940\u0902\u092c\u0942 \u0915\u0947\u0915 \u0939\u0948\u0964 "
    kept = fitted(heading + line * 500).removesuffix(SHORTENED)
    assert units(kept) > 3_900
    assert kept.endswith("\u0939\u0948\u0964")
    kept = fitted("One. Two.\n" + "x" * 9_000).removesuffix(SHORTENED)
    assert len(kept) > 4_000


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "We open at 7. Ask b.example/?q=1!x or 3.14?",
            ["We open at 7.", "Ask b.example/?q=1!x or 3.14?"],
        ),
        ("1. Rye\n2. Oat", ["1. Rye", "2. Oat"]),
        ('He said "no." Well?! Yes\u2026 ok', ['He said "no."', "Well?!", "Yes\u2026", "ok"]),
        (
            "\u4f60\u597d\u3002\u518d\u89c1\uff01Hello!\u4f60",
            ["\u4f60\u597d\u3002", "\u518d\u89c1\uff01", "Hello!", "\u4f60"],
        ),
        ("*Open.* Closed", ["*Open.*", "Closed"]),
    ],
)
def test_where_sentences_end(text: str, found: list[str]) -> None:
    assert sentences(text) == found


@pytest.mark.parametrize(
    ("marked", "end"),
    [
        ("A line. *bold until here. and on* ", "here."),
        ("A line. _soft until here. and on_ ", "here."),
        ("```\ncode one.\ncode two.\n```\n", ""),
    ],
)
def test_a_cut_leaves_no_mark_open(marked: str, end: str) -> None:
    for pad in range(60):
        kept = fitted("x" * pad + " " + marked * 400).removesuffix(SHORTENED)
        last = kept.rsplit("\n", 1)[-1] if "`" not in marked else ""
        for mark in "*_":
            assert last.count(mark) % 2 == 0, (pad, last[-60:])
        assert kept.count("```") % 2 == 0
        assert units(kept) <= MAX_CHARS


# ---- marks -------------------------------------------------------------------------------------

STARS = regex.compile(r"(?<!\w)\*(?=\S)[^*\n]+(?<=\S)\*(?!\w)")


@pytest.mark.parametrize("mark", ["**", "*", "~~"])
def test_a_mark_in_any_script_is_shown_or_left_out(mark: str) -> None:
    shown = 0
    for n, alphabet in enumerate(ALPHABETS):
        for seed in range(3):
            dice = random.Random(n * 3 + seed)
            left, words, right = (word(dice, alphabet) for _ in range(3))
            if dice.random() < 0.5:
                words = f"\u201c{words}\u201d"
            gap = [dice.choice(["", " "]) for _ in range(2)]
            text = f"{left}{gap[0]}{mark}{words}{mark}{gap[1]}{right}"
            got = whatsapp(text)
            assert got.replace("*", "").replace("~", "") == f"{left}{gap[0]}{words}{gap[1]}{right}"
            if gap == [" ", " "]:
                assert got.count(mark[0]) == 2, text
                shown += 1
            else:
                assert STARS.sub("", got).count("*") == 0, (text, got)
                assert got == f"{left}{gap[0]}{words}{gap[1]}{right}", text
    assert shown > 100


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        (
            "\u6211\u4eec\u7684**\u62db\u724c\u86cb\u7cd5**\u662f",
            "\u6211\u4eec\u7684\u62db\u724c\u86cb\u7cd5\u662f",
        ),
        ("\u6211\u4eec\u7684 **\u86cb\u7cd5**\u3002", "\u6211\u4eec\u7684 *\u86cb\u7cd5*\u3002"),
        ("**\u201c\u62db\u724c\u201d**\u662f", "\u201c\u62db\u724c\u201d\u662f"),
        ("un**believ**able", "unbelievable"),
        ("**never closed", "never closed"),
        ("** spaced **", "spaced"),
        ("**one\ntwo** three", "*one*\n*two* three"),
        ("2**3 and 4**5, x ** y", "2**3 and 4**5, x ** y"),
        ("x **2** y", "x *2* y"),
        ("card ****1234, 07***63", "card ****1234, 07***63"),
        ("**_\u8bcd_**\u5b57", "\u8bcd\u5b57"),
        ("__init__.py and __really__", "__init__.py and *really*"),
        ("**\u0915**\u093f", "\u0915\u093f"),
    ],
)
def test_marks_beside_letters(markdown: str, shown: str) -> None:
    assert whatsapp(markdown) == shown
    assert whatsapp(shown) == shown


# ---- words and equality ------------------------------------------------------------------------


def test_words_of_any_script_are_found_whole() -> None:
    for n, alphabet in enumerate(ALPHABETS):
        dice = random.Random(n)
        asked = word(dice, alphabet)
        folded = searched(asked)
        if regex.fullmatch(r"\w+", folded):
            assert folded in terms(f"\u201c{asked}\u201d!")


def test_how_a_word_is_spelled_makes_no_difference_to_a_search() -> None:
    for one, other in (
        ("cafe\u0301", "caf\u00e9"),
        ("\uff21\uff22\uff23", "abc"),
        ("\u0661\u0662\u0663", "123"),
        ("\u0967\u0968", "12"),
        ("\ufb01n", "fin"),
        ("\u0130stanbul", "istanbul"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645",
        ),
        ("so\u00adft", "soft"),
    ):
        assert terms(one) == terms(other), one
        assert index_of([one, "bread"]).search(other, 1)[0].place == 0


def test_a_request_s_type_has_one_spelling() -> None:
    assert request_type("Re\u0301fund!") == request_type(" r\u00c9FUND ") == "r\u00e9fund"
    assert (
        request_type("\u0927\u0928 \u0935\u093e\u092a\u0938\u0940")
        == "\u0927\u0928_\u0935\u093e\u092a\u0938\u0940"
    )
    # Without its vowels this word was the same as another one.
    assert request_type("\u0926\u093f\u0928") != request_type("\u0926\u0940\u0928")
    long = request_type(FLAG + "\u0928\u093f" * 100)
    assert units(long) <= 50
    assert clusters(long)[-1] == "\u0928\u093f"


def test_equal_texts_differ_in_case_spaces_and_spelling_alone() -> None:
    assert same("Refund  5 EUR ", "refund\n5 eur")
    assert same("caf\u00e9", "CAFE\u0301")
    assert not same("refund 5 EUR", "refund 50 EUR")
    assert not same("1,5", "15")
    assert not same("\u0926\u093f\u0928", "\u0926\u0940\u0928")
