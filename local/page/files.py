"""Files of a chat: what they are by their bytes, samples that code makes, and how the browser gets
what somebody sent, so that nothing of it is run."""

import functools
import hashlib
import math
import struct
import zlib
from dataclasses import dataclass

from aiohttp import web

from local.page.phone import PHONE
from simulator.samples import pdf

FILE_MAX = 5 * 1024 * 1024  # as of a picture at Meta
BODY_MAX = FILE_MAX * 4 // 3 + 64 * 1024  # in base64, with what stands around it
UNKNOWN = "application/octet-stream"
_KNOWN = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"OggS", "audio/ogg"),
    (0, b"\x1a\x45\xdf\xa3", "audio/webm"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypiso5", "audio/mp4"),  # as Safari records
    (0, b"ID3", "audio/mpeg"),
    (0, b"%PDF-", "application/pdf"),
)
SHOWN = ("image/", "audio/")  # in the page; all else is saved, and never opened by the browser
RATE = 8_000
NOTE_S, NOTES = 0.18, 10
WIDTH, HEIGHT = 360, 240


@dataclass(frozen=True, slots=True)
class File:
    name: str
    mime: str
    data: bytes


def sniffed(data: bytes) -> str:
    """By its bytes: a name and a type that somebody gave are only words."""
    for at, mark, mime in _KNOWN:
        if data[at : at + len(mark)] == mark:
            return mime
    return UNKNOWN


async def show_medium(request: web.Request) -> web.Response:
    data = await request.app[PHONE].simulator.medium(request.match_info["medium"])
    if data is None:
        raise web.HTTPNotFound(text="no such file")
    mime = sniffed(data)
    inside = mime.startswith(SHOWN)
    headers = {
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": "inline" if inside else "attachment",
        "Cache-Control": "private, max-age=3600, immutable",
    }
    return web.Response(body=data, content_type=mime, headers=headers)


# ---- made by code --------------------------------------------------------------------------------


def tune(says: str) -> File:
    """A voice message without a voice: a tune for these words, of which there is no other."""
    pitches = hashlib.sha256(says.encode()).digest()[:NOTES]
    samples = bytearray()
    for n in range(int(RATE * NOTE_S * NOTES)):
        note, t = int(n / RATE / NOTE_S), n / RATE
        loud = math.sin(math.pi * ((t / NOTE_S) % 1.0)) * 60
        hertz = 220.0 * 2 ** ((pitches[note] % 24) / 12)
        samples.append(128 + round(loud * math.sin(2 * math.pi * hertz * t)))
    samples += pitches  # quieter than anybody hears; equal notes may be of other words
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, RATE, 1, 8)
    body = form + struct.pack("<4sI", b"data", len(samples)) + bytes(samples)
    return File(
        "voice.wav", "audio/wav", struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WAVE") + body
    )


@functools.cache
def picture() -> File:
    """A lemon cake."""
    rows = b"".join(b"\0" + b"".join(_pixel(x, y) for x in range(WIDTH)) for y in range(HEIGHT))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return File("cake.png", "image/png", b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*p) for p in parts))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pixel(x: int, y: int) -> bytes:
    def within(cx: int, cy: int, rx: int, ry: int) -> bool:
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1

    middle = WIDTH // 2
    if within(middle, 66, 16, 22) and y < 84:
        return bytes((247, 214, 70))  # a lemon on top
    if within(middle, 92, 108, 26):
        return bytes((253, 240, 196))
    if (abs(x - middle) <= 108 and 92 <= y <= 168) or within(middle, 168, 108, 26):
        drips = 112 + 14 * math.sin(x / 9.0)
        return bytes((253, 240, 196)) if y < drips else bytes((226, 172 - (y // 20 % 2) * 26, 92))
    if within(middle, 186, 150, 34):
        return bytes((244, 246, 248))  # a plate
    shade = y * 40 // HEIGHT
    return bytes((150 - shade, 190 - shade, 186 - shade))


@functools.cache
def menu() -> File:
    return File("menu.pdf", "application/pdf", pdf("Lemon Street Bakery: our cakes of this week"))
