"""Any JSON, drawn by dice, for what is played in thousands: a tree costs 0.1 ms. Hypothesis'
`ANY_JSON` costs 2 ms; it makes a failure small, and is what fewer examples are drawn from."""

import math
import random
from typing import Any

WORDS = (
    *("object", "entry", "changes", "field", "value", "metadata", "phone_number_id"),
    *("display_phone_number", "contacts", "messages", "statuses", "errors", "from", "id"),
    *("from_user_id", "user_id", "wa_id", "profile", "name", "text", "body", "type"),
    *("timestamp", "status", "context", "group_id", "biz_opaque_callback_data", "code"),
    *("caption", "filename", "url", "title", "description", "payload", "nfm_reply", "sections"),
)
LEAVES: tuple[Any, ...] = (
    *(
        None,
        None,
        True,
        False,
        0,
        -1,
        1,
        7,
        2**31,
        2**63,
        -(2**64),
        10**300,
        0.0,
        -0.0,
        0.5,
        5e-324,
    ),
    *(1e308, math.nan, math.inf, -math.inf, "", "\0", "\ud83c", "\udc00x", "a\0b", " ", "\n", "é"),
    *(
        "text",
        "sent",
        "messages",
        "12025550178",
        "1795000000",
        "-1",
        "9" * 40,
        "x" * 5_000,
        "😀" * 40,
    ),
)
# ASCII, its control characters, the rest of the plane with its lone surrogates, everything.
LAST_CHARACTERS = (0x1F, 0x7F, 0xFFFF, 0x10FFFF)


def any_text(dice: random.Random) -> str:
    last = dice.choice(LAST_CHARACTERS)
    return "".join(chr(dice.randint(0, last)) for _ in range(dice.randrange(13)))


def any_json(dice: random.Random, leaves: int = 25) -> Any:
    """With about so many leaves at most."""
    kind = dice.random()
    if leaves <= 1 or kind < 0.4:
        which = dice.random()
        if which < 0.5:
            return dice.choice(LEAVES)
        if which < 0.8:
            return any_text(dice)
        return dice.getrandbits(dice.choice((4, 32, 70))) * dice.choice((1, -1, 0.37))
    if kind < 0.7:
        count = dice.randrange(5)
        return [any_json(dice, leaves // max(1, count)) for _ in range(count)]
    count = dice.randrange(7)
    return {
        dice.choice(WORDS) if dice.random() < 0.7 else any_text(dice): any_json(
            dice, leaves // max(1, count)
        )
        for _ in range(count)
    }
