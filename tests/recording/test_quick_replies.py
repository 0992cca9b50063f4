"""What a press of a template's quick reply brings, as it comes in."""

import time
from typing import Any

import pytest

from db.pool import Conn, Pool
from handlers.ingest.recording import record_batch
from tests.factories import make_tenant
from tests.recording import DEBOUNCE, to, wrote


def pressed(wamid: str, text: str | None, payload: str) -> dict[str, Any]:
    item: dict[str, Any] = wrote(wamid, "13035550111", int(time.time()), type="button")
    del item["text"]
    item["button"] = {"payload": payload} | ({"text": text} if text else {})
    return item


@pytest.mark.parametrize(
    ("text", "payload", "choice"),
    [
        ("Stop", "STOP_PROMOTIONS", "stop"),
        ("STOP", "anything", "stop"),
        ("Baja", "x", "stop"),
        ("Yes, please", "STOP", None),  # nobody sees a payload
        ("Stop the clock", "x", None),
    ],
)
async def test_a_stop_on_a_button_ends_advertising_as_the_word_does(
    pool: Pool, owner: Conn, text: str, payload: str, choice: str | None
) -> None:
    of = await make_tenant(owner)
    await record_batch(pool, [to(of, pressed("w.1", text, payload))], DEBOUNCE)
    assert await owner.fetchval("SELECT marketing_choice FROM contacts") == choice
    (row,) = await owner.fetch("SELECT message_type, content_text FROM messages")
    assert tuple(row) == ("button", text)
    kept = await owner.fetchval("SELECT metadata #>> '{details,reply,id}' FROM messages")
    assert kept == payload
