"""Posts as the product signs them, made by hand: what stands against the published vector."""

import base64
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from simulator.standard_webhooks import key_of, sign

# The vector that the published libraries hold themselves to.
VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
VECTOR_BODY = b'{"test": 2432232314}'


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True, slots=True)
class Post:
    body: bytes
    headers: dict[str, str]

    async def to(self, http: aiohttp.ClientSession, url: str) -> int:
        async with http.post(
            url, data=self.body, headers=self.headers, allow_redirects=False
        ) as answer:
            return answer.status


def event(webhook_id: str, *signing: str, type: str = "ping", age_s: int = 0, **data: Any) -> Post:
    """Signed with each of these secrets, as during a rotation."""
    body = json.dumps(
        {"type": type, "timestamp": "2026-11-29T12:00:00Z", "data": {"user_id": 1, **data}}
    ).encode()
    stamp = str(int(time.time()) - age_s)
    signatures = [sign(key_of(secret), webhook_id, stamp, body) for secret in signing]
    headers = {
        "Content-Type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(signatures),
    }
    return Post(body, headers)
