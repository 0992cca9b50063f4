"""Marks of erased people: HMACs, so that what comes again is known and nobody is read off. Pure.

A mark is made with the first key of SECRETS_KEY and looked for under all of them. It cannot be made
anew with another key, since nothing is kept that it could be made of: a key that is taken out takes
its marks along, and `erased_people.key_name` says which those are.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Literal, TypeAlias

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from db.ids import UserId
from handlers.rules.numbers import variants

Kind: TypeAlias = Literal["number", "bsuid"]


class Marker:
    """The keys of SECRETS_KEY. Without one nobody is known by a mark."""

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        self._keys = [
            HKDF(SHA256(), length=32, salt=None, info=b"swiftreplies erasure v1").derive(k.encode())
            for k in keys
        ]

    @property
    def key_names(self) -> list[str]:
        """The first makes marks."""
        return [hashlib.sha256(key).hexdigest()[:8] for key in self._keys]

    def mark(self, user_id: UserId, kind: Kind, value: str) -> bytes:
        return _mark(self._keys[0], user_id, kind, value)

    def marks(self, user_id: UserId, kind: Kind, value: str) -> list[bytes]:
        """By which an erased one may be known: under every key, and in every spelling."""
        spellings = (value, *variants(value)) if kind == "number" else (value,)
        return [_mark(key, user_id, kind, one) for key in self._keys for one in spellings]


UNMARKED = Marker()  # whoever is erased is known only while it is being done


def _mark(key: bytes, user_id: UserId, kind: Kind, value: str) -> bytes:
    return hmac.digest(key, f"{int(user_id)}:{kind}:{value}".encode(), "sha256")


def number_marks(numbers: Iterable[str | None]) -> list[bytes]:
    """Of a business's own number or phone_number_id: a digest without a key, so that a command
    which has none may take it back."""
    return [hashlib.sha256(f"business:{n or ''}".encode()).digest() for n in numbers]


def needles(numbers: Iterable[str], bsuids: Iterable[str]) -> list[str]:
    """How an identity stands in what Meta sent: as a whole JSON text, in each of its spellings."""
    spelt = [s for n in numbers for s in (n, *variants(n))]
    return [f'"{text}"' for n in spelt for text in (n, n.removeprefix("+"))] + [
        f'"{bsuid}"' for bsuid in bsuids
    ]
