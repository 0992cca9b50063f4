"""What a file is by its bytes, whatever it is called. Pure.

A name or a type that somebody gave is a note; a voice message that is an MP4 called .ogg is read as
an MP4. What is not known here is a file that is kept and never opened.
"""

from collections.abc import Callable
from typing import Final

HEAD_BYTES = 64  # what is looked at
UNKNOWN = "application/octet-stream"
_ENDINGS: Final = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "audio/ogg": "ogg",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/amr": "amr",
    "audio/aac": "aac",
    "audio/wav": "wav",
    "audio/webm": "webm",
    "audio/flac": "flac",
    "video/mp4": "mp4",
    "video/3gpp": "3gp",
    "application/pdf": "pdf",
    "application/zip": "zip",
}
TYPES: Final = (*_ENDINGS, UNKNOWN)
# Containers that hold sound, pictures or both: which it is, the kind of the message says.
_MP4 = ("audio/mp4", "video/mp4")
_SOUND = ("M4A ", "M4B ")
_3GP = ("3gp", "3g2")


def content_type(head: bytes, kind: str) -> str:
    """Of a file that begins so and came as this kind of medium."""
    found = next((named for fits, named in _BEGINNINGS if fits(head)), None)
    if found is not None:
        return found
    if head[4:8] == b"ftyp":
        return _of_mp4(head[8:12].decode("latin-1"), kind)
    return UNKNOWN


def _of_mp4(brand: str, kind: str) -> str:
    if brand in _SOUND or kind == "audio":
        return "audio/mp4"
    return "video/3gpp" if brand.startswith(_3GP) else "video/mp4"


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(starts)


def _riff(form: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[:4] == b"RIFF" and head[8:12] == form


def _is_mp3(head: bytes) -> bool:
    # A frame of MPEG audio, layer III; an ADTS frame of AAC has no layer.
    return head[:3] == b"ID3" or (
        len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 == 0x02
    )


def _is_aac(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0


_BEGINNINGS: Final[tuple[tuple[Callable[[bytes], bool], str], ...]] = (
    (_begins(b"\xff\xd8\xff"), "image/jpeg"),
    (_begins(b"\x89PNG\r\n\x1a\n"), "image/png"),
    (_begins(b"GIF87a", b"GIF89a"), "image/gif"),
    (_riff(b"WEBP"), "image/webp"),
    (_riff(b"WAVE"), "audio/wav"),
    (_begins(b"OggS"), "audio/ogg"),
    (_begins(b"fLaC"), "audio/flac"),
    (_begins(b"#!AMR"), "audio/amr"),
    (_begins(b"\x1a\x45\xdf\xa3"), "audio/webm"),
    (_begins(b"%PDF-"), "application/pdf"),
    (_begins(b"PK\x03\x04", b"PK\x05\x06"), "application/zip"),
    (_is_mp3, "audio/mpeg"),
    (_is_aac, "audio/aac"),
)


def fits(content_type: str, kind: str) -> bool:
    """Whether a medium of this kind may be one. A document may be anything."""
    match kind:
        case "document":
            return True
        case "image" | "sticker":
            return content_type.startswith("image/")
        case _:
            return content_type.startswith(f"{kind}/")


def ending(content_type: str) -> str:
    """Of a file's name."""
    return _ENDINGS.get(content_type, "bin")
