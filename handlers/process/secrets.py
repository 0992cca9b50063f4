"""Credentials at rest: AES-256-GCM, stored as 'enc:v1:<key id>:<base64 of nonce + ciphertext>'.

What the value belongs to is authenticated with it, so a row copied onto another is refused.
"""

import base64
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PREFIX = "enc:v1:"
NONCE_BYTES = 12


class Undecryptable(Exception):
    """Encrypted with a key that is not in SECRETS_KEY, or not for this row, or damaged."""


class Vault:
    """The keys of SECRETS_KEY: the first encrypts, all decrypt, so a key can be replaced."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        derived = [
            HKDF(SHA256(), length=32, salt=None, info=b"swiftreplies secrets v1").derive(k.encode())
            for k in keys
        ]
        self._ciphers = {hashlib.sha256(key).hexdigest()[:8]: AESGCM(key) for key in derived}

    def is_current(self, stored: str) -> bool:
        """Encrypted with the first key."""
        return stored.startswith(f"{PREFIX}{next(iter(self._ciphers))}:")

    def encrypt(self, clear: str, belongs_to: str) -> str:
        key_id, cipher = next(iter(self._ciphers.items()))
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + cipher.encrypt(nonce, clear.encode(), belongs_to.encode())
        return f"{PREFIX}{key_id}:{base64.b64encode(sealed).decode()}"

    def decrypt(self, stored: str, belongs_to: str) -> str:
        key_id, _, encoded = stored.removeprefix(PREFIX).partition(":")
        cipher = self._ciphers.get(key_id)
        if cipher is None or not stored.startswith(PREFIX):
            raise Undecryptable(f"no key {key_id!r} in SECRETS_KEY (for {belongs_to})")
        try:
            sealed = base64.b64decode(encoded, validate=True)
            return cipher.decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], belongs_to.encode()
            ).decode()
        except (ValueError, InvalidTag) as error:
            raise Undecryptable(f"the stored value of {belongs_to} is damaged") from error


def webhook_secret_of(webhook_id: int) -> str:
    return f"webhooks.secret_token:{webhook_id}"


def tool_secret_of(tool_id: int) -> str:
    return f"tools.secret_token:{tool_id}"


def app_secret_of(app_id: int) -> str:
    """What an app's secret is encrypted for, the old one too."""
    return f"apps.app_secret:{app_id}"


def verify_token_of(app_id: int) -> str:
    return f"apps.verify_token:{app_id}"


def access_token_of(chatbot_id: int) -> str:
    """What a chatbot's access token is encrypted for."""
    return f"chatbots.access_token:{chatbot_id}"


def model_keys_of(chatbot_id: int) -> str:
    """What the keys of a chatbot's models are encrypted for."""
    return f"chatbots.model_keys:{chatbot_id}"
