"""The processes that open what somebody sent: bounded before they read, and ended in time."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.documents.blocks import Refused
from handlers.documents.child import CPU_S, MEMORY_BYTES
from handlers.documents.reading import BEGINNING, CHILD, by_child

PATIENCE_S = 30.0
COMMANDS = [("handlers.media.drawing",), (CHILD, BEGINNING)]


def limits(pid: int) -> list[str]:
    """Of memory and time, as the kernel has them."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    named = ("Max address space", "Max cpu time")
    return [line[26:].split()[0] for line in lines if line.startswith(named)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_who_draws_is_bounded_before_a_byte_is_read(command: tuple[str, ...]) -> None:
    """Nothing is given to it until it is."""
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        deadline = time.monotonic() + PATIENCE_S
        while child.poll() is None and time.monotonic() < deadline:
            if limits(child.pid) == [str(CPU_S), str(MEMORY_BYTES)]:
                break
            time.sleep(0.02)
        seen = limits(child.pid)
        child.kill()
    assert seen == [str(CPU_S), str(MEMORY_BYTES)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
async def test_who_reads_has_so_long_and_no_longer(command: tuple[str, ...]) -> None:
    async def without_an_end() -> AsyncIterator[bytes]:
        yield b"%PDF-1.4\n"
        await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Refused, match="takes longer"):
            await by_child(command, without_an_end(), 0.5, 1_000)
