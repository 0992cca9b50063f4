"""The `swiftreplies` command as an operator types it."""

import asyncio
import contextlib
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from cli.main import main

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1  # one object, on one line
        return json.loads(self.out)


def _main(argv: tuple[str, ...], environment: Mapping[str, str]) -> Result:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["swiftreplies", *argv]),
        mock.patch.dict("os.environ", environment, clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    assert "Traceback" not in err.getvalue()
    return Result(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True, slots=True)
class Command:
    environment: dict[str, str]

    async def __call__(self, *argv: str, **changes: str) -> Result:
        """In a thread, because the command runs a loop of its own."""
        return await asyncio.to_thread(_main, argv, self.environment | changes)

    async def process(self, *argv: str) -> Result:
        """As a process of its own, for what has to happen at once."""
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", *argv),
            cwd=ROOT,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await running.communicate()
        return Result(running.returncode or 0, out.decode(), err.decode())

    async def refused(self, *argv: str, **changes: str) -> str:
        """What it says when it fails."""
        result = await self(*argv, **changes)
        assert (result.code, result.out) == (1, ""), result
        assert result.err.startswith("swiftreplies: ")
        return result.err.removeprefix("swiftreplies: ").rstrip("\n")

    async def misused(self, *argv: str) -> str:
        result = await self(*argv)
        assert (result.code, result.out) == (2, ""), result
        assert result.err.startswith("usage: ")
        return result.err
