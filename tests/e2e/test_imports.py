"""A file of many rows in the running product, whose workers are killed in the middle of it."""

import asyncio
import io
from functools import partial

import aiohttp

from tests.api import Client
from tests.e2e.conftest import Product, until

ROWS = 20_000


def _beyond(part: int, seen: tuple[int, str]) -> bool:
    return seen[0] > part


async def test_killed_workers_lose_and_double_nothing(product: Product, workers: None) -> None:
    bot, stack = await product.bot(), product.stack
    made = await stack.command(
        *("apikey", "create", "--user", str(bot.user_id), "--name", "desk", "--json")
    )
    rows = "".join(f"s{n},Product {n},{n}.50\n" for n in range(ROWS))
    file = f"sku,name,price\n{rows}s7,again,1\n,nameless,1\n".encode()
    headers = {"Content-Type": "text/csv", "Prefer": "respond-async", "Idempotency-Key": "k"}

    async with aiohttp.ClientSession() as http:
        client = Client(stack.ingress_url, http, made["api_key"])
        asked = await client.send(
            "POST", "/products/import", data=io.BytesIO(file), headers=headers
        )
        assert (asked.status, asked.json["total"]) == (202, ROWS + 2)
        job = asked.headers["Location"].removeprefix("/v1")
        for part in (1, ROWS // 3):

            async def so_far() -> tuple[int, str]:
                row = (await client.get(job)).json
                return row["done"], row["status"]

            _, status = await until(so_far, partial(_beyond, part))
            assert status != "done", "it is killed in the middle"
            for process in stack.processes:
                if process.name == "worker":
                    process.kill()
            stack.processes = [p for p in stack.processes if p.name != "worker"]
            await asyncio.gather(stack.start_worker(), stack.start_worker())
        done = (await until(lambda: client.get(job), lambda a: a.json["settled_at"])).json
        again = await client.send(
            "POST", "/products/import", data=io.BytesIO(file), headers=headers
        )
        assert again.headers.get("Location", asked.headers["Location"]).endswith(job)
    assert done["status"] == "done"
    assert (done["report"]["inserted"], done["report"]["updated"]) == (ROWS, 0)
    assert done["report"]["rejected"] == [
        {"line": ROWS + 2, "why": "the same sku as line 9"},
        {"line": ROWS + 3, "why": "sku is empty"},
    ]
    there = await product.owner.fetchrow(
        "SELECT count(*), sum(price) FROM products WHERE user_id = $1", bot.user_id
    )
    assert there is not None
    assert (there["count"], there["sum"]) == (ROWS, ROWS * (ROWS - 1) // 2 + ROWS / 2)
