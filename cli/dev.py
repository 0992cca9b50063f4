"""`make dev`: the demo's stack, kept running, with a page on which one chats with the bot.

With OPENAI_API_KEY set the answers come from that model; without, from the offline answerer.
"""

import os
from pathlib import Path

from cli.demo import bold, connect_simulator, create_bakery, dim, run_to_end
from cli.stack import StackError, running
from simulator.client import Simulator


async def keep_running() -> None:
    overrides = {"LOG_FORMAT": "console"}
    if os.environ.get("OPENAI_API_KEY"):
        print(bold("SwiftReplies") + dim("  with the model of OPENAI_MODEL"))
    else:
        overrides["OPENAI_MODEL"] = "offline"
        print(bold("SwiftReplies") + dim("  no OPENAI_API_KEY: answers are copied from the"))
        print(dim("  knowledge base by the built-in offline answerer"))
    async with running(lambda line: print(f"  {dim(line)}"), overrides) as stack:
        bakery = await create_bakery(stack)
        async with Simulator(stack.simulator_url) as simulator:
            await connect_simulator(stack, simulator, bakery)
        print(f"\n  chat      {bold(stack.simulator_url + '/')}")
        print(f"  ingress   {stack.ingress_url}/webhooks/whatsapp")
        print(f"  database  {dim(stack.environment['DATABASE_URL'])}")
        print(f"  logs      {dim(str(stack.log_directory))}")
        print(dim("\n  Ctrl-C ends everything"), flush=True)
        ended = await stack.until_one_ends()
        raise StackError(f"{ended.name} ended by itself:\n{ended.tail()}")


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    run_to_end(keep_running())
