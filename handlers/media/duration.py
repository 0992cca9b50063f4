"""How long a recording is, as its container says. Pure; what is not believed is None."""

import struct
from decimal import Decimal

from handlers.media.hearing import seconds_of

OPUS_RATE = 48_000  # of its granules, whatever it was recorded with
TAIL_BYTES = 128 * 1024


def duration(data: bytes, content_type: str) -> Decimal | None:
    match content_type:
        case "audio/ogg":
            return _of_ogg(data)
        case "audio/mp4":
            return _of_mp4(data)
        case _:
            return None


def _of_ogg(data: bytes) -> Decimal | None:
    """The last page says where it ends."""
    at = data.rfind(b"OggS", max(0, len(data) - TAIL_BYTES))
    if at < 0 or len(data) < at + 14:
        return None
    (granule,) = struct.unpack_from("<q", data, at + 6)
    return seconds_of(granule / OPUS_RATE)


def _of_mp4(data: bytes) -> Decimal | None:
    at = data.find(b"mvhd")
    try:
        if at < 0 or data[at + 4] not in (0, 1):
            return None
        if data[at + 4] == 0:
            rate, length = struct.unpack_from(">II", data, at + 16)
        else:
            rate, length = struct.unpack_from(">IQ", data, at + 24)
    except (struct.error, IndexError):
        return None
    return seconds_of(length / rate) if rate else None
