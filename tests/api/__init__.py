"""The tenant API over HTTP, with a real database behind it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import aiohttp
from multidict import CIMultiDict

from db.api_keys import NewApiKey, create_api_key
from db.ids import ApiKeyId, ConversationId, MessageId
from db.pool import Conn, Pool, tenant
from handlers.api_keys import PERMISSIONS, hash_of, new_key
from handlers.process.secrets import Vault, access_token_of
from ingress.api.resources.evals import EXAMPLE
from ingress.api.table import FORM, JSON, AnyEndpoint
from simulator.settings import ACCOUNT_ID
from simulator.templates import FIRST_ID
from tests.api.described import endpoint_of, wrong_in_answer
from tests.factories import Tenant, make_conversation, make_message
from tests.ingress import SECRETS_KEY


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    json: Any
    headers: CIMultiDict[str]

    @property
    def problem(self) -> str:
        """The last word of its type, once it is a whole problem."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self
        assert self.json.keys() >= {"type", "title", "status", "detail", "instance"}
        assert self.json["status"] == self.status
        assert self.json["detail"]
        prefix, _, name = str(self.json["type"]).rpartition(":")
        assert prefix == "urn:swiftreplies:problem"
        return name


@dataclass(frozen=True, slots=True)
class Client:
    url: str
    http: aiohttp.ClientSession
    key: str

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.send("GET", path, params=query)

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send("POST", path, json={} if body is None else body, headers=sent)

    async def patch(self, path: str, body: Any, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send("PATCH", path, json=body, headers=sent)

    async def delete(self, path: str, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send("DELETE", path, headers=sent)

    async def send(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any
    ) -> Answer:
        given = {"Authorization": f"Bearer {self.key}"} | (headers or {})
        async with self.http.request(
            method, f"{self.url}/v1{path}", headers=given, **request
        ) as response:
            kind = response.headers.get("Content-Type", "")
            is_json = "json" in kind and "ndjson" not in kind
            body = await (response.json(content_type=None) if is_json else response.read())
            answer = Answer(
                response.status,
                None if response.status == 204 and not body else body,
                CIMultiDict(response.headers),
            )
        endpoint = endpoint_of(method, path)
        if endpoint is not None:  # whatever a test provokes
            wrong = wrong_in_answer(endpoint, answer.status, answer.headers, answer.json)
            assert not wrong, f"{endpoint.name} is not as described: {wrong}"
        return answer


def spelt(endpoint: AnyEndpoint, row_id: int) -> str:
    return re.sub(r"{\w+}", str(row_id), endpoint.path)


def addressed(endpoint: AnyEndpoint, rows: Mapping[str, int]) -> str:
    """At the rows by the names in its path."""
    for name in endpoint.path_names:
        assert name in rows, f"make_rows() in tests/api makes no {name}: add one"
    return endpoint.path.format_map(rows)


_questions = count(1)
# What an endpoint takes, where it takes no empty object.
ORDER_READY = [
    {
        "type": "BODY",
        "text": "Hi {{1}}, order {{2}} is ready.",
        "example": {"body_text": [["Noor", "8841"]]},
    }
]
CAMPAIGN = {
    "name": "Spring",
    "chatbot_id": 1,
    "template_id": 1,
    "parameters": {"body": {"1": {"field": "name", "else": "you"}, "2": {"text": "8841"}}},
}
GOOD: dict[str, dict[str, Any]] = {
    "create_campaign": CAMPAIGN,
    "preview_campaign": CAMPAIGN,
    "change_campaign": {"name": "Summer"},
    "create_template": {
        "chatbot_id": 1,
        "name": "order_sent",
        "language": "en_US",
        "category": "UTILITY",
        "components": ORDER_READY,
    },
    "change_template": {"components": ORDER_READY},
    "sync_templates": {"chatbot_id": 1},
    "send_message": {"content_text": "hi"},
    "ask_chatbot": {"question": "When are you open?"},
    "create_instruction": {"instruction_text": "Speak Basque."},
    "create_contact": {"phone_number": "+1 202 555 0199"},
    "create_api_key": {"key_name": "till", "permissions": ["chatbots:read"]},
    "create_tool": {
        "name": "book_table",
        "description": "Books a table.",
        "parameters": {"type": "object", "properties": {"day": {"type": "string"}}},
        "url": "https://shop.example/book",
    },
    "create_webhook": {"url": "https://shop.example/hook", "events": ["*"]},
    "create_chatbot": {"name": "Bot"},
    "create_knowledge": {"question": "Do you deliver?", "answer": "Yes."},
    "answer_unanswered": {"question": "Do you gift-wrap?", "answer": "Yes."},
    "create_export": {"what": "usage"},
    "create_eval": {"suite": EXAMPLE},
    "create_conversation": {"chatbot_id": 1, "contact_id": 1},
    "create_product": {"name": "Cake"},
    "create_order": {
        "chatbot_id": 1,
        "contact_id": 1,
        "items": [{"product_sku": "CAKE", "quantity": 1}],
    },
    "recover_webhook": {"since": "2026-01-01T00:00:00Z"},
}


FILES = {  # of imports
    "import_knowledge": "question,answer\nDo you deliver?,Yes.\n",
    "import_contacts": "phone_number,name\n+12025550188,Ada\n",
    "import_products": "sku,name\nCAKE-1,Cake\n",
}


def called(endpoint: AnyEndpoint) -> dict[str, Any]:
    """With what it takes."""
    if JSON in endpoint.takes:
        return {"json": GOOD.get(endpoint.name, {})} if endpoint.has_body else {}
    if not endpoint.has_body:
        return {}
    if FORM in endpoint.takes:
        form = aiohttp.FormData()
        form.add_field("file", b"%PDF-1.4", filename="menu.pdf")
        return {"data": form}
    headers = {"Content-Type": endpoint.takes[0], "Prefer": "respond-async"}  # nobody does the job
    return {"data": FILES[endpoint.name], "headers": headers}


async def make_rows(owner: Conn, of: Tenant) -> dict[str, int]:
    """One of each noun, by the name that it has in paths."""
    action_id, _ = await make_action(owner, of, user_response="yes")
    conversation_id, message_id = await make_open_conversation(owner, of)
    webhook_id, delivery_id = await make_delivery(owner, of)
    job_id, export_id = await make_export(owner, of)
    instruction_id = await make_instruction(owner, of, conversation_id)
    api_key_id = await owner.fetchval(
        "INSERT INTO api_keys (user_id, key_name, api_key_hash)"
        " VALUES ($1, 'k', gen_random_uuid()) RETURNING id",
        of.user_id,
    )
    product_id, order_id = await make_order(owner, of, conversation_id)
    template_id = await make_template(owner, of)
    return {
        "campaign_id": await make_campaign(owner, of, template_id),
        "action_id": action_id,
        "api_key_id": api_key_id,
        "chatbot_id": of.chatbot_id,
        "instruction_id": instruction_id,
        "fact_id": await make_fact(owner, message_id),
        "contact_id": await owner.fetchval("SELECT max(id) FROM contacts"),
        "conversation_id": conversation_id,
        "eval_id": await make_eval(owner, of),
        "export_id": export_id,
        "knowledge_id": await make_knowledge(owner, of),
        "job_id": job_id,
        "medium_id": await make_medium(owner, of),
        "message_id": message_id,
        "order_id": order_id,
        "product_id": product_id,
        "tool_id": await make_tool(owner, of),
        "template_id": template_id,
        "unanswered_id": await make_unanswered(owner, of, message_id),
        "webhook_id": webhook_id,
        "delivery_id": delivery_id,
    }


async def make_tool(owner: Conn, of: Tenant) -> int:
    """Of a name of its own."""
    tool_id: int = await owner.fetchval(
        "INSERT INTO tools (user_id, chatbot_id, name, description, parameters, url)"
        " VALUES ($1, $2, 't' || currval(pg_get_serial_sequence('users', 'id')) || '_' || (SELECT"
        " count(*) FROM tools), 'Looks up.', '{\"type\": \"object\"}', 'https://shop.example/')"
        " RETURNING id",
        *(of.user_id, of.chatbot_id),
    )
    return tool_id


async def make_campaign(owner: Conn, of: Tenant, template_id: int) -> int:
    """A draft."""
    variant = {"template_id": template_id, "parameters": CAMPAIGN["parameters"], "weight": 1}
    campaign_id: int = await owner.fetchval(
        "INSERT INTO campaigns (user_id, chatbot_id, name, variants)"
        " VALUES ($1, $2, 'Spring', $3::text::jsonb) RETURNING id",
        *(of.user_id, of.chatbot_id, json.dumps([variant])),
    )
    return campaign_id


async def make_template(owner: Conn, of: Tenant, **columns: Any) -> int:
    """Of the chatbot's account; at Meta it is the simulator's first."""
    token = Vault((SECRETS_KEY,)).encrypt("t", access_token_of(of.chatbot_id))
    await owner.execute(
        "UPDATE chatbots SET waba_id = coalesce(waba_id, $2),"
        " access_token = coalesce(access_token, $3) WHERE id = $1",
        *(of.chatbot_id, ACCOUNT_ID, token),
    )
    row = {
        "meta_id": str(FIRST_ID),
        "name": f"order_ready_{next(_questions)}",
        "language": "en_US",
        "status": "APPROVED",
        "category": "UTILITY",
        "components": json.dumps(ORDER_READY),
    } | columns
    names, places = ", ".join(row), ", ".join(f"${n}" for n in range(3, 3 + len(row)))
    made: int = await owner.fetchval(
        f"INSERT INTO message_templates (user_id, waba_id, {names})"
        f" VALUES ($1, $2, {places}) RETURNING id",
        *(of.user_id, ACCOUNT_ID, *row.values()),
    )
    return made


async def make_unanswered(owner: Conn, of: Tenant, message_id: int, key: int = 1) -> int:
    """Once a message."""
    unanswered_id: int = await owner.fetchval(
        "INSERT INTO unanswered_questions (user_id, chatbot_id, contact_id, message_id, question,"
        " key) SELECT user_id, chatbot_id, contact_id, id, coalesce(content_text, 'x'),"
        " decode(md5($2::text), 'hex') FROM messages WHERE id = $1 RETURNING id",
        *(message_id, str(key)),
    )
    return unanswered_id


async def make_instruction(
    owner: Conn, of: Tenant, conversation_id: ConversationId, **columns: Any
) -> int:
    instruction_id: int = await owner.fetchval(
        "INSERT INTO conversation_instructions (user_id, chatbot_id, contact_id, instruction_text)"
        " SELECT user_id, chatbot_id, contact_id, 'Speak Basque.' FROM conversations WHERE id = $1"
        " RETURNING id",
        conversation_id,
    )
    for column, value in columns.items():
        await owner.execute(
            f"UPDATE conversation_instructions SET {column} = $2 WHERE id = $1",
            *(instruction_id, value),
        )
    return instruction_id


async def make_fact(owner: Conn, message_id: int, about: str = "allergy") -> int:
    made: int = await owner.fetchval(
        "INSERT INTO facts (user_id, contact_id, message_id, about, text)"
        " SELECT user_id, contact_id, id, $2, 'nuts' FROM messages WHERE id = $1 RETURNING id",
        *(message_id, about),
    )
    return made


async def make_medium(owner: Conn, of: Tenant) -> int:
    """That the tenant gave; its file is nowhere."""
    made: int = await owner.fetchval(
        "INSERT INTO media (user_id, kind, status, file, content_type, bytes, sent_at, settled_at)"
        " VALUES ($1, 'image', 'stored', 'media/1/none', 'image/jpeg', 7, now(), now())"
        " RETURNING id",
        of.user_id,
    )
    return made


async def make_export(owner: Conn, of: Tenant) -> tuple[int, int]:
    """Its job, and itself: nobody has begun it."""
    job_id: int = await owner.fetchval(
        "INSERT INTO jobs (user_id, kind) VALUES ($1, 'export') RETURNING id", of.user_id
    )
    export_id: int = await owner.fetchval(
        "INSERT INTO exports (user_id, job_id, what) VALUES ($1, $2, 'usage') RETURNING id",
        *(of.user_id, job_id),
    )
    return job_id, export_id


async def make_eval(owner: Conn, of: Tenant) -> int:
    """Of a command, and done."""
    eval_id: int = await owner.fetchval(
        "INSERT INTO evals (user_id, chatbot_id, name, repeat, total, status, passed, fell,"
        " settled_at) VALUES ($1, $2, 'Luma', 1, 1, 'done', 1, '[]', now()) RETURNING id",
        *(of.user_id, of.chatbot_id),
    )
    await owner.execute(
        "INSERT INTO eval_cases (user_id, eval_id, place, name, passed, result)"
        " VALUES ($1, $2, 0, 'hours', true, '{}')",
        *(of.user_id, eval_id),
    )
    return eval_id


async def make_knowledge(owner: Conn, of: Tenant, **columns: Any) -> int:
    question = f"When are you open? {next(_questions)}"
    row = {"question": question, "answer": "At nine."} | columns
    names, places = ", ".join(row), ", ".join(f"${n}" for n in range(3, 3 + len(row)))
    made: int = await owner.fetchval(
        f"INSERT INTO bot_knowledge_base (user_id, chatbot_id, {names})"
        f" VALUES ($1, $2, {places}) RETURNING id",
        *(of.user_id, of.chatbot_id, *row.values()),
    )
    return made


async def make_order(owner: Conn, of: Tenant, conversation_id: int) -> tuple[int, int]:
    """A product, and an order of two of it by the conversation's contact."""
    product_id: int = await owner.fetchval(
        "INSERT INTO products (user_id, name, sku, price) VALUES ($1, 'Cake', 'CAKE', 12.50)"
        " ON CONFLICT (user_id, sku) DO UPDATE SET name = 'Cake' RETURNING id",
        of.user_id,
    )
    order_id: int = await owner.fetchval(
        "INSERT INTO orders (user_id, chatbot_id, contact_id, order_number, total_amount)"
        " SELECT user_id, chatbot_id, contact_id, 'T-' || nextval('orders_id_seq'), 25"
        " FROM conversations WHERE id = $1 RETURNING id",
        conversation_id,
    )
    await owner.execute(
        "INSERT INTO order_items (user_id, order_id, product_name, product_sku, quantity,"
        " unit_price, total_price) VALUES ($1, $2, 'Cake', 'CAKE', 2, 12.50, 25)",
        *(of.user_id, order_id),
    )
    return product_id, order_id


async def make_webhook(owner: Conn, of: Tenant, **columns: Any) -> int:
    webhook_id: int = await owner.fetchval(
        "INSERT INTO webhooks (user_id, url, events) VALUES ($1, 'https://shop.example/', $2)"
        " RETURNING id",
        of.user_id,
        '["*"]',
    )
    for column, value in columns.items():
        await owner.execute(f"UPDATE webhooks SET {column} = $2 WHERE id = $1", webhook_id, value)
    return webhook_id


async def make_delivery(owner: Conn, of: Tenant) -> tuple[int, int]:
    """Of a webhook of its own, and pending."""
    webhook_id = await make_webhook(owner, of)
    await tell(owner, of, "bot.recovered")
    delivery_id: int = await owner.fetchval(
        "SELECT id FROM webhook_deliveries WHERE webhook_id = $1", webhook_id
    )
    return webhook_id, delivery_id


async def tell(
    owner: Conn, of: Tenant, event: str, data: str = "{}", *, ago: timedelta = timedelta()
) -> int:
    """Its number. `ago`: how long it is since it happened."""
    event_id: int = await owner.fetchval(
        "INSERT INTO analytics_events (user_id, event_type, event_data, chatbot_id, created_at)"
        " VALUES ($1, $2, $3, $4, now() - $5::interval) RETURNING id",
        of.user_id,
        event,
        data,
        of.chatbot_id,
        ago,
    )
    for table, key in (("webhook_events", "id"), ("webhook_deliveries", "event_id")):
        await owner.execute(
            f"UPDATE {table} SET created_at = now() - $2::interval WHERE {key} = $1", event_id, ago
        )
    return event_id


async def make_key(
    pool: Pool, of: Tenant, permissions: Sequence[str] = PERMISSIONS
) -> tuple[str, ApiKeyId]:
    key = new_key()
    hashed = hash_of(key)
    assert hashed is not None
    async with tenant(pool, of.user_id) as conn:
        granted = dict.fromkeys(permissions, True)
        new = NewApiKey("test", hashed, key[:10], granted)
        key_id = await create_api_key(conn, of.user_id, new)
    return key, key_id


async def make_action(owner: Conn, of: Tenant, **columns: Any) -> tuple[int, ConversationId]:
    """A pending one, of a conversation of its own."""
    contact_id, conversation_id = await make_conversation(owner, of)
    action_id = await owner.fetchval(
        "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details)"
        " VALUES ($1, $2, $3, 'refund', 'of 12 EUR') RETURNING id",
        of.user_id,
        of.chatbot_id,
        contact_id,
    )
    for column, value in columns.items():
        await owner.execute(f"UPDATE actions SET {column} = $2 WHERE id = $1", action_id, value)
    return action_id, conversation_id


async def make_open_conversation(owner: Conn, of: Tenant) -> tuple[ConversationId, MessageId]:
    """The customer wrote a moment ago, and waits."""
    contact_id, conversation_id = await make_conversation(owner, of)
    message_id = await make_message(
        owner,
        of,
        contact_id,
        conversation_id,
        direction="inbound",
        status="received",
        text="hello?",
        wamid=f"wamid.{conversation_id}",
        input_seq=1,
    )
    await owner.execute(
        "UPDATE conversations SET last_inbound_at = now(), input_seq = 1, answered_seq = 1"
        " WHERE id = $1",
        conversation_id,
    )
    return conversation_id, message_id
