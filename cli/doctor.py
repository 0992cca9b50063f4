"""`swiftreplies doctor`: looks at everything that has to be right, and says what to do where it is
not. It changes nothing and sends nothing."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cli.checks.check import Check, failed, ok, warning
from cli.checks.ingest_log import LOGS
from cli.checks.media import media
from cli.checks.meta import meta
from cli.checks.model import embedding_model, model
from cli.checks.postgresql import postgresql
from cli.checks.secret_keys import stored_secrets
from cli.checks.work import work
from cli.command import show
from handlers.ingest_log.factory import adapter
from handlers.process.configuration import BadConfiguration, Environment, left_out
from ingress import settings as ingress_settings
from worker import settings as worker_settings


def declare(noun: argparse.ArgumentParser) -> None:
    noun.description = (
        "Every line is ok or says what to do. Exit code 1 when one has failed; a warning is no"
        " failure. Changes nothing and sends nothing."
    )
    noun.add_argument("--json", action="store_true", help="print one JSON object")
    noun.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    checks = asyncio.run(examine(os.environ))
    told = report(checks)
    show(args, told, described(checks))
    if not told["ok"]:
        sys.exit(1)


async def examine(values: Mapping[str, str]) -> list[Check]:
    env = Environment(values)
    checks = configuration(values)
    checks += [warning("configuration", told) for told in left_out(values)]
    database, log_url = env.database_url(), env.log_url()
    bad = {problem.partition(" ")[0] for problem in env.problems}
    if "DATABASE_URL" not in bad:
        checks += [*await postgresql(database), *await media(database)]
    if not bad & {
        "AMQP_URL",
        "INGEST_LOG",
        "INGEST_LOG_URL",
        *(["DATABASE_URL"] if log_url == database else []),
    }:
        checks += await LOGS[adapter(log_url).NAME](log_url)
    if "DATABASE_URL" not in bad:
        owner_url = env.owner_url(database)
        checks += [*await work(values, owner_url), *await stored_secrets(values, owner_url)]
        checks += await meta(values, owner_url)
    return [*checks, *await model(values), *await embedding_model(values)]


def report(checks: list[Check]) -> dict[str, Any]:
    return {
        "ok": all(check.state != "failed" for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def described(checks: list[Check]) -> str:
    width = max(len(check.check) for check in checks)
    return "\n".join(f"{c.state:<8} {c.check:<{width}}  {c.detail}" for c in checks)


def configuration(values: Mapping[str, str]) -> list[Check]:
    """As the two processes would read it; what both miss is told once."""
    problems: dict[str, list[str]] = {}
    for process, read in (("ingress", ingress_settings.read), ("worker", worker_settings.read)):
        try:
            read(values)
        except BadConfiguration as bad:
            for problem in bad.problems:
                problems.setdefault(problem, []).append(process)
    if not problems:
        return [ok("configuration", "complete for ingress and worker")]
    return [
        failed("configuration", f"{problem} (needed by {' and '.join(processes)})")
        for problem, processes in problems.items()
    ]
