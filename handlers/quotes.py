"""Quotes become orders when their button is pressed: once, and at the price that was agreed to.

All of it is in the last transaction of the turn that read the press, behind its fence: a turn that
dies has ordered nothing, and one that is repeated finds the quote ordered. The constraint behind it
is orders_quote: an order a quote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from db.ids import ConversationId, MessageId, UserId
from db.orders import Whose
from db.pool import Conn, Pool
from db.quotes import (
    NewQuote,
    end_quote,
    forget_quotes,
    keep_quote,
    lock_quote,
    read_quote,
    replace_quotes,
)
from handlers.orders import Made, sold_now, store_order
from handlers.rules.orders import Sold, Wanted
from handlers.rules.quotes import (
    LIVES,
    Cart,
    Lacking,
    Quoted,
    Seen,
    as_rows,
    of_rows,
    quoted,
    seen_in,
)

KEPT = timedelta(days=30)
FORGET_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Ordered:
    number: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Offered:
    """Nothing is ordered; `now` can be."""

    now: Quoted | None
    lacking: Sequence[Lacking] = ()
    seen: Mapping[str, Seen] = field(default_factory=dict)  # prices that the customer knows
    was_agreed: bool = False  # to something that is not so any more


@dataclass(frozen=True, slots=True)
class Over:
    """The quote does not count any more."""


async def confirm(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    whose: Whose,
    press: tuple[str, MessageId],
) -> Ordered | Offered | Over:
    """Behind the fence, which holds the conversation; its contact is held before."""
    token, message_id = press
    quote_id = await lock_quote(conn, user_id, conversation_id, token)
    quote = None if quote_id is None else await read_quote(conn, user_id, quote_id)
    if quote is None:
        return Over()
    if quote.order_number is not None and not quote.is_cancelled:  # pressed again
        return Ordered(
            quote.order_number, quote.ordered_amount or Decimal(0), quote.ordered_currency or ""
        )
    if quote.status != "open" and not quote.is_cancelled:
        return Over()
    before = of_rows(quote.items, quote.currency)
    sold, currency = await sold_now(conn, user_id, before.wanted)
    now, lacking = what_can_be(before.wanted, sold, currency)
    holds = quote.status == "open" and not quote.is_over
    # As it was agreed to, names too: behind a sku may be something else now, for the same money.
    if holds and not lacking and now == before:
        if not await end_quote(conn, user_id, quote.id, "ordered"):
            raise RuntimeError("a locked quote was ended by somebody else")
        made = Made(message_id=message_id, quote_id=quote.id)
        _, number = await store_order(conn, user_id, whose, now.items, made)
        return Ordered(number, now.total, now.currency)
    await end_quote(conn, user_id, quote.id, "void")  # one whose order was cancelled has ended
    return Offered(now, lacking, seen_in(before), was_agreed=True)


async def price_cart(conn: Conn, user_id: UserId, cart: Cart) -> Offered:
    """At what it costs now, whatever the phone showed."""
    sold, currency = await sold_now(conn, user_id, cart.wanted)
    now, lacking = what_can_be(cart.wanted, sold, currency)
    return Offered(now, lacking, cart.seen)


def what_can_be(
    wanted: Sequence[Wanted], sold: Mapping[str, Sold], currency: str
) -> tuple[Quoted | None, list[Lacking]]:
    """And what cannot."""
    found = quoted(wanted, sold, currency)
    if isinstance(found, Quoted):
        return found, []
    lacking = {one.sku for one in found}
    left = [one for one in wanted if one.product_sku not in lacking]
    rest = quoted(left, sold, currency) if left else None
    return rest if isinstance(rest, Quoted) else None, found


async def keep(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    now: Quoted,
    *,
    begun_by: int,
    token: str,
) -> None:
    """In the turn's last transaction. `begun_by`: the input that began it, so that a turn which
    comes to be written twice quotes once."""
    await replace_quotes(conn, user_id, conversation_id)
    new = NewQuote(
        input_seq=begun_by,
        token=token,
        items=as_rows(now),
        total_amount=now.total,
        currency=now.currency,
        lives=LIVES,
    )
    await keep_quote(conn, user_id, conversation_id, new)


async def forget_old_quotes(pool: Pool) -> None:
    while True:
        async with pool.acquire() as conn:
            if await forget_quotes(conn, KEPT, FORGET_BATCH) < FORGET_BATCH:
                return
