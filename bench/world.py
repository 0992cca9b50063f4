"""Databases of any size: tenants, customers, and messages that were said and answered long ago."""

from dataclasses import dataclass

from db.pool import Conn

FIRST_NUMBER = 20_000_000_000  # the customers' numbers: of a country code that nobody has


@dataclass(frozen=True, slots=True)
class Size:
    tenants: int
    customers: int  # each with one conversation
    messages: int  # every second one is ours
    big: int = 0  # tenths of the customers that are the first tenant's, beside those of all


def phone_number_id(tenant: int) -> str:
    return f"5091{tenant:011d}"


def business_number(tenant: int) -> str:
    return f"1202{tenant:07d}"


def tenant_of(customer: int, size: Size) -> int:
    return 1 if customer % 10 < size.big else 1 + customer % size.tenants


def customer_number(customer: int) -> str:
    return str(FIRST_NUMBER + customer)


async def build(
    owner: Conn, size: Size, *, name: str = "'Customer ' || c", tags: str = "'[]'::jsonb"
) -> None:
    """Ids are 1..n throughout. `owner` is a superuser of a migrated, empty database. `name` and
    `tags`: expressions, of customer c."""
    filled = "users, user_subscriptions, chatbots, send_limits, contacts, conversations"
    await fill(owner, _PEOPLE.format(**_of(size), name=name, tags=tags), "contacts, conversations")
    if size.messages:
        await fill(owner, _MESSAGES.format(**_of(size)), "messages")
        filled += ", messages"
    # Not those that are empty: a table that was found empty once is planned for as if it stayed so,
    # and no autovacuum ever visits one.
    await owner.execute(f"VACUUM (FREEZE, ANALYZE) {filled}", timeout=3_600)


async def fill(owner: Conn, rows: str, tables: str) -> None:
    """Runs the statements `rows`, which fill `tables`: by themselves, since all rows fit each other
    and no trigger does what they do not (the foreign keys' look-ups alone took four fifths of the
    time). Their indexes come after them, in a tenth of the time: what is not ready is not written
    to, and REINDEX makes exactly those that the migrations made."""
    named = tables.split(", ")
    later = (
        "UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = '{}'::regclass"
    )
    statements = [
        "SET LOCAL session_replication_role = replica",
        "SET LOCAL maintenance_work_mem = '1GB'",
        *(later.format(name) for name in named),
        rows.strip().rstrip(";"),
        *(f"REINDEX TABLE {name}" for name in named),
    ]
    async with owner.transaction():
        await owner.execute(";\n".join(statements), timeout=3_600)


def made_by() -> str:
    """What build() comes to."""
    return _PEOPLE + _MESSAGES


def _of(size: Size) -> dict[str, int | str]:
    ours = f"1 + c % {size.tenants}"
    return {
        "tenant": f"CASE WHEN c % 10 < {size.big} THEN 1 ELSE {ours} END" if size.big else ours,
        "tenants": size.tenants,
        "customers": size.customers,
        "messages": size.messages,
        "first": FIRST_NUMBER,
    }


_PEOPLE = """
INSERT INTO users (email, password_hash)
SELECT 'tenant' || t || '@example.com', '!' FROM generate_series(1, {tenants}) t;
INSERT INTO user_subscriptions (user_id, subscription_name, daily_message_limit,
                                monthly_message_limit, contract_start_date)
SELECT t, 'bench', 100000000, 100000000, CURRENT_DATE - 400 FROM generate_series(1, {tenants}) t;
INSERT INTO chatbots (user_id, name, whatsapp_phone_number, phone_number_id)
SELECT t, 'Bot ' || t, '+1202' || lpad(t::text, 7, '0'), '5091' || lpad(t::text, 11, '0')
  FROM generate_series(1, {tenants}) t;
INSERT INTO send_limits (user_id, chatbot_id, max_rate)
SELECT t, t, 1000000 FROM generate_series(1, {tenants}) t;
INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_sent)
SELECT t, CURRENT_DATE, 0 FROM generate_series(1, {tenants}) t;
INSERT INTO monthly_usage_summary (user_id, year, month)
SELECT t, extract(year FROM CURRENT_DATE)::int, extract(month FROM CURRENT_DATE)::int
  FROM generate_series(1, {tenants}) t;
INSERT INTO contacts (user_id, chatbot_id, phone_number, wa_id, bsuid, name, tags,
                      thread_id, last_interaction)
SELECT {tenant}, {tenant}, '+' || ({first} + c), ({first} + c)::text,
       'US.' || ({first} + c), {name}, {tags}, c || ':thread', now() - interval '1 day'
  FROM generate_series(1, {customers}) c;
INSERT INTO conversations (user_id, chatbot_id, contact_id, thread_id, input_seq, answered_seq,
                           last_inbound_at)
SELECT {tenant}, {tenant}, c, c || ':thread',
       ({messages} / {customers} + 1) / 2, ({messages} / {customers} + 1) / 2,
       now() - interval '1 day'
  FROM generate_series(1, {customers}) c;
"""

# In order of arrival: everybody's first message, everybody's second, and so on, so that a
# conversation's messages lie far apart, as they do in production.
_MESSAGES = """
INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, message_id, direction,
                      message_type, content_text, status, sent_at, created_at, metadata,
                      ai_processed, input_seq, usage_day)
SELECT {tenant}, {tenant}, c, c, 'wamid.HBgLMTIwMjU1NTAxMTEVAgAS' || md5(m::text),
       CASE WHEN n % 2 = 0 THEN 'inbound' ELSE 'outbound' END, 'text',
       CASE WHEN n % 2 = 0 THEN 'Do you have a table for two, this Saturday at about eight?'
            ELSE 'Yes, of course: on Saturday we have tables until ten. May I have a name?' END,
       CASE WHEN n % 2 = 0 THEN 'received' ELSE 'read' END, at, at,
       jsonb_build_object('trace_id', md5(n::text || c)), n % 2 = 0,
       CASE WHEN n % 2 = 0 THEN n / 2 + 1 END, CASE WHEN n % 2 = 1 THEN at::date END
  FROM generate_series(0, {messages} - 1) m,
       LATERAL (SELECT 1 + m % {customers} AS c, m / {customers} AS n,
                       now() - interval '1 day' - ({messages} - m) * interval '3 s' AS at) x;
"""
