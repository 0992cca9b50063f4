"""What a customer orders by a press or a cart: read, decided and said without a model. Pure but for
sell() and keep_quoted(), which are parts of the turn's last transaction."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from db.conversations import Claim
from db.ids import MessageId
from db.orders import Whose
from db.pool import Conn
from handlers import quotes
from handlers.fixed.texts import Kind
from handlers.fixed.voice import Voice
from handlers.quotes import Offered, Ordered, Over
from handlers.rules.choices import BODY_UNITS, Choice, Layout
from handlers.rules.cutting import head, units
from handlers.rules.quotes import (
    Cart,
    Quoted,
    echoes,
    item_lines,
    lacking_lines,
    money,
    price_lines,
)
from handlers.rules.reply import sentences

# Of a message with a button: the lines of the order, of prices, of what is lacking.
ITEMS_ROOM, PRICES_ROOM, LACKING_ROOM = 400, 160, 120
ORDERED, OFFERED, OVER = "ordered", "quoted", "quote_over"  # reasons, in messages.metadata


@dataclass(frozen=True, slots=True)
class Press:
    """Of a quote's button, by all who pressed it at once."""

    token: str
    message_id: MessageId


What: TypeAlias = Press | Cart


@dataclass(frozen=True, slots=True)
class Said:
    text: str
    reason: str
    now: Quoted | None = None  # what can be ordered by the button under it
    effect: str | None = None  # that it tells of, as answers are checked for
    echoes: Sequence[str] = ()  # what it repeats of the customer's


BODY: Final = BODY_UNITS["buttons"]


def quote_text(voice: Voice, now: Quoted) -> str:
    total = money(now.total, now.currency)
    return voice.says(Kind.QUOTE, items=item_lines(now, ITEMS_ROOM), total=total)


def button(voice: Voice) -> Layout:
    return Layout("buttons", (Choice(head(voice.says(Kind.ORDER_BUTTON), 20)),))


def above(text: str, quote: str) -> str:
    """An answer and, under it, the quote: in one message, of the answer what there is room for."""
    room = BODY - units(quote) - 2
    if units(text) > room:
        kept = ""
        for sentence in sentences(text):
            if units(f"{kept} {sentence}") > room:
                break
            kept = f"{kept} {sentence}".strip()
        text = kept
    return f"{text}\n\n{quote}" if text else quote


def said_of(outcome: Ordered | Offered | Over, voice: Voice) -> Said:
    match outcome:
        case Ordered(number, amount, currency):
            text = voice.says(Kind.ORDERED, number=number, total=money(amount, currency))
            return Said(text, ORDERED, effect="ordered")
        case Over():
            return Said(voice.says(Kind.QUOTE_OVER), OVER)
        case Offered(now, lacking, seen, was_agreed):
            parts = [voice.says(Kind.REQUOTED)] if was_agreed and now is not None else []
            if now is not None and (lines := price_lines(seen, now, PRICES_ROOM)):
                parts.append(voice.says(Kind.NEW_PRICES, items=lines))
            if lines := lacking_lines(lacking, LACKING_ROOM):
                parts.append(voice.says(Kind.UNAVAILABLE, items=lines))
            theirs = () if was_agreed else echoes(seen, now, lacking)  # what was agreed we quoted
            if now is None:
                text = "\n\n".join(parts) or voice.says(Kind.QUOTE_OVER)
                return Said(text, OFFERED, echoes=theirs)
            text = above("\n\n".join(parts), quote_text(voice, now))
            return Said(text, OFFERED, now, echoes=theirs)


# ---- in the turn's last transaction --------------------------------------------------------------


async def sell(
    conn: Conn, claim: Claim, whose: Whose, what: What, voice: Voice, begun_by: int
) -> tuple[Said, dict[str, Any]]:
    """What is said of it, and what that message's metadata has."""
    if isinstance(what, Press):
        press = (what.token, what.message_id)
        outcome: Ordered | Offered | Over = await quotes.confirm(
            conn, claim.user_id, claim.conversation_id, whose, press
        )
    else:
        outcome = await quotes.price_cart(conn, claim.user_id, what)
    said = said_of(outcome, voice)
    metadata: dict[str, Any] = {"effect": said.effect} if said.effect else {}
    if said.echoes:
        metadata["echoes"] = list(said.echoes)
    if said.now is not None:
        metadata |= await keep_quoted(conn, claim, said.now, button(voice), begun_by)
    return said, metadata


async def keep_quoted(
    conn: Conn, claim: Claim, now: Quoted, layout: Layout, begun_by: int
) -> dict[str, Any]:
    """The quote, and the button by which it is ordered."""
    token = f"order.{secrets.token_urlsafe(24)}"
    await quotes.keep(
        conn, claim.user_id, claim.conversation_id, now, begun_by=begun_by, token=token
    )
    return {"interactive": layout.with_ids([token])}


def with_ids(layout: Layout | None) -> dict[str, Any]:
    """Each choice gets an id that nobody can guess."""
    if layout is None:
        return {}
    ids = [secrets.token_urlsafe(16) for _ in layout.choices]
    return {"interactive": layout.with_ids(ids)}
