"""Webhooks about the people of bench/world.py, as the ingress puts them into the log."""

from typing import Any
from uuid import uuid4

from bench.world import Size, business_number, customer_number, phone_number_id, tenant_of
from handlers.ingest.envelope import Envelope, encode, grouped
from handlers.ingest_log.port import Entry
from handlers.whatsapp.cloud_api.wire import split

AT = 1_795_000_000  # by WhatsApp's clock


def logged(webhook: dict[str, Any]) -> list[Entry]:
    updates = split(webhook)
    tenants = {u.phone_number_id: 1 for u in updates if u.phone_number_id}
    return [
        Entry(lane, encode(Envelope(uuid4().hex, "2026-11-20T10:00:00+00:00", (*group,), tenants)))
        for lane, group in grouped(updates).items()
    ]


def messages_webhook(size: Size, customer: int, number: int) -> dict[str, Any]:
    """One message, the customer's `number`-th of all that are made."""
    who = customer_number(customer)
    return _webhook(
        tenant_of(customer, size),
        contacts=[
            {
                "profile": {"name": f"Customer {customer}", "username": f"customer.{customer}"},
                "wa_id": who,
                "user_id": f"US.{who}",
            }
        ],
        messages=[
            {
                "from": who,
                "from_user_id": f"US.{who}",
                "id": f"wamid.HBgLMTMwMzU1NTAxMTEVAgAS{uuid4().hex}",
                "timestamp": str(AT + number // 100),
                "type": "text",
                "text": {"body": f"Do you have a table for {number % 9 + 1}, at about eight?"},
            }
        ],
    )


def statuses_webhook(tenant: int, wamid: str, kind: str) -> dict[str, Any]:
    return _webhook(
        tenant,
        statuses=[
            {
                "id": wamid,
                "status": kind,
                "timestamp": str(AT),
                "recipient_id": customer_number(1),
                "pricing": {"billable": False, "category": "service"},
            }
        ],
    )


def _webhook(tenant: int, **parts: Any) -> dict[str, Any]:
    metadata = {
        "display_phone_number": business_number(tenant),
        "phone_number_id": phone_number_id(tenant),
    }
    value = {"messaging_product": "whatsapp", "metadata": metadata, **parts}
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "440011", "changes": [{"field": "messages", "value": value}]}],
    }
