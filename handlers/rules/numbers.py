"""Numbers: the form they are stored in, and the spellings of one. Pure.

Spellings are only for finding a contact: what is sent goes to the one that Meta uses.
"""

import re
from collections.abc import Iterable

_SPELLED = re.compile(r"\+?[0-9 ()./-]{7,40}")
_BRAZIL = re.compile(r"\+55([1-9][0-9])(9?)([6-9][0-9]{7})")  # a landline begins with 2 to 5
_MEXICO = re.compile(r"\+52(1?)([2-9][0-9]{9})")
_ARGENTINA = re.compile(r"\+54(9?)([1-9][0-9]{9})")


def variants(number: str) -> tuple[str, ...]:
    """The other spellings under which the same line may be known; of most countries there are none.

    Brazil's mobile numbers got a 9 after the area code, Mexico's lost a 1 after the country code,
    Argentina's have a 9 there when they are called from abroad.
    """
    if m := _BRAZIL.fullmatch(number):
        return (f"+55{m[1]}{m[3]}",) if m[2] else (f"+55{m[1]}9{m[3]}",)
    if m := _MEXICO.fullmatch(number):
        return (f"+52{m[2]}",) if m[1] else (f"+521{m[2]}",)
    if m := _ARGENTINA.fullmatch(number):
        return (f"+54{m[2]}",) if m[1] else (f"+549{m[2]}",)
    return ()


def line_of(number: str) -> str:
    """The one spelling that stands for all."""
    return min((number, *variants(number)), key=len)


def of_several_spellings(numbers: Iterable[str]) -> list[str]:
    """The lines of those that others may write otherwise."""
    return sorted({line_of(one) for one in numbers if variants(one)})


def digits(value: object) -> str:
    return re.sub(r"\D", "", value) if isinstance(value, str) and value.isascii() else ""


def normalised(number: str | None) -> str | None:
    """'+' and digits, the form in which numbers are stored. None when it is no number as the world
    dials it: 7 to 15 digits, the first of them no zero, and nothing else but a plus and what people
    put between them. A text that has digits among letters is an id of something else."""
    if number is None:
        return None
    if not (number.isascii() and number.isdigit()):  # Meta sends nothing else
        if not _SPELLED.fullmatch(number):
            return None
        number = digits(number)
    return f"+{number}" if 7 <= len(number) <= 15 and number[0] != "0" else None
