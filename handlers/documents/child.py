"""`python -m handlers.documents.child FORM`: a document on standard input, its passages as JSON
lines on standard output.

The last line says how it ended: {"passages": n} or {"refused": why}. What it may use is bounded
before a byte is read: memory, CPU, open files, and no file may be written. It has nothing of ours:
no environment, no connection.
"""

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

MEMORY_BYTES = 768 * 1024 * 1024
CPU_S = 60
NICE = 10
OPEN_FILES = 32
PASSAGE_BYTES = 64 * 1024


def bound() -> None:
    os.nice(NICE)  # somebody's conversation goes first
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (min(most, hard) if hard >= 0 else most,) * 2)


def readers() -> dict[str, Callable[[bytes], Iterator[Any]]]:
    from handlers.documents import docx, html

    def pdf(data: bytes) -> Iterator[Any]:
        from handlers.documents import pdf as reader

        return reader.blocks(data)

    def beginning(data: bytes) -> Iterator[Any]:
        from handlers.documents import pdf as reader

        return reader.beginning(data)

    return {"beginning": beginning, "pdf": pdf, "docx": docx.blocks, "html": html.blocks}


def main(form: str) -> None:
    from handlers.documents.blocks import FILE_BYTES, Refused, bounded
    from handlers.documents.passages import passages

    read = readers()[form]
    bound()
    count = 0
    try:
        data = sys.stdin.buffer.read(FILE_BYTES + 1)
        if len(data) > FILE_BYTES:
            raise Refused(f"it has more than {FILE_BYTES:,} bytes")
        for passage in passages(bounded(read(data))):
            row = {"question": passage.question, "answer": passage.answer}
            sys.stdout.write(json.dumps(row) + "\n")
            count += 1
        if not count:
            raise Refused("it has no text")
        end: dict[str, Any] = {"passages": count}
    except Refused as refused:
        end = {"refused": str(refused)}
    except MemoryError:
        end = {"refused": "it takes more memory than a document may"}
    sys.stdout.write(json.dumps(end) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
