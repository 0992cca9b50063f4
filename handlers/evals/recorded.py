"""A recorded conversation, divided into what was written and what came of it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from db.recorded import RecordedMessage

REPLY, NOTICE = "reply", "notice"  # of metadata.kind


@dataclass(slots=True)
class Wrote:
    """A burst of the customer's, and what the bot said to it."""

    inputs: list[RecordedMessage]
    answers: list[RecordedMessage] = field(default_factory=list)

    @property
    def reply(self) -> RecordedMessage | None:
        return next((one for one in self.answers if kind_of(one) == REPLY), None)

    @property
    def reason(self) -> str | None:
        """A word: why no model answered."""
        noted = (one.metadata.get("reason") for one in (*self.inputs[::-1], *self.answers))
        return next((str(one) for one in noted if one), None)


@dataclass(slots=True)
class Person:
    """Somebody of the business wrote."""

    message: RecordedMessage


@dataclass(slots=True)
class Alone:
    """The bot wrote, and nobody had asked: a decision, a campaign."""

    message: RecordedMessage


Step: TypeAlias = Wrote | Person | Alone


def steps_of(rows: Sequence[RecordedMessage]) -> list[Step]:
    """`rows` in order of arrival. What came in while a turn thought counts to it: when a turn read
    is nowhere noted."""
    steps: list[Step] = []
    for row in rows:
        last = steps[-1] if steps else None
        if row.direction == "inbound":
            if isinstance(last, Wrote) and _goes_on(last, row):
                last.inputs.append(row)
            else:
                steps.append(Wrote([row]))
        elif row.is_from_human:
            steps.append(Person(row))
        elif isinstance(last, Wrote) and _answers(last, row):
            last.answers.append(row)
        else:
            steps.append(Alone(row))
    return steps


def text_of(row: RecordedMessage) -> str:
    """As it was when it was answered."""
    return (row.content_text if row.answered_text is None else row.answered_text) or ""


def kind_of(row: RecordedMessage) -> object:
    return row.metadata.get("kind")


def _goes_on(last: Wrote, row: RecordedMessage) -> bool:
    before = last.inputs[-1]
    return not last.answers and before.answered == row.answered and _why(before) == _why(row)


def _why(row: RecordedMessage) -> object:
    return row.metadata.get("reason")


def _answers(last: Wrote, row: RecordedMessage) -> bool:
    if kind_of(row) == NOTICE:
        return True
    return kind_of(row) == REPLY and last.reply is None
