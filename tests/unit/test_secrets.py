"""Credentials at rest."""

import base64

import pytest

from handlers.process.secrets import PREFIX, Undecryptable, Vault, access_token_of

KEY = "a key of sixteen characters or more"
OTHER = "another key, as good as the first one"
ROW = access_token_of(7)


def test_there_and_back() -> None:
    for clear in ("EAAG-token", "", "\u00e9\U0001f34b", "x" * 10_000):
        stored = Vault((KEY,)).encrypt(clear, ROW)
        assert stored.startswith(PREFIX)
        assert Vault((KEY,)).decrypt(stored, ROW) == clear
        assert not clear or clear not in stored


def test_the_same_value_never_looks_the_same() -> None:
    vault = Vault((KEY,))
    assert len({vault.encrypt("token", ROW) for _ in range(50)}) == 50


def test_a_value_belongs_to_its_row() -> None:
    stored = Vault((KEY,)).encrypt("token", ROW)
    with pytest.raises(Undecryptable, match="damaged"):
        Vault((KEY,)).decrypt(stored, access_token_of(8))


def test_another_key_does_not_open_it() -> None:
    stored = Vault((KEY,)).encrypt("token", ROW)
    with pytest.raises(Undecryptable, match="no key"):
        Vault((OTHER,)).decrypt(stored, ROW)


def test_a_key_can_be_replaced() -> None:
    before = Vault((KEY,)).encrypt("token", ROW)
    both = Vault((OTHER, KEY))
    assert both.decrypt(before, ROW) == "token"
    after = both.encrypt("token", ROW)
    assert Vault((OTHER,)).decrypt(after, ROW) == "token"
    with pytest.raises(Undecryptable):
        Vault((KEY,)).decrypt(after, ROW)


def test_every_byte_is_sealed() -> None:
    vault = Vault((KEY,))
    head, _, encoded = vault.encrypt("token", ROW).rpartition(":")
    sealed = base64.b64decode(encoded)
    for place in range(len(sealed)):
        spoilt = bytearray(sealed)
        spoilt[place] ^= 1
        with pytest.raises(Undecryptable):
            vault.decrypt(f"{head}:{base64.b64encode(spoilt).decode()}", ROW)
    for length in range(len(sealed)):
        with pytest.raises(Undecryptable):
            vault.decrypt(f"{head}:{base64.b64encode(sealed[:length]).decode()}", ROW)


@pytest.mark.parametrize(
    "stored", ["", "token", PREFIX, PREFIX + "::", "enc:v2:12345678:AAAA", PREFIX + "12345678:AAAA"]
)
def test_what_was_never_encrypted_is_refused(stored: str) -> None:
    with pytest.raises(Undecryptable):
        Vault((KEY,)).decrypt(stored, ROW)


def test_what_is_not_base64_is_refused() -> None:
    vault = Vault((KEY,))
    head, _, encoded = vault.encrypt("token", ROW).rpartition(":")
    for spoilt in ("", "!", encoded[:-1], "\u00e9" + encoded):
        with pytest.raises(Undecryptable):
            vault.decrypt(f"{head}:{spoilt}", ROW)


def test_errors_tell_nothing_of_the_value() -> None:
    stored = Vault((KEY,)).encrypt("token", ROW)
    with pytest.raises(Undecryptable) as caught:
        Vault((OTHER,)).decrypt(stored, ROW)
    assert stored.rpartition(":")[2] not in str(caught.value)
    assert KEY not in str(caught.value)
