"""The least that a turn can cost with these libraries: one loop, one ChatOpenAI as its package
gives it, one asyncpg pool. A statement that reads, the model (and its one tool), a transaction that
writes the rows that the product writes. No graph, no lease, no row-level security, no limits, and
nothing is safe from a crash.

    python -m bench.floors.turn

Works on what is due in DATABASE_URL, SLOTS at once.
"""

import asyncio
import json
import os
from functools import partial
from typing import Any

import aiohttp
import asyncpg
import uvloop
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

POOL_SIZE = 16  # as the product's worker
POLL_S = 0.02
CHECKPOINT_BYTES_EACH = 260  # of a message in the product's checkpoint, measured there
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "search_knowledge_base",
            "description": "Finds rows of the knowledge base.",
            "parameters": {
                "type": "object",
                "properties": {"query": {"type": "string"}},
                "required": ["query"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "request_human_action",
            "description": "Asks a person of the business to decide something.",
            "parameters": {
                "type": "object",
                "properties": {
                    "type": {"type": "string", "description": "What kind, in one or two words"},
                    "details": {"type": "string", "description": "What exactly is to be decided."},
                    "context": {"type": "object", "description": "What helps to decide."},
                },
                "required": ["type", "details"],
            },
        },
    },
]
FOUND = json.dumps(
    [{"id": n, "category": None, "question": "q" * 50, "answer": "a" * 70} for n in range(6)]
)

READ = """
SELECT v.user_id, v.chatbot_id, v.contact_id, v.thread_id,
       b.general_instructions, b.phone_number_id,
       array_agg(m.id ORDER BY m.id) AS ids, array_agg(m.direction ORDER BY m.id) AS directions,
       array_agg(m.content_text ORDER BY m.id) AS texts, max(m.message_id) AS wamid
  FROM conversations v
  JOIN chatbots b ON b.id = v.chatbot_id
  CROSS JOIN LATERAL (SELECT * FROM messages WHERE user_id = v.user_id AND conversation_id = v.id
                       ORDER BY id DESC LIMIT 41) m
 WHERE v.id = $1 GROUP BY v.id, b.id
"""
INPUT = """
UPDATE messages SET ai_processed = true, processing_duration = 0.1 WHERE user_id = $1 AND id = $2
"""
REPLY = """
INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, message_type,
                      content_text, status, sent_at, metadata, usage_day)
VALUES ($1, $2, $3, $4, 'outbound', 'text', $5, 'queued', now(), '{"kind": "reply"}', CURRENT_DATE)
"""
SETTLED = "UPDATE conversations SET answered_seq = input_seq, ready_at = NULL WHERE id = $1"
CHECKPOINT = """
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata)
VALUES ($1, '', '1', jsonb_build_object('bytes', $2::text), '{}')
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
    DO UPDATE SET checkpoint = EXCLUDED.checkpoint
"""
DAY = """
INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_sent)
VALUES ($1, CURRENT_DATE, 1)
ON CONFLICT (user_id, tracking_date)
    DO UPDATE SET daily_messages_sent = usage_tracking.daily_messages_sent + 1
"""
MONTH = """
INSERT INTO monthly_usage_summary (user_id, year, month, total_messages_sent)
VALUES ($1, extract(year FROM now())::int, extract(month FROM now())::int, 1)
ON CONFLICT (user_id, year, month)
    DO UPDATE SET total_messages_sent = monthly_usage_summary.total_messages_sent + 1
"""
KNOWLEDGE = """
SELECT id, category, question, answer FROM bot_knowledge_base
 WHERE user_id = $1 AND chatbot_id = $2 ORDER BY id
"""


class Floor:
    def __init__(self, pool: Any, graph: aiohttp.ClientSession, slots: int) -> None:
        self.pool = pool
        self.graph = graph
        self.slots = asyncio.Semaphore(slots)
        self.graph_url = os.environ["WHATSAPP_API_URL"]
        self.model = ChatOpenAI(
            model="bench",
            api_key=SecretStr("sk-bench"),
            base_url=os.environ["OPENAI_BASE_URL"],
            use_responses_api=False,
            max_completion_tokens=800,
        )
        self.with_tools = self.model.bind_tools(TOOLS)
        self.with_request = self.model.bind_tools(TOOLS[1:])
        self.known: dict[int, str | None] = {}  # the knowledge of a chatbot; None: too much

    async def turn(self, conversation_id: int) -> None:
        async with self.slots:
            async with self.pool.acquire() as conn:
                row = await conn.fetchrow(READ, conversation_id)
            user_id, chatbot_id = row["user_id"], row["chatbot_id"]
            showing = asyncio.create_task(self.show(row["phone_number_id"], row["wamid"]))
            knowledge = await self.knowledge(user_id, chatbot_id)
            system = f"{row['general_instructions']}\n\n{knowledge or 'Search what you need.'}"
            messages: list[AnyMessage] = [SystemMessage(system)]
            for direction, text in zip(row["directions"], row["texts"], strict=True):
                messages.append(HumanMessage(text) if direction == "inbound" else AIMessage(text))
            client = self.with_request if knowledge else self.with_tools
            answer = await client.ainvoke(messages)
            while answer.tool_calls:
                messages.append(answer)
                messages += [ToolMessage(FOUND, tool_call_id=c["id"]) for c in answer.tool_calls]
                answer = await client.ainvoke(messages)
            kept = "x" * (CHECKPOINT_BYTES_EACH * len(messages))
            async with self.pool.acquire() as conn, conn.transaction():
                await conn.execute(SETTLED, conversation_id)
                await conn.execute(INPUT, user_id, row["ids"][-1])
                await conn.execute(
                    REPLY, user_id, chatbot_id, row["contact_id"], conversation_id, answer.text
                )
                await conn.execute(CHECKPOINT, row["thread_id"], kept)
                await conn.execute(DAY, user_id)
                await conn.execute(MONTH, user_id)
            await showing

    async def show(self, phone_number_id: str, wamid: str) -> None:
        body = {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": wamid,
            "typing_indicator": {"type": "text"},
        }
        url = f"{self.graph_url}/v25.0/{phone_number_id}/messages"
        async with self.graph.post(url, json=body, headers={"Authorization": "Bearer t"}) as got:
            await got.read()

    async def knowledge(self, user_id: int, chatbot_id: int) -> str | None:
        if chatbot_id not in self.known:
            async with self.pool.acquire() as conn:
                rows = await conn.fetch(KNOWLEDGE, user_id, chatbot_id)
            text = "\n".join(json.dumps(dict(row)) for row in rows)
            chars = sum(len(row["question"]) + len(row["answer"]) for row in rows)
            self.known[chatbot_id] = text if chars <= 12_000 else None
        return self.known[chatbot_id]


async def main() -> None:
    slots = int(os.environ["SLOTS"])

    async def as_it_was(_: Any) -> None:
        """Nothing was set on the session: resetting it would only be one more round trip."""

    async with (
        asyncpg.create_pool(
            os.environ["DATABASE_URL"], min_size=0, max_size=POOL_SIZE, reset=as_it_was
        ) as pool,
        aiohttp.ClientSession() as graph,
    ):
        floor = Floor(pool, graph, slots)
        due = "SELECT id FROM conversations WHERE ready_at <= now() AND NOT id = ANY ($1::bigint[])"
        running: dict[int, asyncio.Task[None]] = {}

        def forget(conversation_id: int, task: asyncio.Task[None]) -> None:
            del running[conversation_id]
            task.result()  # says what went wrong

        print("ready", flush=True)
        while True:
            for row in await pool.fetch(due, list(running)):
                task = running[row["id"]] = asyncio.create_task(floor.turn(row["id"]))
                task.add_done_callback(partial(forget, row["id"]))
            await asyncio.sleep(POLL_S)


if __name__ == "__main__":
    uvloop.run(main())
