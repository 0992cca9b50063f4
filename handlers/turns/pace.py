"""Two bots that answer each other, told by their pace. Pure.

Not by what they say: bots put times and counters into their texts. A person who answers at once
does not do so eight times in a row.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from db.messages import TurnMessage

LOOP = "loop"  # the reason
QUICK = timedelta(seconds=3)  # after our message
# WhatsApp tells the second that a message was written in, without its fraction, by another clock.
EARLY = timedelta(seconds=1)
IN_A_ROW = 8
TURNS_MAX = 30  # in 10 minutes: db/conversations.sql, read_turn
SILENCE = timedelta(hours=1)
_LEFT = frozenset({"accepted", "sent", "delivered", "read", "played"})


def goes_in_circles(
    rows: Sequence[TurnMessage], turns_lately: int, stopped_at: datetime | None
) -> bool:
    """`rows`: what was said, unanswered inputs among them; what was said until a loop was stopped
    counts no more."""
    return turns_lately >= TURNS_MAX or quick_in_a_row(rows, stopped_at) >= IN_A_ROW


def quick_in_a_row(rows: Sequence[TurnMessage], since: datetime | None) -> int:
    """Of the customer's messages, those up to the last one that each were the first to come after a
    message of the bot's, and came at once."""
    count, ours = 0, None
    for row in sorted(rows, key=lambda row: row.id):
        if since is not None and row.created_at <= since:
            continue
        if row.direction == "outbound":
            if row.is_from_human:
                count, ours = 0, None
            elif row.status in _LEFT:
                ours = row
        elif ours is not None:
            count = count + 1 if -EARLY <= row.sent_at - ours.sent_at <= QUICK else 0
            ours = None
    return count
