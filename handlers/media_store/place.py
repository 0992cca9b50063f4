"""What MEDIA_STORE=s3://bucket/prefix?endpoint=...&region=... names. Pure."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

KEY_ID, SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
REGION: Final = "us-east-1"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_REGION = re.compile(r"[a-z0-9-]{1,40}")


class BadPlace(ValueError):
    """What is wrong with it, and none of its values: people put secrets there."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What calls are signed with."""

    key_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    bucket: str
    prefix: str  # with its slash; or nothing
    endpoint: str
    region: str

    def __str__(self) -> str:
        return f"bucket {self.bucket} at {self.endpoint}"


def is_bucket(url: str) -> bool:
    return url.partition(":")[0] == "s3"


def place_of(url: str) -> Place:
    """Raises BadPlace."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.username is not None or parts.password is not None or set(options) - _OPTIONS:
        raise BadPlace(
            "has more in it than s3://bucket/prefix?endpoint=https://...&region=...: credentials"
            f" belong in {KEY_ID} and {SECRET}, never in the URL"
        )
    if not _BUCKET.fullmatch(parts.netloc):
        raise BadPlace(
            "names no bucket: s3://bucket/prefix, of 3 to 63 small letters, digits, dots, hyphens"
        )
    prefix = parts.path.strip("/")
    if parts.fragment or (prefix and not _PREFIX.fullmatch(prefix)):
        raise BadPlace(
            "has a prefix with more in it than letters, digits, dots, hyphens, underscores and"
            " single slashes"
        )
    region = options.get("region", REGION)
    if not _REGION.fullmatch(region):
        raise BadPlace("has a region that is none, like eu-central-1")
    endpoint = options.get("endpoint", f"https://s3.{region}.amazonaws.com")
    return Place(parts.netloc, prefix and f"{prefix}/", _endpoint(endpoint), region)


_OPTIONS: Final = frozenset(["endpoint", "region"])


def _endpoint(url: str) -> str:
    problem = "has an endpoint that is not like https://s3.example.com, or http://minio:9000"
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises on a port that is no number
    except ValueError:
        raise BadPlace(problem) from None
    if parts.username is not None or parts.password is not None:
        raise BadPlace(
            f"has credentials in its endpoint: they belong in {KEY_ID} and {SECRET}, never in the"
            " URL"
        )
    more = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in ("https", "http") or not parts.hostname or more:
        raise BadPlace(problem)
    return f"{parts.scheme}://{parts.netloc}"
