"""What a check costs grows with an answer and with what the bot was told, not with both, or worse:
it is done in the loop that all turns of a process share. Compared with itself on less, by the CPU
of this thread, whatever else the machine does."""

import time
from collections.abc import Callable

import pytest

from handlers.agent.citing import cited
from handlers.agent.completions.stream import assembled
from handlers.checks.answer import checked
from handlers.checks.claims import claims_in
from handlers.checks.contacts import ways_in
from handlers.checks.told import Told
from handlers.rules.formatting import whatsapp
from handlers.rules.reply import fitted
from handlers.rules.unanswered import ALIKE_CHARS, key_of


def cpu(work: Callable[[int], object]) -> float:
    """The least of some tries, each told its number."""

    def once(n: int) -> float:
        began = time.thread_time()
        work(n)
        return time.thread_time() - began

    return min(once(n) for n in range(4))


@pytest.mark.parametrize("unit", ["a.", "1.", "www.", "a.b-", "1-", "a-", "a@", "a_", "a+"])
def test_no_answer_takes_long_to_look_through(unit: str) -> None:
    """Four times as long: four times as much, and not sixteen. (Of 1,600 letters "a.a.a." took 2 s,
    of 8,000 a hundred.)"""
    texts = [(unit * size)[:size] for size in (800, 3_200)]
    short, long = (cpu(lambda _, text=text: ways_in(text)) for text in texts)  # type: ignore[misc]
    assert long < 9 * short + 0.005


@pytest.mark.parametrize(
    ("work", "unit"),
    [
        (whatsapp, "["),
        (whatsapp, "!["),
        (lambda text: whatsapp(f"{text}]("), "["),
        (lambda text: cited(text, {1}), "["),
        (lambda text: cited(text, {1}), "[ "),
        (lambda text: fitted(text * 3, "shortened"), "!"),
        (lambda text: fitted(text * 3, "shortened"), "?!"),
        (lambda text: assembled(text.encode() * 16), "\n"),
    ],
)
def test_one_character_again_and_again_is_passed_in_one_look(
    work: Callable[[str], object], unit: str
) -> None:
    """(Of 8,000 "[" 0.3 s in the loop of all turns, of 8,000 "!" 0.14 s.)"""
    texts = [(unit * size)[:size] for size in (2_000, 8_000)]
    short, long = (cpu(lambda _, text=text: work(text)) for text in texts)  # type: ignore[misc]
    assert long < 9 * short + 0.005


def test_claims_are_looked_for_in_all_of_an_answer_at_once() -> None:
    """And not with each pattern in each of its lines, which took 0.15 s."""
    one = cpu(lambda _: claims_in("a " * 4_000))
    many = cpu(lambda _: claims_in("a\n" * 4_000))
    assert many < 6 * one + 0.005


@pytest.mark.parametrize("of", ["{}.50 EUR", "see https://shop{}.example/ now", "call +49 30 {}9"])
def test_a_long_list_is_looked_up_as_one_line_is(of: str) -> None:
    """What the bot was told is read once for all of it. (160 prices beside 300 rows took 3 s.)"""
    rows = [f"Item {n} costs {n}.99 EUR, see shop.com/{n}, +49 40 1234{n:03d}" for n in range(300)]

    def look(items: int) -> Callable[[int], object]:
        answer = "\n".join(of.format(1_000_000 + n) for n in range(items))
        return lambda n: checked(answer, Told((*rows, f"{of} {items} {n}")), "")

    few, many = cpu(look(2)), cpu(look(32))
    assert many < 6 * few + 0.005


def test_long_stories_are_not_compared_letter_by_letter() -> None:
    long = "a long story " * (ALIKE_CHARS // 13 + 1)
    assert key_of(long, {b"x": f"{long}s"}) != b"x"
    assert key_of("do you sell roses", {b"x": "do you sell rose"}) == b"x"
