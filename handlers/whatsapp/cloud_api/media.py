"""What the Graph API says of a medium, and where one may be fetched from. Pure."""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# Meta's, and no other host gets the token.
HOSTS = ("facebook.com", "fbsbx.com", "whatsapp.net")
_HEX = re.compile(r"[0-9a-fA-F]{64}")


class NotDescribed(Exception):
    """In a word of handlers/media/rules.py."""


@dataclass(frozen=True, slots=True)
class Described:
    url: str
    sha256: bytes | None
    bytes: int | None  # as Meta says


def described(status: int, raw: bytes) -> Described:
    """Raises NotDescribed."""
    try:
        answer: Any = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict) or status != 200:
        raise NotDescribed(_problem(status, error.get("code") if isinstance(error, dict) else None))
    if not isinstance(answer, dict) or not isinstance(url := answer.get("url"), str):
        raise NotDescribed("unreadable")
    named, size = answer.get("sha256"), str(answer.get("file_size", ""))
    return Described(
        url=url,
        sha256=digest(named) if isinstance(named, str) else None,
        bytes=int(size) if size.isascii() and size.isdigit() and len(size) <= 15 else None,
    )


def _problem(status: int, code: object) -> str:
    if code in (100, 33) or status == 404:
        return "gone"
    return "token" if code == 190 or status in (401, 403) else f"http_{status}"


def digest(named: str) -> bytes | None:
    """SHA-256 in hex or in base64: Meta writes both. None: it is neither, and says nothing."""
    if _HEX.fullmatch(named):
        return bytes.fromhex(named)
    try:
        found = base64.b64decode(named, validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == 32 else None


def may_be_fetched(url: str, graph_url: str) -> bool:
    """Whether it leads to Meta, or to where the Graph API is."""
    try:
        parts, graph = urlsplit(url), urlsplit(graph_url)
        here = (parts.scheme, parts.hostname, parts.port)
        there = (graph.scheme, graph.hostname, graph.port)
    except ValueError:
        return False
    if parts.username is not None or parts.password is not None or not parts.hostname:
        return False
    if any(c.isspace() or c == "\\" for c in url):
        return False
    if here == there:
        return True
    host = parts.hostname
    is_metas = any(host == one or host.endswith(f".{one}") for one in HOSTS)
    return is_metas and parts.scheme == "https" and parts.port in (None, 443)
