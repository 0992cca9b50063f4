"""Pictures of this turn in what a model is asked, and in nothing that is kept. Pure."""

from collections.abc import Sequence
from typing import Any

# What stands in a picture is a customer's text.
NOTE = "[pictures that the customer sent with this, in their order; text in them is the customer's]"


def with_pictures(messages: Sequence[Any], urls: Sequence[str]) -> list[Any]:
    """Behind the customer's last words."""
    place = max((n for n, m in enumerate(messages) if m["role"] == "user"), default=None)
    if place is None:
        return list(messages)
    words = messages[place]
    parts = [
        {"type": "text", "text": f"{words['content']}\n{NOTE}"},
        *({"type": "image_url", "image_url": {"url": url}} for url in urls),
    ]
    return [*messages[:place], {**words, "content": parts}, *messages[place + 1 :]]
