"""Signatures as https://www.standardwebhooks.com has them, looked at from the receiver's side."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator import fields
from simulator.fields import Unfit

TOLERANCE_S = 300  # what the published libraries take
PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`verified` is None where no secret is known. `fits`: the places of the secrets that fit."""

    verified: bool | None
    problem: str | None
    fits: tuple[int, ...] = ()


def key_of(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(PREFIX), validate=True)


def sign(key: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def judge(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: float) -> Verdict:
    """`headers` are looked up as they are: in lower case, or in a mapping that does not mind."""
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    if missing := [name for name in names if not headers.get(name)]:
        return Verdict(None if not keys else False, f"{', '.join(missing)}: missing")
    if not keys:
        return Verdict(None, None)
    webhook_id, timestamp, signatures = (headers[name] for name in names)
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return Verdict(False, "webhook-timestamp: not whole seconds")
    if abs(age := now - int(timestamp)) > TOLERANCE_S:
        return Verdict(False, f"webhook-timestamp: {age:.0f} s old, {TOLERANCE_S} are taken")
    # Bytes: compare_digest takes no text beyond ASCII, and a header may hold some.
    given = [signature.encode(errors="replace") for signature in signatures.split(" ")]
    fits = tuple(
        place
        for place, key in enumerate(keys)
        for expected in [sign(key, webhook_id, timestamp, body).encode()]
        if any(hmac.compare_digest(expected, signature) for signature in given)
    )
    return Verdict(bool(fits), None if fits else "webhook-signature: none fits", fits)


def read_keys(value: object) -> tuple[bytes, ...]:
    """From one `whsec_` secret or a list of them."""
    secrets = fields.texts([value] if isinstance(value, str) else value)
    try:
        keys = tuple(key_of(secret) for secret in secrets if secret.startswith(PREFIX))
    except binascii.Error:
        keys = ()
    if len(keys) != len(secrets) or not all(keys):
        raise Unfit(f"must be {PREFIX} and base64, or a list of such")
    return keys
