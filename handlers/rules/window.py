"""What time has passed by since a customer wrote. Pure.

By WhatsApp's own timestamp, never by when a webhook came: Meta repeats webhooks for up to 7 days
after an outage, and an old message opens nothing and wants no answer any more.
"""

from datetime import timedelta

# Free text is only taken within 24 hours of the customer's last message.
WINDOW = timedelta(hours=24)
# A call may take a minute with its repeats, and Meta's clock is not ours.
WINDOW_MARGIN = timedelta(minutes=5)

# An answer to a question of last night still helps in the morning; later than that, people have
# asked elsewhere, and a bot that answers a backlog of days looks broken. Well within the window, so
# that what is answered can also be sent.
STALE_AFTER = timedelta(hours=12)


def is_open(since_inbound: timedelta | None) -> bool:
    """None: the customer never wrote."""
    return since_inbound is not None and since_inbound < WINDOW - WINDOW_MARGIN


def is_stale(age: timedelta) -> bool:
    return age > STALE_AFTER
