"""What happened in a conversation since its thread last read, as the model sees it. Pure.

A text that was edited after its answer stands as it was answered, and the new one where it came; a
customer's reaction to a message of ours is a note.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from db.ids import MessageId
from db.messages import TurnMessage
from handlers.agent.prompt import LATE, shown
from handlers.agent.timeline import COLLEAGUE, noted_at
from handlers.media.words import whole_document
from handlers.rules.choices import titles_of
from handlers.rules.cutting import head

QUOTED_UNITS = 120
ECHOED = "echoes"  # of a message: what in it a customer sent
NOTED = "[the customer "  # begins what we note of them
EMOJI_UNITS = 40
_ROUND = str.maketrans('[]"', "()'")


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a thread has read. Nothing yet: a new thread, or one that is made anew."""

    cursor: int = 0  # the highest id of a message
    reacted: int = 0  # the newest reaction, in seconds since 1970


@dataclass(frozen=True, slots=True)
class _Late:
    """What became known of a message after it."""

    at: datetime
    message: AnyMessage


def past(rows: Sequence[TurnMessage], seen: Seen) -> tuple[list[AnyMessage], Seen]:
    """What is new, in order, and how far that goes."""
    whole = seen.cursor == 0
    new = [row for row in rows if whole or (row.id > seen.cursor and not _is_own(row))]
    late = [one for row in rows if (one := _reaction(row, seen.reacted)) is not None]
    reacted = max([seen.reacted, *(int(one.at.timestamp()) for one in late)])
    late += [one for n, row in enumerate(new) if (one := _edit(row, new[n + 1 :])) is not None]
    cursor = max([seen.cursor, *(row.id for row in rows)])
    return list(_in_order(new, sorted(late, key=lambda one: one.at))), Seen(cursor, reacted)


def as_message(row: TurnMessage) -> AnyMessage | None:
    """A row of the record as the model sees it. Ids are stable, so nothing is taken in twice."""
    answered = row.content_text if row.answered_text is None else row.answered_text
    text = shown(answered or "")
    if row.medium is not None and row.medium.get("text"):  # of this turn: in the next its beginning
        text = whole_document(answered or "", row.medium["text"])
    if not text:
        return None
    # One that was read before it was heard is there already, as it was then.
    again = "-heard" if row.metadata.get("heard_later") is True else ""
    name = f"row-{MessageId(row.id)}{again}"
    if row.direction == "inbound":
        text = LATE + text if row.metadata.get("reason") == "stale" else text
        return HumanMessage(text, id=name, additional_kwargs=noted_at(row.sent_at))
    if row.status in ("failed", "cancelled"):
        text = f"(not delivered to the customer) {text}"
    if row.is_from_human:
        return AIMessage(COLLEAGUE + text, id=name, additional_kwargs=noted_at(row.sent_at))
    theirs = row.metadata.get("echoes")
    more = {ECHOED: [str(one) for one in theirs]} if isinstance(theirs, list) else {}
    said = text + _offered(row.metadata.get("interactive"))
    return AIMessage(said, id=name, additional_kwargs=more)


def _offered(interactive: object) -> str:
    """What stood under it, as a note."""
    titles = titles_of(interactive)
    shown = " | ".join(title.translate(_ROUND) for title in titles)
    return f"\n[to be pressed under it: {shown}]" if titles else ""


def _is_own(row: TurnMessage) -> bool:
    """The agent's own replies are in the thread by the run that wrote them."""
    return (
        row.direction == "outbound"
        and not row.is_from_human
        and row.metadata.get("kind") != "notice"
    )


def _in_order(rows: Sequence[TurnMessage], late: Sequence[_Late]) -> Iterator[AnyMessage]:
    waiting = list(late)
    for row in rows:
        while waiting and waiting[0].at < row.sent_at:
            yield waiting.pop(0).message
        if (message := as_message(row)) is not None:
            yield message
    yield from (one.message for one in waiting)


def _edit(row: TurnMessage, after: Sequence[TurnMessage]) -> _Late | None:
    """Not before the answer: it may have been on its way."""
    if row.answered_text is None or not row.content_text:
        return None
    answered = next((one.sent_at for one in after if _is_own(one)), row.sent_at)
    at = max(answered, _moment(row.metadata.get("edited_at")) or answered)
    note = f'{NOTED}later changed "{_quoted(row.answered_text)}" to:]'
    text = f"{note}\n{shown(row.content_text)}"
    return _Late(at, _noted(f"edit-{row.id}", at, text))


def _reaction(row: TurnMessage, since: int) -> _Late | None:
    found: Any = row.metadata.get("reactions")
    reaction = found.get("customer") if isinstance(found, dict) else None
    if row.direction != "outbound" or not isinstance(reaction, dict):
        return None
    emoji, at = reaction.get("emoji"), _moment(reaction.get("at"))
    if not isinstance(emoji, str) or not emoji or at is None or int(at.timestamp()) <= since:
        return None
    emoji = head(emoji, EMOJI_UNITS).translate(_ROUND)
    note = f'{NOTED}reacted with {emoji} to "{_quoted(row.content_text or "")}"]'
    return _Late(at, _noted(f"reaction-{row.id}", at, note))


def _noted(name: str, at: datetime, text: str) -> AnyMessage:
    stable = f"{name}-{int(at.timestamp())}"
    return HumanMessage(text, id=stable, additional_kwargs=noted_at(at))


def _quoted(text: str) -> str:
    return head(" ".join(text.translate(_ROUND).split()), QUOTED_UNITS)


def _moment(given: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(given))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
