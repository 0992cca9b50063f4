"""Webhooks as WhatsApp sends them, about people and numbers that do not exist."""

from typing import Any

Json = dict[str, Any]

PNID = "509100200300400"
NUMBER = "12025550199"
OTHER_PNID = "509100200300999"
OTHER_NUMBER = "34915550101"
ADA = "13035550111"
ADA_BSUID = "US.4400112233445566778"
SENT_AT = 1_795_000_000


def value(pnid: str = PNID, number: str = NUMBER, **parts: Any) -> Json:
    return {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": number, "phone_number_id": pnid},
        **parts,
    }


def change(content: Any, field: str = "messages") -> Json:
    return {"field": field, "value": content}


def webhook(*changes: Any) -> Json:
    """One entry with these changes."""
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "440011", "changes": [*changes]}],
    }


def text(n: int = 1, body: str = "Do you bake rye bread?", **keys: Any) -> Json:
    return {
        "from": ADA,
        "from_user_id": ADA_BSUID,
        "id": f"wamid.ADA{n}",
        "timestamp": str(SENT_AT + n),
        "type": "text",
        "text": {"body": body},
        **keys,
    }


def contact(**keys: Any) -> Json:
    return {
        "profile": {"name": "Ada Brook", "username": "ada.brook"},
        "wa_id": ADA,
        "user_id": ADA_BSUID,
        **keys,
    }


def without(item: Json, *keys: str) -> Json:
    return {k: v for k, v in item.items() if k not in keys}


def status(kind: str = "delivered", n: int = 1, **keys: Any) -> Json:
    return {
        "id": f"wamid.OURS{n}",
        "status": kind,
        "timestamp": str(SENT_AT + n),
        "recipient_id": ADA,
        "recipient_user_id": ADA_BSUID,
        **keys,
    }


FAILURE: Json = {
    "code": 131026,
    "title": "Message undeliverable",
    "message": "Message undeliverable",
    "error_data": {"details": "The recipient cannot be reached."},
    "href": "https://example.com/errors",
}

TEXT = webhook(change(value(contacts=[contact()], messages=[text()])))
PARENT_BSUID = webhook(
    change(
        value(
            contacts=[contact(parent_user_id="US.ENT.9900", identity_key_hash="aGFzaA==")],
            messages=[text(from_parent_user_id="US.ENT.9900")],
        )
    )
)
BSUID_ONLY = webhook(
    change(value(contacts=[without(contact(), "wa_id")], messages=[without(text(), "from")]))
)
LEGACY = webhook(
    change(
        value(
            contacts=[{"profile": {"name": "Ada Brook"}, "wa_id": ADA}],
            messages=[without(text(), "from_user_id")],
        )
    )
)
QUOTING = webhook(
    change(
        value(
            contacts=[contact()],
            messages=[text(context={"from": NUMBER, "id": "wamid.QUOTED"})],
        )
    )
)
IMAGE = without(text(2), "text") | {
    "type": "image",
    "image": {"id": "778899", "mime_type": "image/jpeg", "sha256": "bm90IHJlYWw="},
}
BATCH: Json = {
    "object": "whatsapp_business_account",
    "entry": [
        {
            "id": "440011",
            "changes": [
                change(value(contacts=[contact()], messages=[text(1), IMAGE])),
                change(value(statuses=[status("sent"), status("delivered")])),
            ],
        },
        {
            "id": "440022",
            "changes": [
                change(
                    value(
                        OTHER_PNID,
                        OTHER_NUMBER,
                        contacts=[
                            {
                                "profile": {"name": "Iker"},
                                "wa_id": "34600555001",
                                "user_id": "ES.55",
                            }
                        ],
                        messages=[text(3, "hola", **{"from": "34600555001"}, from_user_id="ES.55")],
                        statuses=[status("read", 9)],
                    )
                )
            ],
        },
    ],
}
OUT_OF_BAND_ERRORS = webhook(change(value(errors=[FAILURE])))
ACCOUNT_UPDATE: Json = {
    "object": "whatsapp_business_account",
    "entry": [
        {
            "id": "440011",
            "time": SENT_AT,
            "changes": [
                change({"display_phone_number": NUMBER, "event": "VERIFIED"}, "account_update")
            ],
        }
    ],
}
DASHBOARD_TEST: Json = {
    "object": "whatsapp_business_account",
    "entry": [
        {
            "id": "0",
            "changes": [
                change(
                    value(
                        "100200300",
                        "15555550100",
                        contacts=[
                            {"profile": {"name": "dashboard sample"}, "wa_id": "15555550142"}
                        ],
                        messages=[
                            {
                                "from": "15555550142",
                                "id": "ABCDxyz123",
                                "timestamp": "1500000000",
                                "type": "text",
                                "text": {"body": "a sample"},
                            }
                        ],
                    )
                )
            ],
        }
    ],
}
ALL: dict[str, Json] = {
    "text": TEXT,
    "parent_bsuid": PARENT_BSUID,
    "bsuid_only": BSUID_ONLY,
    "legacy": LEGACY,
    "quoting": QUOTING,
    "batch": BATCH,
    "out_of_band_errors": OUT_OF_BAND_ERRORS,
    "account_update": ACCOUNT_UPDATE,
    "dashboard_test": DASHBOARD_TEST,
    "statuses": webhook(
        change(
            value(
                contacts=[contact()],
                statuses=[
                    *(status(kind, n) for n, kind in enumerate(["sent", "delivered", "read"])),
                    status("failed", 4, errors=[FAILURE]),
                ],
            )
        )
    ),
}
