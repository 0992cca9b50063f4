"""The `swiftreplies` command."""

import argparse
import asyncio
import importlib.metadata
import json
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

# Before anything loads LangGraph: its checkpoints may only hold plain values, and LangSmith must
# never get customers' text because somebody's shell exports a key.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["LANGCHAIN_TRACING_V2"] = "false"

WORKER_ROLES = ("ingest", "turns", "sends", "scheduler")

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


class Failure(Exception):
    """What went wrong and what to do, for stderr; exit code 1."""


def main() -> None:
    args = _parser().parse_args()
    try:
        args.run(args)
    except Failure as failure:
        print(f"swiftreplies: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="swiftreplies",
        description="Answers a business's customers on WhatsApp.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = importlib.metadata.version("swiftreplies")
    parser.add_argument("--version", action="version", version=f"swiftreplies {version}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    migrate = commands.add_parser(
        "migrate", help="bring database and broker topology to the current state"
    )
    migrate.set_defaults(run=_migrate)

    ingress = commands.add_parser(
        "ingress", help="HTTP process: webhooks, tenant API, health, metrics"
    )
    ingress.set_defaults(run=_ingress)

    worker = commands.add_parser("worker", help="worker process: records, answers, sends")
    worker.add_argument(
        "--only",
        type=_roles,
        default=WORKER_ROLES,
        metavar="ROLE,...",
        help=f"some of: {', '.join(WORKER_ROLES)} (default: all)",
    )
    worker.set_defaults(run=_worker)

    tenant = _group(commands, "tenant", "the businesses that use this installation")
    create = _creating(tenant, "create", "a tenant with an active subscription")
    create.add_argument("--email", required=True)
    create.add_argument("--name", help="of the person")
    create.add_argument(
        "--timezone",
        metavar="Area/City",
        default="UTC",
        help="whose days limits are counted on, e.g. Europe/Madrid (default: UTC)",
    )
    create.add_argument(
        "--language",
        metavar="TAG",
        help="of the texts that are said without a model, e.g. es (default: the customer's, or en)",
    )
    create.add_argument(
        "--config", type=Path, metavar="plan.json", help="the plan's features and limits"
    )
    create.add_argument("--daily-messages", type=_count, metavar="N", default=100)
    create.add_argument("--monthly-messages", type=_count, metavar="N", default=3_000)
    create.set_defaults(run=_tenant_create)

    chatbot = _group(commands, "chatbot", "the chatbots of a tenant")
    create = _creating(chatbot, "create", "a chatbot on its own WhatsApp number")
    create.add_argument("--user", type=int, required=True, metavar="ID", help="the tenant")
    create.add_argument("--name", required=True)
    create.add_argument("--number", required=True, metavar="+12025550143")
    create.add_argument(
        "--phone-number-id", metavar="ID", help="Meta's; without it the first webhook brings it"
    )
    create.add_argument(
        "--access-token", metavar="T", help="without it WHATSAPP_ACCESS_TOKEN is used"
    )
    create.add_argument("--instructions", metavar="TEXT", help="what the bot is told about itself")
    create.set_defaults(run=_chatbot_create)

    apikey = _group(commands, "apikey", "keys of the tenant API")
    create = _creating(apikey, "create", "a key; it is shown once, and stored as a hash only")
    create.add_argument("--user", type=int, required=True, metavar="ID", help="the tenant")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument(
        "--permissions",
        metavar="a,b",
        help="e.g. actions:read,actions:write (default: all; a wrong one prints the list)",
    )
    create.set_defaults(run=_apikey_create)
    listing = _creating(apikey, "list", "the keys of a tenant, without the keys themselves")
    listing.add_argument("--user", type=int, required=True, metavar="ID", help="the tenant")
    listing.set_defaults(run=_apikey_list)
    revoke = _creating(apikey, "revoke", "closes a key at once, for good; safe to repeat")
    revoke.add_argument("id", type=int, metavar="ID")
    revoke.set_defaults(run=_apikey_revoke)

    doctor = commands.add_parser(
        "doctor",
        help="checks configuration, services, schema, topology, credentials",
        description="Every line is ok or says what to do. Exit code 1 when one has failed; a"
        " warning is no failure. Changes nothing and sends nothing.",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.set_defaults(run=_doctor)

    dead = _group(commands, "dead", "what could not be processed, why, and again")
    listing = _creating(dead, "list", "every dead item with its reason, without its content")
    listing.set_defaults(run=_dead_list)
    show = _creating(dead, "show", "one dead item, whole")
    show.add_argument("id", type=_dead_id, metavar="ID")
    show.set_defaults(run=_dead_show)
    again = _creating(dead, "replay", "lets dead items be processed again; safe to repeat")
    which = again.add_mutually_exclusive_group(required=True)
    which.add_argument("ids", type=_dead_id, nargs="*", metavar="ID", default=[])
    which.add_argument("--all", action="store_true")
    again.set_defaults(run=_dead_replay)

    action = _group(commands, "action", "what the bots asked a person to decide")
    listing = _creating(action, "list", "the actions, oldest first")
    listing.add_argument("--user", type=int, metavar="ID", help="one tenant's")
    listing.add_argument("--status", choices=("pending", "approved", "denied", "expired"))
    listing.set_defaults(run=_action_list)
    for name, verdict in (("approve", "approved"), ("deny", "denied")):
        decision = _creating(action, name, f"the action is {verdict}; the customer is told")
        decision.add_argument("id", type=_count, metavar="ID")
        decision.add_argument("--response", metavar="T", help="what the customer is told besides")
        if name == "approve":
            decision.add_argument(
                "--similar",
                action="store_true",
                help="and every later one of the same contact that asks for the same, by itself",
            )
        decision.set_defaults(run=_action_decide, verdict=verdict)

    kb = _group(commands, "kb", "what chatbots know")
    load = _creating(kb, "import", "questions and answers from a CSV or JSONL file")
    load.add_argument("--chatbot", type=int, required=True, metavar="ID")
    load.add_argument("file", type=Path, metavar="FILE", help="question, answer, category")
    load.set_defaults(run=_kb_import)
    return parser


def _group(commands: Any, name: str, text: str) -> Any:
    return commands.add_parser(name, help=text).add_subparsers(required=True, metavar="COMMAND")


def _creating(group: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _roles(text: str) -> tuple[str, ...]:
    roles = tuple(r.strip() for r in text.split(",") if r.strip())
    unknown = [r for r in roles if r not in WORKER_ROLES]
    if unknown or not roles:
        raise argparse.ArgumentTypeError(
            f"no such role: {', '.join(unknown) or '(none given)'};"
            f" there are {', '.join(WORKER_ROLES)}"
        )
    return roles


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 2**31 - 1:
        raise argparse.ArgumentTypeError(f"not a whole number from 0 to 2147483647: {text!r}")
    return int(text)


# ---- processes ---------------------------------------------------------------------------------


def _ingress(_: argparse.Namespace) -> None:
    from ingress import app, settings

    read = _configured(settings.read, "ingress")
    _serve(app.serve, read)


def _worker(args: argparse.Namespace) -> None:
    from worker import settings

    read = _configured(settings.read, "worker")  # before the LLM stack, which takes seconds to load
    from worker import app

    async def run(settings: Any, stop: asyncio.Event) -> None:
        try:
            await app.run(settings, args.only, stop)
        except* app.NotMigrated as errors:
            raise Failure(str(errors.exceptions[0])) from None

    _serve(run, read)


def _configured(read: Any, process: str) -> Any:
    from handlers.process import telemetry
    from handlers.process.configuration import BadConfiguration

    try:
        settings = read(os.environ)
    except BadConfiguration as bad:
        problems = "\n".join(f"  - {p}" for p in bad.problems)
        raise Failure(f"{process} cannot start:\n{problems}") from None
    telemetry.configure(settings.log_level, settings.log_format, process)
    return settings


def _serve(run: Any, settings: Any) -> None:
    import structlog
    import uvloop

    async def until_signalled() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def signalled() -> None:
            if stop.is_set():  # asked twice: at once
                os._exit(1)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled)
        # asyncio's own lines would quote the error's text, which may be a customer's.
        loop.set_exception_handler(
            lambda _, context: log.error(
                "loop.error", what=context.get("message"), exc_info=context.get("exception")
            )
        )
        await run(settings, stop)

    log = structlog.get_logger()
    try:
        uvloop.run(until_signalled())
    except OSError as error:
        raise Failure(f"cannot listen: {error.strerror or error}") from error
    except Failure:
        raise
    except Exception as error:
        # Not as a traceback: that would print what the error choked on.
        log.error("process.crashed", exc_info=error)
        raise Failure("crashed; the log says where") from error


# ---- operator commands ---------------------------------------------------------------------------


def _migrate(_: argparse.Namespace) -> None:
    from cli import operator_commands

    _operate(operator_commands.migrate(_environment(), print))


def _tenant_create(args: argparse.Namespace) -> None:
    from cli import operator_commands

    created = _operate(
        operator_commands.tenant_create(
            _environment(),
            email=args.email,
            name=args.name,
            plan=args.config,
            daily_messages=args.daily_messages,
            monthly_messages=args.monthly_messages,
            timezone=args.timezone,
            language=args.language,
        )
    )
    _print(args, created, f"tenant {created['user_id']} created")


def _chatbot_create(args: argparse.Namespace) -> None:
    from cli import operator_commands

    created = _operate(
        operator_commands.chatbot_create(
            _environment(),
            user_id=args.user,
            name=args.name,
            number=args.number,
            phone_number_id=args.phone_number_id,
            access_token=args.access_token,
            instructions=args.instructions,
        )
    )
    text = f"chatbot {created['chatbot_id']} created"
    if "replayed" in created:
        text += f", {created['replayed']} items that waited for its number replayed"
    if "waiting" in created:
        text += f"; {created['waiting']} items wait for its number: {created['hint']}"
    _print(args, created, text)


def _kb_import(args: argparse.Namespace) -> None:
    from cli import operator_commands

    report = _operate(
        operator_commands.kb_import(_environment(), chatbot_id=args.chatbot, file=args.file)
    )
    lines = [f"{report['inserted']} inserted, {report['updated']} updated"]
    lines += [f"line {r['line']} rejected: {r['why']}" for r in report["rejected"]]
    _print(args, report, "\n".join(lines))
    if report["rejected"] and not report["inserted"] and not report["updated"]:
        raise Failure("nothing was imported")


def _apikey_create(args: argparse.Namespace) -> None:
    from cli import api_keys

    created = _operate(
        api_keys.apikey_create(
            _environment(), user_id=args.user, name=args.name, permissions=args.permissions
        )
    )
    text = f"API key {created['api_key_id']} created. It is shown this once:\n{created['api_key']}"
    _print(args, created, text)


def _apikey_list(args: argparse.Namespace) -> None:
    from cli import api_keys

    found = _operate(api_keys.apikey_list(_environment(), user_id=args.user))
    _print(args, found, api_keys.described(found["api_keys"]) or "there is no API key")


def _apikey_revoke(args: argparse.Namespace) -> None:
    from cli import api_keys

    revoked = _operate(api_keys.apikey_revoke(_environment(), key_id=args.id))
    _print(args, revoked, f"API key {args.id} is revoked")


def _doctor(args: argparse.Namespace) -> None:
    from cli import doctor

    checks = asyncio.run(doctor.examine(os.environ))
    report = doctor.report(checks)
    _print(args, report, doctor.described(checks))
    if not report["ok"]:
        sys.exit(1)


def _action_list(args: argparse.Namespace) -> None:
    from cli import actions

    found = _operate(actions.action_list(_environment(), user_id=args.user, status=args.status))
    _print(args, found, actions.described(found["actions"]) or "there are none")


def _action_decide(args: argparse.Namespace) -> None:
    from cli import actions

    decided = _operate(
        actions.action_decide(
            _environment(),
            args.id,
            args.verdict,
            args.response,
            similar=getattr(args, "similar", False),
        )
    )
    _print(args, decided, f"action {decided['id']} {decided['status']}")


def _dead_list(args: argparse.Namespace) -> None:
    from cli import dead_items

    found = _operate(dead_items.dead_list(_environment()))
    _print(args, found, dead_items.described(found["items"]) or "nothing is dead")


def _dead_show(args: argparse.Namespace) -> None:
    from cli import dead_items

    shown = _operate(dead_items.dead_show(_environment(), args.id))
    _print(args, shown, json.dumps(shown, indent=2))


def _dead_replay(args: argparse.Namespace) -> None:
    from cli import dead_items

    done = _operate(dead_items.dead_replay(_environment(), None if args.all else args.ids))
    missing = f"; not there: {', '.join(done['missing'])}" if done["missing"] else ""
    refused = "".join(f"\n{one['id']}: {one['why']}" for one in done["refused"])
    _print(args, done, f"{done['replayed']} replayed{missing}{refused}")


def _dead_id(text: str) -> Any:
    from cli.dead_items import dead_id

    return dead_id(text)


def _environment() -> Any:
    from handlers.process.configuration import Environment

    return Environment(os.environ)


def _operate(work: Coroutine[Any, Any, Any]) -> Any:
    from cli.operating import Refused

    try:
        return asyncio.run(work)
    except Refused as refused:
        raise Failure(str(refused)) from refused


def _print(args: argparse.Namespace, created: dict[str, Any], text: str) -> None:
    print(json.dumps(created) if args.json else text)


if __name__ == "__main__":
    main()
