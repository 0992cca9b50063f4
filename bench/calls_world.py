"""A business with much or little to list and look for: what customers bring is as many times more
as there are customers, half of it one tenant's; what a business sets up (knowledge, products, keys,
webhooks), and what waits for a person of it, is the same everywhere."""

import hashlib

from bench import world
from bench.world import Size, build
from db.pool import Conn

TENANT = 1  # who has half of the customers
SMALL = Size(tenants=20, customers=2_000, messages=20_000, big=5)
FULL = Size(tenants=1_000, customers=1_000_000, messages=10_000_000, big=5)
QUICK = Size(tenants=100, customers=20_000, messages=200_000, big=5)
PICKED = 100  # customers of the tenant's, far apart: the rare name and tag, and who is looked at
RARE_NAME, RARE_TAG = "Zelda Quint", "wholesale"
WEBHOOK = 1


async def fill(owner: Conn, size: Size) -> None:
    """`owner` is a superuser of a migrated, empty database."""
    apart = size.customers // PICKED
    await build(owner, size, name=NAME.format(apart=apart), tags=TAGS.format(apart=apart))
    async with owner.transaction():
        await owner.execute(_STATES.format(apart=apart), timeout=3_600)
    await world.fill(owner, _MORE.format(apart=apart), GROWING)
    await world.fill(owner, _TERMS, "contact_terms")
    # Only what has rows: see build().
    await owner.execute(f"VACUUM (FREEZE, ANALYZE) {FILLED}", timeout=3_600)


def digest(size: Size) -> str:
    """Of how a world is made."""
    made_by = f"{size}{world.made_by()}{NAME}{TAGS}{_STATES}{_MORE}{_TERMS}"
    return hashlib.sha256(made_by.encode()).hexdigest()[:12]


def picked(size: Size) -> list[int]:
    """Ids of contacts, which are those of their conversations."""
    apart = size.customers // PICKED
    return [apart * n for n in range(1, PICKED + 1)]


# Of customer c, as build() takes them.
NAME = """
CASE WHEN c % {apart} = 0 THEN 'Zelda Quint'
     ELSE (ARRAY['Ana', 'Bruno', 'Carla', 'Diego', 'Elena', 'Farid', 'Grace', 'Hugo', 'Inés',
                 'Jonas', 'Katya', 'Luis', 'María', 'Nadia', 'Omar', 'Paula', 'Quim', 'Rosa',
                 'Samir'])[1 + c * 7919::bigint % 19] || ' ' ||
          (ARRAY['Abel', 'Bauer', 'Costa', 'Duarte', 'Eriksen', 'Farah', 'García', 'Haddad',
                 'Ivanova', 'Jansen', 'Khan', 'López', 'Moreau', 'Novak', 'Okafor', 'Pereira',
                 'Rossi'])[1 + c * 104729::bigint % 17] END
"""
TAGS = """
CASE WHEN c % {apart} = 0 THEN '["vip", "wholesale"]' WHEN c % 20 = 0 THEN '["vip"]'
     ELSE '[]' END::jsonb
"""

FILLED = (
    "contacts, conversations, contact_terms, actions, orders, order_items, products,"
    " bot_knowledge_base, conversation_instructions, facts, unanswered_questions, analytics_events,"
    " webhooks, webhook_states, webhook_events, webhook_deliveries, jobs, exports, usage_tracking,"
    " monthly_usage_summary"
)

GROWING = (
    "actions, orders, order_items, analytics_events, webhook_events, webhook_deliveries,"
    " conversation_instructions, facts, usage_tracking"
)

_STATES = """
SET LOCAL session_replication_role = replica;
UPDATE contacts SET conversation_paused = true WHERE id % {apart} = 11;
UPDATE conversations SET taken_over_at = now() - interval '1 h', taken_over_by = 'human',
                         taken_over_until = CASE WHEN id % 20 = 13 THEN now() - interval '1 min'
                                                 WHEN id % ({apart} * 2) = 12 THEN 'infinity'
                                                 ELSE now() + interval '1 day' END
 WHERE id % {apart} = 12 OR id % 20 = 13;
UPDATE conversations SET answered_seq = input_seq - 1 WHERE id % 20 = 4;
"""

_MORE = """
INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details, context_data,
                     status, expires_at)
SELECT user_id, chatbot_id, id, 'refund', 'of 12 EUR, for a cake that came too late',
       '{{"order": "T-1"}}',
       (ARRAY['pending', 'approved', 'denied', 'expired'])[1 + id / 10 % 4], now() + interval '1 d'
  FROM contacts WHERE id % 10 = 0;
INSERT INTO orders (user_id, chatbot_id, contact_id, order_number, total_amount, status,
                    payment_status)
SELECT user_id, chatbot_id, id, 'T-' || id, 25,
       (ARRAY['pending', 'confirmed', 'preparing', 'shipped', 'delivered',
              'cancelled'])[1 + id / 10 % 6],
       (ARRAY['pending', 'paid', 'refunded', 'failed'])[1 + id / 60 % 4]
  FROM contacts WHERE id % 2 = 0;
INSERT INTO order_items (user_id, order_id, product_name, product_sku, quantity, unit_price,
                         total_price)
SELECT user_id, id, 'Cake ' || n, 'SKU-' || n, 1, 12.50, 12.50
  FROM orders, generate_series(1, 2) n;
INSERT INTO products (user_id, name, sku, price, is_active)
SELECT u.id, 'Cake ' || n, 'SKU-' || n, 12.50, n % 5 <> 0
  FROM users u, generate_series(1, CASE WHEN u.id = 1 THEN 500 ELSE 20 END) n;
INSERT INTO bot_knowledge_base (user_id, chatbot_id, category, question, answer)
SELECT u.id, u.id, CASE WHEN n % 5 = 0 THEN 'delivery' ELSE 'shops' END,
       'Is shop number ' || n || ' open on Saturday?', 'It is open from eight until two.'
  FROM users u, generate_series(1, CASE WHEN u.id = 1 THEN 500 ELSE 20 END) n;
INSERT INTO conversation_instructions (user_id, chatbot_id, contact_id, instruction_text)
SELECT user_id, chatbot_id, id, 'Speak Basque, ' || n || ' times'
  FROM contacts, generate_series(1, 3) n WHERE id % 20 = 0;
INSERT INTO facts (user_id, contact_id, message_id, about, text)
SELECT user_id, id, id, 'cake ' || n, 'Likes it with ' || n || ' candles'
  FROM contacts, generate_series(1, 3) n WHERE id % 20 = 0;
INSERT INTO unanswered_questions (user_id, chatbot_id, contact_id, message_id, question, key)
SELECT user_id, chatbot_id, contact_id, id, 'Is there a cake of ' || size || ' kg?',
       decode(md5(size::text), 'hex')
  FROM (SELECT m.*, row_number() OVER (ORDER BY m.id) % 100 AS size
          FROM generate_series(1, 100) n JOIN messages m ON m.user_id = 1
           AND m.contact_id = n * {apart} AND m.direction = 'inbound') asked;
INSERT INTO analytics_events (user_id, chatbot_id, contact_id, event_type, created_at)
SELECT user_id, chatbot_id, CASE WHEN id % 20 <> 3 THEN id END,
       CASE WHEN id % 20 = 3 THEN 'bot.recovered' WHEN id % 20 = 4 THEN 'contact.updated'
            ELSE 'contact.created' END,
       now() - interval '20 days' * (1 - id::float / max(id) OVER ())
  FROM contacts;
INSERT INTO webhooks (user_id, url, events)
SELECT 1, 'https://shop.example/' || n, '["*"]' FROM generate_series(1, 3) n;
INSERT INTO webhook_states (webhook_id, user_id) SELECT id, user_id FROM webhooks;
INSERT INTO webhook_events (id, user_id, type, chatbot_id, contact_id, body, created_at)
SELECT id, user_id, event_type, chatbot_id, contact_id,
       '{{"type": "contact.created", "data": {{"contact_id": ' || id || '}}}}', created_at
  FROM analytics_events WHERE user_id = 1;
INSERT INTO webhook_deliveries (user_id, webhook_id, event_id, order_key, status, tries, due_at,
                                created_at, ended_at)
SELECT 1, 1, id, id, CASE WHEN id % 100 < 10 THEN 'failed' WHEN id % 100 < 12 THEN 'pending'
                          ELSE 'delivered' END, 1,
       CASE WHEN id % 100 = 11 THEN now() + interval '1 h' END, created_at, created_at
  FROM webhook_events;
INSERT INTO jobs (user_id, kind, status, settled_at)
SELECT u.id, 'export', 'done', now()
  FROM users u, generate_series(1, CASE WHEN u.id = 1 THEN 100 ELSE 5 END) n;
INSERT INTO exports (user_id, job_id, what, status)
SELECT user_id, id, 'usage', 'expired' FROM jobs;
INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_sent)
SELECT id, CURRENT_DATE - n, 100 FROM users, generate_series(1, 400) n;
INSERT INTO monthly_usage_summary (user_id, year, month, total_messages_sent)
SELECT id, extract(year FROM day), extract(month FROM day), 3000
  FROM users, (SELECT CURRENT_DATE - n * interval '1 month' AS day FROM generate_series(1, 13) n) d;
INSERT INTO api_keys (user_id, key_name, api_key_hash, permissions)
SELECT u.id, 'till ' || n, md5(u.id || '-' || n), '{{"contacts:read": true}}'
  FROM users u, generate_series(1, CASE WHEN u.id = 1 THEN 30 ELSE 3 END) n;
"""

# Some thirty of each contact. Those of a name with its tags are looked for once, of which there are
# a few hundred, and those of a number for each.
_TERMS = """
WITH named AS MATERIALIZED (
    SELECT name, tags, contact_terms_of(name, NULL, tags, NULL) AS terms
      FROM (SELECT DISTINCT name, tags FROM contacts) d
)
INSERT INTO contact_terms (user_id, term, of_contact)
SELECT c.user_id, t, c.id
  FROM contacts c JOIN named n ON n.name = c.name AND n.tags = c.tags,
       unnest(n.terms || contact_terms_of('', c.phone_number, '[]', c.chatbot_id)) t;
"""
