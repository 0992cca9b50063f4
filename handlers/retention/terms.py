"""How long what has one term for all tenants is kept. Pure; docs/privacy.md has it as a table."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Term:
    what: str  # as forget_old() knows it
    kept: timedelta
    why: str


TERMS = (
    Term("parked_items", timedelta(days=30), "time to mend what kept them from being read"),
    Term("analytics_events", timedelta(days=90), "what a tenant was told, for who looks later"),
    Term("account_events", timedelta(days=90), "what Meta said about an account"),
    Term("conversation_events", timedelta(days=30), "decisions and hand-backs that were told"),
    Term("idempotency_keys", timedelta(hours=24), "a request may be repeated for a day"),
    Term("gone_messages", timedelta(days=8), "Meta repeats a webhook for seven"),
)
