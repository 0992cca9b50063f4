"""The receivers that docs/webhooks.md gives tenants, taken from the page and run."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from local.servers.daemon import free_ports
from tests.signed import Post, event, new_secret

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "webhooks.md"
NODE_MODULES = ROOT / ".cache" / "node_modules"
FILES = ("receiver.py", "receiver.mjs", "receiver.php")
SECRET = new_secret()
HOW = "is not installed: python3 local/bootstrap.py --receivers (as root), or apt-get install"


def blocks() -> dict[str, str]:
    """The page's programs by the name in their first comment."""
    found = re.findall(r"^```\w+\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    name = re.compile(r"^(?:#|//) (receiver\.\w+)$", re.MULTILINE)
    return {named[1]: text for text in found if (named := name.search(text))}


def program(name: str, package: str) -> str:
    path = shutil.which(name)
    assert path, f"{name} {HOW} {package}"
    return path


def python() -> str:
    return str(ROOT / ".venv" / "bin" / "python")


@dataclass
class Running:
    """One receiver, in a folder of its own; `handled` is what it said that it did."""

    file: str
    folder: Path
    http: aiohttp.ClientSession
    url: str = ""
    process: asyncio.subprocess.Process | None = None
    handled: list[str] | None = None

    def command(self, port: int) -> list[str]:
        if self.file == "receiver.py":
            return [python(), self.file]
        if self.file == "receiver.mjs":
            return [program("node", "nodejs"), self.file]
        return [program("php", "php-cli"), "-S", f"127.0.0.1:{port}", self.file]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "WEBHOOK_SECRET": SECRET, "PYTHONDONTWRITEBYTECODE": "1"}

    async def start(self) -> None:
        (port,) = free_ports(1)
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command(port),
                cwd=self.folder,
                env={**self.environment, "PORT": str(port)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.url = f"http://127.0.0.1:{port}/"
        while True:
            assert self.process.returncode is None, self.log
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    async def post(self, post: Post) -> int:
        return await post.to(self.http, self.url)

    async def has_handled(self, *webhook_ids: str) -> None:
        """Waits until these were handled; then it must have been these, each once."""
        while True:
            if self.file == "receiver.php":  # what its timer does
                await self.run_timer()
            told = re.findall(r"^handled (\S+) ", self.log, re.MULTILINE)
            if len(told) >= len(webhook_ids):
                assert sorted(told) == sorted(webhook_ids)
                return
            assert self.process is not None
            assert self.process.returncode is None, self.log
            await asyncio.sleep(0.02)

    async def has_noted(self, webhook_id: str) -> None:
        """Waits until it is written that this was handled; a kill before that does it again."""
        while not self._notes(webhook_id):
            await asyncio.sleep(0.02)

    def _notes(self, webhook_id: str) -> bool:
        if self.file == "receiver.py":
            with contextlib.closing(sqlite3.connect(self.folder / "webhooks.db", 30)) as inbox:
                asked = "SELECT done FROM inbox WHERE id = ?"
                return bool(inbox.execute(asked, (webhook_id,)).fetchone()[0])
        if self.file == "receiver.mjs":
            lines = (self.folder / "webhooks.jsonl").read_text().splitlines()
            return json.dumps({"id": webhook_id, "done": True}, separators=(",", ":")) in lines
        return (self.folder / "inbox" / f"{webhook_id}.json.done").exists()

    async def run_timer(self) -> None:
        with (self.folder / "log").open("ab") as log:
            timer = await asyncio.create_subprocess_exec(
                *(program("php", "php-cli"), self.file),
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
            assert await timer.wait() == 0, self.log


@asynccontextmanager
async def receiver(file: str, folder: Path) -> AsyncIterator[Running]:
    (folder / file).write_text(blocks()[file])
    if file == "receiver.mjs":
        assert (NODE_MODULES / "standardwebhooks").is_dir(), (
            "python3 local/bootstrap.py --receivers"
        )
        (folder / "node_modules").symlink_to(NODE_MODULES)
    async with aiohttp.ClientSession() as http:
        running = Running(file, folder, http)
        try:
            await running.start()
            yield running
        finally:
            await running.kill()


def test_the_page_has_them_all() -> None:
    assert sorted(blocks()) == sorted(FILES)


def changed(post: Post, **headers: str) -> Post:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Post(post.body, {**post.headers, **named})


@pytest.mark.parametrize("file", FILES)
async def test_what_is_signed_is_taken_once_and_nothing_else(file: str, tmp_path: Path) -> None:
    other = new_secret()
    good = event("evt_1", SECRET, type="message.received", text="Grüße 🍋")
    unsigned = {name: text for name, text in good.headers.items() if "webhook" not in name}
    async with receiver(file, tmp_path) as running:
        assert await running.post(good) == 204
        refused = {
            "tampered": Post(good.body.replace(b"message", b"massage"), good.headers),
            "another event's name": changed(good, webhook_id="evt_2"),
            "another time": changed(good, webhook_timestamp="1"),
            "no time": changed(good, webhook_timestamp="soon"),
            "old": event("evt_3", SECRET, age_s=301),
            "from the future": event("evt_4", SECRET, age_s=-360),
            "another's": event("evt_5", other),
            "without signature": Post(good.body, unsigned),
            "nonsense": changed(good, webhook_signature="v1,!!! v2 x"),
            "shorter": changed(good, webhook_signature=good.headers["webhook-signature"][:-4]),
        }
        answers = {why: await running.post(post) for why, post in refused.items()}
        assert answers == dict.fromkeys(refused, 401), running.log
        # Rotated: by the new and the old one, in either order; ours is one of them.
        assert await running.post(event("evt_6", other, SECRET)) == 204
        assert await running.post(event("evt_7", SECRET, other)) == 204
        assert await running.post(event("evt_1", SECRET, type="message.received")) == 204
        await running.has_handled("evt_1", "evt_6", "evt_7")


@pytest.mark.parametrize("file", FILES)
async def test_what_came_is_known_after_a_restart(file: str, tmp_path: Path) -> None:
    async with receiver(file, tmp_path) as running:
        assert await running.post(event("evt_1", SECRET)) == 204
        await running.has_handled("evt_1")
        await running.has_noted("evt_1")
        await running.kill()
        await running.start()
        assert await running.post(event("evt_1", SECRET)) == 204
        assert await running.post(event("evt_2", SECRET)) == 204
        await running.has_handled("evt_1", "evt_2")


@pytest.mark.parametrize("file", FILES)
async def test_what_was_taken_and_not_handled_is_handled_later(file: str, tmp_path: Path) -> None:
    """Its `handle` fails, and it is killed; the next one has none that fails."""
    failing = {
        "receiver.py": (
            'print("handled " + webhook_id + " " + event["type"], flush=True)',
            "raise OSError()",
        ),
        "receiver.mjs": ('console.log("handled", webhookId, event.type);', "throw new Error();"),
        "receiver.php": ("echo \"handled $id {$event['type']}\\n\";", "throw new Exception();"),
    }
    async with receiver(file, tmp_path) as running:
        await running.kill()
        text = (tmp_path / file).read_text()
        assert text.count(failing[file][0]) == 1
        (tmp_path / file).write_text(text.replace(*failing[file]))
        await running.start()
        for name in ("evt_1", "evt_2"):
            assert await running.post(event(name, SECRET)) == 204
        if file == "receiver.php":
            await running.run_timer()
        while running.log.count("failed") < 2:
            await asyncio.sleep(0.02)
        assert "handled" not in running.log
        await running.kill()
        (tmp_path / file).write_text(text)
        await running.start()
        await running.has_handled("evt_1", "evt_2")


@pytest.mark.parametrize("file", FILES)
async def test_the_same_event_twenty_times_at_once(file: str, tmp_path: Path) -> None:
    posts = [event(f"evt_{n % 3}", SECRET) for n in range(20)]
    async with receiver(file, tmp_path) as running:
        answers = await asyncio.gather(*(running.post(post) for post in posts))
        assert answers == [204] * 20, running.log
        await running.has_handled("evt_0", "evt_1", "evt_2")


@pytest.mark.parametrize("file", FILES)
async def test_what_came_in_order_is_handled_in_order(file: str, tmp_path: Path) -> None:
    names = [f"evt_{n}" for n in (12, 9, 10, 100, 1)]
    async with receiver(file, tmp_path) as running:
        for name in names:  # as an ordered webhook sends them: one after the other was answered
            assert await running.post(event(name, SECRET)) == 204
        await running.has_handled(*names)
        assert re.findall(r"^handled (\S+) ", running.log, re.MULTILINE) == names
