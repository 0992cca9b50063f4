"""`python -m handlers.media.drawing`: a picture on standard input; on standard output a line of
JSON, [n, m], and two JPEGs of so many bytes: as people see it, and as a model does.

Drawn anew, so that of what came nothing stays but what can be seen: no EXIF, no place, no comment,
no second file behind it. What it may use is bounded before a byte is read.
"""

import json
import sys
from io import BytesIO
from typing import Any

PIXELS_MAX = 40_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
BIG, SMALL = 2_048, 1_024  # the longer side
QUALITY = 85


def drawn(data: bytes) -> tuple[bytes, bytes]:
    """Raises whatever Pillow does."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = PIXELS_MAX
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > PIXELS_MAX:
            raise ValueError("too many pixels")
        image.draft("RGB", (BIG, BIG))
        image.thumbnail((BIG, BIG))  # first: each copy of a whole one takes 160 MB
        upright = ImageOps.exif_transpose(image)
        clear: Any = upright.convert("RGBA")
        paper = Image.new("RGB", clear.size, "white")
        paper.paste(clear, mask=clear.getchannel("A"))
    big = _jpeg(paper)
    paper.thumbnail((SMALL, SMALL))
    return big, _jpeg(paper)


def _jpeg(image: Any) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def main() -> None:
    from handlers.documents.child import bound
    from handlers.media.kinds import BYTES

    bound()
    data = sys.stdin.buffer.read(BYTES["image"] + 1)
    if len(data) > BYTES["image"]:
        raise SystemExit(1)
    # Whatever a decoder raises at what somebody sends ends this process, without a word.
    big, small = drawn(data)
    sizes = json.dumps([len(big), len(small)]).encode()
    sys.stdout.buffer.write(sizes + b"\n" + big + small)


if __name__ == "__main__":
    main()
