"""What an export has in it, and how a row is spelt. Pure."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args

What: TypeAlias = Literal["tenant", "contact", "messages", "contacts", "orders", "usage"]
WHATS: Final[tuple[What, ...]] = get_args(What)

# By what is asked for; of a tenant and of a contact the catalogue says which tables there are.
TABLES: Final[dict[str, tuple[str, ...]]] = {
    "messages": ("messages",),
    "contacts": ("contacts",),
    "orders": ("orders", "order_items"),
    "usage": ("usage_tracking", "monthly_usage_summary"),
}
# The product's own book-keeping, copies of what is exported anyway, and what opens something. A
# table that comes later is exported unless it stands here; one without an id has to.
WITHOUT: Final[tuple[str, ...]] = (
    *(
        "api_keys",
        "api_pace",
        "idempotency_keys",
        "usage_reservations",
        "send_limits",
        "dead_sends",
    ),
    *("orphan_statuses", "stuck_items", "conversation_events", "chatbot_phone_numbers"),
    *("knowledge_bases", "knowledge_changes", "knowledge_indexes"),
    "knowledge_embeddings",
    *(
        "chatbot_deletions",
        "erasures",
        "erased_people",
        "erased_numbers",
        "retention",
        "gone_messages",
    ),
    *("webhook_states", "webhook_events", "webhook_deliveries", "webhook_attempts"),
    *(
        "catalogues",
        "webhook_recoveries",
        "contact_counts",
        "contact_terms",
        "usage_gaps",
        "contact_days",
    ),
    *("model_calls", "model_usage"),  # what the operator pays
    *("jobs", "exports", "asks", "imports", "import_keys", "eval_holds"),
    *("media_days", "media_handles", "files_to_remove"),
    "template_syncs",
)
# A spreadsheet takes a cell that begins so for a formula; a number with its sign it does not.
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![0-9][0-9 ().-]*$)")


def file_key(user_id: int, export_id: int, epoch: int) -> str:
    """Where the media store has it. Of each try another, so that who lost it writes over nobody."""
    return f"{files_of(user_id, export_id)}{epoch}.zip"


def files_of(user_id: int, export_id: int) -> str:
    """What the keys of all its tries begin with."""
    return f"{folder_of(user_id)}{export_id}-"


def folder_of(user_id: int) -> str:
    return f"exports/{user_id:d}/"


def jsonl(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Each row a line, exactly as it is."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def csv_lines(rows: Sequence[Sequence[Any]]) -> bytes:
    """As spreadsheets read it: what is no text is spelt as JSON has it, and what a spreadsheet
    would take for a formula has an apostrophe before it."""
    text = io.StringIO()
    csv.writer(text).writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if _FORMULA.match(value) else value
    return json.dumps(value, ensure_ascii=False)
