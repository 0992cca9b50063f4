"""The catalogue of what tenants are told."""

import re
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import db
from db.ids import ChatbotId, MessageId
from handlers.deliveries.catalogue import CATALOGUE, MessageFailed, SendingPaused

SCHEMA = Path(str(db.__file__)).parent / "schema.sql"


def test_every_type_has_a_name_of_its_own() -> None:
    assert len(CATALOGUE) == len(set(CATALOGUE.values())) > 8
    assert all(re.fullmatch(r"[a-z]+(\.[a-z_]+)+|ping", name) for name in CATALOGUE)
    assert all(len(name) <= 50 for name in CATALOGUE), "as the column takes it"


def test_the_data_is_the_fields_of_its_own_as_json() -> None:
    until = datetime(2026, 3, 1, 12, tzinfo=UTC)
    told = SendingPaused(chatbot_id=ChatbotId(7), reason="account:190", until=until)
    assert told.data == {"reason": "account:190", "until": "2026-03-01T12:00:00+00:00"}
    assert told.chatbot_id == 7
    failed = MessageFailed(message_id=MessageId(3), reason="refused", detail=None)
    assert failed.data == {"message_id": 3, "reason": "refused", "detail": None}


def test_what_sql_tells_is_a_type_with_those_fields() -> None:
    told = [
        (name, set(re.findall(r"'(\w+)',\s", data)))
        for name, data in re.findall(
            r"INTO analytics_events [^;]*?'([a-z]+\.[a-z_.]+)',\s+jsonb_build_object\((.*?)"
            r"\)(?:\)\n|, \w+\);\n)",
            SCHEMA.read_text(),
            re.DOTALL,
        )
    ]
    assert {name for name, _ in told} == {"limit.reached", "limit.warning", "webhook.disabled"}
    for name, keys in told:
        own = {f.name for f in fields(CATALOGUE[name])} - {"chatbot_id", "contact_id"}
        assert own <= keys, f"{name} lacks {own - keys}"
