"""What alerts and dashboard ask for is what the running product exports."""

import os
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from local.processes import Process
from tests.e2e.conftest import Product, until
from tests.packaging.expressions import Series, expressions, problems, selectors
from tests.packaging.test_metrics import documented


def address(process: Process) -> str:
    """Of its /metrics, from the environment that it was started with."""
    entries = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    environment = dict(os.fsdecode(entry).partition("=")[::2] for entry in entries)
    port = environment["PORT" if process.name == "ingress" else "METRICS_PORT"]
    return f"http://127.0.0.1:{port}/metrics"


async def scraped(product: Product) -> tuple[Series, dict[str, float]]:
    """The series of all processes, and the sums of those that have no label but le."""
    series: Series = {}
    sums: dict[str, float] = {}
    running = [p for p in product.stack.processes if p.returncode is None]
    async with aiohttp.ClientSession() as http:
        for process in running:
            if process.name not in ("ingress", "worker"):
                continue
            async with http.get(address(process)) as response:
                text = await response.text()
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    series.setdefault(sample.name, []).append(dict(sample.labels))
                    sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return series, sums


async def test_what_is_asked_for_is_exported(product: Product) -> None:
    _, before = await scraped(product)
    bot = await product.bot()
    await product.simulator.say(bot.phone_number_id, "+12025550178", "Is there cake?")
    await product.replies(bot, 1)
    await product.settled(bot)

    # One message went all the way, and was seen everywhere on it.
    seen = (
        "swiftreplies_publish_confirm_seconds_count",
        "swiftreplies_ingest_batch_seconds_count",
        "swiftreplies_ingest_batch_entries_sum",
        "swiftreplies_ingest_delay_seconds_count",
        "swiftreplies_messages_recorded_total",
        "swiftreplies_turn_seconds_count",
        "swiftreplies_reply_delay_seconds_count",
        "swiftreplies_model_request_seconds_count",
        "swiftreplies_model_tokens_total",
        "swiftreplies_send_wait_seconds_count",
        "swiftreplies_graph_api_send_seconds_count",
        "swiftreplies_statuses_total",
        "swiftreplies_typing_total",
    )

    async def grown() -> set[str]:
        _, after = await scraped(product)
        return {name for name in seen if after[name] > before.get(name, 0.0)}

    await until(grown, lambda names: names == set(seen))

    series, sums = await scraped(product)
    assert sums["swiftreplies_ready"] == len(series["swiftreplies_ready"])
    wrong = {
        f"{problem}: {expression}"
        for expression in expressions()
        for asked in selectors(expression)
        for problem in problems(asked, series)
    }
    assert not wrong
    for name, metric in documented().items():
        for label, values in metric.labels.items():
            seen_values = {labels[label] for labels in series.get(name, ()) if label in labels}
            assert not values or seen_values <= values, name
