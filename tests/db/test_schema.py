"""Everything that the documented schema names exists under its name and is queryable as written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests.factories import Owner


@dataclass(frozen=True, slots=True)
class Column:
    table: str
    name: str
    type: str
    required: bool
    default: str | None


# Every id and *_id is bigint where the documents say SERIAL or INTEGER, which would overflow.
# contacts.phone_number is not required: a customer may have a business-scoped id only.
# Of the tables that were there before tenants, the documents give no types; these are ours.
COLUMNS = """
users
    id bigint!
    email varchar(255)!
    password_hash varchar(255)!
    full_name varchar(255)
    company_name varchar(255)
    phone varchar(50)
    created_at timestamptz = CURRENT_TIMESTAMP
    updated_at timestamptz = CURRENT_TIMESTAMP
    last_login timestamptz
    is_active boolean = true
user_subscriptions
    id bigint!
    user_id bigint!
    subscription_name varchar(255)!
    subscription_config jsonb! = {}
    daily_message_limit integer! = 100
    monthly_message_limit integer! = 3000
    daily_campaign_limit integer! = 5
    monthly_campaign_limit integer! = 150
    billing_amount numeric(10,2)
    billing_currency varchar(3) = USD
    billing_cycle varchar(20) = monthly
    contract_start_date date!
    contract_end_date date
    auto_renew boolean = false
    is_active boolean = true
    created_at timestamptz = CURRENT_TIMESTAMP
    updated_at timestamptz = CURRENT_TIMESTAMP
chatbots
    id bigint!
    user_id bigint!
    name varchar(255)!
    whatsapp_phone_number varchar(255)
    general_instructions text
    is_active boolean = true
    bot_status varchar(50) = active
    created_at timestamptz = CURRENT_TIMESTAMP
    updated_at timestamptz = CURRENT_TIMESTAMP
bot_knowledge_base
    id bigint!
    user_id bigint!
    chatbot_id bigint!
    category varchar(100)
    question text!
    answer text!
    is_active boolean = true
    created_at timestamptz = CURRENT_TIMESTAMP
    updated_at timestamptz = CURRENT_TIMESTAMP
conversation_instructions
    id bigint!
    user_id bigint!
    chatbot_id bigint!
    contact_id bigint!
    instruction_text text!
    is_active boolean = true
    expires_at timestamptz
    created_at timestamptz = CURRENT_TIMESTAMP
contacts
    id bigint!
    phone_number varchar(50)
    name varchar(255)
    thread_id varchar(255)
    contact_status varchar(50) = active
    conversation_paused boolean = false
    created_at timestamptz = CURRENT_TIMESTAMP
    updated_at timestamptz = CURRENT_TIMESTAMP
    user_id bigint!
    chatbot_id bigint
    tags jsonb = []
    custom_fields jsonb = {}
    last_interaction timestamptz
messages
    id bigint!
    contact_id bigint!
    message_id varchar(255)
    direction varchar(20)!
    message_type varchar(50)! = text
    content_text text
    content_url text
    status varchar(50)
    sent_at timestamptz = CURRENT_TIMESTAMP
    metadata jsonb = {}
    ai_processed boolean = false
    confidence_score numeric(5,4)
    processing_duration numeric(10,3)
    user_id bigint!
    chatbot_id bigint!
    is_from_human boolean = false
orders
    id bigint!
    contact_id bigint!
    message_id bigint
    order_details jsonb = {}
    status varchar(50) = pending
    shipping_address jsonb
    order_notes text
    created_at timestamptz = CURRENT_TIMESTAMP
    updated_at timestamptz = CURRENT_TIMESTAMP
    user_id bigint!
    chatbot_id bigint!
    order_number varchar(100)
    total_amount numeric(18,2)
    currency varchar(3) = USD
    payment_status varchar(50) = pending
campaigns
    id bigint!
    name varchar(255)!
    message_template text
    status varchar(50) = draft
    created_at timestamptz = CURRENT_TIMESTAMP
    updated_at timestamptz = CURRENT_TIMESTAMP
    user_id bigint!
    chatbot_id bigint
    target_criteria jsonb = {}
    scheduled_at timestamptz
actions
    id bigint!
    user_id bigint!
    chatbot_id bigint!
    contact_id bigint!
    request_type varchar(50)!
    request_details text!
    context_data jsonb = {}
    status varchar(50)! = pending
    user_response text
    auto_approve_similar boolean = false
    created_at timestamptz = CURRENT_TIMESTAMP
    resolved_at timestamptz
    resolved_by bigint
order_items
    id bigint!
    order_id bigint!
    product_name varchar(255)!
    product_sku varchar(100)
    quantity integer! = 1
    unit_price numeric(18,2)
    total_price numeric(18,2)
    metadata jsonb = {}
products
    id bigint!
    user_id bigint!
    name varchar(255)!
    sku varchar(100)
    price numeric(18,2)
    description text
    image_url varchar(500)
    is_active boolean = true
    created_at timestamptz = CURRENT_TIMESTAMP
    updated_at timestamptz = CURRENT_TIMESTAMP
usage_tracking
    id bigint!
    user_id bigint!
    tracking_date date!
    daily_messages_sent integer = 0
    daily_messages_received integer = 0
    daily_campaigns_sent integer = 0
    daily_campaign_messages integer = 0
    live_takeovers_used integer = 0
    actions_created integer = 0
    api_calls_made integer = 0
    created_at timestamptz = CURRENT_TIMESTAMP
    updated_at timestamptz = CURRENT_TIMESTAMP
monthly_usage_summary
    id bigint!
    user_id bigint!
    year integer!
    month integer!
    total_messages_sent integer = 0
    total_campaigns_sent integer = 0
    total_orders_created integer = 0
    total_revenue numeric(30,2) = 0
    overage_messages integer = 0
    overage_campaigns integer = 0
    overage_cost numeric(10,2) = 0
    avg_daily_messages numeric(8,2)
    avg_conversion_rate numeric(5,4)
    created_at timestamptz = CURRENT_TIMESTAMP
analytics_events
    id bigint!
    user_id bigint!
    chatbot_id bigint
    contact_id bigint
    event_type varchar(50)!
    event_data jsonb = {}
    created_at timestamptz = CURRENT_TIMESTAMP
api_keys
    id bigint!
    user_id bigint!
    key_name varchar(100)!
    api_key_hash varchar(255)!
    permissions jsonb = {}
    last_used timestamptz
    expires_at timestamptz
    is_active boolean = true
    created_at timestamptz = CURRENT_TIMESTAMP
webhooks
    id bigint!
    user_id bigint!
    chatbot_id bigint
    url varchar(500)!
    events jsonb!
    secret_token varchar(255)
    is_active boolean = true
    created_at timestamptz = CURRENT_TIMESTAMP
"""

INDEXES = {
    "idx_contacts_user_id": "contacts (user_id)",
    "idx_messages_user_id": "messages (user_id)",
    "idx_orders_user_id": "orders (user_id)",
    "idx_campaigns_user_id": "campaigns (user_id)",
    "idx_actions_user_id": "actions (user_id)",
    "idx_contacts_chatbot_id": "contacts (chatbot_id)",
    "idx_messages_chatbot_id": "messages (chatbot_id)",
    "idx_orders_chatbot_id": "orders (chatbot_id)",
    "idx_messages_sent_at": "messages (sent_at)",
    "idx_usage_tracking_user_date": "usage_tracking (user_id, tracking_date)",
    "idx_analytics_events_user_type": "analytics_events (user_id, event_type)",
    "idx_contacts_user_phone": "contacts (user_id, phone_number)",
    "idx_contacts_user_thread": "contacts (user_id, thread_id)",
    "idx_actions_status": "actions (status)",
    "idx_actions_user_status": "actions (user_id, status)",
    "idx_chatbots_user_active": "chatbots (user_id, is_active)",
}

UNIQUE = {
    ("users", "email"),
    ("chatbots", "whatsapp_phone_number"),
    ("contacts", "user_id, phone_number"),
    ("contacts", "user_id, thread_id"),
    ("orders", "order_number"),
    ("products", "user_id, sku"),
    ("usage_tracking", "user_id, tracking_date"),
    ("monthly_usage_summary", "user_id, year, month"),
}
NAMED = {
    "unique_contact_per_user": "UNIQUE (user_id, phone_number)",
    "unique_thread_per_user": "UNIQUE (user_id, thread_id)",
    "unique_sku_per_user": "UNIQUE (user_id, sku)",
}
DROPPED = ("contacts_phone_number_key", "contacts_thread_id_key")

# Keys to users are as documented. Those between tenants' tables carry the tenant as well, because
# the checks of foreign keys do not see row-level security.
REFERENCES = """
user_subscriptions user_id -> users CASCADE
chatbots user_id -> users CASCADE
bot_knowledge_base user_id -> users CASCADE
bot_knowledge_base chatbot_id -> chatbots CASCADE
conversation_instructions user_id -> users CASCADE
conversation_instructions chatbot_id -> chatbots CASCADE
conversation_instructions contact_id -> contacts CASCADE
contacts user_id -> users CASCADE
contacts chatbot_id -> chatbots SET NULL (chatbot_id)
messages user_id -> users CASCADE
messages chatbot_id -> chatbots CASCADE
messages contact_id -> contacts CASCADE
orders user_id -> users CASCADE
orders chatbot_id -> chatbots CASCADE
orders contact_id -> contacts CASCADE
orders message_id -> messages SET NULL (message_id)
campaigns user_id -> users CASCADE
campaigns chatbot_id -> chatbots SET NULL (chatbot_id)
actions user_id -> users CASCADE
actions chatbot_id -> chatbots CASCADE
actions contact_id -> contacts CASCADE
actions resolved_by -> users
order_items order_id -> orders CASCADE
products user_id -> users CASCADE
usage_tracking user_id -> users CASCADE
monthly_usage_summary user_id -> users CASCADE
analytics_events user_id -> users CASCADE
analytics_events chatbot_id -> chatbots SET NULL (chatbot_id)
analytics_events contact_id -> contacts SET NULL (contact_id)
api_keys user_id -> users CASCADE
webhooks user_id -> users CASCADE
webhooks chatbot_id -> chatbots CASCADE
"""

# Meta's and LangGraph's identifiers, which are text.
TEXT_IDS = {
    ("messages", "message_id"),  # the wamid
    ("contacts", "thread_id"),
    ("contacts", "wa_id"),
    ("conversations", "thread_id"),
    ("chatbots", "phone_number_id"),
    ("message_templates", "meta_id"),
    ("message_templates", "waba_id"),
    ("template_syncs", "waba_id"),
    ("chatbot_phone_numbers", "phone_number_id"),
    ("media_handles", "phone_number_id"),
    ("parked_items", "phone_number_id"),
    ("parked_items", "trace_id"),
    ("dead_sends", "trace_id"),
    ("orphan_statuses", "phone_number_id"),
    ("orphan_statuses", "trace_id"),
    ("checkpoints", "thread_id"),
    ("checkpoints", "checkpoint_id"),
    ("checkpoints", "parent_checkpoint_id"),
    ("checkpoint_blobs", "thread_id"),
    ("checkpoint_writes", "thread_id"),
    ("checkpoint_writes", "checkpoint_id"),
    ("checkpoint_writes", "task_id"),
    ("account_events", "trace_id"),
    ("stuck_items", "trace_id"),
    ("stuck_items", "phone_number_id"),
    ("chatbots", "waba_id"),
    ("chatbots", "claimed_phone_number_id"),
    ("chatbots", "claimed_waba_id"),
}


def wanted_columns() -> Iterator[Column]:
    table = ""
    for line in filter(None, COLUMNS.splitlines()):
        if not line.startswith(" "):
            table = line
            continue
        definition, _, default = line.strip().partition(" = ")
        name, kind = definition.split(" ")
        yield Column(table, name, kind.rstrip("!"), kind.endswith("!"), default or None)


def plain(default: str | None) -> str | None:
    """The value in a default as the catalogue writes it: '{}'::jsonb -> {}."""
    return None if default is None else re.sub(r"^'(.*)'::[a-z ]+$", r"\1", default)


async def columns_there(owner: Owner) -> dict[tuple[str, str], Column]:
    rows = await owner.fetch(
        """
        SELECT c.relname, a.attname, a.attnotnull, pg_get_expr(d.adbin, d.adrelid) AS def,
               replace(replace(format_type(a.atttypid, a.atttypmod),
                               'character varying', 'varchar'),
                       'timestamp with time zone', 'timestamptz') AS typ
          FROM pg_attribute a
          JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
        """
    )
    return {
        (r["relname"], r["attname"]): Column(
            r["relname"], r["attname"], r["typ"], r["attnotnull"], plain(r["def"])
        )
        for r in rows
    }


async def test_every_documented_column_is_there_with_its_type_and_default(owner: Owner) -> None:
    there = await columns_there(owner)
    wanted = {(c.table, c.name): c for c in wanted_columns()}
    # Of the tables that were there before tenants: for statements that know of none.
    of_session = {(table, "user_id") for table in ("contacts", "messages", "orders", "campaigns")}
    for key in of_session:
        assert "app.user_id" in (there[key].default or "")
        there[key] = replace(there[key], default=None)
    assert {key: there.get(key) for key in wanted} == wanted


async def test_what_is_added_to_a_documented_table_needs_no_value(owner: Owner) -> None:
    """So that an insert written by the documents is still complete."""
    documented = {(c.table, c.name) for c in wanted_columns()}
    tables = {c.table for c in wanted_columns()}
    demanding = [
        (column.table, column.name)
        for key, column in (await columns_there(owner)).items()
        if column.table in tables
        and key not in documented
        and column.required
        and column.default is None
    ]
    assert demanding == []


@pytest.mark.parametrize("name", INDEXES)
async def test_index(owner: Owner, name: str) -> None:
    definition = await owner.fetchval(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname = $1", name
    )
    table, _, columns = INDEXES[name].partition(" ")
    assert definition == f"CREATE INDEX {name} ON public.{table} USING btree {columns}"


async def test_unique_constraints(owner: Owner) -> None:
    rows = await owner.fetch(
        "SELECT conrelid::regclass::text AS tab, conname, pg_get_constraintdef(oid) AS def"
        "  FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype = 'u'"
    )
    there = {(r["tab"], r["def"].removeprefix("UNIQUE (").removesuffix(")")) for r in rows}
    assert there >= UNIQUE
    assert {r["conname"]: r["def"] for r in rows if r["conname"] in NAMED} == NAMED
    assert not {r["conname"] for r in rows} & set(DROPPED)


async def test_action_status_is_one_of_the_documented(owner: Owner) -> None:
    definition = await owner.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'actions'::regclass AND conname = 'actions_status_check'"
    )
    statuses = set(re.findall(r"'(\w+)'", definition))
    assert statuses == {"pending", "approved", "denied", "expired"}


@pytest.mark.parametrize("line", REFERENCES.strip().splitlines())
async def test_reference(owner: Owner, line: str) -> None:
    source, _, target = line.partition(" -> ")
    table, column = source.split(" ")
    to, _, action = target.partition(" ")
    columns, key = (column, "id") if to == "users" else (f"user_id, {column}", "user_id, id")
    wanted = f"FOREIGN KEY ({columns}) REFERENCES {to}({key})"
    if action:
        wanted += f" ON DELETE {action}"
    there = await owner.fetch(
        "SELECT pg_get_constraintdef(oid) AS def FROM pg_constraint"
        " WHERE conrelid = $1::text::regclass AND contype = 'f'",
        table,
    )
    assert wanted in [r["def"] for r in there]


async def test_every_id_is_a_bigint(owner: Owner) -> None:
    there = await columns_there(owner)
    others = {
        key
        for key, column in there.items()
        if (column.name == "id" or column.name.endswith("_id")) and column.type != "bigint"
    }
    assert others == TEXT_IDS
    assert {there[key].type for key in others} <= {"text", "varchar(255)"}


async def test_every_id_is_an_identity(owner: Owner) -> None:
    """With a bigint sequence: an int one behind a bigint column stops at 2^31 all the same."""
    wrong = await owner.fetch(
        """
        SELECT c.oid::regclass, a.attidentity, s.seqtypid::regtype
          FROM pg_attribute a
          JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
          LEFT JOIN pg_sequence s
            ON s.seqrelid = CASE WHEN a.attname = 'id' THEN
                   pg_get_serial_sequence(c.oid::regclass::text, 'id')::regclass END
         WHERE c.relnamespace = 'public'::regnamespace AND a.attname = 'id'
           AND c.relname <> 'webhook_events'  -- drawn from analytics_events
           AND (a.attidentity <> 'd' OR s.seqtypid <> 'bigint'::regtype OR s.seqtypid IS NULL)
        """
    )
    assert wrong == []


async def test_only_one_plan_is_in_force(owner: Owner) -> None:
    definition = await owner.fetchval(
        "SELECT indexdef FROM pg_indexes WHERE indexname = 'one_active_subscription_per_user'"
    )
    assert definition == (
        "CREATE UNIQUE INDEX one_active_subscription_per_user ON public.user_subscriptions"
        " USING btree (user_id) WHERE is_active"
    )
