"""What may be sent as a file: which forms WhatsApp takes, how much of each, and how a message that
brings one reads. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

from handlers.media.kinds import BYTES, MIB
from handlers.rules.cutting import head, units
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.notes import MEDIA, customers, part

# By its bytes. A picture is drawn anew, and so is a JPEG whatever it came as.
KIND_OF: Final[Mapping[str, str]] = {
    "image/jpeg": "image",
    "image/png": "image",
    "image/webp": "image",
    "image/gif": "image",
    "audio/aac": "audio",
    "audio/amr": "audio",
    "audio/mp4": "audio",
    "audio/mpeg": "audio",
    "audio/ogg": "audio",
    "video/mp4": "video",
    "video/3gpp": "video",
    "application/pdf": "document",
}
KINDS: Final = ("image", "video", "audio", "document")
FORMS: Final = (
    "a picture (JPEG, PNG, WebP, GIF), sound (AAC, AMR, MP3, M4A, Ogg), a video (MP4, 3GP) or a PDF"
)
FILE_BYTES: Final = max(BYTES[kind] for kind in KINDS)
CAPTION_UNITS = 1_024  # Meta's
WITHOUT_CAPTION: Final = frozenset(["audio"])
NAME_UNITS, TITLE_CHARS = 120, 100
TENANT_FILES, TENANT_BYTES = 500, 1024 * MIB  # that a tenant has at once
TENANT_GIVES = 500  # of a tenant on a day of theirs

_NOT_IN_NAMES = re.compile(
    r'[\\/:*?"<>|\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]+'
)
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")


def name_of(given: str | None, ending: str) -> str | None:
    """Of a file, as its customer is to see it: no path, nothing that turns its letters around, and
    the ending that its bytes have. None: it has none."""
    said = " ".join(_NOT_IN_NAMES.sub(" ", storable(given or "")).split()).strip(". ")
    stem = _ENDING.sub("", said)
    return f"{head(stem, NAME_UNITS)}.{ending}" if stem else None


def caption_mistake(kind: str, caption: str | None) -> str | None:
    if caption is None:
        return None
    if kind in WITHOUT_CAPTION:
        return "WhatsApp shows none under sound: send it as a message of its own"
    if units(caption) > CAPTION_UNITS:
        return f"longer than the {CAPTION_UNITS} UTF-16 units that WhatsApp shows under a file"
    return None


def media_metadata(
    media_id: int, kind: str, name: str | None, caption: str | None
) -> dict[str, Any]:
    """What messages.metadata keeps of what a message brings."""
    more = {"name": name, "caption": caption}
    return {"media": {"id": media_id, "kind": kind} | {k: v for k, v in more.items() if v}}


def readable(kind: str, name: str | None, caption: str | None) -> str:
    """The message's text, to be read: as that of what a customer sends."""
    named = f' "{part(name)}"' if name and kind == "document" else ""
    said = f"[{MEDIA[kind]}{named}]"
    return f"{said} {customers(caption)}" if caption else said
