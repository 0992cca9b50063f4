"""How long the migration of a single-tenant database takes.

    python -m bench.taking_over [MESSAGES]

A private PostgreSQL that waits for its disk, with the tables as the product before tenants had
them: ten messages a customer, an order for every hundredth, a checkpoint for each customer. Prints
what took more than a second (each is one transaction, for which the tables are locked), all of it,
and the database's size.
"""

import asyncio
import sys
import time

import asyncpg

from db.migrate import migrate
from local.servers.postgres import postgres

MESSAGES = 1_000_000
OLD = """
CREATE TABLE contacts (
    id serial PRIMARY KEY, phone_number varchar(50) UNIQUE NOT NULL, name varchar(255),
    thread_id varchar(255) UNIQUE, contact_status varchar(50) DEFAULT 'active',
    conversation_paused boolean DEFAULT false, created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now());
CREATE TABLE messages (
    id serial PRIMARY KEY, contact_id integer NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    message_id varchar(255), direction varchar(20) NOT NULL,
    message_type varchar(50) NOT NULL DEFAULT 'text', content_text text, content_url text,
    status varchar(50), sent_at timestamptz DEFAULT now(), metadata jsonb DEFAULT '{}',
    ai_processed boolean DEFAULT false, confidence_score decimal(5, 4),
    processing_duration decimal(10, 3));
CREATE TABLE orders (
    id serial PRIMARY KEY, contact_id integer NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    message_id integer REFERENCES messages (id) ON DELETE SET NULL,
    order_details jsonb DEFAULT '{}', status varchar(50) DEFAULT 'pending', shipping_address jsonb,
    order_notes text, created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
CREATE TABLE campaigns (
    id serial PRIMARY KEY, name varchar(255) NOT NULL, message_template text,
    status varchar(50) DEFAULT 'draft', created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now());
CREATE TABLE checkpoints (
    thread_id text NOT NULL, checkpoint_ns text NOT NULL DEFAULT '', checkpoint_id text NOT NULL,
    parent_checkpoint_id text, type text, checkpoint jsonb NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}', PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id));
"""
ROWS = """
INSERT INTO contacts (phone_number, name, thread_id)
    SELECT '1202' || lpad(n::text, 7, '0'), 'Customer ' || n, 'thread-' || n
      FROM generate_series(1, {customers}) n;
INSERT INTO messages (contact_id, message_id, direction, content_text, status, sent_at)
    SELECT 1 + n % {customers}, 'wamid.' || md5(n::text),
           CASE n % 2 WHEN 0 THEN 'inbound' ELSE 'outbound' END, repeat('a sentence of a chat ', 5),
           CASE n % 2 WHEN 0 THEN 'received' ELSE 'read' END,
           timestamptz '2024-01-01' + n * interval '10 s'
      FROM generate_series(1, {messages}) n;
INSERT INTO orders (contact_id, message_id, order_details)
    SELECT contact_id, id, '{{"cake": 1}}' FROM messages WHERE id % 100 = 0;
INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint)
    SELECT thread_id, '1', jsonb_build_object('v', 4, 'text', repeat('x', 500)) FROM contacts;
"""


async def main(messages: int) -> None:
    async with postgres(fsync=True) as server:
        conn = await asyncpg.connect(server.url)
        await conn.execute("CREATE DATABASE old")
        await conn.execute("CREATE ROLE runtime LOGIN PASSWORD 'x'")
        await conn.close()
        url = server.database_url("old")
        conn = await asyncpg.connect(url)
        await conn.execute(OLD)
        await conn.execute(ROWS.format(messages=messages, customers=max(1, messages // 10)))
        await conn.execute("VACUUM ANALYZE")
        await conn.execute("CHECKPOINT")
        before = await conn.fetchval("SELECT pg_database_size('old')")
        runtime = f"postgresql://runtime:x@{url.rpartition('@')[2]}"
        said: list[str] = []
        began = time.monotonic()
        await migrate(url, runtime, said.append)
        took_s = time.monotonic() - began
        slow = await conn.fetch(
            "SELECT version, duration_ms FROM schema_migrations WHERE duration_ms > 1000 ORDER BY 1"
        )
        after = await conn.fetchval("SELECT pg_database_size('old')")
        moved = await conn.fetchval("SELECT count(*) FROM messages WHERE conversation_id > 0")
        assert moved == messages
        for row in slow:
            print(f"{row['version']:<24} {row['duration_ms'] / 1000:6.1f} s, in one transaction")
        print(f"all of it, {messages:,} messages   {took_s:6.1f} s")
        print(f"size before and after     {before / 2**20:,.0f} MiB, {after / 2**20:,.0f} MiB")
        await conn.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else MESSAGES))
