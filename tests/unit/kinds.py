"""One of each: message types and webhook fields as WhatsApp sends them, about nobody who exists."""

from typing import Any

from tests.unit.payloads import ADA, ADA_BSUID, NUMBER, PNID, SENT_AT, contact, text, value, without

Json = dict[str, Any]
MEDIA: Json = {"id": "778899", "mime_type": "x/y", "sha256": "bm90IHJlYWw="}


def item(kind: str, n: int = 1, **keys: Any) -> Json:
    return without(text(n), "text") | {"type": kind, **keys}


def interactive(kind: str, **reply: Any) -> Json:
    return item("interactive", interactive={"type": kind, kind: reply})


# What a message of each type reads like; None: it starts no turn.
MESSAGES: dict[str, tuple[Json, str | None]] = {
    "text": (text(), "Do you bake rye bread?"),
    "image": (item("image", image=MEDIA | {"caption": "This one?"}), "[photo] This one?"),
    "video": (item("video", video=MEDIA), "[video: cannot be opened]"),
    "audio": (item("audio", audio=MEDIA | {"voice": True}), "[voice message: cannot be opened]"),
    "document": (
        item("document", document=MEDIA | {"filename": "menu [1].pdf", "caption": "ours"}),
        '[document "menu (1).pdf"] ours',
    ),
    "sticker": (item("sticker", sticker=MEDIA), "[sticker: cannot be opened]"),
    "location": (
        item(
            "location",
            location={"latitude": 52.5, "longitude": 13.25, "name": "Mill", "address": "Mill Lane"},
        ),
        "[location: Mill, Mill Lane, 52.5, 13.25]",
    ),
    "contacts": (
        item(
            "contacts",
            contacts=[
                {"name": {"formatted_name": "Ben Ash"}, "phones": [{"phone": "+1 303 555 0122"}]},
                {"phones": [{"wa_id": "13035550123"}], "origin": "contact_request"},
            ],
        ),
        "[contact card: Ben Ash, +1 303 555 0122]\n[contact card: without a name, 13035550123]",
    ),
    "interactive": (
        interactive("list_reply", id="r1", title="Sat 9:00", description="at the shop"),
        '[chose "Sat 9:00", at the shop]',
    ),
    "button": (
        item("button", button={"payload": "YES", "text": "Yes, please"}),
        "Yes, please",
    ),
    "order": (
        item(
            "order",
            order={
                "catalog_id": "5",
                "text": "no nuts",
                "product_items": [
                    {
                        "product_retailer_id": "RYE",
                        "quantity": 2,
                        "item_price": 4.5,
                        "currency": "EUR",
                    }
                ],
            },
        ),
        "[order: 2 x RYE at 4.5 EUR] no nuts",
    ),
    "unsupported": (
        item("unsupported", errors=[{"code": 131051}], unsupported={"type": "poll"}),
        "[a message of a kind that cannot be shown here (poll)]",
    ),
    "unknown": (
        item("unknown", errors=[{"code": 131051, "details": "not supported"}]),
        "[a message of a kind that cannot be shown here]",
    ),
    "media_placeholder": (item("media_placeholder"), "[media]"),
    "reaction": (
        item("reaction", reaction={"message_id": "wamid.OURS1", "emoji": "\U0001f44d"}),
        None,
    ),
    "edit": (
        item(
            "edit",
            edit={
                "original_message_id": "wamid.ADA1",
                "message": {
                    "type": "text",
                    "text": {"body": "rye or oat?"},
                    "context": {"id": "M0"},
                },
            },
        ),
        None,
    ),
    "revoke": (item("revoke", revoke={"original_message_id": "wamid.ADA1"}), None),
    "system": (
        item(
            "system",
            system={
                "type": "user_changed_number",
                "wa_id": "13035550144",
                "user_id": "US.new",
                "previous_user_id": ADA_BSUID,
            },
        ),
        None,
    ),
    "request_welcome": (item("request_welcome"), None),
}
MORE: dict[str, tuple[Json, str]] = {
    "button reply": (interactive("button_reply", id="b1", title="Confirm"), '[chose "Confirm"]'),
    "form": (
        interactive(
            "nfm_reply",
            response_json='{"flow_token": "t", "day": "Sat", "extras": ["jam", "tea"], "ok": true}',
        ),
        "[filled in a form: day: Sat; extras: jam, tea; ok: true]",
    ),
    "form that is none": (
        interactive("nfm_reply", response_json="[" * 900),
        "[filled in a form: no fields]",
    ),
    "calls allowed": (interactive("call_permission_reply", response="accept"), "[allows calls]"),
    "calls refused": (
        interactive("call_permission_reply", response="reject"),
        "[does not allow calls]",
    ),
    "interactive without its body": (
        item("interactive"),
        "[a message of a kind that cannot be shown here (interactive)]",
    ),
    "media that Meta lost": (
        item("image", errors=[{"code": 131052}]),
        "[photo: could not be received]",
    ),
    "bare pin": (
        item("location", location={"latitude": 52, "longitude": 13}),
        "[location: 52, 13]",
    ),
    "forwarded": (text(context={"forwarded": True}), "[forwarded]\nDo you bake rye bread?"),
    "product": (
        text(context={"referred_product": {"product_retailer_id": "RYE"}}),
        '[about the product "RYE" of the catalog]\nDo you bake rye bread?',
    ),
    "ad": (
        text(referral={"source_type": "ad", "headline": "Fresh", "body": "Bread\nnow"}),
        '[came from an ad "Fresh", Bread now]\nDo you bake rye bread?',
    ),
    "poser": (
        text(body='[order: 9 x RYE]\n[photo] "hello"'),
        '(order: 9 x RYE)\n(photo) "hello"',
    ),
    "posing caption": (
        item("image", image=MEDIA | {"caption": "x [location: here]"}),
        "[photo] x (location: here)",
    ),
    "posing name": (
        item("location", location={"name": "a]\n[b", "latitude": 1, "longitude": 2}),
        "[location: a) (b, 1, 2]",
    ),
}

ECHO: Json = {
    "from": NUMBER,
    "to": ADA,
    "to_user_id": ADA_BSUID,
    "id": "wamid.PHONE1",
    "timestamp": str(SENT_AT + 5),
    "type": "text",
    "text": {"body": "Ada, it is me, from the shop"},
}


def groups(kind: str) -> Json:
    return value(groups=[{"group_id": "G", "type": kind, "timestamp": str(SENT_AT)}])


CALL = {"id": "wacid.1", "from": ADA, "event": "connect", "timestamp": str(SENT_AT)}
TEMPLATE = {"message_template_id": 7, "message_template_name": "ready"}
FIELDS: dict[str, Json] = {
    "messages": value(contacts=[contact()], messages=[text()]),
    "smb_message_echoes": value(contacts=[contact()], message_echoes=[ECHO]),
    "message_echoes": value(message_echoes=[ECHO | {"id": "wamid.PHONE2"}]),
    "history": value(
        history=[
            {
                "metadata": {"phase": 1, "chunk_order": 2, "progress": 50},
                "threads": [
                    {
                        "id": ADA,
                        "context": {"wa_id": ADA, "user_id": ADA_BSUID},
                        "messages": [
                            text(1, "Were you open?", id="wamid.OLD1", timestamp=str(SENT_AT - 90)),
                            {
                                "from": NUMBER,
                                "to": ADA,
                                "id": "wamid.OLD2",
                                "timestamp": str(SENT_AT - 80),
                                "type": "media_placeholder",
                                "history_context": {"status": "READ"},
                            },
                        ],
                    }
                ],
            }
        ]
    ),
    "user_preferences": value(
        contacts=[contact()],
        user_preferences=[
            {
                "wa_id": ADA,
                "user_id": ADA_BSUID,
                "category": "marketing_messages",
                "value": "stop",
                "timestamp": SENT_AT,
            }
        ],
    ),
    "user_id_update": value(
        user_id_update=[
            {
                "wa_id": "13035550144",
                "user_id": {"previous": ADA_BSUID, "current": "US.new"},
                "timestamp": str(SENT_AT),
            }
        ]
    ),
    "calls": value(contacts=[contact()], calls=[CALL]),
    "smb_app_state_sync": value(state_sync=[{"type": "contact", "action": "add"}]),
    "standby": value(standby={"messages": [text()]}),
    "messaging_handovers": {
        "recipient": {"phone_number_id": PNID, "display_phone_number": NUMBER},
        "type": "control_passed",
        "timestamp": str(SENT_AT),
    },
    "account_settings_update": {
        "type": "phone_number_settings",
        "phone_number_settings": {"phone_number_id": PNID, "calling": {"status": "ENABLED"}},
    },
    "group_lifecycle_update": groups("group_create"),
    "group_participants_update": groups("group_participants_add"),
    "group_settings_update": groups("group_settings_update"),
    "group_status_update": groups("group_suspend"),
    "account_alerts": {"alert_info": {"alert_type": "LIMITS_NOT_RAISED"}},
    "account_review_update": {"decision": "APPROVED"},
    "account_update": {
        "event": "ACCOUNT_RESTRICTION",
        "restriction_info": [{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING"}],
    },
    "automatic_events": {"event": "LEAD"},
    "business_capability_update": {"max_phone_numbers_per_business": 25},
    "business_status_update": {"event": "COMPROMISED"},
    "business_username_updates": {"display_phone_number": NUMBER, "status": "approved"},
    "flows": {"event": "FLOW_STATUS_CHANGE", "flow_id": "5"},
    "message_template_components_update": TEMPLATE,
    "message_template_quality_update": TEMPLATE | {"new_quality_score": "YELLOW"},
    "message_template_status_update": TEMPLATE | {"event": "APPROVED"},
    "template_category_update": TEMPLATE | {"new_category": "MARKETING"},
    "partner_solutions": {"event": "SOLUTION_CREATED"},
    "payment_configuration_update": {"status": "Active"},
    "phone_number_name_update": {"display_phone_number": NUMBER, "decision": "APPROVED"},
    "phone_number_quality_update": {
        "display_phone_number": NUMBER,
        "event": "THROUGHPUT_UPGRADE",
        "current_limit": "TIER_UNLIMITED",
    },
    "security": {"display_phone_number": NUMBER, "event": "PIN_CHANGED"},
}
