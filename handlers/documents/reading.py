"""A document is read by a process of its own, which may take so long and no longer."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

from handlers.documents.blocks import FILE_BYTES, FORMS, Form, Refused

CHILD, BEGINNING = "handlers.documents.child", "beginning"
WALL_S = 120.0
END_S = 5.0
OUT_BYTES = 32 * 1024 * 1024  # of JSON lines; a document's text is less
TYPES: dict[str, Form] = {
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "text/html": "html",
}
SUFFIXES: dict[str, Form] = {".pdf": "pdf", ".docx": "docx", ".html": "html", ".htm": "html"}
_DAMAGED = "it cannot be read: it is damaged, or takes more than a document may"


class TooSlow(Refused):
    """By the clock, which also goes while others have the machine."""


async def passages_of(form: str, pieces: AsyncIterator[bytes]) -> list[dict[str, Any]]:
    """Rows with question and answer. Raises Refused."""
    assert form in FORMS, "looked up in TYPES or SUFFIXES"
    out = await by_child((CHILD, form), pieces, WALL_S, OUT_BYTES)
    # In a thread: of a long document it is megabytes of JSON, and the loop has others' turns.
    return await asyncio.to_thread(_rows, out)


async def beginning_of(pieces: AsyncIterator[bytes], wall_s: float) -> str:
    """What a PDF says on its first pages. Raises Refused."""
    rows = _rows(await by_child((CHILD, BEGINNING), pieces, wall_s, OUT_BYTES))
    return "\n".join(str(row["answer"]) for row in rows)


async def by_child(
    command: Sequence[str], pieces: AsyncIterator[bytes], wall_s: float, most: int
) -> bytes:
    """What a process says that has nothing of ours: no environment, no connection. `command`: a
    module and its arguments. Raises Refused, and what the pieces raise."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-s", "-m", *command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # it may say what the document says
        cwd="/",
        env={
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
            "OPENBLAS_NUM_THREADS": "1",  # threads take address space
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
        },
    )
    try:
        async with asyncio.timeout(wall_s):
            _, out = await asyncio.gather(_give(process, pieces), _take(process, most))
            await process.wait()
    except TimeoutError:
        raise TooSlow(f"it takes longer than {wall_s:.0f} s to read") from None
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.wait_for(process.wait(), END_S)
    return out


async def _give(process: asyncio.subprocess.Process, pieces: AsyncIterator[bytes]) -> None:
    """What it does not take any more is not given."""
    assert process.stdin is not None, "asked for"
    given = 0
    try:
        async for piece in pieces:
            given += len(piece)
            process.stdin.write(piece)
            await process.stdin.drain()
            if given > FILE_BYTES:
                break
        process.stdin.close()
        await process.stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        return


async def _take(process: asyncio.subprocess.Process, most: int) -> bytes:
    assert process.stdout is not None, "asked for"
    out = bytearray()
    while piece := await process.stdout.read(64 * 1024):
        out += piece
        if len(out) > most:
            raise Refused(_DAMAGED)
    return bytes(out)


def _rows(out: bytes) -> list[dict[str, Any]]:
    try:
        lines = [json.loads(line) for line in out.splitlines()]
    except ValueError:
        raise Refused(_DAMAGED) from None
    end = lines.pop() if lines else {}
    if not isinstance(end, dict):
        raise Refused(_DAMAGED)
    if "refused" in end:
        raise Refused(str(end["refused"]))
    if end.get("passages") != len(lines):  # killed by one of its bounds
        raise Refused(_DAMAGED)
    return lines
