"""Signatures of Standard Webhooks: what is signed is the id, the moment and the exact body. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
import os
from collections.abc import Sequence

PREFIX = "whsec_"
KEY_BYTES = 32


def new_secret() -> str:
    return PREFIX + base64.b64encode(os.urandom(KEY_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that sign. Raises ValueError."""
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("not a secret of Standard Webhooks") from error


def event_name(event_id: int) -> str:
    """As the outside knows it: the webhook-id, the same with every attempt and replay."""
    return f"evt_{event_id}"


def headers(keys: Sequence[bytes], name: str, timestamp: int, body: bytes) -> dict[str, str]:
    """`timestamp`: of the attempt, in seconds. A signature for each key, the newest first."""
    signed = b"%s.%d.%s" % (name.encode(), timestamp, body)
    signatures = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
    return {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
