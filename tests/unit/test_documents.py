"""Documents become passages, and what is no document is refused: by the readers themselves, and by
the process that they run in."""

import time
import zipfile
from collections.abc import AsyncIterator
from io import BytesIO

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from handlers.documents import docx, html, pdf
from handlers.documents.blocks import FILE_BYTES, PAGES, TEXT_CHARS, Block, Refused, bounded
from handlers.documents.passages import PASSAGE_CHARS, PASSAGES_MAX, passages
from handlers.documents.reading import _rows, passages_of

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def packed(xml: str, name: str = "word/document.xml") -> bytes:
    data = BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(name, xml)
    return data.getvalue()


def word(*paragraphs: str) -> bytes:
    return packed(f'<w:document xmlns:w="{W}"><w:body>{"".join(paragraphs)}</w:body></w:document>')


def p(text: str, style: str | None = None) -> str:
    of = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{of}<w:r><w:t>{text}</w:t></w:r></w:p>"


def written(*pages: str) -> bytes:
    """A PDF."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(width=600, height=800)
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
        stream.set_data(f"BT /F1 12 Tf 50 750 Td {lines} ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
    data = BytesIO()
    writer.write(data)
    return data.getvalue()


def told(blocks: "list[Block]") -> list[tuple[str, str]]:
    return [(one.question, one.answer) for one in passages(blocks)]


# ---- passages ------------------------------------------------------------------------------------


def test_a_passage_stands_under_its_headings() -> None:
    blocks = [
        Block("Intro text."),
        Block("Shipping", 1),
        Block("Abroad", 2),
        Block("Ten  days.\n"),
        Block("Costs", 2),
        Block("5 EUR."),
        Block("Returns", 1),
        Block("30 days."),
        Block("Empty", 1),
    ]
    assert told(blocks) == [
        ("Intro text.", "Intro text."),
        ("Shipping \u203a Abroad", "Ten days."),
        ("Shipping \u203a Costs", "5 EUR."),
        ("Returns", "30 days."),
    ]


def test_no_text_is_lost_and_no_passage_is_long() -> None:
    sentence = "This is a sentence about cake number {}. "
    text = "".join(sentence.format(n) for n in range(200))
    found = told([Block("Cakes", 1), Block(text), Block("x" * 4_000)])
    assert max(len(answer) for _, answer in found) <= PASSAGE_CHARS + 1
    assert "".join(a for _, a in found).replace(" ", "").replace("\n", "") == (
        text.replace(" ", "") + "x" * 4_000
    )
    questions = [question for question, _ in found]
    assert questions[:2] == ["Cakes", "Cakes (2)"]
    assert len(set(questions)) == len(questions)


def test_there_is_an_end_of_it() -> None:
    many = (Block(text) for n in range(PASSAGES_MAX) for text in (f"{n} " + "y" * 1_400,) * 2)
    assert len(list(passages(many))) == PASSAGES_MAX
    with pytest.raises(Refused, match="characters"):
        list(bounded(iter([Block("x" * TEXT_CHARS), Block("y")])))


# ---- DOCX ----------------------------------------------------------------------------------------


def test_a_docx() -> None:
    data = word(
        p("Hours", "Heading1"),
        "<w:p><w:r><w:t>From 7 </w:t></w:r><w:r><w:tab/><w:t>to 18 &amp; more.</w:t></w:r></w:p>",
        f"<w:p><w:del><w:r><w:t>gone</w:t></w:r></w:del></w:p>{p('Titel', 'berschrift2')}",
        "<w:tbl><w:tr><w:tc>" + p("A") + "</w:tc><w:tc>" + p("B") + "</w:tc></w:tr></w:tbl>",
    )
    assert [(b.text.strip(), b.level) for b in docx.blocks(data)] == [
        ("Hours", 1),
        ("From 7  to 18 & more.", 0),
        ("Titel", 2),
        ("A", 0),
        ("B", 0),
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no DOCX"),
        (b"PK\x03\x04" + b"x" * 100, "no DOCX"),
        (packed("<x/>", "xl/workbook.xml"), "no word/document.xml"),
        (packed("<w:document"), "damaged"),
        (packed(f'<!DOCTYPE x [<!ENTITY e "y">]><a xmlns="{W}">&e;</a>'), "entities"),
        (packed(f'<a xmlns="{W}">' + "<b>" * 5_000), "nested"),
        (packed(f'<a xmlns="{W}"><t>' + "a" * 100_000_000), "unpacked"),
        (word(p("x"))[:-40], "damaged"),
    ],
)
def test_what_is_no_docx_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        list(docx.blocks(data))


# ---- HTML ----------------------------------------------------------------------------------------


def test_a_page() -> None:
    page = (
        "<html><head><title>t</title><style>x{}</style></head><body><nav><p>menu</p></nav>"
        "<h1>Hours <b>now</b></h1><p>From 7<br>to 18 &uuml;</p><script>evil()</script>"
        "<table><tr><td>Mon</td><td>7</td></tr></table><svg><text>no</text></svg>end</body></html>"
    )
    assert [(b.text.strip(), b.level) for b in html.blocks(page.encode())] == [
        ("Hours now", 1),
        ("From 7", 0),
        ("to 18 \u00fc", 0),
        ("Mon 7", 0),
        ("end", 0),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_a_page_says_how_it_is_written(encoding: str) -> None:
    page = f'<meta charset="{encoding}"><p>caf\u00e9</p>'.encode(encoding)
    assert [b.text for b in html.blocks(page)] == ["caf\u00e9"]


def test_pages_that_nobody_closed() -> None:
    assert [b.text for b in html.blocks(b"<p>one<p>two<nav><nav>x</nav>")] == ["one", "two"]
    assert list(html.blocks(b"<div>" * 200_000)) == []
    assert list(html.blocks(b"")) == []
    with pytest.raises(Refused):
        list(html.blocks(b"\0\1\2"))


# ---- PDF -----------------------------------------------------------------------------------------


def test_a_pdf() -> None:
    found = " ".join(b.text for b in pdf.blocks(written("We open at seven.", "And close at six.")))
    assert "We open at seven." in found
    assert "And close at six." in found


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no PDF"),
        (b"%PDF-1.7\n" + b"x" * 500, "no PDF"),
        (written("x")[:300], "no PDF|no text"),
        (written(*[""] * (PAGES + 1)), f"{PAGES + 1} pages"),
        (written("", ""), "no text"),
    ],
)
def test_what_is_no_pdf_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        list(pdf.blocks(data))


def test_a_locked_pdf_is_refused() -> None:
    writer = PdfWriter(clone_from=BytesIO(written("secret")))
    writer.encrypt("pw", algorithm="RC4-128")
    data = BytesIO()
    writer.write(data)
    with pytest.raises(Refused, match="password"):
        list(pdf.blocks(data.getvalue()))


# ---- the process ---------------------------------------------------------------------------------


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 65_536):
        yield data[at : at + 65_536]


async def test_a_process_reads_it() -> None:
    rows = await passages_of("docx", pieces(word(p("Hours", "Heading1"), p("From 7."))))
    assert rows == [{"question": "Hours", "answer": "From 7."}]
    (row,) = await passages_of("pdf", pieces(written("We open at seven.")))
    assert row["answer"] == "We open at seven."


@pytest.mark.parametrize(
    ("form", "data", "why"),
    [
        ("docx", packed(f'<a xmlns="{W}"><t>' + "a" * 100_000_000), "unpacked"),
        ("html", b"<p>" + b"x" * (FILE_BYTES + 1), "more than"),
        ("html", b"<p>  </p>", "no text"),
        ("pdf", b"no", "no PDF"),
    ],
)
async def test_it_says_why_not(form: str, data: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        await passages_of(form, pieces(data))


@pytest.mark.parametrize(
    "out",
    [
        b"",
        b'{"question": "a", "answer": "b"}\n',  # ended in its middle
        b'{"question": "a", "answer": "b"}\n{"passages": 2}\n',
        b'{"question": "a", "answ',
    ],
)
def test_half_a_document_is_none(out: bytes) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        _rows(out)


BOMBS = {
    # Takes more memory than there may be: the process alone is ended.
    "memory": "x = [bytearray(50_000_000) for _ in range(100)]",
    "file": "import os; os.write(os.open('/tmp/bounded', os.O_CREAT | os.O_WRONLY), b'x')",
    "files": "x = [open('/dev/null') for _ in range(100)]",
    "crash": "import os; os.kill(os.getpid(), 11)",
}


@pytest.mark.parametrize("what", BOMBS)
def test_what_it_may_use_is_bounded(what: str) -> None:
    import subprocess
    import sys

    code = f"from handlers.documents.child import bound\nbound()\n{BOMBS[what]}\nprint('done')"
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, timeout=120
    )
    assert ended.returncode != 0
    assert b"done" not in ended.stdout
    assert time.monotonic() - began < 120


def test_a_tag_that_does_not_end_is_refused_before_it_is_read_again_and_again() -> None:
    for page in (b"<!--" + b"a" * 2_000_000, b"<p title='" + b"a" * 2_000_000):
        with pytest.raises(Refused, match="a tag or a comment of more than"):
            list(html.blocks(page))
    picture = b"<p>Hello <img src='data:image/png;base64," + b"a" * 900_000 + b"'> there</p>"
    assert told(list(html.blocks(picture))) == told(list(html.blocks(b"<p>Hello there</p>")))
    with pytest.raises(Refused, match="a tag of more than"):
        list(docx.blocks(word(f"<w:p w:x='{'a' * 4_000_000}'/>")))
    long = "a" * 1_000_000
    assert list(docx.blocks(word(f"<w:p w:x='{long}'><w:r><w:t>Hi</w:t></w:r></w:p>"))) == [
        Block("Hi")
    ]


def test_a_level_that_is_no_number_is_none() -> None:
    level = "<w:pPr><w:outlineLvl w:val='\u00b2'/></w:pPr>"
    assert list(docx.blocks(word(f"<w:p>{level}<w:r><w:t>Hi</w:t></w:r></w:p>"))) == [Block("Hi")]
