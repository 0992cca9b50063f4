"""`swiftreplies replay`: a recorded conversation, answered again by the bot as it is now."""

import argparse
import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import Refused, count, one_line, row_id
from cli.evals import CONNECTIONS, FAILED, POOL_SIZE, draft_of, logged
from cli.operating import as_owner, check, database_problem
from db.connecting import CannotConnect
from db.ids import ConversationId, MessageId, UserId
from db.pool import UNAVAILABLE, Pool, create_pool
from db.takeovers import owner_of_conversation
from handlers.process.configuration import Environment
from handlers.process.secrets import Vault
from worker.settings import ModelSettings, read_model

if TYPE_CHECKING:
    from handlers.evals.replay_report import ReplayReport
    from handlers.evals.session import Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    conversation_id: ConversationId
    until: MessageId | None = None
    kb: Path | None = None
    instructions: Path | None = None
    budget: int | None = None


def declare(noun: argparse.ArgumentParser) -> None:
    noun.description = (
        "Answers once more what a customer wrote, with the bot as it is now, and shows per turn"
        " what it said then and would say now. Before each turn stands what was really said. No"
        " message leaves and no row is written; docs/replay.md has more."
    )
    noun.add_argument("conversation", type=row_id, metavar="CONVERSATION", help="its id")
    noun.add_argument("--kb", type=Path, metavar="FILE", help="knowledge instead of the bot's own")
    noun.add_argument("--instructions", type=Path, metavar="FILE", help="likewise, a text")
    noun.add_argument("--until", type=row_id, metavar="MESSAGE", help="the last one, by its id")
    noun.add_argument("--budget", type=count, metavar="TOKENS", help="stop when they are spent")
    noun.add_argument("--json", action="store_true", help="print one JSON object")
    noun.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    wanted = Wanted(
        conversation_id=ConversationId(args.conversation),
        until=None if args.until is None else MessageId(args.until),
        kb=args.kb,
        instructions=args.instructions,
        budget=args.budget,
    )
    with logged():
        report = asyncio.run(replay_conversation(Environment(os.environ), wanted))
    from handlers.evals.replay_report import as_json, table

    if args.json:
        print(json.dumps(as_json(report)))
    else:
        print("\n".join(one_line(line) for line in table(report).split("\n")))
    if report.stopped is not None:
        sys.exit(FAILED)


async def replay_conversation(env: Environment, wanted: Wanted) -> "ReplayReport":
    settings = read_model(env)
    url = env.database_url()
    check(env)
    number = wanted.conversation_id
    async with as_owner(env) as conn:
        owner = await owner_of_conversation(conn, number)
    if owner is None:
        raise _none(number)
    draft = draft_of(wanted.kb, wanted.instructions)
    pool = await create_pool(url, size=POOL_SIZE, name="swiftreplies replay")
    try:
        return await _replayed(pool, settings, owner, wanted, draft)
    except CannotConnect as error:
        raise Refused(database_problem(error)) from error
    except UNAVAILABLE as error:
        raise Refused(database_problem(error)) from error
    finally:
        pool.terminate()


async def _replayed(
    pool: Pool, settings: ModelSettings, owner: UserId, wanted: Wanted, draft: "Draft"
) -> "ReplayReport":
    from handlers.evals.replaying import Mistaken, Replaying, replayed
    from handlers.evals.session import Gone
    from worker.thinking import agent_of

    async with agent_of(settings, Vault(settings.secrets_keys), CONNECTIONS) as agent:
        replaying = Replaying(
            pool=pool,
            agent=agent,
            user_id=owner,
            conversation_id=wanted.conversation_id,
            until=wanted.until,
            draft=draft,
            budget=wanted.budget,
        )
        try:
            return await replayed(replaying, _told)
        except Mistaken as why:
            raise Refused(str(why)) from None
        except Gone:
            raise _none(wanted.conversation_id) from None


def _told(done: int, total: int) -> None:
    print(f"{done}/{total}", file=sys.stderr)


def _none(number: ConversationId) -> Refused:
    return Refused(f"there is no conversation {number}: see `swiftreplies conversation list`")
