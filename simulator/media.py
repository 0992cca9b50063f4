"""Media as Meta keeps them: an id, an address that is good for minutes, and what may go wrong."""

import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Self

from simulator import fields
from simulator.fields import Fields, Unfit
from simulator.journal import remember
from simulator.samples import sample, voice

MEDIA_MAX = 2_000
URL_S = 300  # Meta's
FILLER_MAX = 256 * 1024 * 1024
PIECE = bytes(64 * 1024)


@dataclass(slots=True)
class Medium:
    data: bytes
    mime_type: str
    url_s: float = URL_S
    expired: int = 0  # so many addresses have expired when they are asked
    truncated: bool = False  # half of it comes, then the connection ends
    hang_ms: int = 0  # in the middle of it
    wrong_hash: bool = False
    base64_hash: bool = False  # in base64, as Meta has it here and there
    gone: bool = False  # its id is too old
    status: int = 200  # of the file
    url: str | None = None  # another than ours
    redirect: str | None = None
    filler: int = 0  # zeros that come behind it
    size: int | None = None  # that is told
    says: str | None = None  # what a transcription hears in it
    id: str = field(default_factory=lambda: str(secrets.randbelow(10**16) + 10**15))

    @classmethod
    def read(cls, value: object) -> Self:
        given = Fields("media", value)
        kind = given.take("sample", fields.filled, None)
        data, mime = sample(kind) if kind is not None else (b"", "application/octet-stream")
        medium = cls(
            data=given.take("data", _bytes, data),
            mime_type=given.take("mime_type", fields.filled, mime),
            url_s=given.take("url_s", fields.whole, URL_S),
            expired=given.take("expired", fields.whole, 0),
            truncated=given.take("truncated", fields.flag, False),
            hang_ms=given.take("hang_ms", fields.milliseconds, 0),
            wrong_hash=given.take("wrong_hash", fields.flag, False),
            base64_hash=given.take("base64_hash", fields.flag, False),
            gone=given.take("gone", fields.flag, False),
            status=given.take("status", fields.http_status, 200),
            url=given.take("url", fields.filled, None),
            redirect=given.take("redirect", fields.filled, None),
            filler=given.take("filler", _filler, 0),
            size=given.take("size", fields.whole, None),
            says=given.take("says", fields.text, None),
        )
        given.done()
        if kind == "audio" and medium.says and not given.has("data"):
            medium.data = voice(mark=medium.says)  # another file for other words
        return medium

    @property
    def sha256(self) -> str:
        """In hex."""
        seen = hashlib.sha256(b"another file" if self.wrong_hash else self.data)
        for _ in range(self.filler // len(PIECE)):
            seen.update(PIECE)
        return seen.hexdigest()

    @property
    def told_hash(self) -> str:
        """As the webhook has it."""
        return base64.b64encode(bytes.fromhex(self.sha256)).decode()


class Media:
    """By their ids."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Medium] = OrderedDict()
        self.said: OrderedDict[str, str] = OrderedDict()  # by SHA-256

    def keep(self, medium: Medium) -> Medium:
        remember(self._known, medium.id, medium, MEDIA_MAX)
        if medium.says is not None:
            remember(self.said, hashlib.sha256(medium.data).hexdigest(), medium.says, MEDIA_MAX)
        return medium

    def find(self, media_id: str) -> Medium | None:
        return self._known.get(media_id)

    def clear(self) -> None:
        self._known.clear()
        self.said.clear()


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(fields.text(value), validate=True)
    except (binascii.Error, ValueError):
        raise Unfit("must be base64") from None


def _filler(value: object) -> int:
    if not 0 <= (number := fields.whole(value)) <= FILLER_MAX or number % len(PIECE):
        raise Unfit(f"must be a multiple of {len(PIECE)}, at most {FILLER_MAX}")
    return number
