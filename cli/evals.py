"""`swiftreplies eval`: a bot's own tests, from a file. Nothing comes of them but test tokens."""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from cli.command import Refused, count, one_line, read_bounded, row_id
from cli.knowledge import read_knowledge
from cli.operating import as_owner, check, database_problem
from db.chatbots import chatbot_owner
from db.connecting import CannotConnect
from db.evals import EvalRow, NewEval, Running, create_eval, read_cases, read_eval
from db.ids import ChatbotId, UserId
from db.pool import UNAVAILABLE, Pool, create_pool, tenant
from handlers.evals.document import BYTES_MAX, Invalid
from handlers.evals.reading import read_suite
from handlers.evals.report import Report, Reported, as_json, junit, table
from handlers.evals.suite import REPEAT_MAX, Suite
from handlers.process.configuration import Environment
from handlers.process.secrets import Vault
from worker.settings import ModelSettings, read_model

if TYPE_CHECKING:
    from handlers.evals.session import Draft, Session

POOL_SIZE = 4
CONNECTIONS = 16
INSTRUCTIONS_BYTES = 64 * 1024
FAILED, INVALID = 1, 2  # exit codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    chatbot_id: ChatbotId
    file: Path
    kb: Path | None = None
    instructions: Path | None = None
    repeat: int | None = None
    budget: int | None = None
    baseline: bool = False


def declare(noun: argparse.ArgumentParser) -> None:
    noun.description = (
        "Runs a suite of tests against a chatbot, through the turn that answers customers: no"
        " message leaves, and no row comes of it but the result. docs/evals.md shows how one is"
        " written. Exit code 0: all passed, 1: a case failed, 2: the suite is invalid."
    )
    noun.add_argument("chatbot", type=row_id, metavar="CHATBOT", help="its id")
    noun.add_argument("suite", type=Path, metavar="SUITE.yaml")
    noun.add_argument("--kb", type=Path, metavar="FILE", help="knowledge instead of the bot's own")
    noun.add_argument("--instructions", type=Path, metavar="FILE", help="likewise, a text")
    noun.add_argument("--repeat", type=_repeat, metavar="K", help="each case so often")
    noun.add_argument("--baseline", choices=("last",), help="name what fell since the last run")
    noun.add_argument("--budget", type=count, metavar="TOKENS", help="stop when they are spent")
    noun.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit's XML, too")
    noun.add_argument("--json", action="store_true", help="print one JSON object")
    noun.set_defaults(run=_run)


def _repeat(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= REPEAT_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"not a whole number from 1 to {REPEAT_MAX}: {text[:40]!r}")


def _run(args: argparse.Namespace) -> None:
    wanted = Wanted(
        chatbot_id=ChatbotId(args.chatbot),
        file=args.suite,
        kb=args.kb,
        instructions=args.instructions,
        repeat=args.repeat,
        budget=args.budget,
        baseline=args.baseline is not None,
    )
    try:
        suite = read_suite(text_of(args.suite, BYTES_MAX), args.repeat)
    except (Invalid, Refused) as error:
        lines = error.lines if isinstance(error, Invalid) else [str(error)]
        print(f"swiftreplies: {args.suite} is no suite:", file=sys.stderr)
        print("\n".join(f"  {one_line(line)}" for line in lines), file=sys.stderr)
        sys.exit(INVALID)
    with logged():
        report = asyncio.run(eval_suite(Environment(os.environ), wanted, suite))
    if args.junit is not None:
        _write(args.junit, junit(report))
    if args.json:
        print(json.dumps(as_json(report)))
    else:
        print("\n".join(one_line(line) for line in table(report).split("\n")))
    if not report.passed:
        sys.exit(FAILED)


@contextmanager
def logged() -> Iterator[None]:
    """What the agent logs, beside what is printed, and only what somebody should look at."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def text_of(file: Path, most: int) -> str:
    try:
        return read_bounded(file, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"{file} is no text in UTF-8: {error.reason}") from error


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"cannot write {file}: {error.strerror}") from error


async def eval_suite(env: Environment, wanted: Wanted, suite: Suite) -> Report:
    settings = read_model(env)
    url = env.database_url()
    check(env)
    async with as_owner(env) as conn:
        owner = await chatbot_owner(conn, wanted.chatbot_id)
    if owner is None:
        raise Refused(f"there is no chatbot {wanted.chatbot_id}: see `swiftreplies chatbot create`")
    draft = draft_of(wanted.kb, wanted.instructions)
    pool = await create_pool(url, size=POOL_SIZE, name="swiftreplies eval")
    try:
        async with _begun(pool, settings, (owner, wanted, suite, draft)) as session:
            return await _report(session, wanted)
    except CannotConnect as error:
        raise Refused(database_problem(error)) from error
    except UNAVAILABLE as error:
        raise Refused(database_problem(error)) from error
    finally:
        pool.terminate()


def draft_of(kb: Path | None, instructions: Path | None) -> "Draft":
    """The model's libraries take seconds to load: only now, when there is something to run."""
    from handlers.agent.knowledge import Knowledge
    from handlers.agent.prompt import Row
    from handlers.evals.session import Draft

    known = None
    if kb is not None:
        rows, rejected = read_knowledge(kb)
        if rejected:
            told = "\n".join(f"  line {one['line']}: {one['why']}" for one in rejected[:20])
            raise Refused(f"{kb} has rows that cannot be imported:\n{told}")
        known = Knowledge(
            -1,
            tuple(
                Row(
                    n,
                    row["category"],
                    row["question"],
                    row["answer"],
                    tuple(row.get("alternatives") or ()),
                    row.get("language"),
                )
                for n, row in enumerate(rows, start=1)
                if row["is_active"]
            ),
        )
    text = None
    if instructions is not None:
        text = text_of(instructions, INSTRUCTIONS_BYTES)
    return Draft(known, text)


@asynccontextmanager
async def _begun(
    pool: Pool, settings: ModelSettings, what: tuple[UserId, Wanted, Suite, "Draft"]
) -> AsyncIterator["Session"]:
    from handlers.evals.session import Gone, Session, bench_of
    from worker.thinking import agent_of

    owner, wanted, suite, draft = what
    new = NewEval(
        chatbot_id=wanted.chatbot_id,
        job_id=None,
        name=suite.name,
        suite=None,
        repeat=suite.repeat,
        total=len(suite.cases),
        budget=wanted.budget,
        is_draft=draft.knowledge is not None or draft.instructions is not None,
    )
    async with agent_of(settings, Vault(settings.secrets_keys), CONNECTIONS) as agent:
        async with tenant(pool, owner) as conn:
            run = Running(owner, await create_eval(conn, owner, new), 1)
        try:
            bench, context = await bench_of(pool, agent, wanted.chatbot_id, run, draft)
        except Gone:
            raise Refused(f"chatbot {wanted.chatbot_id} is deleted") from None
        yield Session(
            pool=pool,
            agent=agent,
            run=run,
            chatbot_id=wanted.chatbot_id,
            job_id=None,
            suite=suite,
            bench=bench,
            context=context,
        )


async def _report(session: "Session", wanted: Wanted) -> Report:
    from handlers.evals.results import CaseResult
    from handlers.evals.session import end, run_cases
    from handlers.exports.work import Lost

    total, done = len(session.suite.cases), 0

    def told(_: int, result: CaseResult) -> None:
        nonlocal done
        done += 1
        mark = "ok  " if result.passed else "FAIL"
        line = f"{done}/{total} {mark} {result.case.name}"
        print(one_line(line), file=sys.stderr)

    try:
        going = await run_cases(session, range(total), told)
        await end(session, going.stopped)
    except Lost:
        pass  # what is kept says how it ended
    except asyncio.CancelledError:
        await end(session, "cancelled")
        raise
    run = session.run
    async with tenant(session.pool, run.user_id) as conn:
        row = await read_eval(conn, run.user_id, run.id)
        kept = {one.name: one for one in await read_cases(conn, run.user_id, run.id)}
    if row is None:
        raise Refused(f"chatbot {wanted.chatbot_id} was deleted meanwhile")
    return _reported(session.suite, row, kept, compared=wanted.baseline)


def _reported(suite: Suite, row: EvalRow, kept: dict[str, Any], *, compared: bool) -> Report:
    fell = set(row.fell or ())
    cases = []
    for case in suite.cases:
        one = kept.get(case.name)
        result = None if one is None or one.result is None else json.loads(one.result)
        passed = one is not None and one.passed
        cases.append(
            Reported(
                name=case.name,
                passed=passed,
                result=result,
                fell=compared and case.name in fell,
            )
        )
    return Report(
        eval_id=row.id,
        suite=row.suite,
        repeat=row.repeat,
        status=row.status,
        reason=row.reason,
        tokens=row.tokens,
        cases=cases,
        baseline=compared,
        compared=compared and row.fell is not None,
    )
