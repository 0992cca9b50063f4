"""`make dev`: the product, kept running, with a page like a phone on which one writes to its bots
and sees beside it what the product did.

With OPENAI_API_KEY set the answers come from that model, and voice messages are heard by
TRANSCRIPTION_MODEL there; without, the answers are the offline answerer's, and the simulator hears.
"""

import asyncio
import os
from pathlib import Path

from local.demo import bold, dim, run_to_end
from local.demo_bots import BUSINESSES, connect_simulator, create_bot
from local.page.server import create_phone, serving
from local.stack import StackError, for_looking, running, who_hears
from simulator.client import Simulator

# A switch of the page lets Meta's answers get lost. A minute is long for somebody who watches.
SEND_UNKNOWN_MS = "8000"


async def keep_running() -> None:
    overrides = {"LOG_FORMAT": "console"}
    overrides["SEND_UNKNOWN_MS"] = os.environ.get("SEND_UNKNOWN_MS") or SEND_UNKNOWN_MS
    if os.environ.get("OPENAI_API_KEY"):
        print(bold("SwiftReplies") + dim("  with the model of OPENAI_MODEL"))
    else:
        overrides["OPENAI_MODEL"] = "offline"
        print(bold("SwiftReplies") + dim("  no OPENAI_API_KEY: answers are copied from the"))
        print(dim("  knowledge base by the built-in offline answerer; voice messages are heard by"))
        print(dim("  the simulator"))
    async with running(lambda line: print(f"  {dim(line)}"), overrides) as stack:
        bots = await asyncio.gather(*(create_bot(stack, business) for business in BUSINESSES))
        async with Simulator(stack.simulator_url) as simulator:
            await connect_simulator(stack, simulator, *bots)
        phone = create_phone(
            bots,
            simulator_url=stack.simulator_url,
            api_url=stack.ingress_url,
            database_url=for_looking(stack.environment["DATABASE_URL"]),
            hears=who_hears(stack.environment),
        )
        async with serving(phone) as page:
            print(f"\n  the page  {bold(page)}")
            print(f"  ingress   {stack.ingress_url}/webhooks/whatsapp")
            print(f"  database  {dim(stack.environment['DATABASE_URL'])}")
            print(f"  logs      {dim(str(stack.log_directory))}")
            print(dim("\n  Ctrl-C ends everything"), flush=True)
            ended = await stack.until_one_ends()
        raise StackError(f"{ended.name} ended by itself:\n{ended.tail()}")


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    run_to_end(keep_running())
