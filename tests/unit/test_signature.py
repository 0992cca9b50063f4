"""X-Hub-Signature-256."""

import pytest

from handlers.whatsapp.cloud_api.signature import is_signed, sign

SECRET = "test_app_secret"
BODY = b'{"object":"whatsapp_business_account","entry":[]}'
HEADER = "sha256=dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756"


def test_known_answers() -> None:
    assert sign(BODY, SECRET) == HEADER
    spaced = b'{"object": "whatsapp_business_account", "entry": []}'
    assert sign(spaced, SECRET) == (
        "sha256=56cbbaf4961c6cfdae48b7f116c047e5eb513d2c931baae63a2bc1afd26f803a"
    )
    assert sign(b"", SECRET) != sign(b"", "other")


def test_either_secret_is_good_while_it_is_rotated() -> None:
    assert is_signed(BODY, HEADER, [SECRET])
    assert is_signed(BODY, HEADER, ["new", SECRET])
    assert is_signed(BODY, HEADER, [SECRET, "new"])
    assert is_signed(BODY, HEADER, [SECRET, SECRET])
    assert not is_signed(BODY, HEADER, ["new", "newer"])
    assert not is_signed(BODY, HEADER, [])


def test_the_raw_bytes_are_what_counts() -> None:
    assert not is_signed(BODY + b"\n", HEADER, [SECRET])
    assert not is_signed(b'{"entry":[],"object":"whatsapp_business_account"}', HEADER, [SECRET])
    raw = b"\xff\x00 not text"
    assert is_signed(raw, sign(raw, SECRET), [SECRET])


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "sha256=",
        HEADER.upper(),
        HEADER.replace("sha256=", "SHA256="),
        "sha256=" + HEADER[7:].upper(),
        HEADER[:-1],
        HEADER + "0",
        HEADER + "\n",
        " " + HEADER,
        HEADER.replace("sha256=", "sha1="),
        HEADER.removeprefix("sha256="),
        f"{HEADER},{HEADER}",
        HEADER[:-1] + "\u0663",  # a digit, but no ASCII one
        HEADER[:-1] + "\udcff",
        "sha256=" + "0" * 64,
    ],
)
def test_any_other_header_is_refused(header: str | None) -> None:
    assert not is_signed(BODY, header, [SECRET])
