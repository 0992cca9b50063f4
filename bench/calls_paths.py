"""What is asked of the API, beside much and beside little: every list with each of its filters and
from its middle, every search, every detail."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from bench.calls_world import RARE_NAME, RARE_TAG, TENANT, WEBHOOK, picked
from bench.world import Size, customer_number
from db.pool import Conn
from ingress.api.endpoints import ENDPOINTS

BOT = TENANT  # its one chatbot has its id

# By endpoint: queries. {contact} is one of those picked, {middle} the id in the middle of the list.
LISTS: dict[str, Sequence[str]] = {
    "list_actions": (
        *("", "after={middle}", "status=pending", "status=expired", f"chatbot_id={BOT}"),
        *("contact_id={contact}", f"chatbot_id={BOT}&status=pending"),
        "auto_approve_similar=true",
    ),
    "list_conversations": (
        *("", "after={middle}", "contact_id={contact}", f"chatbot_id={BOT}", "unanswered=true"),
        *("unanswered=false", "status=bot", "status=paused", "status=taken_over"),
        f"chatbot_id={BOT}&unanswered=true",
    ),
    "list_contacts": (
        *("", "after={middle}", "limit=200", "phone_number=%2B{number}", "tag=vip"),
        *(f"tag={RARE_TAG}", f"chatbot_id={BOT}", "q=ana", "q=zel", f"q={quote_plus(RARE_NAME)}"),
        *("q={number}", "q={ends}", "q=a", "q=ana+costa", f"q=zelda&tag=vip&chatbot_id={BOT}"),
    ),
    "list_orders": (
        *("", "after={middle}", "contact_id={contact}", f"chatbot_id={BOT}", "status=pending"),
        *("payment_status=paid", "status=shipped&payment_status=paid"),
        *(f"chatbot_id={BOT}&status=pending", f"chatbot_id={BOT}&payment_status=paid"),
    ),
    "list_events": (
        *("", "after={middle}", "type=contact.created", "type=bot.recovered", "type=ping"),
        *("since={moment}", "since={moment}&type=bot.recovered"),
    ),
    "list_deliveries": (
        "",
        "after={middle}",
        "status=delivered",
        "status=failed",
        "status=pending",
    ),
    "list_messages": ("", "raw=true"),
    "list_knowledge": ("", "category=delivery", "q=saturday", "category=delivery&q=number+100"),
    "list_products": ("", "sku=SKU-7", "is_active=true", "is_active=false"),
    "list_usage_days": ("", "from={day}"),
}
TABLES = {  # of which {middle} is the id in the middle, of the tenant's
    "list_actions": "actions",
    "list_conversations": "conversations",
    "list_contacts": "contacts",
    "list_orders": "orders",
    "list_events": "analytics_events",
    "list_deliveries": "webhook_events",
}
LEFT_OUT = {  # files, which are streamed as they are read
    *("export_contacts", "export_knowledge", "export_products", "read_export_file"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The same question, of one row after the other where it is of a row."""

    name: str
    paths: list[str]


async def questions(owner: Conn, size: Size) -> list[Asked]:
    rows = await _rows(owner, size)
    asked = []
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET" or endpoint.name in LEFT_OUT:
            continue
        words: dict[str, str] = {}
        if (table := TABLES.get(endpoint.name)) is not None:
            words["middle"] = str(await owner.fetchval(_MIDDLE.format(table=table), TENANT))
        for query in LISTS.get(endpoint.name, ("",)):
            spelled = f"/v1{endpoint.path}" + (f"?{query}" if query else "")
            said = f"{endpoint.path}" + (f"?{query}" if query else "")
            asked.append(Asked(said, [spelled.format_map(row | words) for row in rows]))
    return asked


async def _rows(owner: Conn, size: Size) -> list[dict[str, str]]:
    """What stands in paths; a row for each of those picked."""
    now = datetime.now(UTC)
    moment, day = (
        (now - timedelta(days=10)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        now - timedelta(days=90),
    )
    found = {
        name: [row["id"] for row in await owner.fetch(query, TENANT, picked(size))]
        for name, query in _OF_TENANT.items()
    }
    rows = []
    for place, contact in enumerate(picked(size)):
        row: dict[str, Any] = {name: ids[place % len(ids)] for name, ids in found.items()}
        row |= {"contact_id": contact, "conversation_id": contact, "chatbot_id": BOT}
        number = customer_number(contact)
        row |= {"contact": contact, "number": number, "ends": number[-6:]}
        row |= {"moment": moment, "day": day.date(), "webhook_id": WEBHOOK}
        rows.append({name: str(value) for name, value in row.items()})
    return rows


_MIDDLE = "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id) FROM {table} WHERE user_id = $1"
_OF_TENANT = {
    "action_id": "SELECT id FROM actions WHERE user_id = $1 AND contact_id = ANY ($2)",
    "message_id": "SELECT min(id) AS id FROM messages WHERE user_id = $1"
    " AND contact_id = ANY ($2) GROUP BY contact_id",
    "instruction_id": "SELECT id FROM conversation_instructions WHERE user_id = $1"
    " AND contact_id = ANY ($2)",
    "fact_id": "SELECT id FROM facts WHERE user_id = $1 AND contact_id = ANY ($2)",
    "order_id": "SELECT id FROM orders WHERE user_id = $1 AND contact_id = ANY ($2)",
    "delivery_id": "SELECT d.id FROM webhook_deliveries d JOIN webhook_events e"
    " ON e.user_id = $1 AND e.id = d.event_id WHERE d.user_id = $1 AND e.contact_id = ANY ($2)",
    **{  # of the tables named here, and of no others
        name: f"SELECT id FROM {table} WHERE user_id = $1 AND $2::bigint[] IS NOT NULL LIMIT 100"  # noqa: S608
        for name, table in (
            ("knowledge_id", "bot_knowledge_base"),
            ("product_id", "products"),
            ("job_id", "jobs"),
            ("export_id", "exports"),
            ("api_key_id", "api_keys"),
        )
    },
}
