"""What an operator does to the installation. As the database's owner, the tenant set explicitly."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from cli.dead_items import DeadId, replay
from cli.operating import Refused, as_owner, check, database_problem, log_problem
from cli.timezones import zone_problem
from db import migrate as migrations
from db.chatbots import (
    chatbot_owner,
    count_chatbots,
    create_chatbot,
    import_knowledge,
    store_access_token,
)
from db.ids import ChatbotId, UserId
from db.parked import parked_of_number
from db.pool import UNAVAILABLE, Conn, tenant_transaction
from db.tenants import (
    NewUser,
    create_subscription,
    create_user,
    lock_user,
    next_user_id,
    read_plan,
)
from handlers.fixed.texts import is_language
from handlers.ingest_log.factory import adapter
from handlers.ingest_log.port import OldTopology
from handlers.plans import SUBSCRIPTION_NAME, Limit, Plan, validate
from handlers.process.configuration import Environment
from handlers.process.secrets import MIN_KEY_CHARS, Vault, access_token_of
from handlers.rules.numbers import normalised

NO_LOGIN = "!"  # no password hash looks like this
IMPORT_BATCH = 500
MAX_QUESTION_CHARS = 2_000
MAX_ANSWER_CHARS = 8_000
MAX_CATEGORY_CHARS = 100


async def migrate(env: Environment, say: Callable[[str], None]) -> None:
    runtime = env.database_url()
    owner = env.owner_url(runtime)
    log_url = env.log_url()
    check(env)
    try:
        await migrations.migrate(owner, runtime, say)
    except migrations.MigrationError as error:
        raise Refused(str(error)) from error
    except (*UNAVAILABLE, asyncpg.PostgresError, ValueError) as error:
        raise Refused(database_problem(error)) from error
    say("database is current")
    ingest_log = adapter(log_url)
    try:
        say(await ingest_log.prepare(log_url))
    except OldTopology as error:
        raise Refused(str(error)) from error
    except ingest_log.UNREACHABLE as error:
        raise Refused(log_problem(log_url, error)) from error


async def tenant_create(
    env: Environment,
    *,
    email: str,
    name: str | None,
    plan: Path | None,
    daily_messages: int,
    monthly_messages: int,
    timezone: str = "UTC",
    language: str | None = None,
) -> dict[str, Any]:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", email) or len(email) > 255:
        raise Refused(f"--email is not an e-mail address: {email!r}")
    if (problem := zone_problem(timezone)) is not None:
        raise Refused(f"--timezone: {problem}")
    if language is not None and not is_language(language):
        raise Refused(f"--language is no language tag like es or pt-BR: {language!r}")
    config = _plan(plan)
    user = NewUser(
        email=email, password_hash=NO_LOGIN, full_name=name, timezone=timezone, language=language
    )
    async with as_owner(env) as conn:
        user_id = await next_user_id(conn)
        try:
            async with tenant_transaction(conn, user_id):
                await create_user(conn, user_id, user)
                await create_subscription(
                    conn,
                    user_id,
                    Plan(config).get(SUBSCRIPTION_NAME),
                    config,
                    daily_messages,
                    monthly_messages,
                )
        except asyncpg.UniqueViolationError:
            raise Refused(f"there is a tenant with the e-mail {email} already") from None
        except asyncpg.InvalidParameterValueError:
            raise Refused(f"--timezone: the database does not know {timezone}") from None
    return {"user_id": user_id}


async def chatbot_create(
    env: Environment,
    *,
    user_id: int,
    name: str,
    number: str,
    phone_number_id: str | None,
    access_token: str | None,
    instructions: str | None,
) -> dict[str, Any]:
    stored_number = normalised(number)
    if stored_number is None or not re.fullmatch(r"\+[\d\s().-]+", number):
        raise Refused(f"--number is not a number like +12025550143: {number!r}")
    if phone_number_id is not None and not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", phone_number_id):
        raise Refused("--phone-number-id is not an id as Meta's dashboard shows it")
    vault = _vault(env) if access_token else None
    owner = UserId(user_id)
    async with as_owner(env) as conn:
        try:
            async with tenant_transaction(conn, owner):
                if not await lock_user(conn, owner):
                    raise Refused(f"there is no tenant {user_id}: see `swiftreplies tenant create`")
                limit = Plan(await read_plan(conn, owner)).limit(Limit.MAX_CHATBOTS)
                if limit is not None and await count_chatbots(conn, owner) >= limit:
                    raise Refused(
                        f"the plan of tenant {user_id} allows {limit} chatbots"
                        " (limits.max_chatbots), and it has them"
                    )
                chatbot_id = await create_chatbot(
                    conn, owner, name, stored_number, phone_number_id, instructions
                )
                if vault is not None and access_token is not None:
                    sealed = vault.encrypt(access_token, access_token_of(chatbot_id))
                    await store_access_token(conn, owner, chatbot_id, sealed)
        except asyncpg.UniqueViolationError as error:
            taken = "id" if "phone_number_id" in (error.constraint_name or "") else "number"
            raise Refused(f"a chatbot with this {taken} exists already") from None
        created: dict[str, Any] = {"chatbot_id": chatbot_id}
        waiting = await parked_of_number(conn, phone_number_id, stored_number)
        if waiting:
            created |= await _replay_waiting(env, conn, waiting)
    return created


async def _replay_waiting(env: Environment, conn: Conn, waiting: list[int]) -> dict[str, Any]:
    """What came for the number before its chatbot was there. The chatbot exists in any case, so a
    broker that is away or not named only leaves the items where they are."""
    log_url = env.log_url()
    if env.problems:
        return {"waiting": len(waiting), "hint": "set AMQP_URL and run `swiftreplies dead replay`"}
    try:
        items = [DeadId("item", number) for number in waiting]
        return {"replayed": len(await replay(conn, log_url, items))}
    except Refused as refused:
        return {"waiting": len(waiting), "hint": str(refused)}


@dataclass(frozen=True, slots=True)
class KnowledgeRow:
    question: str
    answer: str
    category: str | None


async def kb_import(env: Environment, *, chatbot_id: int, file: Path) -> dict[str, Any]:
    rows, rejected = read_knowledge(file)
    inserted = updated = 0
    async with as_owner(env) as conn:
        owner = await _chatbot_owner(conn, ChatbotId(chatbot_id))
        async with tenant_transaction(conn, owner):
            for start in range(0, len(rows), IMPORT_BATCH):
                batch = rows[start : start + IMPORT_BATCH]
                new = await import_knowledge(
                    conn,
                    owner,
                    ChatbotId(chatbot_id),
                    [r.question for r in batch],
                    [r.answer for r in batch],
                    [r.category for r in batch],
                )
                inserted += sum(new)
                updated += len(new) - sum(new)
    return {"inserted": inserted, "updated": updated, "rejected": rejected}


@dataclass(frozen=True, slots=True)
class Unreadable:
    why: str


def read_knowledge(file: Path) -> tuple[list[KnowledgeRow], list[dict[str, Any]]]:
    """The good rows, and for each bad line where it is and why."""
    rows: dict[str, KnowledgeRow] = {}
    lines: dict[str, int] = {}
    rejected: list[dict[str, Any]] = []
    for line, value in _records(file):
        row = _knowledge_row(value)
        if isinstance(row, str):
            rejected.append({"line": line, "why": row})
        elif row.question in rows:
            why = f"the same question as line {lines[row.question]}"
            rejected.append({"line": line, "why": why})
        else:
            rows[row.question] = row
            lines[row.question] = line
    return list(rows.values()), rejected


def _records(file: Path) -> Iterator[tuple[int, Any]]:
    """Where a record starts, and the record: a JSON value or, of CSV, a dict; or what is wrong."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{file} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    if file.suffix.lower() in (".jsonl", ".ndjson"):
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield number, Unreadable(f"not JSON: {error}")
        return
    csv.field_size_limit(1_000_000)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as error:
        raise Refused(f"the first line of {file} is not CSV: {error}") from error
    missing = {"question", "answer"} - set(columns)
    if missing:
        raise Refused(f"{file} has no column {' and no column '.join(sorted(missing))}")
    while True:
        first_line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield first_line, Unreadable(f"not CSV: {error}")
            continue
        if len(values) > len(columns):
            # Most often a comma in an answer without quotes: half of it would be imported.
            why = f"{len(values)} values for {len(columns)} columns: quote values with commas"
            yield first_line, Unreadable(why)
        elif values:
            yield first_line, dict(zip(columns, values, strict=False))


def _knowledge_row(value: Any) -> KnowledgeRow | str:
    if isinstance(value, Unreadable):
        return value.why
    if not isinstance(value, dict):
        return "not an object with question and answer"
    limits = {
        "question": MAX_QUESTION_CHARS,
        "answer": MAX_ANSWER_CHARS,
        "category": MAX_CATEGORY_CHARS,
    }
    fields: dict[str, str] = {}
    for name, limit in limits.items():
        text = value.get(name)
        if text is not None and not isinstance(text, str):
            return f"{name} is not a text"
        text = (text or "").strip()
        if not text and name != "category":
            return f"{name} is empty"
        if len(text) > limit:
            return f"{name} has {len(text)} characters, {limit} at most"
        if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            return f"{name} has a character that cannot be stored"
        fields[name] = text
    return KnowledgeRow(fields["question"], fields["answer"], fields["category"] or None)


async def _chatbot_owner(conn: Conn, chatbot_id: ChatbotId) -> UserId:
    """The owner of the database may be kept from other tenants' rows too; the function is not."""
    owner = await chatbot_owner(conn, chatbot_id)
    if owner is None:
        raise Refused(f"there is no chatbot {chatbot_id}: see `swiftreplies chatbot create`")
    return owner


def _vault(env: Environment) -> Vault:
    keys = env.names("SECRETS_KEY", what="encrypts the access token")
    if any(len(key) < MIN_KEY_CHARS for key in keys):
        env.problems.append(f"SECRETS_KEY is shorter than {MIN_KEY_CHARS} characters")
    env.database_url()  # so that both are told when both are missing
    check(env)
    return Vault(keys)


def _plan(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        plan: dict[str, Any] = json.loads(file.read_text())
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{file} is not JSON: {error}") from error
    if problems := validate(plan):
        raise Refused(f"{file}: " + "; ".join(problems))
    return plan
