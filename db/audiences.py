"""Whom a campaign is for: an audience becomes a query of fixed text for its shape, and every value
of the tenant's is a parameter.

What jsonb holds is compared by its kind: 100 is not "100", and what cannot be compared is false
without an error. A cast behind a test of the kind may be evaluated before it, and end the query.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from datetime import datetime
from typing import Any, Literal

from db.ids import ChatbotId, ContactId, UserId
from db.pool import Conn

Op = Literal["eq", "ne", "in", "gt", "gte", "lt", "lte", "exists", "missing"]
Reason = Literal[
    "blocked",
    "opted_out",
    "unreachable",
    "us_number",
    "taken_over",
    "recent_campaign",
    "missing_parameter",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    any: tuple[str, ...] = ()
    all: tuple[str, ...] = ()
    none: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """Of `custom_fields`; `value` is a list for `in`, and counts for nothing with `exists` and
    `missing`."""

    key: str
    op: Op
    value: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    least: int
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """What is empty or None asks for nothing. `since`, `before`, `not_since` are of the last
    message; who never wrote is only in `not_since`."""

    chatbot_ids: tuple[int, ...] = ()
    contact_status: tuple[str, ...] = ()
    tags: Tags = Tags()
    fields: tuple[FieldRule, ...] = ()
    since: datetime | None = None
    before: datetime | None = None
    not_since: datetime | None = None
    orders: Orders | None = None
    languages: tuple[str, ...] = ()
    no_campaign_since: datetime | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What is to be sent, as far as it decides who cannot get it. `fields` are those of a contact
    that the text needs: `name`, `phone_number`, `custom_fields.KEY`; `closed_area_codes` those of
    +1 that marketing does not reach."""

    chatbot_id: ChatbotId
    marketing: bool
    fields: tuple[str, ...]
    closed_area_codes: tuple[str, ...]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Ids of `examples`, the lowest of those that it can be sent to."""

    matched: int
    skipped: dict[str, int]
    examples: list[ContactId]

    @property
    def sendable(self) -> int:
        return self.matched - sum(self.skipped.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Of an audience; `reason`: why they are left out."""

    id: ContactId
    reason: Reason | None
    name: str | None
    phone_number: str | None
    custom_fields: dict[str, Any]


class _Query:
    def __init__(self, user_id: UserId) -> None:
        self.values: list[Any] = [user_id]

    def put(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
# No index would help: none of these operators is leakproof, so that row security comes first.
_TAGS = "jsonb_typeof(c.tags) = 'array' AND c.tags"
_FIELDS = "as_object(c.custom_fields)"


def _of_tags(tags: Tags, query: _Query) -> Iterator[str]:
    if tags.any:
        yield f"{_TAGS} ?| {query.put(list(tags.any))}::text[]"
    if tags.all:
        yield f"{_TAGS} ?& {query.put(list(tags.all))}::text[]"
    if tags.none:
        # Without any NULL is neither true nor false.
        yield f"({_TAGS} ?| {query.put(list(tags.none))}::text[]) IS NOT TRUE"


def _of_field(rule: FieldRule, query: _Query) -> str:
    key = query.put(rule.key)
    there = f"{_FIELDS} -> {key}::text"
    match rule.op:
        case "exists":
            return f"{_FIELDS} ? {key}::text"
        case "missing":
            return f"NOT {_FIELDS} ? {key}::text"
        case "eq":
            return f"{there} = {query.put(rule.value)}::jsonb"
        case "ne":
            return f"{there} IS DISTINCT FROM {query.put(rule.value)}::jsonb"
        case "in":
            values = query.put(rule.value)
            return f"{there} IN (SELECT e FROM jsonb_array_elements({values}::jsonb) e)"
        case _:
            sign = _COMPARISONS[rule.op]
            vars_ = f"jsonb_build_object('v', {query.put(rule.value)}::jsonb)"
            # Strict: lax would look into a list, and compare what is in it.
            path = f"'strict $ ? (@ {sign} $v)'"
            return f"coalesce(jsonb_path_exists({there}, {path}, {vars_}, true), false)"


def _conditions(audience: Audience, query: _Query) -> Iterator[str]:
    if audience.chatbot_ids:
        ids = query.put(list(audience.chatbot_ids))
        yield (
            "EXISTS (SELECT FROM conversations v WHERE v.user_id = c.user_id"
            f" AND v.contact_id = c.id AND v.chatbot_id = ANY ({ids}::bigint[]))"
        )
    if audience.contact_status:
        states = query.put(list(audience.contact_status))
        yield f"coalesce(c.contact_status, 'active') = ANY ({states}::text[])"
    yield from _of_tags(audience.tags, query)
    for rule in audience.fields:
        yield _of_field(rule, query)
    if audience.since is not None:
        yield f"c.last_interaction >= {query.put(audience.since)}"
    if audience.before is not None:
        yield f"c.last_interaction < {query.put(audience.before)}"
    if audience.not_since is not None:
        long_ago = query.put(audience.not_since)
        yield f"(c.last_interaction IS NULL OR c.last_interaction < {long_ago})"
    if audience.languages:
        yield f"c.language = ANY ({query.put(list(audience.languages))}::text[])"
    if audience.orders is not None:
        yield _of_orders(audience.orders, query)


def _of_orders(orders: Orders, query: _Query) -> str:
    since = "" if orders.since is None else f" AND o.created_at >= {query.put(orders.since)}"
    found = (
        "SELECT FROM orders o WHERE o.user_id = c.user_id AND o.contact_id = c.id"
        f" AND o.status IS DISTINCT FROM 'cancelled'{since}"
    )
    if orders.least == 1:
        return f"EXISTS ({found})"
    least = query.put(orders.least)
    return f"(SELECT count(*) FROM ({found} LIMIT {least}::int) o) >= {least}::int"


def _needed(field: str, query: _Query) -> str:
    """True where the contact has nothing that could be sent."""
    match field:
        case "name":
            text = "c.name"
        case "phone_number":
            text = "c.phone_number"
        case _:
            key = query.put(field.removeprefix("custom_fields."))
            member = f"{_FIELDS} -> {key}::text"
            text = (
                f"CASE WHEN jsonb_typeof({member}) IN ('string', 'number', 'boolean')"
                f" THEN {_FIELDS} ->> {key}::text END"
            )
    return rf"coalesce({text}, '') !~ '\S'"


def _reasons(audience: Audience, sending: Sending, query: _Query) -> Iterator[tuple[Reason, str]]:
    """Why somebody is left out; the first that is true."""
    yield "blocked", "c.contact_status = 'blocked'"
    if sending.marketing:
        yield "opted_out", "c.marketing_choice = 'stop'"
    gone = (
        "SELECT FROM campaign_recipients r WHERE r.user_id = c.user_id AND r.contact_id = c.id"
        " AND r.state = 'failed' AND r.reason = '131026'"
        " AND r.moved_at > coalesce(c.last_interaction, '-infinity')"
    )
    yield "unreachable", f"EXISTS ({gone})"
    if sending.marketing:
        codes = query.put(list(sending.closed_area_codes))
        american = "left(c.phone_number, 2) = '+1' AND length(c.phone_number) = 12"
        yield "us_number", f"{american} AND substr(c.phone_number, 3, 3) = ANY ({codes}::text[])"
    chatbot, now = query.put(sending.chatbot_id), query.put(sending.now)
    taken = (
        "SELECT v.contact_id FROM conversations v WHERE v.user_id = $1"
        f" AND v.chatbot_id = {chatbot} AND v.taken_over_until > {now}"
    )
    yield "taken_over", f"coalesce(c.conversation_paused, false) OR c.id IN ({taken})"
    if audience.no_campaign_since is not None:
        since = query.put(audience.no_campaign_since)
        recent = (
            "SELECT r.contact_id FROM campaign_recipients r WHERE r.user_id = $1"
            f" AND r.contact_id IS NOT NULL AND r.queued_at >= {since}"
        )
        yield "recent_campaign", f"c.id IN ({recent})"
    if sending.fields:
        yield "missing_parameter", " OR ".join(_needed(field, query) for field in sending.fields)


def _matched(audience: Audience, sending: Sending, query: _Query) -> str:
    """Each person once: one that is stored under a number and under a BSUID has one `wa_id`. Of
    those beyond the limit nobody, and of whom it passes over only those before its end."""
    # In this order: the text of a shape, and the numbers of its parameters, are always the same.
    where = "".join(f" AND {one}" for one in _conditions(audience, query))
    reason = " ".join(
        f"WHEN {when} THEN '{name}'" for name, when in _reasons(audience, sending, query)
    )
    text = (
        "WITH found AS MATERIALIZED ("
        f"SELECT c.id, c.wa_id, CASE {reason} END AS reason FROM contacts c"
        f" WHERE c.user_id = $1 AND c.erased_at IS NULL AND NOT c.over_limit{where}"
        "), twice AS ("
        "SELECT wa_id, min(id) AS id FROM found WHERE wa_id IS NOT NULL"
        " GROUP BY wa_id HAVING count(*) > 1"
        "), each AS ("
        "SELECT f.id, f.reason FROM found f LEFT JOIN twice t ON t.wa_id = f.wa_id"
        " WHERE t.id IS NULL OR t.id = f.id)"
    )
    if audience.limit is None:
        return text + ", matched AS (SELECT id, reason FROM each)"
    last = query.put(audience.limit - 1)
    return text + (
        ", matched AS (SELECT id, reason FROM each WHERE id <= coalesce("
        f"(SELECT id FROM each WHERE reason IS NULL ORDER BY id OFFSET {last} LIMIT 1),"
        " 9223372036854775807))"
    )


async def reach(
    conn: Conn, user_id: UserId, audience: Audience, sending: Sending, *, examples: int
) -> Reached:
    query = _Query(user_id)
    matched = _matched(audience, sending, query)
    few = query.put(examples)
    rows = await conn.fetch(
        f"{matched} SELECT reason, count(*) AS count, NULL::bigint[] AS ids FROM matched"
        " GROUP BY reason UNION ALL SELECT 'examples', 0, ARRAY (SELECT id FROM matched"
        f" WHERE reason IS NULL ORDER BY id LIMIT {few})",
        *query.values,
    )
    counts = {row["reason"]: row["count"] for row in rows if row["reason"] != "examples"}
    ids: Sequence[ContactId] = next(row["ids"] for row in rows if row["reason"] == "examples")
    return Reached(
        matched=sum(counts.values()),
        skipped={reason: count for reason, count in counts.items() if reason is not None},
        examples=list(ids),
    )


async def piece(
    conn: Conn, user_id: UserId, audience: Audience, sending: Sending, of: tuple[int, int, int]
) -> tuple[list[Person], ContactId | None]:
    """The next of an audience, by their ids, and up to which they go; None: there are no more. Its
    limit is the caller's. `of`: the campaign, the id after which, and how many at most. Who is
    fixed under another identity is left out."""
    query = _Query(user_id)
    where = "".join(f" AND {one}" for one in _conditions(audience, query))
    reason = " ".join(
        f"WHEN {when} THEN '{name}'" for name, when in _reasons(audience, sending, query)
    )
    campaign, after, most = (query.put(one) for one in of)
    names = [one.name for one in dataclass_fields(Person)]
    rows = await conn.fetch(
        "WITH found AS MATERIALIZED ("
        f"SELECT c.id, c.wa_id, CASE {reason} END AS reason, c.name, c.phone_number,"
        f" {_FIELDS} AS custom_fields FROM contacts c"
        f" WHERE c.user_id = $1 AND c.id > {after} AND c.erased_at IS NULL AND NOT c.over_limit"
        f"{where} ORDER BY c.id LIMIT {most}"
        "), before AS MATERIALIZED ("
        "SELECT o.wa_id FROM campaign_recipients r"
        " JOIN contacts o ON o.user_id = $1 AND o.id = r.contact_id"
        f" WHERE r.user_id = $1 AND r.campaign_id = {campaign} AND r.contact_id <= {after}"
        " AND o.wa_id IN (SELECT f.wa_id FROM found f)"
        ") SELECT f.id, f.reason, f.name, f.phone_number, f.custom_fields,"
        " f.wa_id IS NOT NULL AND (f.wa_id IN (SELECT b.wa_id FROM before b)"
        " OR f.id > min(f.id) OVER (PARTITION BY f.wa_id)) AS twice"
        " FROM found f ORDER BY f.id",
        *query.values,
    )
    people = [Person(**{name: row[name] for name in names}) for row in rows if not row["twice"]]
    return people, rows[-1]["id"] if len(rows) == of[2] else None


async def people_of(conn: Conn, user_id: UserId, ids: Sequence[ContactId]) -> list[Person]:
    rows = await conn.fetch(
        f"SELECT c.id, NULL AS reason, c.name, c.phone_number, {_FIELDS} AS custom_fields"
        " FROM contacts c WHERE c.user_id = $1 AND c.id = ANY ($2::bigint[]) ORDER BY c.id",
        user_id,
        ids,
    )
    return [Person(**row) for row in rows]
