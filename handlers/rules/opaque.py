"""Inputs that no model can read. Pure."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

MEDIA = "media"  # messages.metadata.reason
LATER = "media_later"  # there, too: it may still be heard
NOTICE_EVERY = timedelta(hours=24)  # a conversation is told at most once in it


def why_unanswered(inputs: Sequence[Mapping[str, Any]]) -> str | None:
    """By the inputs' metadata: a word for messages.metadata.reason, or None when there is something
    to answer. 'media' is for a notice, 'revoked' for silence."""
    left = [m for m in inputs if "revoked" not in m]
    if inputs and not left:
        return "revoked"
    return MEDIA if left and all(m.get("opaque") for m in left) else None
