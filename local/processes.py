"""A child process that ends with us, whatever ends us."""

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
END_TIMEOUT_S = 75.0  # a worker drains for 60 s at most
TAIL_BYTES = 4_000


@dataclass(slots=True)
class Process:
    name: str
    log: Path
    _child: asyncio.subprocess.Process

    @classmethod
    async def start(
        cls, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> "Process":
        """Output goes to the log file, standard output too."""
        libc = ctypes.CDLL(None)

        def die_with_parent() -> None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

        with log.open("wb") as sink:
            child = await asyncio.create_subprocess_exec(
                *arguments,
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                preexec_fn=die_with_parent,
                # Ctrl-C reaches the launcher, which ends its children in order.
                process_group=0,
            )
        return cls(name, log, child)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        return self._child.returncode

    async def first_line(self, timeout_s: float) -> str:
        """The first whole line of its output."""
        async with asyncio.timeout(timeout_s):
            while b"\n" not in (text := self.log.read_bytes()):
                if self.returncode is not None:
                    raise RuntimeError(f"{self.name} ended at once:\n{self.tail()}")
                await asyncio.sleep(0.02)
        return text.split(b"\n", 1)[0].decode()

    def tail(self) -> str:
        return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.terminate()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def ended(self) -> int:
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                return await self._child.wait()
        except TimeoutError:
            self.kill()
            return await self._child.wait()
