"""Who stands at the door without meaning well, as a process: `python -m bench.attackers NAME PORT
KEY`. Says `there` once it is at it, and goes on until it is killed."""

import asyncio
import secrets
import sys
import zlib
from collections.abc import Awaitable, Callable
from functools import cache

from handlers.api_keys import new_key

SILENT = 64  # of each kind, where 8 took all the room
UNFINISHED = 1_500
CALLERS = 16
GUESSERS = 64
BOMBERS = 2
BOMB_EVERY_S = 0.05  # each: 40 MiB a second in all, of 40 GiB unpacked
AGAIN_S = 0.2
PATHS = ("/webhooks/whatsapp", "/v1/actions/1/approve", "/healthz", "/nowhere")


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


@cache
def bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1024 * 1024)
    return b"".join(packer.compress(zeros) for _ in range(1_024)) + packer.flush()


async def hold(port: int, said: bytes, drip: bytes = b"") -> None:
    """A connection that says this and then next to nothing; a new one when it is closed."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            while not reader.at_eof():
                try:
                    await asyncio.wait_for(reader.read(4_096), 1)
                except TimeoutError:
                    writer.write(drip)
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(AGAIN_S)


async def ask(port: int, requests: Callable[[], bytes], pause_s: float = 0.0) -> None:
    """One after the other, as fast as they are answered."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024 * 1024)
            open_still = True
            while open_still:
                writer.write(requests())
                told = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = told.partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or b"0"))
                open_still = b"connection: close" not in told
                await asyncio.sleep(pause_s)
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(AGAIN_S)


def silent_bodies(port: int, _: str) -> list[Awaitable[None]]:
    said = [f"Content-Length: {4 * 1024 * 1024}", "Transfer-Encoding: chunked"]
    return [hold(port, head("POST", PATHS[0], one)) for one in said * SILENT]


def unfinished_headers(port: int, _: str) -> list[Awaitable[None]]:
    begun = head("POST", PATHS[0])[:-2] + b"X-Slow: "
    return [hold(port, begun, b"x") for _ in range(UNFINISHED)]


def bombs(port: int, _: str) -> list[Awaitable[None]]:
    packed = bomb()
    headers = ("Content-Encoding: gzip", f"Content-Length: {len(packed)}")
    requests = [head("POST", path, *headers) + packed for path in PATHS]
    return [ask(port, lambda: secrets.choice(requests), BOMB_EVERY_S) for _ in range(BOMBERS)]


def large_answers(port: int, key: str) -> list[Awaitable[None]]:
    request = head("GET", "/v1/actions?limit=200", f"Authorization: Bearer {key}")
    return [ask(port, lambda: request) for _ in range(CALLERS)]


def unknown_keys(port: int, _: str) -> list[Awaitable[None]]:
    def guess() -> bytes:
        key = new_key()
        return head("GET", "/v1/chatbots", f"Authorization: Bearer {key}")

    return [ask(port, guess) for _ in range(GUESSERS)]


ATTACKS: dict[str, Callable[[int, str], list[Awaitable[None]]]] = {
    "silent_bodies": silent_bodies,
    "unfinished_headers": unfinished_headers,
    "bombs": bombs,
    "large_answers": large_answers,
    "unknown_keys": unknown_keys,
}


async def main(name: str, port: int, key: str) -> None:
    attacking = asyncio.gather(*ATTACKS[name](port, key))
    await asyncio.sleep(1)
    print("there", flush=True)
    await attacking


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
