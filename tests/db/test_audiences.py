"""Audiences: the query finds whom the rules mean, of this tenant alone, whatever rows hold."""

import json
import operator
import random
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.audiences import Reached, Sending, reach
from db.pool import Conn, Pool, tenant
from handlers.campaigns.criteria import Criteria
from handlers.campaigns.us_numbers import US_AREA_CODES
from tests.factories import Tenant, make_tenant

NOW = datetime(2030, 5, 20, 12, tzinfo=UTC)
WORDS = ["vip", "wholesale", "", "Grün", "مهم", "重要", "важно", "ἀγαθός", "महत्वपूर्ण", "สำคัญ"]
WORDS += ["중요", "חשוב", "a'b\"c", "100", "%", "$1"]
NEEDED = ["name", "phone_number", "custom_fields.city"]
KEYS = ["city", "points", "birthday", "vip"]
NUMBERS = [
    "+12025550143",
    "+14165550143",
    "+17875550143",
    "+447700900123",
    "+5511987654321",
    "+120255501",
]


@dataclass
class Person:
    """As its row has it; `orders`: when, and whether it was cancelled."""

    id: int
    status: str | None
    tags: Any
    fields: Any
    last: datetime | None
    name: str | None
    number: str | None
    language: str | None
    choice: str | None
    paused: bool | None
    over: bool
    erased: bool
    unreachable: datetime | None
    wa_id: str | None
    bots: list[int]
    taken: list[int]
    orders: list[tuple[datetime, str | None]]
    campaign: datetime | None


def some_value(dice: random.Random) -> Any:
    return dice.choice(
        [
            None,
            True,
            False,
            0,
            1,
            100,
            -3,
            1.5,
            1e20,
            "100",
            " ",
            "2030-01-01",
            [],
            [100],
            {},
            *WORDS,
        ]
    )


def moment(dice: random.Random) -> datetime:
    return NOW - timedelta(days=dice.choice([0, 1, 3, 29, 30, 31, 89, 90, 91, 400]))


def person(dice: random.Random, bots: list[int]) -> dict[str, Any]:
    def some(*of: Any) -> Any:
        return dice.choice(of)

    tags: Any = dice.sample(WORDS, dice.randint(0, 4)) + dice.sample([None, 7, True], some(0, 0, 1))
    fields: Any = {key: some_value(dice) for key in KEYS if dice.random() < 0.6}
    return {
        "status": some(None, "active", "active", "active", "blocked"),
        "tags": some(tags, tags, tags, tags, None, {"vip": 1}, "vip"),
        "fields": some(fields, fields, fields, fields, None, [], "x"),
        "last": some(None, moment(dice), moment(dice)),
        "name": some(None, "", " \t", "Ada", "李"),
        "language": some(None, "es", "pt-BR", "zh"),
        "choice": some(None, None, "stop", "resume"),
        "paused": some(None, False, False, False, False, True),
        "over": dice.random() < 0.05,
        "erased": dice.random() < 0.05,
        "unreachable": some(None, None, None, moment(dice)),
        "bots": [bot for bot in bots if dice.random() < 0.4],
        "orders": [
            (moment(dice), some(None, "pending", "delivered", "cancelled"))
            for _ in range(dice.choice([0, 0, 1, 2, 3]))
        ],
        "campaign": some(None, None, None, moment(dice)),
    }


async def people(owner: Conn, of: Tenant, bots: list[int], dice: random.Random) -> list[Person]:
    campaign = await owner.fetchval(
        "INSERT INTO campaigns (user_id, name) VALUES ($1, 'before') RETURNING id", of.user_id
    )
    refused = await owner.fetchval(
        "INSERT INTO campaigns (user_id, name) VALUES ($1, 'refused') RETURNING id", of.user_id
    )
    found = []
    for n in range(250):
        row = person(dice, bots)
        number = (dice.choice(NUMBERS) if n % 7 == 0 else f"+44770{of.user_id % 1000:03d}{n:04d}")[
            :16
        ]
        bsuid = f"b{of.user_id}.{n}"
        taken = await owner.fetchval(
            "SELECT true FROM contacts WHERE user_id = $1 AND phone_number = $2", of.user_id, number
        )
        number_ = None if taken or dice.random() < 0.1 else number
        wa_id = f"w{n // 20}" if dice.random() < 0.2 else None  # some are stored twice
        id_ = await owner.fetchval(
            "INSERT INTO contacts (user_id, contact_status, tags, custom_fields, last_interaction,"
            " name, phone_number, bsuid, language, marketing_choice, marketing_choice_at,"
            " conversation_paused, over_limit, erased_at, wa_id)"
            " VALUES ($1, $2, $3::text::jsonb, $4::text::jsonb, $5, $6, $7, $8, $9, $10,"
            " CASE WHEN $10::text IS NOT NULL THEN now() END, $11, $12,"
            " CASE WHEN $13::boolean THEN now() END, $14) RETURNING id",
            of.user_id, row["status"], _json(row["tags"]), _json(row["fields"]), row["last"],
            row["name"], number_, bsuid, row["language"], row["choice"], row["paused"], row["over"],
            row["erased"], wa_id,
        )  # fmt: skip
        of_bots = [bot for bot in row["bots"] if dice.random() < 0.15]
        for bot in row["bots"]:
            await owner.execute(
                "INSERT INTO conversations (user_id, chatbot_id, contact_id, thread_id,"
                " taken_over_at, taken_over_until, taken_over_by)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                of.user_id, bot, id_, f"{of.user_id}:{id_}:{bot}",
                *((NOW, NOW + timedelta(hours=1), "human") if bot in of_bots else (None,) * 3),
            )  # fmt: skip
        for at, status in row["orders"]:
            await owner.execute(
                "INSERT INTO orders (user_id, chatbot_id, contact_id, status, created_at)"
                " VALUES ($1, $2, $3, $4, $5)",
                of.user_id, of.chatbot_id, id_, status, at,
            )  # fmt: skip
        if row["unreachable"] is not None:
            await owner.execute(
                "INSERT INTO campaign_recipients (user_id, campaign_id, contact_id, state, reason,"
                " moved_at) VALUES ($1, $2, $3, 'failed', '131026', $4)",
                of.user_id, refused, id_, row["unreachable"],
            )  # fmt: skip
        if row["campaign"] is not None:
            await owner.execute(
                "INSERT INTO campaign_recipients (user_id, campaign_id, contact_id, queued_at)"
                " VALUES ($1, $2, $3, $4)",
                of.user_id, campaign, id_, row["campaign"],
            )  # fmt: skip
        found.append(Person(id=id_, number=number_, wa_id=wa_id, taken=of_bots, **row))
    return found


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


# ---- the same rules, in Python -------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    """As JSON: 1 is 1.0, and neither is true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return (type(one) is type(other) and one == other) or (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )


COMPARED = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def field_fits(fields: Any, rule: Mapping[str, Any]) -> bool:
    have = fields if isinstance(fields, dict) else {}
    there = rule["key"] in have
    value: Any = rule.get("value")
    stored: Any = have.get(rule["key"])
    match rule["op"]:
        case "exists":
            return there
        case "missing":
            return not there
        case "eq":
            return there and same(stored, value)
        case "ne":
            return not (there and same(stored, value))
        case "in":
            return there and any(same(stored, one) for one in value)
        case _:
            pass
    if isinstance(stored, bool) or isinstance(stored, str) != isinstance(value, str):
        return False
    if not isinstance(stored, str | int | float):
        return False
    return bool(COMPARED[rule["op"]](stored, value))


def ago(days: int) -> datetime:
    return NOW - timedelta(days=days)


def fits(who: Person, rules: Mapping[str, Any]) -> bool:
    if who.erased or who.over:
        return False
    if rules.get("chatbot_ids") and not set(rules["chatbot_ids"]) & set(who.bots):
        return False
    if rules.get("contact_status") and (who.status or "active") not in rules["contact_status"]:
        return False
    tags = [tag for tag in who.tags if isinstance(tag, str)] if isinstance(who.tags, list) else []
    wanted = rules.get("tags", {})
    if wanted.get("any") and not set(wanted["any"]) & set(tags):
        return False
    if not set(wanted.get("all", [])) <= set(tags) or set(wanted.get("none", [])) & set(tags):
        return False
    if not all(field_fits(who.fields, rule) for rule in rules.get("fields", [])):
        return False
    last = rules.get("last_interaction", {})
    if "within_days" in last and (who.last is None or who.last < ago(last["within_days"])):
        return False
    if "older_than_days" in last and who.last and who.last >= ago(last["older_than_days"]):
        return False
    if "after" in last and (who.last is None or who.last < datetime.fromisoformat(last["after"])):
        return False
    if "before" in last and not (who.last and who.last < datetime.fromisoformat(last["before"])):
        return False
    if rules.get("language") and who.language not in rules["language"]:
        return False
    if "orders" in rules:
        since: int | None = rules["orders"].get("since_days")
        counted = [at for at, status in who.orders
                   if status != "cancelled" and (since is None or at >= ago(since))]  # fmt: skip
        return len(counted) >= int(rules["orders"].get("min", 1))
    return True


def why_not(who: Person, rules: Mapping[str, Any], sending: Sending) -> str | None:
    area = who.number[2:5] if who.number and len(who.number) == 12 else ""
    recent = rules.get("campaigns", {}).get("none_within_days")
    texts: dict[str, Any] = {"name": who.name, "phone_number": who.number}
    fields = who.fields if isinstance(who.fields, dict) else {}
    texts |= {f"custom_fields.{key}": value for key, value in fields.items()}
    texts = {k: str(v) for k, v in texts.items() if isinstance(v, str | int | float)}
    reasons = {
        "blocked": who.status == "blocked",
        "opted_out": sending.marketing and who.choice == "stop",
        "unreachable": who.unreachable and (who.last is None or who.unreachable > who.last),
        "us_number": sending.marketing
        and (who.number or "").startswith("+1")
        and area in US_AREA_CODES,
        "taken_over": who.paused or sending.chatbot_id in who.taken,
        "recent_campaign": recent and who.campaign and who.campaign >= NOW - timedelta(days=recent),
        "missing_parameter": any(not texts.get(key, "").strip() for key in sending.fields),
    }
    return next((reason for reason, true in reasons.items() if true), None)


def recount(everybody: list[Person], rules: Mapping[str, Any], sending: Sending) -> Reached:
    seen: set[str] = set()
    matched: list[tuple[int, str | None]] = []
    for who in sorted(everybody, key=lambda one: one.id):
        if not fits(who, rules) or who.wa_id in seen:
            continue
        if who.wa_id is not None:
            seen.add(who.wa_id)
        matched.append((who.id, why_not(who, rules, sending)))
        if sum(reason is None for _, reason in matched) == rules.get("limit"):
            break
    skipped: dict[str, int] = {}
    for _, reason in matched:
        if reason is not None:
            skipped[reason] = skipped.get(reason, 0) + 1
    free = [id_ for id_, reason in matched if reason is None]
    return Reached(matched=len(matched), skipped=skipped, examples=free[:5])  # type: ignore[arg-type]


def rule(dice: random.Random) -> dict[str, Any]:
    op = dice.choice(["eq", "ne", "in", "gt", "gte", "lt", "lte", "exists", "missing"])

    def simple() -> Any:
        return dice.choice([100, 1, 1.0, "100", "2030-01-01", *WORDS])

    made: dict[str, Any] = {"key": dice.choice([*KEYS, "nobody_has_it"]), "op": op}
    if op == "in":
        made["value"] = [dice.choice([simple(), True]) for _ in range(3)]
    elif op in ("eq", "ne"):
        made["value"] = dice.choice([simple(), True, False])
    elif op not in ("exists", "missing"):
        made["value"] = simple()
    return made


def criteria(dice: random.Random, bots: list[int]) -> dict[str, Any]:
    def days() -> int:
        return dice.choice([1, 3, 30, 90, 365])

    def tags() -> list[str]:
        return dice.sample([word for word in WORDS if word], dice.randint(0, 2))

    every = {
        "v": 1,
        "chatbot_ids": dice.sample(bots, dice.randint(0, 2)),
        "contact_status": dice.choice([[], ["active"], ["blocked"], ["active", "blocked"]]),
        "tags": {"any": tags(), "all": tags()[:1], "none": tags()},
        "fields": [rule(dice) for _ in range(dice.randint(0, 2))],
        "last_interaction": dice.choice(
            [{}, {"within_days": days()}, {"older_than_days": days()},
             {"after": (NOW - timedelta(days=90)).isoformat(), "before": NOW.isoformat()}]
        ),
        "orders": {"min": dice.choice([1, 2]), "since_days": days()},
        "language": dice.sample(["es", "pt-BR", "zh"], dice.randint(0, 2)),
        "campaigns": {"none_within_days": days()},
        "limit": dice.randint(1, 60),
    }  # fmt: skip
    return {key: value for key, value in every.items() if dice.random() < 0.3}


async def bot_of(owner: Conn, of: Tenant) -> int:
    bot: int = await owner.fetchval(
        "INSERT INTO chatbots (user_id, name) VALUES ($1, 'another') RETURNING id", of.user_id
    )
    return bot


@pytest.mark.parametrize("seed", range(3))
async def test_the_query_finds_whom_the_rules_mean(pool: Pool, owner: Conn, seed: int) -> None:
    dice = random.Random(seed)
    of, other = await make_tenant(owner), await make_tenant(owner)
    bots = [of.chatbot_id, await bot_of(owner, of)]
    everybody = await people(owner, of, bots, dice)
    await people(owner, other, [other.chatbot_id], dice)
    found = 0
    for _ in range(150):
        rules = criteria(dice, bots)
        sending = Sending(
            chatbot_id=of.chatbot_id,
            marketing=dice.random() < 0.5,
            fields=tuple(dice.sample(NEEDED, dice.randint(0, 2))),
            closed_area_codes=US_AREA_CODES,
            now=NOW,
        )  # fmt: skip
        audience = Criteria.model_validate(rules).audience(NOW)
        async with tenant(pool, of.user_id) as conn:
            reached = await reach(conn, of.user_id, audience, sending, examples=5)
        assert reached == recount(everybody, rules, sending), rules
        found += reached.sendable
        async with tenant(pool, other.user_id) as conn:  # as another tenant: nothing
            assert (await reach(conn, of.user_id, audience, sending, examples=5)).matched == 0
    assert found > 500


def test_what_would_make_an_audience_larger_is_refused() -> None:
    for wrong in (
        {"tag": {"any": ["vip"]}},
        {"tags": {"anyone": ["vip"]}},
        {"tags": ["vip"]},
        {"v": 2},
        {"fields": [{"key": "City", "op": "eq", "value": "x"}]},
        {"fields": [{"key": "city", "op": "like", "value": "x"}]},
        {"fields": [{"key": "city", "op": "eq"}]},
        {"fields": [{"key": "city", "op": "in", "value": []}]},
        {"fields": [{"key": "city", "op": "gt", "value": True}]},
        {"fields": [{"key": "city", "op": "exists", "value": 1}]},
        {"fields": [{"key": "c", "op": "exists"}] * 21},
        {"tags": {"any": [*string.ascii_letters]}},
        {"last_interaction": {"within_days": 0}},
        {"last_interaction": {"after": "2030-01-01T00:00:00"}},
        {"orders": {"min": 0}},
        {"language": ["Spanish!"]},
        {"limit": 0},
        {"contact_status": ["erased"]},
    ):
        with pytest.raises(ValueError, match=r"validation error"):
            Criteria.model_validate(wrong)
