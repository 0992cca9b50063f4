"""Kinds of media, how much there may be of each, and what a message brings. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

MIB: Final = 1024 * 1024
# Meta lets a customer send documents and videos of 100 MB; what is larger than this is not fetched.
BYTES: Final[Mapping[str, int]] = {
    "image": 5 * MIB,
    "sticker": 5 * MIB,
    "audio": 16 * MIB,
    "video": 16 * MIB,
    "document": 20 * MIB,
}
CONTACT_DAY = 20  # media of one customer that are fetched on a day of the tenant's
TENANT_DAY = 2_000  # of all of them
IDS_LIVE = timedelta(days=7)  # Meta forgets a medium's id then
ID_CHARS = 200
HASH_CHARS = 200


# What servers of transcription take, and by which ending of a name: their newer models refuse
# voice messages that are called .oga or .opus.
HEARD: Final = frozenset(
    ["audio/ogg", "audio/mp4", "audio/mpeg", "audio/wav", "audio/webm", "audio/flac"]
)


PDF: Final = "application/pdf"


def is_read(kind: str, content_type: str, *, hears: bool) -> bool:
    """Whether it becomes words. `hears`: there is a model for sound."""
    if kind == "document":
        return content_type == PDF
    return hears and kind == "audio" and content_type in HEARD


@dataclass(frozen=True, slots=True)
class Brought:
    kind: str
    handle: str  # Meta's id
    named_hash: str | None


def brought(kind: str, details: Mapping[str, Any]) -> Brought | None:
    """By a message of this type with these details. None: nothing that could be fetched."""
    media = details.get("media")
    if kind not in BYTES or not isinstance(media, dict):
        return None
    handle, named = media.get("id"), media.get("sha256")
    if not isinstance(handle, str) or not 0 < len(handle) <= ID_CHARS:
        return None
    is_hash = isinstance(named, str) and 0 < len(named) <= HASH_CHARS
    return Brought(kind, handle, named if is_hash else None)
