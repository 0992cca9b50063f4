"""The named SQL and the Python beside it agree: every query, every parameter, every column."""

import collections.abc
import dataclasses
import datetime as dt
import decimal
import hashlib
import importlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import db
from db.ids import UserId
from db.pages import Listed, StoredJson, StoredValue
from db.parked import ParkedItem, park_items
from db.pool import Conn, Pool
from db.sql import load
from tests.factories import Owner

PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "int2": (int,),
    "int4": (int,),
    "int8": (int,),
    "text": (str, StoredJson, StoredValue),
    "varchar": (str,),
    "bool": (bool,),
    "bytea": (bytes,),
    "uuid": (uuid.UUID,),
    "numeric": (decimal.Decimal,),
    "float8": (float,),
    "date": (dt.date,),
    "timestamptz": (dt.datetime,),
    "interval": (dt.timedelta,),
    "jsonb": (dict, list),
}

# What is not handed on as it comes; each of them is run by a test of its own.
BY_HAND = {
    *(
        "campaigns.lock_campaign",
        "campaigns.create_campaign",
        "campaigns.change_campaign",
        "campaigns.move_campaign",
        "campaigns.fix_recipients",
        "campaigns.count_states",
        "campaigns.take_pending",
        "campaigns.talks_of",
        "campaigns.suppressed",
        "campaigns.end_pending",
        "campaigns.put_up_again",
    ),
    "media_stores.note_sighting",
    *("tool_calls.note_told", "tool_calls.put_off_call"),
    *("parked.park_items", "conversations.mark_ready", "sends.claim_sends"),
    "conversations.claim_conversations",
    *("ingest_log.lock_lanes", "ingest_log.count_deliveries", "ingest_log.remove_entries"),
    *("ingest_log.move_entry", "ingest_log.lane_sizes", "session.set_session"),
    *("embeddings.vectors_since", "embeddings.store_vectors"),
    *("knowledge.index_parts", "knowledge.rows_to_build", "knowledge.lock_base"),
    *("plans.fit_plans", "deliveries.next_deliveries", "idempotency.find_answer"),
    *("delivery_reports.list_deliveries", "delivery_reports.read_delivery"),
    *("events.newest_events", "events.events_since", "webhooks.webhook_fields"),
    *("webhooks.webhook_ids", "webhooks.lock_webhooks", "webhooks.count_webhooks"),
    *("webhooks.change_webhook", "webhooks.change_events", "webhooks.recover_deliveries"),
    "webhooks.recovery_goes_on",
    *("messages.list_messages", "messages.read_message"),
    *("contacts.find_people", "exports.find_export", "exports.list_exports"),
    "exports.made_now",
    *("asks.read_ask", "asks.read_bot", "evals.cases_passed", "evals.end_eval"),
    *("facts.keep_facts", "messages.settle_inputs", "prices.rates"),
    *("instructions.read_instruction", "instructions.change_instruction"),
    *("products.create_product", "products.change_product", "products.list_products"),
    *("products.read_product", "orders.read_order"),
    *("api_pace.charge_calls",),
    "bulk.insert_contacts",
    "tools.read_tool",
    *("tool_calls.known_call", "tool_calls.list_calls"),
    *("bulk.update_contacts", "bulk.upsert_knowledge", "bulk.upsert_products"),
    *("chatbots.chatbot_fields", "chatbots.lock_settings"),
    *("claims.numbers_taken", "claims.prove_number", "claims.seek_proof"),
    *(
        "imports.lines_of",
        "imports.new_keys",
    ),
    *("imports.read_import", "imports.received", "known_rows.list_knowledge"),
    "known_rows.lock_knowledge_row",
    *("known_rows.read_knowledge_row", "people.list_people", "people.read_person"),
    *(
        "people.search_people",
        "people.words_of",
    ),
    "exports.columns_of",  # one value, which is a list
    "imports.became_rows",
    *("templates.template_fields", "templates.lock_templates", "templates.change_templates"),
    "templates.add_templates",
    "tenants.update_user",  # without the email, which another query writes
}

# What functions of other names run, put together or chosen by a name; likewise.
PARTS = {
    "actions.list_actions",
    "api_keys.api_key_fields",
    "api_keys.api_key_ids",
    "api_keys.every_api_key_id",
    "backfills.add_terms",
    "backfills.terms_added",
    "backfills.terms_complete",
    "backfills.terms_due",
    "bulk.last_of_contacts",
    "bulk.last_of_knowledge",
    "bulk.last_of_products",
    "bulk.page_of_contacts",
    "bulk.page_of_knowledge",
    "bulk.page_of_products",
    *(
        f"campaigns.{name}"
        for name in (
            "wait_campaign",
            "campaign_fields",
            "campaign_page",
            "room",
            "fixed_upto",
            "outstanding",
            "standing",
            "lock_people",
            "skip",
            "queue",
            "figures",
            "recipient_page",
        )
    ),
    "chatbots.chatbot_page",
    "conversations.is_blocked",
    "evals.add_case",
    "evals.count_case",
    "evals.drop_older",
    "evals.end_job",
    "evals.end_jobs",
    "evals.end_open",
    "evals.expect_cases",
    "evals.forget_words",
    "evals.lock_running",
    "evals.note_failed",
    "evals.progress",
    "facts.contact_is_there",
    "facts.drop_oldest_facts",
    "imports.drop_old",
    "imports.drop_unborn",
    "embeddings.hold_embedding",
    "imports.expect_lines",
    "imports.expect_rows",
    "imports.progress",
    "known_rows.list_knowledge_by_category",
    "talks.all_of",
    "talks.list_conversations",
    "talks.step",
    "templates.template_page",
}


@dataclass(frozen=True, slots=True)
class Query:
    module: types.ModuleType
    name: str
    sql: str

    def __str__(self) -> str:
        return f"{self.module.__name__.removeprefix('db.')}.{self.name}"


@dataclass(frozen=True, slots=True)
class Described:
    """A prepared query: PostgreSQL's types, 'x[]' for an array of x."""

    parameters: list[str]
    columns: dict[str, str]


def files() -> list[Path]:
    there = sorted(Path(str(db.__file__)).parent.glob("*.sql"))
    return [path for path in there if path.name != "schema.sql"]  # that one is read by people


def queries() -> list[Query]:
    found = []
    for path in files():
        module = importlib.import_module(f"db.{path.stem}")
        found += [Query(module, name, sql) for name, sql in load(str(path)).items()]
    return found


async def describe(conn: Conn, sql: str) -> Described:
    prepared = await conn.prepare(sql)
    return Described(
        [t.name for t in prepared.get_parameters()],
        {a.name: a.type.name for a in prepared.get_attributes()},
    )


def fits(postgres_type: str, hint: Any) -> bool:
    """Whether a Python annotation says what asyncpg takes or gives for this type."""
    hint = _without_none(hint)
    if postgres_type.endswith("[]"):
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        return (
            origin in (collections.abc.Sequence, list)
            and len(arguments) == 1
            and fits(postgres_type.removesuffix("[]"), arguments[0])
        )
    hint = getattr(hint, "__supertype__", hint)  # a NewType
    return (typing.get_origin(hint) or hint) in PYTHON_TYPES[postgres_type]


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = [a for a in typing.get_args(hint) if a is not types.NoneType]
    return hint


def given(name: str, hint: Any) -> list[tuple[str, Any]]:
    """The parameters that an argument becomes: of a row each field, of rows a column each."""
    if dataclasses.is_dataclass(hint):
        return [(f"{name}.{n}", h) for n, h in typing.get_type_hints(hint).items()]
    arguments = typing.get_args(hint)
    if len(arguments) == 1 and dataclasses.is_dataclass(arguments[0]):
        fields = typing.get_type_hints(arguments[0])
        return [(f"{name}.{n}", Sequence[h]) for n, h in fields.items()]  # type: ignore[valid-type]
    return [(name, hint)]


def disagreements(described: Described, function: Callable[..., Any]) -> list[str]:
    hints = typing.get_type_hints(function)
    returned = _without_none(hints.pop("return"))
    # The first is the connection.
    parameters = [one for name, hint in list(hints.items())[1:] for one in given(name, hint)]
    found = []
    if len(parameters) != len(described.parameters):
        found.append(f"{len(parameters)} parameters, the query has {len(described.parameters)}")
    for (name, hint), wanted in zip(parameters, described.parameters, strict=False):
        if not fits(wanted, hint):
            found.append(f"parameter {name} is {hint}, the query takes {wanted}")
    if returned is types.NoneType:
        return found
    more = {"more": bool} if typing.get_origin(returned) is Listed else {}
    if typing.get_origin(returned) in (list, Listed):
        (returned,) = map(_without_none, typing.get_args(returned))
    if dataclasses.is_dataclass(returned):
        fields = typing.get_type_hints(returned) | more
    elif len(described.columns) == 1:
        fields = dict.fromkeys(described.columns, returned)
    else:
        return [*found, f"returns {returned}, the query {sorted(described.columns)}"]
    if fields.keys() != described.columns.keys():
        found.append(f"only one of both has {sorted(fields.keys() ^ described.columns.keys())}")
    found += [
        f"{name} is {hint}, the query gives {described.columns[name]}"
        for name, hint in fields.items()
        if name in described.columns and not fits(described.columns[name], hint)
    ]
    return found


@pytest.mark.parametrize("query", queries(), ids=str)
async def test_query_and_function_agree(pool: Pool, query: Query) -> None:
    if str(query) in PARTS:
        return
    async with pool.acquire() as conn:
        described = await describe(conn, query.sql)
    function = getattr(query.module, query.name)
    assert callable(function)
    if str(query) not in BY_HAND:
        assert disagreements(described, function) == []


def test_parts_are_there_and_no_whole_queries() -> None:
    there = {str(query): query for query in queries()}
    assert there.keys() >= PARTS
    for name in PARTS:
        function = getattr(there[name].module, there[name].name, None)
        assert function is None or "<" in there[name].sql or "/* key" in there[name].sql, name


def test_every_module_with_sql_has_queries() -> None:
    names = [str(q) for q in queries()]
    assert len(names) == len(set(names)) > 30
    assert {n.split(".")[0] for n in names} == {path.stem for path in files()}


# ---- that a disagreement would be seen ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUp:
    id: UserId
    email: str
    created_at: dt.datetime


async def agreed(conn: Conn, user_id: UserId, emails: Sequence[str]) -> list[MadeUp]:
    raise NotImplementedError


async def one_parameter_less(conn: Conn, user_id: UserId) -> list[MadeUp]:
    raise NotImplementedError


async def other_parameter(conn: Conn, user_id: str, emails: str) -> MadeUp | None:
    raise NotImplementedError


async def scalar(conn: Conn, user_id: UserId, emails: Sequence[str]) -> int:
    raise NotImplementedError


MADE_UP = "SELECT id, email, created_at FROM users WHERE id = $1 AND email = ANY ($2::text[])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    id: UserId
    email: str | None


async def a_row(conn: Conn, asked: Asked) -> MadeUp | None:
    raise NotImplementedError


async def rows(conn: Conn, asked: Sequence[Asked]) -> list[MadeUp]:
    raise NotImplementedError


ONE = "SELECT id, email, created_at FROM users WHERE id = $1 AND email = $2::text"
MANY = """SELECT id, email, created_at FROM users
 WHERE (id, email) IN (SELECT * FROM unnest($1::bigint[], $2::text[]))"""


@pytest.mark.parametrize(
    ("sql", "function", "seen"),
    [
        (MADE_UP, agreed, []),
        (ONE, a_row, []),
        (MANY, rows, []),
        (
            MANY.replace("$1::bigint[], $2::text[]", "$2::bigint[], $1::text[]"),
            rows,
            [
                f"parameter asked.id is {Sequence[UserId]}, the query takes text[]",
                f"parameter asked.email is {Sequence[str | None]}, the query takes int8[]",
            ],
        ),
        (MADE_UP, one_parameter_less, ["1 parameters, the query has 2"]),
        (
            MADE_UP,
            other_parameter,
            [
                "parameter user_id is <class 'str'>, the query takes int8",
                "parameter emails is <class 'str'>, the query takes text[]",
            ],
        ),
        (
            MADE_UP,
            scalar,
            ["returns <class 'int'>, the query ['created_at', 'email', 'id']"],
        ),
        (
            MADE_UP.replace("email,", "email AS mail,"),
            agreed,
            ["only one of both has ['email', 'mail']"],
        ),
        (
            MADE_UP.replace("created_at", "created_at::date"),
            agreed,
            ["created_at is <class 'datetime.datetime'>, the query gives date"],
        ),
    ],
)
async def test_a_disagreement_is_seen(
    owner: Owner, sql: str, function: Callable[..., Any], seen: list[str]
) -> None:
    assert disagreements(await describe(owner, sql), function) == seen


async def test_a_query_that_names_what_is_not_there_is_seen(owner: Owner) -> None:
    with pytest.raises(asyncpg.UndefinedColumnError):
        await describe(owner, "SELECT nothing_like_it FROM users")


async def test_parked_items_keep_every_field(pool: Pool, owner: Owner) -> None:
    """As the runtime, which may add and not look; the same item twice is one row."""
    item = ParkedItem(
        reason="unknown_number",
        detail="nobody's",
        kind="messages",
        phone_number_id="4098",
        display_number="+1202555",
        trace_id="t1",
        raw=b"\x00{}",
    )
    async with pool.acquire() as conn:
        await park_items(conn, [item, item])
        await park_items(conn, [item])
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.fetch("SELECT * FROM parked_items")
    rows = await owner.fetch("SELECT * FROM parked_items")
    assert len(rows) == 1
    wanted = dataclasses.asdict(item) | {"item_key": hashlib.sha256(b"messages\x00\x00{}").digest()}
    assert {name: rows[0][name] for name in wanted} == wanted
