"""What real spreadsheets save: what is clear becomes rows, what is not is named, and no row is
invented."""

import csv
import io
import random
import re
from pathlib import Path
from typing import Literal, TypeAlias

import pytest

from cli.command import Refused
from cli.knowledge import read_knowledge

Quoting: TypeAlias = Literal[0, 1, 2, 3]  # as csv has them
Rows: TypeAlias = list[tuple[str, str, str | None]]
NEXT = ("Next?", "Yes", None)


def read(
    content: str | bytes, tmp_path: Path, name: str = "faq.csv"
) -> tuple[Rows, dict[int, str]]:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    rows, rejected = read_knowledge(file)
    found = [(row["question"], row["answer"], row["category"]) for row in rows]
    return found, {one["line"]: one["why"] for one in rejected}


SHIP = ("Do you ship?", "Yes, within 10 km", "delivery")
HOURS = ("Open on Sunday?", "8:00 to 13:00; then closed", "hours")


def written(delimiter: str, quoting: Quoting = csv.QUOTE_MINIMAL, ends: str = "\r\n") -> str:
    out = io.StringIO()
    table = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=ends)
    table.writerows([("Question", "Answer", "Category"), SHIP, HOURS])
    return out.getvalue()


@pytest.mark.parametrize("ends", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_every_delimiter(delimiter: str, quoting: Quoting, ends: str, tmp_path: Path) -> None:
    text = written(delimiter, quoting, ends)
    assert read(text, tmp_path) == ([SHIP, HOURS], {})
    for sep in (f"sep={delimiter}", f"SEP={delimiter}", f'"sep={delimiter}"', f"sep={delimiter},,"):
        assert read(f"{sep}{ends}{text}", tmp_path) == ([SHIP, HOURS], {})


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "bom-16-be"],
)
def test_every_unicode(encoding: str, tmp_path: Path) -> None:
    text = (
        written("\t") + "K\u00f6nnen Sie liefern? \u4e16\u754c\tJa, in M\u00fcnchen\tLieferung\r\n"
    )
    data = (
        b"\xfe\xff" + text.encode("utf-16-be") if encoding == "bom-16-be" else text.encode(encoding)
    )
    rows, rejected = read(data, tmp_path)
    assert rejected == {}
    assert rows[2] == ("K\u00f6nnen Sie liefern? \u4e16\u754c", "Ja, in M\u00fcnchen", "Lieferung")
    line = '{"question": "\u00fc?", "answer": "yes"}\n'
    assert read(line.encode("utf-16"), tmp_path, "faq.jsonl")[0] == [("\u00fc?", "yes", None)]


@pytest.mark.parametrize(
    ("content", "rows", "rejected"),
    [
        # Padded to the sheet's width, and below its last row.
        ("question,answer,category,,\nA?,B,c,,\n,,,,\nD?,E,,,\n , ,\n", [0, 1], []),
        (",question,answer\n1,A?,B\n2,D?,E\n", [0, 1], []),
        ("question,answer,category,,\nA?,B, and more,f,\n", [], [2]),  # not cut
        # Names as people write them.
        ("Question\u00a0,ANSWER\u200b, \ufeffCategory\nA?,B,c\n", [0], []),
        ('" question ";" Answer"\nA?;B\n', [0], []),
        ("id,notes,question,notes,answer\n1,x,A?,y,B\n", [0], []),
        # A title, and empty lines, above them.
        ("FAQ of my shop,,\n,,\nQuestion,Answer,Category\nA?,B,c\n", [0], []),
        ("FAQ of my shop\n\n\nQuestion;Answer\nA?;B\n", [0], []),
        ("Shop,Luma,2026\nquestion,answer\nA?,B\n", [0], [1]),
        ("question,answer\nA?,B\nquestion,answer\nD?,E\n", [0, 1], [3]),  # two sheets in one
        # Spaces around quotes.
        ('question, answer\n"A?", "B" \n', [0], []),
    ],
)
def test_what_can_be_meant_in_one_way(
    content: str, rows: list[int], rejected: list[int], tmp_path: Path
) -> None:
    found, why = read(content, tmp_path)
    assert [row[:2] for row in found] == [[("A?", "B"), ("D?", "E")][n] for n in rows]
    assert list(why) == rejected


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            "question,answer,answer\nA?,first,second\n",
            "has two columns answer (line 1): rename one",
        ),
        (
            "x,,\nQuestion,question,answer\nA?,B,C\n",
            "has two columns question (line 2): rename one",
        ),
        ("question,answer,category,Category\nA?,B,c,d\n", "has two columns category (line 1)"),
        ("A?,B\nD?,E\n", "has no column answer and no column question"),
        ("sep=;\nquestion;reply\nA?;B\n", "has no column answer"),
        (b"PK\x03\x04\x14\x00", "is a workbook: save it as CSV (UTF-8)"),
        (b"\xff\xfeq\x00u\x00e", "is not UTF-16 (byte "),
        ('question,"answer\nA?,B\n', "is not CSV in line 1: not CSV: a quote that is opened here"),
    ],
)
def test_a_file_that_can_be_meant_in_two_is_refused(
    content: str | bytes, why: str, tmp_path: Path
) -> None:
    with pytest.raises(Refused) as refused:
        read(content, tmp_path)
    assert f"faq.csv {why}" in str(refused.value)


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "faq.csv").open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    with pytest.raises(Refused, match=r"has more than 134,217,728 bytes: import it in parts"):
        read_knowledge(tmp_path / "faq.csv")


@pytest.mark.parametrize(
    "cell",
    [
        'Sizes?,"The 10" pan.\nBring it, we measure.\nThanks, bye"\n',
        'Sizes?,"The 10", 12" and 14" pans.\nBring it, we measure.\nThanks, bye"\n',
        'Sizes?,"The 10", pan.\nBring it, we measure.\nThanks, bye"\n',
        'Sizes?,"The pan is 10"\nBring it, we measure.\nThanks, bye"\n',
        'Sizes?,"The "big" pan.\n"Bring it", we measure.\n"Now" then, please\nThanks, bye"\n',
        'Sizes?, "The 10" pan.\nBring it, we measure.\nThanks, bye"\n',
        '"Sizes of the 10" pan,\nand others?","Bring it, we measure"\n',
        '"Sizes?","The 10" pan."\n',
        '"Sizes?","The 10" pan, or "12"."\n',
        '"Sizes?"x,2\n',
        'Sizes?,"The ""10"" pan"s.\nBring it, we measure.\nThanks, bye"\n',
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_badly_quoted_cell_is_left_out_to_its_end(cell: str, ends: str, tmp_path: Path) -> None:
    content = f"question,answer\nA?,B\n{cell}Next?,Yes\n".replace("\n", ends)
    rows, rejected = read(content, tmp_path)
    assert rows == [("A?", "B", None), NEXT]
    (why,) = rejected.values()
    assert list(rejected) == [3]
    last = 2 + cell.count("\n")
    assert f"lines 3 to {last} are left out" in why or last == 3
    # Beside others, too, and with more columns.
    wide = "question,answer,category\n" + f"{cell}Next?,Yes\n" * 3
    rows, rejected = read(wide, tmp_path)
    assert rows in ([NEXT], [("Sizes?", "The 10", "pan."), NEXT])


def test_the_rule_of_a_table_is_no_row(tmp_path: Path) -> None:
    text = "| question | answer |\n|:---|----:|\n| Next? | Yes |\n"
    assert read(text, tmp_path, "faq.csv") == ([NEXT], {})


def test_what_is_not_closed_is_left_out_with_all_that_follows(tmp_path: Path) -> None:
    rows, rejected = read('question,answer\nA?,B\n"C?,D\nE?,F\nG?,H\n', tmp_path)
    assert rows == [("A?", "B", None)]
    assert rejected == {
        3: "not CSV: a quote that is opened here is never closed; lines 3 to 5 are left out"
    }


def test_inches_are_no_quotes(tmp_path: Path) -> None:
    content = 'question,answer\nScreen?,27" of it\nHeight?,5\' 10"\n"Is it 8, 9"" or 10""?",Yes\n'
    rows, rejected = read(content, tmp_path)
    assert [row[1] for row in rows] == ['27" of it', "5' 10\"", "Yes"]
    assert rejected == {}


PIECES = [
    *("pan", '10"', '12" ', "yes", "bring it, we", '"big"', 'said "no",', "\n", "thanks", "a; b"),
    *("\t", "ok.", "x"),
]


@pytest.mark.parametrize("part", range(5))
def test_no_row_is_ever_invented(part: int, tmp_path: Path) -> None:
    """Whatever one quote that was not doubled does to the rest. What is written well is read as it
    was written."""
    left, all_rows = 0, 0
    for seed in range(part * 200, part * 200 + 200):
        dice = random.Random(seed)
        rows = [
            tuple(some(dice, f"Q{n}", most) for most in (4, 8, 3))
            for n in range(dice.randrange(2, 7))
        ]
        out = io.StringIO()
        quoting: Quoting = dice.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        table = csv.writer(out, delimiter=dice.choice(",;\t|"), quoting=quoting)
        table.writerow(("question", "answer", "category"))
        table.writerows(rows)
        text = out.getvalue()
        assert read(text, tmp_path) == (rows, {})
        doubled = [match.start() for match in re.finditer('""', text)]
        if not doubled:
            continue
        at = dice.choice(doubled)
        found, why = read(text[:at] + text[at + 1 :], tmp_path)
        assert set(found) <= set(rows), seed
        assert why or found == rows
        all_rows += len(rows)
        left += len(found)
    assert left > all_rows / 2  # and what is beside it is kept


def some(dice: random.Random, begin: str, most: int) -> str:
    return f"{begin} {' '.join(dice.choices(PIECES, k=dice.randrange(most)))}".strip()
