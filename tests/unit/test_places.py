"""An MP4 is kept without where it was taken, and otherwise as it came."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.media.places import Walk

PLACE = b"+48.2082+016.3738/"
FTYP = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"isom", 512, b"isom", b"mp42")


def box(named: bytes, *inside: bytes) -> bytes:
    body = b"".join(inside)
    return struct.pack(">I4s", 8 + len(body), named) + body


def long_box(named: bytes, *inside: bytes) -> bytes:
    body = b"".join(inside)
    return struct.pack(">I4sQ", 1, named, 16 + len(body)) + body


XYZ = box(b"udta", box(b"\xa9xyz", struct.pack(">HH", len(PLACE), 0x15C7), PLACE), bytes(4))
LOCI = box(b"udta", box(b"loci", bytes(6), b"Vienna\0", bytes(13), PLACE))
APPLE = box(
    b"meta",
    box(b"keys", bytes(8), box(b"mdta", b"com.apple.quicktime.location.ISO6709")),
    box(b"ilst", box(struct.pack(">I", 1), box(b"data", bytes(8), PLACE))),
)
XMP = box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), b"<x:xmpmeta>", PLACE)
SOUND = box(b"mdat", bytes(range(256)) * 40, b"udta", PLACE[:4])
TRACK = box(b"trak", box(b"tkhd", bytes(84)), LOCI, box(b"mdia", box(b"mdhd", bytes(24)), XMP))
MOOV = (box(b"mvhd", bytes(100)), TRACK, XYZ, APPLE)
FILES = {
    "in front": FTYP + box(b"moov", *MOOV) + SOUND,
    "behind": FTYP + SOUND + box(b"moov", *MOOV),
    "beside": FTYP + XMP + SOUND + APPLE + box(b"moov", *MOOV),
    "long": FTYP
    + long_box(b"mdat", b"x" * 999)
    + long_box(b"moov", *MOOV)
    + long_box(b"uuid", PLACE),
    "to the end": FTYP + SOUND + struct.pack(">I4s", 0, b"moov") + b"".join(MOOV),
    "in parts": FTYP + box(b"moof", box(b"traf", XYZ)) + SOUND,
}


def walked(data: bytes, size: int) -> bytes:
    walk = Walk()
    done = [walk.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join([*done, walk.end()])


@pytest.mark.parametrize("size", [1, 7, 8, 100, 65_536])
@pytest.mark.parametrize("where", FILES)
def test_a_place_is_blanked_wherever_it_stands(where: str, size: int) -> None:
    data = FILES[where]
    kept = walked(data, size)
    assert len(kept) == len(data)
    for told in (PLACE, b"Vienna", b"location", b"xmpmeta", b"\xa9xyz", b"loci"):
        assert told not in kept
    assert kept.startswith(FTYP)
    for same in (SOUND, box(b"tkhd", bytes(84)), box(b"mvhd", bytes(100))):
        assert (same in kept) is (same in data)
        assert kept.find(same) == data.find(same), "nothing moved"
    assert walked(kept, size) == kept


def test_without_any_it_is_as_it_came() -> None:
    data = FTYP + box(b"moov", box(b"mvhd", bytes(100))) + SOUND
    assert walked(data, 1_000) == data


@given(st.binary(max_size=400), st.integers(1, 60))
def test_what_is_no_box_stays_as_it_is(data: bytes, size: int) -> None:
    """And never raises, grows, or depends on how it came."""
    kept = walked(data, size)
    assert len(kept) == len(data)
    assert kept == walked(data, len(data) or 1)


@given(st.data())
def test_damage_changes_no_length(draw: st.DataObject) -> None:
    whole = FILES["behind"]
    at = draw.draw(st.integers(0, len(whole) - 1))
    data = whole[:at] + draw.draw(st.binary(min_size=1, max_size=8)) + whole[at + 1 :]
    cut = data[: draw.draw(st.integers(0, len(data)))]
    assert len(walked(cut, 64)) == len(cut)
