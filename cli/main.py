"""The `swiftreplies` command: its nouns. Each is a module that declares its arguments and runs it.

A module is loaded when its noun was typed.
"""

import argparse
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Any

from cli.command import Refused

# Before anything loads LangGraph: its checkpoints may only hold plain values, and LangSmith must
# never get customers' text because somebody's shell exports a key.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["LANGCHAIN_TRACING_V2"] = "false"

# As typed, where it is, and what --help says of it.
NOUNS = (
    ("migrate", "cli.migrate", "bring database and broker topology to the current state"),
    ("ingress", "cli.ingress", "HTTP process: webhooks, tenant API, health, metrics"),
    ("worker", "cli.worker", "worker process: records, answers, sends"),
    ("tenant", "cli.tenants", "the businesses that use this installation"),
    ("app", "cli.apps", "Meta apps beside the environment's, each with a path of its own"),
    ("chatbot", "cli.chatbots", "the chatbots of a tenant"),
    ("apikey", "cli.api_keys", "keys of the tenant API"),
    ("webhook", "cli.webhooks", "endpoints of tenants that hear what happens"),
    ("secrets", "cli.secret_keys", "what is stored encrypted, and its keys"),
    ("conversation", "cli.conversations", "who answers a customer: the bot or a person"),
    ("contact", "cli.contacts", "the customers of a tenant"),
    ("template", "cli.templates", "what Meta approved for tenants' accounts"),
    ("doctor", "cli.doctor", "checks configuration, services, schema, topology, credentials"),
    ("dead", "cli.dead_items", "what could not be processed, why, and again"),
    ("action", "cli.actions", "what the bots asked a person to decide"),
    ("kb", "cli.knowledge", "what chatbots know"),
    ("eval", "cli.evals", "a bot's own tests"),
    ("replay", "cli.replays", "a recorded conversation, answered as the bot is now"),
    ("usage", "cli.usage", "whether the counters are what their rows say"),
    ("prices", "cli.prices", "what tokens cost"),
)

EPILOG = """\
Configuration comes from the environment. Every process lists all that is missing or malformed when
it starts. The variables and their defaults are in the README.

examples:
  swiftreplies migrate
  swiftreplies tenant create --email owner@bakery.example --name "Lemon Street Bakery"
  swiftreplies chatbot create --user 1 --name Luma --number +12025550143
  swiftreplies kb import --chatbot 1 faq.csv
  swiftreplies ingress & swiftreplies worker &
  swiftreplies doctor
"""


class Noun(argparse.ArgumentParser):
    """Loads its module when it comes to parse: to load them all would take --help a second."""

    module = ""

    def parse_known_args(  # type: ignore[override]  # the stub has an overload for each namespace
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        importlib.import_module(self.module).declare(self)
        return super().parse_known_args(args, namespace)


def main() -> None:
    args = command_line().parse_args()
    try:
        args.run(args)
    except Refused as refused:
        print(f"swiftreplies: {refused}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="swiftreplies",
        description="Answers a business's customers on WhatsApp.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = importlib.metadata.version("swiftreplies")
    parser.add_argument("--version", action="version", version=f"swiftreplies {version}")
    nouns = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Noun)
    for name, module, about in NOUNS:
        nouns.add_parser(name, help=about).module = module
    return parser


if __name__ == "__main__":
    main()
