"""A person of whom everything is there that the product keeps of anybody."""

import json
import time
from dataclasses import dataclass
from typing import Any

from db.checkpoints import Checkpoint, save_checkpoint
from db.deliveries import Settled, settle_deliveries
from db.ids import ContactId
from db.parked import ParkedItem, park_items
from db.pool import Conn, Pool, tenant
from db.stuck import Aside, set_aside
from handlers.ingest.batch import opened
from handlers.ingest.envelope import Envelope, encode
from handlers.ingest.others import take_others
from handlers.ingest.recording import record_batch
from handlers.ingest.statuses import merge_batch
from handlers.whatsapp.cloud_api.wire import split
from tests.factories import Tenant, make_message
from tests.recording import DEBOUNCE, statuses_for, to
from tests.unit.payloads import change, status, text, value, webhook


@dataclass(frozen=True, slots=True)
class Person:
    number: str  # as Meta spells it
    bsuid: str
    name: str
    word: str  # in whatever they say, or is said to them

    def wrote(self, n: int, at: int, **keys: Any) -> Any:
        return text(
            1,
            body=f"my {self.word} number {n}",
            **{"from": self.number, "from_user_id": self.bsuid, "id": self.wamid(n)},
            timestamp=str(at),
            **keys,
        )

    def wamid(self, n: int) -> str:
        return f"wamid.{self.word}-{n}"

    @property
    def contact(self) -> Any:
        return {
            "profile": {"name": self.name},
            "wa_id": self.number,
            "user_id": self.bsuid,
        }

    @property
    def needles(self) -> list[str]:
        return [self.number, self.bsuid, self.name, self.word]


ADA = Person("13035550111", "US.4400112233445566778", "Ada Brook", "sourdough")
BEN = Person("13035550222", "US.4400112233445566779", "Ben Hollow", "pretzel")


async def lives(pool: Pool, owner: Conn, of: Tenant, who: Person) -> ContactId:
    """Of which erasing leaves nothing. Some of it in the way that it comes, the rest as rows."""
    user_id, chatbot_id = of.user_id, of.chatbot_id
    await owner.execute(
        "INSERT INTO webhooks (user_id, url, events) SELECT $1, 'https://shop.example/', '[\"*\"]'"
        " WHERE NOT EXISTS (SELECT FROM webhooks WHERE user_id = $1)",
        user_id,
    )
    now = int(time.time())
    said = [who.wrote(n, now - 60 + n) for n in range(1, 4)]
    await record_batch(pool, [to(of, *said, contacts=[who.contact])], DEBOUNCE)
    reaction = text(
        1,
        **{"from": who.number, "from_user_id": who.bsuid, "id": who.wamid(8)},
        type="reaction",
        reaction={"message_id": who.wamid(99), "emoji": "x"},
    )
    del reaction["text"]
    await record_batch(pool, [to(of, reaction)], DEBOUNCE)  # parked: to no message that is known
    late = status("delivered", 1, id=who.wamid(77), recipient_id=who.number)
    late["recipient_user_id"] = who.bsuid
    await merge_batch(pool, [statuses_for(of, late)])  # orphaned
    call = {"calls": [{"from": who.number, "id": who.wamid(5), "timestamp": str(now - 9)}]}
    called = webhook(change(value(of.phone_number_id, of.number, **call), "calls"))
    await take_others(pool, [encode(Envelope("t", "", tuple(split(called))))])
    (row,) = await owner.fetch(
        "SELECT c.id, v.id AS conversation_id, v.thread_id"
        "  FROM contacts c JOIN conversations v ON v.contact_id = c.id"
        " WHERE c.user_id = $1 AND c.phone_number = $2",
        user_id,
        f"+{who.number}",
    )
    contact_id, conversation_id, thread_id = row["id"], row["conversation_id"], row["thread_id"]
    await owner.execute(
        "UPDATE contacts SET tags = to_jsonb(ARRAY[$2::text]), custom_fields ="
        " jsonb_build_object('note', $2::text) WHERE id = $1",
        contact_id,
        who.word,
    )
    sent = await make_message(
        *(owner, of, contact_id, conversation_id),
        status="failed",
        text=f"here is your {who.word}",
        wamid=who.wamid(50),
    )
    for statement, args in _rows(of, who, contact_id, conversation_id, sent).items():
        await owner.execute(statement, *args)
    await _told(pool, owner, of, who, contact_id, conversation_id)
    async with tenant(pool, user_id) as conn:
        kept = {"messages": who.word}
        held = Checkpoint(
            checkpoint_id="1",
            checkpoint=kept,
            metadata={},
            channels=["messages"],
            versions=["1"],
            types=["json"],
            blobs=[who.word.encode()],
        )
        await save_checkpoint(conn, thread_id, held)
        update = opened([to(of, who.wrote(30, now - 30))])[0][0]
        aside = update.parked("stuck")
        await set_aside(
            conn,
            user_id,
            [
                Aside(
                    item_key=aside.key,
                    kind=aside.kind,
                    phone_number_id=aside.phone_number_id,
                    display_number=aside.display_number,
                    trace_id="t",
                    raw=aside.raw,
                    error="Locked",
                )
            ],
        )
    assert chatbot_id
    return ContactId(contact_id)


async def _told(
    pool: Pool, owner: Conn, of: Tenant, who: Person, contact: int, conversation: int
) -> None:
    """What the tenant's program answered to it says it again; and what is counted or waits."""
    deliveries = await owner.fetch(
        "SELECT d.id FROM webhook_deliveries d JOIN webhook_events e ON e.id = d.event_id"
        " WHERE e.user_id = $1 AND e.contact_id = $2 AND position($3 IN e.body) > 0",
        *(of.user_id, contact, who.word),
    )
    assert len(deliveries) >= 3
    async with pool.acquire() as conn:
        settled = [answered(row["id"], who) for row in deliveries[:2]]
        await settle_deliveries(conn, of.user_id, settled)
    async with tenant(pool, of.user_id) as conn:
        await conn.execute("SELECT count_takeover($1, $2)", of.user_id, conversation)
        await conn.execute(
            "SELECT count_model_calls($1, $2, $3, 1, 'm', 1, 5, 0, 5)",
            *(of.user_id, of.chatbot_id, conversation),
        )
        await conn.execute(
            "UPDATE conversations SET waits_for = 'no_subscription' WHERE id = $1", conversation
        )


def answered(delivery_id: int, who: Person) -> Settled:
    return Settled(
        id=delivery_id,
        status="failed",
        after_s=None,
        ago_s=0.0,
        duration_ms=5,
        status_code=500,
        error=None,
        response=f"cannot take {who.word} of {who.name}",
    )


def _rows(of: Tenant, who: Person, contact: int, conversation: int, sent: int) -> dict[str, Any]:
    ids = (of.user_id, of.chatbot_id, contact)
    word = who.word
    return {
        "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details,"
        " context_data) VALUES ($1, $2, $3, 'refund', $4, jsonb_build_object('x', $4::text))": (
            *ids,
            word,
        ),
        "INSERT INTO conversation_instructions (user_id, chatbot_id, contact_id, instruction_text)"
        " VALUES ($1, $2, $3, $4)": (*ids, word),
        "INSERT INTO facts (user_id, contact_id, message_id, about, text)"
        " VALUES ($1, $2, $3, 'likes', $4)": (of.user_id, contact, sent, word),
        "INSERT INTO tool_calls (user_id, chatbot_id, contact_id, conversation_id, tool_name,"
        " effect, input_seq, arguments_hash, arguments, status, result) VALUES ($1, $2, $3, $5,"
        " 'x', 'once', 1, 'x', jsonb_build_object('x', $4::text), 'done', $4)": (
            *ids,
            word,
            conversation,
        ),
        "INSERT INTO unanswered_questions (user_id, chatbot_id, contact_id, message_id, question,"
        " key) VALUES ($1, $2, $3, $5, $4, decode(md5('x'), 'hex'))": (*ids, word, sent),
        "INSERT INTO analytics_events (user_id, chatbot_id, contact_id, event_type, event_data)"
        " VALUES ($1, $2, $3, 'x', jsonb_build_object('x', $4::text))": (*ids, word),
        "INSERT INTO conversation_events (user_id, conversation_id, input_seq, kind, data)"
        " VALUES ($1, $2, 900, 'x', jsonb_build_object('x', $3::text))": (
            of.user_id,
            conversation,
            word,
        ),
        "WITH o AS (INSERT INTO orders (user_id, chatbot_id, contact_id, message_id, order_notes,"
        " shipping_address) VALUES ($1, $2, $3, $5, $4, jsonb_build_object('x', $4::text))"
        " RETURNING id) INSERT INTO order_items (user_id, order_id, product_name)"
        " SELECT $1, o.id, $4 FROM o": (*ids, word, sent),
        "INSERT INTO quotes (user_id, chatbot_id, contact_id, conversation_id, input_seq, token,"
        " items, total_amount, currency, expires_at) VALUES ($1, $2, $3, $5, 900, $4,"
        " jsonb_build_array($4::text), 1, 'USD', now())": (*ids, word, conversation),
        "INSERT INTO dead_sends (user_id, message_id, reason, detail) VALUES ($1, $2, 'x', $3)": (
            of.user_id,
            sent,
            word,
        ),
        "INSERT INTO idempotency_keys (user_id, idempotency_key, request_hash, message_id, status,"
        " headers, body) VALUES ($1, $3, sha256('x'), $2, 201, '{}',"
        " jsonb_build_object('content_text', $3::text)::text)": (of.user_id, sent, word),
    }


async def park_together(pool: Pool, of: Tenant, *people: Person) -> None:
    """An entry of the log that nobody could be done with, with a message of each."""
    now = int(time.time())
    items = [who.wrote(60, now - 30) for who in people]
    body = to(of, *items, contacts=[who.contact for who in people])
    async with pool.acquire() as conn:
        await park_items(
            conn,
            [
                ParkedItem(
                    reason="delivered_too_often",
                    detail=None,
                    kind="envelope",
                    phone_number_id=of.phone_number_id,
                    display_number=of.number,
                    trace_id="t",
                    raw=body,
                )
            ],
        )


def updates_of(raw: bytes) -> list[Any]:
    return list(json.loads(raw)["updates"])
