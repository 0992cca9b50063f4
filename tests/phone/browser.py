"""A real Chromium without a window, driven through its DevTools protocol."""

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from local.servers.daemon import Workplace, base_environment, workplace

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = (
    "no Chromium is installed: sudo apt-get install chromium (or as root:"
    " python3 local/bootstrap.py --chromium)"
)
START_S = 30.0
FLAGS = (
    *("--headless=new", "--remote-debugging-port=0", "--no-first-run", "--hide-scrollbars"),
    *("--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),  # a microphone
    "--no-sandbox",  # it cannot be had as root; what it opens is our own page
)


class Browser:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._calls = 0

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": parameters})
        while True:  # events come in between; nothing here waits for one
            answer = await self._socket.receive_json(timeout=START_S)
            if answer.get("id") == self._calls:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    async def run(self, script: str) -> Any:
        """The value of an expression on the page; a promise is waited for."""
        done = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    async def until(self, condition: str, patience_s: float = 15.0) -> None:
        deadline = asyncio.get_running_loop().time() + patience_s
        while not await self.run(f"Boolean({condition})"):
            late = asyncio.get_running_loop().time() > deadline
            seen = await self.run("document.querySelector('main')?.innerText") if late else ""
            assert not late, f"not true after {patience_s} s: {condition}\n{seen}"
            await asyncio.sleep(0.05)

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState == 'complete' && location.href != 'about:blank'")

    async def size(self, width: int, height: int, *, dark: bool = False) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def type(self, text: str) -> None:
        """Into whatever has the focus, as a keyboard would."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, code: int, *, shift: bool = False) -> None:
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        pressed |= {"modifiers": 8} if shift else {}
        text = {"text": "\r"} if key == "Enter" else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **pressed, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    async def choose(self, selector: str, name: str, data: bytes) -> None:
        """In a file input, as the system's dialog does."""
        given = json.dumps([selector, name, list(data)])
        await self.run(
            f"(([selector, name, data]) => {{ const input = document.querySelector(selector);"
            " const given = new DataTransfer();"
            " given.items.add(new File([new Uint8Array(data)], name));"
            " input.files = given.files; input.dispatchEvent(new Event('change')); })"
            f"({given})"
        )

    async def tab_to(self, selector: str, *, back: bool = False) -> None:
        """With the tabulator alone, as who has no mouse."""
        for _ in range(60):
            await self.press("Tab", 9, shift=back)
            if await self.run(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"the keyboard does not reach {selector}")

    async def picture(self, file: Path) -> None:
        shot = await self.call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """It ends with us and leaves nothing, whatever ends us."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    assert path, MISSING
    async with workplace("chromium", "TERM", in_memory=False) as place:
        home = place.directory("home")
        process = place.spawn(
            [path, *FLAGS, f"--user-data-dir={home}", "about:blank"],
            {**base_environment(home), "TMPDIR": str(home)},
        )
        try:
            port = await _port(home / "DevToolsActivePort", process, place)
            async with aiohttp.ClientSession() as http:
                async with http.get(f"http://127.0.0.1:{port}/json") as response:
                    tabs = json.loads(await response.text())
                tab = next(each for each in tabs if each["type"] == "page")
                async with http.ws_connect(
                    tab["webSocketDebuggerUrl"], max_msg_size=64 * 1024 * 1024
                ) as socket:
                    yield Browser(socket)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)
            place.forget(process.pid)


async def _port(file: Path, process: subprocess.Popen[bytes], place: Workplace) -> int:
    async with asyncio.timeout(START_S):
        while True:
            with contextlib.suppress(OSError, ValueError, IndexError):
                return int(file.read_text().splitlines()[0])
            assert process.poll() is None, place.log_tail()
            await asyncio.sleep(0.02)
