"""What a row of knowledge may be, whoever brings it: a person, a program, a file. Pure."""

from typing import Final

MAX_QUESTION_CHARS: Final = 2_000
MAX_ANSWER_CHARS: Final = 8_000
MAX_CATEGORY_CHARS: Final = 100
MAX_ALTERNATIVES: Final = 50  # other ways to ask it, each as long as a question may be
CHARS: Final = {
    "question": MAX_QUESTION_CHARS,
    "answer": MAX_ANSWER_CHARS,
    "category": MAX_CATEGORY_CHARS,
}


def text_of(name: str, given: str) -> str:
    """Without the spaces around it. Raises ValueError with what is wrong."""
    text = given.strip()
    if not text:
        raise ValueError(f"{name} is empty")
    if len(text) > CHARS[name]:
        raise ValueError(f"{name} has {len(text)} characters, {CHARS[name]} at most")
    return text


def alternatives_of(given: list[str]) -> list[str]:
    """Each once. Raises ValueError with what is wrong."""
    found = list(dict.fromkeys(one.strip() for one in given))
    if len(found) > MAX_ALTERNATIVES:
        raise ValueError(f"alternatives has {len(found)} entries, {MAX_ALTERNATIVES} at most")
    for one in found:
        if not one:
            raise ValueError("alternatives has an empty text")
        if len(one) > MAX_QUESTION_CHARS:
            raise ValueError(
                f"alternatives has a text of {len(one)} characters, {MAX_QUESTION_CHARS} at most"
            )
    return found
