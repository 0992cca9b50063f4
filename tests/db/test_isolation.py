"""No tenant reads, writes, references or infers another's rows, whatever the code forgets."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from db.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from db.connecting import CannotConnect
from db.ids import UserId
from db.pool import Conn, Pool, create_pool, tenant
from local.servers.postgres import Postgres
from tests.conftest import RUNTIME_LOGIN, Database
from tests.db.test_migrations import new_database, run
from tests.factories import Owner, make_tenant

CHECKPOINTS = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")

# ---- the catalogue: each of these returns what is wrong -----------------------------------------

TENANT_TABLES = """
    SELECT c.oid, c.relname::text AS name FROM pg_class c
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'user_id' AND NOT a.attisdropped
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    UNION
    SELECT c.oid, c.relname::text FROM pg_class c
     WHERE c.oid IN ('users'::regclass, 'checkpoints'::regclass, 'checkpoint_blobs'::regclass,
                     'checkpoint_writes'::regclass)
"""

WRONG = {
    "tables without forced row-level security": f"""
        SELECT t.name FROM ({TENANT_TABLES}) t JOIN pg_class c ON c.oid = t.oid
         WHERE NOT c.relrowsecurity OR NOT c.relforcerowsecurity""",
    "tables without a policy for what is read and what is written": f"""
        SELECT t.name FROM ({TENANT_TABLES}) t
         WHERE NOT EXISTS (
             SELECT FROM pg_policy p
              WHERE p.polrelid = t.oid AND p.polname = 'tenant' AND p.polcmd = '*'
                AND pg_get_expr(p.polqual, p.polrelid) LIKE '%app.user_id%'
                AND pg_get_expr(p.polwithcheck, p.polrelid) LIKE '%app.user_id%')""",
    "further policies, which would widen": """
        SELECT tablename || '.' || policyname FROM pg_policies
         WHERE schemaname = 'public' AND policyname <> 'tenant'
           AND roles <> '{swiftreplies_system}' AND permissive <> 'RESTRICTIVE'""",
    "tables of other kinds that the runtime may touch": f"""
        SELECT c.relname::text FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'f', 'm')
           AND c.oid NOT IN (SELECT t.oid FROM ({TENANT_TABLES}) t)
           AND c.relname NOT IN ('workers', 'status_fence', 'schema_migrations', 'apps',
                                 'checkpoint_migrations', 'model_prices', 'media_stores')
           AND (has_any_column_privilege('swiftreplies_app', c.oid, 'SELECT,UPDATE')
                OR has_table_privilege('swiftreplies_app', c.oid, 'DELETE,TRUNCATE'))""",
    "what the log's role may touch beside the log": """
        SELECT c.relname::text FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
           AND c.relname NOT IN ('ingest_entries', 'ingest_deliveries')
           AND (has_any_column_privilege('swiftreplies_log', c.oid, 'SELECT,INSERT,UPDATE')
                OR has_table_privilege('swiftreplies_log', c.oid, 'DELETE'))
        UNION ALL
        SELECT p.oid::regprocedure::text FROM pg_proc p
         WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace
           AND has_function_privilege('swiftreplies_log', p.oid, 'EXECUTE')""",
    "truncation, which row-level security does not see": """
        SELECT c.relname::text FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
           AND has_table_privilege('swiftreplies_app', c.oid, 'TRUNCATE')""",
    "partitions that the runtime may touch directly": """
        SELECT c.relname::text FROM pg_class c
         WHERE c.relispartition AND c.relkind = 'r'
           AND has_table_privilege('swiftreplies_app', c.oid, 'SELECT,INSERT,UPDATE,DELETE')""",
    "roles stronger than they may be": """
        SELECT rolname::text FROM pg_roles
         WHERE rolname LIKE 'swiftreplies\\_%'
           AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolcanlogin)
        UNION ALL
        SELECT r.rolname::text FROM pg_roles r
         WHERE r.rolname NOT IN ('swiftreplies_app', 'swiftreplies_system')
           AND (pg_has_role('swiftreplies_app', r.oid, 'MEMBER')
                OR pg_has_role('swiftreplies_system', r.oid, 'MEMBER'))""",
    "what the runtime's role owns": """
        SELECT pg_describe_object(classid, objid, objsubid) FROM pg_shdepend
         WHERE deptype = 'o' AND refclassid = 'pg_authid'::regclass
           AND refobjid = 'swiftreplies_app'::regrole
           AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())""",
    "members of the role that looks across tenants": """
        SELECT rolname::text FROM pg_roles
         WHERE rolname <> 'swiftreplies_system' AND NOT rolsuper
           AND pg_has_role(oid, 'swiftreplies_system', 'MEMBER')""",
    "schemas in which the runtime may create": """
        SELECT nspname::text FROM pg_namespace
         WHERE nspname NOT LIKE 'pg\\_%'
           AND (has_schema_privilege('swiftreplies_app', oid, 'CREATE')
                OR has_schema_privilege('swiftreplies_system', oid, 'CREATE'))""",
    "functions with another's rights that are not as they must be": """
        SELECT p.oid::regprocedure::text FROM pg_proc p
         WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace
           AND (p.proowner <> 'swiftreplies_system'::regrole
                OR p.proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']
                OR has_function_privilege('public', p.oid, 'EXECUTE'))""",
    # Names that are not in this list may be content.
    "functions with another's rights that return more than ids": """
        SELECT p.oid::regprocedure || ' ' || coalesce(o.name, p.prorettype::regtype::text)
          FROM pg_proc p
          LEFT JOIN LATERAL (
               SELECT name FROM unnest(p.proargnames, p.proargmodes) AS a (name, mode)
                WHERE mode IN ('o', 'b', 't')) o ON true
         WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace
           AND coalesce(o.name NOT IN ('user_id', 'chatbot_id', 'conversation_id', 'message_id',
                                       'id', 'epoch', 'outcome', 'what', 'key_hash'),
                        p.prorettype NOT IN
                            ('bigint'::regtype, 'void'::regtype, 'trigger'::regtype))""",
    "columns that the role that looks across tenants may see": """
        SELECT table_name || '.' || column_name FROM information_schema.column_privileges
         WHERE grantee = 'swiftreplies_system' AND privilege_type = 'SELECT'
           AND column_name NOT IN (
               'id', 'user_id', 'chatbot_id', 'conversation_id', 'whatsapp_phone_number',
               'api_key_hash', 'last_used',
               'phone_number_id', 'bound_at', 'ready_at', 'pending_since', 'lease_owner', 'epoch',
               'input_seq', 'answered_seq', 'attempts', 'direction', 'status', 'send_owner',
               'send_after', 'unknown_at', 'unknown_count', 'message_id', 'wamid', 'bulk',
               'sent_at', 'created_at', 'parked_at', 'pair_full_at', 'max_rate', 'slow_rate',
               'slowed_at', 'full_at', 'held_until', 'held_reason', 'holds', 'expires_at', 'due_at',
               'settled_at', 'waba_id', 'replayed_at', 'retry_at', 'failed_at', 'kind',
               'merged_until', 'marked_until', 'contract_start_date', 'is_active', 'due', 'builder',
               'webhook_id', 'open_until', 'failures', 'events', 'app_id', 'figures_due',
               'source', 'usage_day', 'year', 'month', 'overage_messages',
               'timezone', 'contract_end_date', 'auto_renew', 'billing_cycle', 'renewed_to',
               'end_day', 'told_end', 'told_days', 'waits_for', 'contact_id', 'last_inbound_at',
               'bot_status', 'number_confirmed_at', 'claimed_number', 'claimed_phone_number_id',
               'claimed_waba_id', 'proof_seq', 'proof_due_at', 'over_limit', 'entered_at',
               'contacts', 'max_contacts', 'taken_over_by', 'taken_over_until',
               'max_concurrent', 'has_priority',
               'mark', 'days', 'lower_days', 'lower_from', 'swept_upto', 'received_at',
               'idempotency_key', 'file', 'job_id', 'reason', 'trace_id', 'item_key', 'deleted_at',
               'embeddings', 'version', 'embedded_version', 'embedding_model', 'embedder',
               'embed_at', 'called_at', 'changed_at', 'scheduled_at', 'resume_at')
           -- What nobody could be given is nobody's row: erase_parked() looks into it to delete.
           AND (table_name <> 'parked_items'
                OR column_name NOT IN ('raw', 'item_key', 'display_number'))
           AND table_name <> 'workers'""",
    "foreign keys between tenants' rows": """
        SELECT conrelid::regclass || '.' || conname FROM pg_constraint k
         WHERE contype = 'f' AND connamespace = 'public'::regnamespace
           AND confrelid <> 'users'::regclass
           AND EXISTS (SELECT FROM pg_attribute a
                        WHERE a.attrelid = k.conrelid AND a.attname = 'user_id')
           AND EXISTS (SELECT FROM pg_attribute a
                        WHERE a.attrelid = k.confrelid AND a.attname = 'user_id')
           AND NOT EXISTS (
               SELECT FROM unnest(k.conkey, k.confkey) AS p (ours, theirs)
                 JOIN pg_attribute o ON o.attrelid = k.conrelid AND o.attnum = p.ours
                 JOIN pg_attribute t ON t.attrelid = k.confrelid AND t.attnum = p.theirs
                WHERE o.attname = 'user_id' AND t.attname = 'user_id')""",
    "views with their owner's rights": """
        SELECT c.relname::text FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace
           AND (c.relkind = 'm' OR c.relkind = 'v'
                AND NOT coalesce(c.reloptions @> ARRAY['security_invoker=true'], false))""",
}


@pytest.mark.parametrize("what", WRONG)
async def test_the_catalogue_has_no(owner: Owner, what: str) -> None:
    assert [row[0] for row in await owner.fetch(WRONG[what])] == []


BREAKAGES = {
    "tables without forced row-level security": (
        "ALTER TABLE orders NO FORCE ROW LEVEL SECURITY",
        ["orders"],
    ),
    "tables without a policy for what is read and what is written": (
        """CREATE TABLE notes (user_id bigint);
           DROP POLICY tenant ON orders;
           CREATE POLICY tenant ON orders USING (user_id::text = current_setting('app.user_id'))""",
        ["notes", "orders"],
    ),
    "further policies, which would widen": (
        "CREATE POLICY support ON orders USING (true)",
        ["orders.support"],
    ),
    "tables of other kinds that the runtime may touch": (
        "GRANT SELECT (raw) ON parked_items TO swiftreplies_app",
        ["parked_items"],
    ),
    "what the log's role may touch beside the log": (
        "GRANT SELECT (id) ON messages TO swiftreplies_log",
        ["messages"],
    ),
    "truncation, which row-level security does not see": (
        "GRANT ALL ON orders TO swiftreplies_app",
        ["orders"],
    ),
    "partitions that the runtime may touch directly": (
        """CREATE TABLE part (user_id bigint) PARTITION BY LIST (user_id);
           CREATE TABLE part_1 PARTITION OF part DEFAULT;
           GRANT SELECT ON part_1 TO swiftreplies_app""",
        ["part_1"],
    ),
    "roles stronger than they may be": (
        """ALTER ROLE swiftreplies_app BYPASSRLS;
           CREATE ROLE readers; GRANT readers TO swiftreplies_system""",
        ["readers", "swiftreplies_app"],
    ),
    "what the runtime's role owns": (
        "CREATE TABLE mine (); ALTER TABLE mine OWNER TO swiftreplies_app",
        ["table mine"],
    ),
    "members of the role that looks across tenants": (
        "CREATE ROLE someone LOGIN; GRANT swiftreplies_system TO someone",
        ["someone"],
    ),
    "schemas in which the runtime may create": (
        "GRANT CREATE ON SCHEMA public TO swiftreplies_app",
        ["public"],
    ),
    "functions with another's rights that are not as they must be": (
        """ALTER FUNCTION chatbot_owner(bigint) RESET search_path;
           GRANT EXECUTE ON FUNCTION unknown_sends(interval, timestamptz, int) TO PUBLIC""",
        ["chatbot_owner(bigint)", "unknown_sends(interval,timestamp with time zone,integer)"],
    ),
    "functions with another's rights that return more than ids": (
        """CREATE FUNCTION peek() RETURNS TABLE (id bigint, content_text text) LANGUAGE sql
               SECURITY DEFINER AS 'SELECT id, content_text FROM messages';
           CREATE FUNCTION last() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT NULL'""",
        ["last() text", "peek() content_text"],
    ),
    "columns that the role that looks across tenants may see": (
        "GRANT SELECT (content_text) ON messages TO swiftreplies_system",
        ["messages.content_text"],
    ),
    "foreign keys between tenants' rows": (
        "ALTER TABLE orders ADD CONSTRAINT plain FOREIGN KEY (message_id) REFERENCES messages (id)",
        ["orders.plain"],
    ),
    "views with their owner's rights": (
        "CREATE VIEW everything AS SELECT * FROM messages",
        ["everything"],
    ),
}


@pytest.mark.parametrize("what", WRONG)
async def test_the_catalogue_would_show(owner: Owner, what: str) -> None:
    breakage, shown = BREAKAGES[what]
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute(breakage)
        assert sorted(row[0] for row in await owner.fetch(WRONG[what])) == shown
    finally:
        await transaction.rollback()


async def test_functions_with_another_s_rights_are_these(owner: Owner) -> None:
    rows = await owner.fetch(
        "SELECT proname, has_function_privilege('swiftreplies_app', oid, 'EXECUTE') AS runtime"
        " FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    )
    assert {r["proname"]: r["runtime"] for r in rows} == {
        "resolve_number": True,
        "find_usable_keys": True,
        "find_api_keys": True,  # of the release before, and of operators
        "find_api_key": True,  # of the release before
        "recent_api_keys": True,
        "api_key_owner": False,  # operators only, like the next
        "owners_of_chatbots": False,
        "chatbot_owner": False,  # operators only, like the next
        "chatbots_of_app": False,
        "every_user": False,
        "numbers_taken": True,
        "claim_proofs": True,
        "prove_number": True,
        "unpark": True,
        "claim_conversations": True,
        "claim_sends": True,
        "found_orphans": True,
        "forget_orphans": True,
        "owners_of_dead": False,  # operators only, like the next
        "owner_of_dead": False,
        "owners_of_actions": False,
        "owner_of_action": False,
        "owner_of_conversation": False,
        "keep_plan_in_force": False,  # a trigger
        "overdue_actions": True,
        "overdue_handovers": True,
        "passed_events": True,
        "sweep_dead_workers": True,
        "sweep_unheld": True,
        "unknown_sends": True,
        "resolve_account": True,
        "due_stuck_items": True,
        "move_fence": True,
        "release_replayed": True,
        "replays_wait": True,
        "claim_knowledge": True,
        "claim_embedding": True,
        "forget_unanswered": True,
        "forget_quotes": True,
        "due_tool_calls": True,
        "lost_tool_calls": True,
        "forget_tool_calls": True,
        "claim_webhooks": True,
        "forget_deliveries": True,
        "forget_attempts": True,
        "note_webhook": False,  # a trigger
        "recoveries_under_way": True,
        "webhook_owner": False,
        "owners_of_webhooks": False,
        "claim_figures": True,
        "forget_model_calls": True,
        "every_tenant": False,  # operators only
        "figures_by_plan": False,  # triggers, as the next five
        "figures_by_order": False,
        "note_messages_gone": False,
        "note_actions_gone": False,
        "note_orders_gone": False,
        "note_model_calls_gone": False,
        "due_contracts": True,
        "due_campaigns": True,
        "advance_contract": True,
        "waits_over": True,
        "forget_waits": True,
        "all_tenants": False,  # operators only
        "begin_contact_count": False,  # a trigger
        "contacts_may_enter": True,
        "contacts_entered": True,
        "claim_job": True,
        "claim_asks": True,
        "claim_media": True,
        "due_files": True,
        "note_file_to_remove": False,
        "asks_over": True,
        "forget_asks": True,
        "claim_template_syncs": True,
        "forget_templates": True,
        "lost_evals": True,
        "forget_evals": True,
        "forget_contact_days": True,
        "old_exports": True,
        "old_imports": True,
        "note_retention": False,  # a trigger
        "due_retentions": True,
        "forget_old": True,
        "due_erasures": True,
        "due_deletions": True,
        "refuse_deleted_chatbot": False,  # a trigger
        "owner_of_deleted_chatbot": False,  # operators only
        "erase_parked": True,
        "find_erased_numbers": True,
        "forget_erased_numbers": False,  # operators only, like the next
        "owner_of_contact": False,
    }


# ---- the behaviour, for every table that the catalogue has --------------------------------------

_unique = itertools.count(1)

# The least that a row needs besides its tenant: values, and for columns that refer to a row of the
# same tenant the table that it is in.
ROWS: dict[str, dict[str, Any]] = {
    "user_subscriptions": {
        "subscription_name": "'x'",
        "contract_start_date": "CURRENT_DATE",
        "is_active": "false",
    },
    "chatbots": {"name": "'x'", "phone_number_id": "'id-$n'"},
    "chatbot_phone_numbers": {"phone_number_id": "'other-$n'", "chatbot_id": "@chatbots"},
    "contacts": {"phone_number": "'+99$n'", "thread_id": "'t-$n'"},
    "contact_terms": {"term": "'w:x$n'", "of_contact": "$n"},
    "contact_days": {"contact_id": "@contacts", "usage_day": "CURRENT_DATE + $n"},
    "conversations": {
        "chatbot_id": "@chatbots",
        "contact_id": "@contacts",
        "thread_id": "'thread-$n'",
    },
    "messages": {
        "chatbot_id": "@chatbots",
        "contact_id": "@contacts",
        "conversation_id": "@conversations",
        "direction": "'outbound'",
        "status": "'queued'",
    },
    "idempotency_keys": {
        "idempotency_key": "'key-$n'",
        "request_hash": "sha256('$n')",
        "message_id": "@messages",
    },
    "dead_sends": {"message_id": "@messages", "reason": "'x'"},
    "orphan_statuses": {
        "chatbot_id": "@chatbots",
        "wamid": "'wamid-$n'",
        "status": "'sent'",
        "raw": "''",
    },
    "send_limits": {"chatbot_id": "@chatbots"},
    "stuck_items": {
        "item_key": "sha256('$n')",
        "kind": "'message'",
        "raw": "''",
        "error": "'x'",
        "retry_at": "now()",
    },
    "account_events": {"item_key": "'key-$n'", "field": "'x'", "raw": "''"},
    "orders": {"chatbot_id": "@chatbots", "contact_id": "@contacts", "message_id": "@messages"},
    "order_items": {"order_id": "@orders", "product_name": "'x'"},
    "campaigns": {"name": "'x'", "chatbot_id": "@chatbots"},
    "campaign_recipients": {
        "campaign_id": "@campaigns",
        "message_id": "@messages",
    },
    "bot_knowledge_base": {"chatbot_id": "@chatbots", "question": "'q$n'", "answer": "'x'"},
    "unanswered_questions": {
        "chatbot_id": "@chatbots",
        "contact_id": "@contacts",
        "message_id": "@messages",
        "question": "'x'",
        "key": "decode(md5('$n'), 'hex')",
    },
    "knowledge_bases": {"chatbot_id": "@chatbots", "version": "1"},
    "knowledge_changes": {"chatbot_id": "@chatbots", "version": "1", "row_id": "$n"},
    "knowledge_indexes": {
        "chatbot_id": "@chatbots",
        "version": "$n",
        "part": "0",
        "data": "''",
    },
    "knowledge_embeddings": {
        "chatbot_id": "@chatbots",
        "row_id": "$n",
        "model": "'m'",
        "seq": "1",
    },
    "conversation_instructions": {
        "chatbot_id": "@chatbots",
        "contact_id": "@contacts",
        "instruction_text": "'x'",
    },
    "facts": {
        "contact_id": "@contacts",
        "message_id": "@messages",
        "about": "'k$n'",
        "text": "'x'",
    },
    "actions": {
        "chatbot_id": "@chatbots",
        "contact_id": "@contacts",
        "request_type": "'x'",
        "request_details": "'x'",
    },
    "conversation_events": {
        "conversation_id": "@conversations",
        "input_seq": "$n",
        "kind": "'x'",
    },
    "erasures": {"contact_id": "@contacts"},
    "jobs": {"kind": "'x'"},
    "asks": {"chatbot_id": "@chatbots", "question": "'x'", "expires_at": "now()"},
    "evals": {"chatbot_id": "@chatbots", "name": "'x'", "repeat": "1", "total": "1"},
    "eval_cases": {"eval_id": "@evals", "place": "$n", "name": "'x'", "passed": "true"},
    "eval_holds": {
        "eval_id": "$n",
        "place": "1",
        "epoch": "1",
        "usage_day": "CURRENT_DATE",
        "tokens": "1",
        "asked": "1",
        "model": "'x'",
        "held_until": "now()",
    },
    "exports": {"job_id": "@jobs", "what": "'contact'", "contact_id": "@contacts"},
    "imports": {"what": "'knowledge'", "chatbot_id": "@chatbots", "job_id": "@jobs"},
    "import_keys": {"import_id": "@imports", "key": "gen_random_uuid()", "line": "$n"},
    "media": {
        "chatbot_id": "@chatbots",
        "contact_id": "@contacts",
        "conversation_id": "@conversations",
        "message_id": "@messages",
        "kind": "'image'",
        "handle": "'x'",
        "sent_at": "now()",
    },
    "media_handles": {
        "media_id": "@media",
        "phone_number_id": "'$n'",
        "handle": "'x'",
        "expires_at": "now()",
    },
    "media_days": {"usage_day": "CURRENT_DATE + $n"},
    "files_to_remove": {"file": "'x'"},
    "retention": {"days": "30"},
    "gone_messages": {
        "chatbot_id": "@chatbots",
        "contact_id": "@contacts",
        "wamid": "'wamid-$n'",
        "created_at": "now()",
    },
    "erased_people": {"mark": "sha256('$n')", "key_name": "'x'", "erased_at": "now()"},
    "erased_numbers": {"mark": "sha256('$n')"},
    "products": {"name": "'x'"},
    "catalogues": {"version": "1"},
    "message_templates": {
        "waba_id": "'w'",
        "meta_id": "'m$n'",
        "name": "'t$n'",
        "language": "'en'",
        "status": "'APPROVED'",
        "category": "'UTILITY'",
    },
    "template_syncs": {"waba_id": "'w$n'"},
    "quotes": {
        "chatbot_id": "@chatbots",
        "contact_id": "@contacts",
        "conversation_id": "@conversations",
        "input_seq": "$n",
        "token": "'t$n'",
        "status": "'void'",
        "items": "'[]'",
        "total_amount": "1",
        "currency": "'USD'",
        "expires_at": "now()",
    },
    "tools": {
        "chatbot_id": "@chatbots",
        "name": "'t$n'",
        "description": "'x'",
        "parameters": "'{}'",
        "url": "'https://x.example'",
    },
    "tool_calls": {
        "chatbot_id": "@chatbots",
        "contact_id": "@contacts",
        "conversation_id": "@conversations",
        "tool_name": "'x'",
        "effect": "'once'",
        "input_seq": "$n",
        "arguments_hash": "'x'",
        "arguments": "'{}'",
        "status": "'done'",
    },
    "usage_tracking": {"tracking_date": "CURRENT_DATE + $n"},
    "usage_gaps": {"source": "'messages'", "usage_day": "CURRENT_DATE + $n", "why": "'x'"},
    "takeovers": {"conversation_id": "@conversations", "usage_day": "CURRENT_DATE"},
    "model_calls": {
        "chatbot_id": "@chatbots",
        "usage_day": "CURRENT_DATE",
        "kind": "'turn'",
        "model": "'x'",
        "calls": "1",
        "unpriced_calls": "1",
        "input_tokens": "0",
        "cached_tokens": "0",
        "output_tokens": "0",
        "cost": "0",
    },
    "model_usage": {
        "chatbot_id": "@chatbots",
        "usage_day": "CURRENT_DATE + $n",
        "kind": "'turn'",
        "model": "'x'",
    },
    "monthly_usage_summary": {"year": "$n", "month": "1"},
    "usage_reservations": {
        "conversation_id": "@conversations",
        "usage_day": "CURRENT_DATE",
        "messages": "1",
    },
    "analytics_events": {
        "chatbot_id": "@chatbots",
        "contact_id": "@contacts",
        "event_type": "'x'",
    },
    "api_keys": {"key_name": "'x'", "api_key_hash": "'hash-$n'"},
    "api_pace": {"api_key_id": "$n", "ahead_to": "now()"},
    "contact_counts": {"contacts": "1"},
    "webhooks": {"chatbot_id": "@chatbots", "url": "'https://x.example'", "events": "'[]'"},
    "webhook_states": {"webhook_id": "@webhooks"},
    "webhook_events": {"id": "$n", "type": "'x'", "body": "'{}'"},
    "webhook_deliveries": {"webhook_id": "$n", "event_id": "1", "order_key": "1"},
    "webhook_recoveries": {
        "webhook_id": "@webhooks",
        "since": "now()",
        "after_event": "0",
        "until_event": "1",
    },
    "webhook_attempts": {"delivery_id": "$n", "at": "now()", "part": "0", "duration_ms": "1"},
    # One that is over; else all the others' rows would be hidden.
    "chatbot_deletions": {"chatbot_id": "@chatbots", "settled_at": "now()"},
}
# Of these the runtime may read its tenant's rows and change none, or not all of them.
READ_ONLY = {"user_subscriptions", "usage_gaps"}


@dataclass(frozen=True, slots=True)
class Side:
    """A tenant with one row in every table: the table's name to the row's id."""

    user_id: UserId
    thread_id: str
    rows: dict[str, int]


@dataclass(frozen=True, slots=True)
class Two:
    ours: Side
    theirs: Side


class Undone(Exception):
    """Rolls a transaction back."""


def insertion(table: str, side: Side, overrides: dict[str, str] | None = None) -> str:
    values = {"user_id": str(side.user_id), **ROWS[table]} | (overrides or {})
    n = str(next(_unique) + 10_000)
    filled = [
        str(side.rows[v[1:]]) if v.startswith("@") else v.replace("$n", n) for v in values.values()
    ]
    return f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(filled)})"


async def make_side(owner: Owner) -> Side:
    made = await make_tenant(owner)
    chatbot_id = int(made.chatbot_id)
    rows = {"users": int(made.user_id), "chatbots": chatbot_id, "knowledge_bases": chatbot_id}
    side = Side(made.user_id, f"of-{made.user_id}", rows)
    for table in ROWS:
        # Made with others.
        if table in ("chatbots", "send_limits", "knowledge_bases", "webhook_states", "catalogues"):
            rows["webhook_states"] = rows.get("webhooks", 0)
            rows["catalogues"] = rows["users"]
            continue
        given = {"thread_id": f"'{side.thread_id}'"} if table == "conversations" else None
        key = {
            "chatbot_phone_numbers": "chatbot_id",
            "usage_reservations": "conversation_id",
            "dead_sends": "message_id",
            "idempotency_keys": "message_id",
            "knowledge_changes": "row_id",
            "knowledge_indexes": "part",
            "knowledge_embeddings": "row_id",
            "webhook_attempts": "delivery_id",
            "webhook_recoveries": "webhook_id",
            "usage_gaps": "user_id",
            "model_usage": "chatbot_id",
            "contact_counts": "user_id",
            "api_pace": "api_key_id",
            "contact_terms": "of_contact",
            "contact_days": "contact_id",
            "import_keys": "import_id",
            "media_days": "user_id",
            "media_handles": "media_id",
            "retention": "user_id",
            "gone_messages": "user_id",
            "erased_people": "user_id",
            "erased_numbers": "user_id",
        }
        rows[table] = await owner.fetchval(
            f"{insertion(table, side, given)} RETURNING {key.get(table, 'id')}"
        )
    await owner.execute(
        f"SELECT lock_usage({made.user_id}, ARRAY[CURRENT_DATE]),"
        f" count_messages({made.user_id}, CURRENT_DATE, 0, 1, 0)"  # what the hold above holds
    )
    await owner.execute(
        f"INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint)"
        f" VALUES ('{side.thread_id}', 'c', '{{}}');"
        f"INSERT INTO checkpoint_blobs (thread_id, channel, version, type, blob)"
        f" VALUES ('{side.thread_id}', 'messages', '1', 'msgpack', 'x');"
        f"INSERT INTO checkpoint_writes (thread_id, checkpoint_id, task_id, idx, channel, blob)"
        f" VALUES ('{side.thread_id}', 'c', 't', 0, 'messages', 'x')"
    )
    return side


@pytest.fixture(scope="module")
async def two(database: Database) -> Two:
    owner = await asyncpg.connect(database.owner_url)
    try:
        return Two(await make_side(owner), await make_side(owner))
    finally:
        await owner.close()


@pytest.fixture(scope="module", params=["runtime", "superuser"])
async def any_pool(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[Pool]:
    """Whatever the login of DATABASE_URL may do by itself."""
    url = database.runtime_url if request.param == "runtime" else database.owner_url
    pool = await create_pool(url, size=1, name="tests")
    yield pool
    pool.terminate()


def whose(table: str, side: Side) -> str:
    """The condition that picks a tenant's rows."""
    if table in CHECKPOINTS:
        return f"thread_id = '{side.thread_id}'"
    return f"{'id' if table == 'users' else 'user_id'} = {side.user_id}"


async def tenant_tables(conn: Conn) -> list[str]:
    """Parts of a table are reached by its name alone."""
    rows = await conn.fetch(
        f"SELECT t.name FROM ({TENANT_TABLES}) t JOIN pg_class c ON c.oid = t.oid"
        " WHERE NOT c.relispartition"
    )
    return sorted(row["name"] for row in rows)


async def test_every_table_of_the_catalogue_is_tried(owner: Owner) -> None:
    """A table that is new needs an entry in ROWS."""
    assert set(await tenant_tables(owner)) == {*ROWS, *CHECKPOINTS, "users"}


async def test_only_the_tenant_s_own_rows_are_there(any_pool: Pool, two: Two) -> None:
    async with tenant(any_pool, two.ours.user_id) as conn:
        for table in await tenant_tables(conn):
            total = await conn.fetchval(f"SELECT count(*) FROM {table}")
            own = await conn.fetchval(
                f"SELECT count(*) FROM {table} WHERE {whose(table, two.ours)}"
            )
            assert total == own > 0, table


async def test_without_a_tenant_there_are_no_rows(any_pool: Pool, two: Two) -> None:
    async with any_pool.acquire() as conn:
        for table in await tenant_tables(conn):
            assert await conn.fetchval(f"SELECT count(*) FROM {table}") == 0, table


async def test_another_s_rows_are_not_changed_even_without_a_condition(
    any_pool: Pool, owner: Owner, two: Two
) -> None:
    async def theirs() -> dict[str, int]:
        return {
            table: await owner.fetchval(
                f"SELECT count(*) FROM {table} WHERE {whose(table, two.theirs)}"
            )
            for table in await tenant_tables(owner)
        }

    before = await theirs()
    assert min(before.values()) > 0
    for table in await tenant_tables(owner):
        column = "thread_id" if table in CHECKPOINTS else "user_id"
        column = "full_name" if table == "users" else column
        for change in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            try:
                async with tenant(any_pool, two.ours.user_id) as conn:
                    aimed = await conn.execute(f"{change} WHERE {whose(table, two.theirs)}")
                    assert aimed.endswith(" 0"), change
                    blind = await conn.execute(change)
                    assert not blind.endswith(" 0"), f"{change}: even the tenant's own rows"
                    raise Undone  # the next test needs ours
            except Undone:
                pass
            except asyncpg.InsufficientPrivilegeError:
                assert table in READ_ONLY or change == "DELETE FROM users"
    assert await theirs() == before


@pytest.mark.parametrize("table", ROWS)
async def test_a_row_for_another_tenant_is_refused(any_pool: Pool, two: Two, table: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with tenant(any_pool, two.ours.user_id) as conn:
            await conn.execute(insertion(table, two.theirs))
    if table not in READ_ONLY:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with tenant(any_pool, two.ours.user_id) as conn:
                await conn.execute(f"UPDATE {table} SET user_id = {two.theirs.user_id}")


async def test_a_user_is_not_made_or_taken_by_another(any_pool: Pool, two: Two) -> None:
    for statement in (
        "INSERT INTO users (email, password_hash) VALUES ('new@example.com', '!')",
        f"UPDATE users SET id = {two.theirs.user_id} + 1000",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with tenant(any_pool, two.ours.user_id) as conn:
                await conn.execute(statement)


REFERENCES = """
    SELECT k.conrelid::regclass::text, a.attname::text, k.confrelid::regclass::text
      FROM pg_constraint k
      JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
       AND a.attname <> 'user_id'
     WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
       AND k.confrelid NOT IN ('users'::regclass, 'apps'::regclass)  -- which are no tenant's
"""


async def test_another_s_row_cannot_be_referred_to(pool: Pool, owner: Owner, two: Two) -> None:
    """One that is not there is refused with the same words, so that nothing can be inferred."""
    references = await owner.fetch(REFERENCES)
    assert len(references) > 20
    for table, column, to in references:
        refusals = []
        for row_id in (two.theirs.rows[to], 987_654_321):
            overrides = {column: str(row_id)}
            if table == "conversations":  # a second of the same pair would be refused as such
                overrides.setdefault("contact_id", str(two.ours.rows["contacts"]))
            with pytest.raises(asyncpg.ForeignKeyViolationError) as refused:
                async with tenant(pool, two.ours.user_id) as conn:
                    await conn.execute(insertion(table, two.ours, overrides))
            refusals.append(refused.value.message)
        assert refusals[0] == refusals[1], (table, column)


async def test_our_own_rows_can_be_referred_to(pool: Pool, two: Two) -> None:
    """What the tests above take from ROWS would otherwise prove nothing."""
    once = {
        "conversations",
        "usage_reservations",
        "dead_sends",
        "send_limits",
        "knowledge_bases",
        "catalogues",
        "webhook_states",
        "webhook_recoveries",
        "contact_counts",
        "api_pace",
        "retention",
        "chatbot_deletions",
    }  # a second would be refused as such
    for table in sorted(ROWS.keys() - READ_ONLY - once):
        async with tenant(pool, two.ours.user_id) as conn:
            assert await conn.execute(insertion(table, two.ours)) == "INSERT 0 1"


async def test_an_order_item_takes_the_tenant_of_the_transaction(pool: Pool, two: Two) -> None:
    """The documented insert, which has no user_id, stays complete."""
    async with tenant(pool, two.ours.user_id) as conn:
        user_id = await conn.fetchval(
            "INSERT INTO order_items (order_id, product_name) VALUES ($1, 'cake')"
            " RETURNING user_id",
            two.ours.rows["orders"],
        )
    assert user_id == two.ours.user_id


# ---- checkpoints --------------------------------------------------------------------------------


async def test_a_thread_of_another_tenant_cannot_be_read_or_written(
    any_pool: Pool, owner: Owner, two: Two
) -> None:
    thread = two.theirs.thread_id
    async with tenant(any_pool, two.ours.user_id) as conn:
        assert await load_checkpoint(conn, thread) is None
    for thread_id in (thread, "nobody's"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with tenant(any_pool, two.ours.user_id) as conn:
                await save_checkpoint(conn, thread_id, checkpoint("evil", 0, [], []))
    for statement in (
        "INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint) VALUES ($1, 'evil', '{}')",
        """INSERT INTO checkpoint_blobs (thread_id, channel, version, type)
           VALUES ($1, 'a', '9', 't')""",
        """INSERT INTO checkpoint_writes (thread_id, checkpoint_id, task_id, idx, channel, blob)
           VALUES ($1, 'evil', 't', 0, 'a', '')""",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with tenant(any_pool, two.ours.user_id) as conn:
                await conn.execute(statement, thread)
    kept = await owner.fetch("SELECT checkpoint_id FROM checkpoints WHERE thread_id = $1", thread)
    assert [k["checkpoint_id"] for k in kept] == ["c"]


def checkpoint(
    checkpoint_id: str, n: int, versions: Sequence[str], blobs: Sequence[bytes | None]
) -> Checkpoint:
    return Checkpoint(
        checkpoint_id=checkpoint_id,
        checkpoint={"v": n},
        metadata={"m": n},
        channels=["a", "b"][: len(versions)],
        versions=versions,
        types=["t", "t"][: len(versions)],
        blobs=blobs,
    )


async def test_a_thread_keeps_its_last_checkpoint_only(pool: Pool, owner: Owner) -> None:
    side = await make_side(owner)
    async with tenant(pool, side.user_id) as conn:
        first = checkpoint("c1", 1, ["1", "1"], [b"1", None])
        await save_checkpoint(conn, side.thread_id, first)
        second = checkpoint("c2", 2, ["2", "1"], [b"2", b"3"])
        await save_checkpoint(conn, side.thread_id, second)
        now = await load_checkpoint(conn, side.thread_id)
    assert now is not None
    assert (now.checkpoint_id, now.checkpoint, now.metadata) == ("c2", {"v": 2}, {"m": 2})
    assert (now.channels, now.versions, now.blobs) == (["a", "b"], ["2", "1"], [b"2", b"3"])
    counts = await owner.fetchrow(
        "SELECT (SELECT count(*) FROM checkpoints WHERE thread_id = $1),"
        " (SELECT count(*) FROM checkpoint_blobs WHERE thread_id = $1),"
        " (SELECT count(*) FROM checkpoint_writes WHERE thread_id = $1)",
        side.thread_id,
    )
    assert counts is not None
    assert tuple(counts) == (1, 2, 0)


@pytest.mark.parametrize("table", ["conversations", "contacts", "users"])
async def test_what_is_erased_takes_its_threads_along(owner: Owner, table: str) -> None:
    side = await make_side(owner)
    await owner.execute(f"DELETE FROM {table} WHERE {whose(table, side)}")
    for checkpoints in CHECKPOINTS:
        left = f"SELECT count(*) FROM {checkpoints} WHERE {whose(checkpoints, side)}"
        assert await owner.fetchval(left) == 0


# ---- the tenant of a connection -----------------------------------------------------------------


async def visible(conn: Conn) -> int:
    count: int = await conn.fetchval("SELECT count(*) FROM contacts")
    return count


async def test_the_tenant_is_gone_with_its_transaction(any_pool: Pool, two: Two) -> None:
    async with tenant(any_pool, two.ours.user_id) as conn:
        assert await visible(conn) > 0
        backend = await conn.fetchval("SELECT pg_backend_pid()")
    async with any_pool.acquire() as again:
        assert await again.fetchval("SELECT pg_backend_pid()") == backend
        assert await visible(again) == 0
        async with again.transaction():
            assert await visible(again) == 0


async def test_the_tenant_is_gone_after_a_failure(any_pool: Pool, two: Two) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with tenant(any_pool, two.ours.user_id) as conn:
            await conn.execute("SELECT 1/0")
    async with any_pool.acquire() as conn:
        assert await visible(conn) == 0


async def test_the_tenant_is_gone_after_a_cancellation(any_pool: Pool, two: Two) -> None:
    entered = asyncio.Event()

    async def wait_in_the_database() -> None:
        async with tenant(any_pool, two.ours.user_id) as conn:
            await conn.execute("UPDATE contacts SET name = 'half'")
            entered.set()
            await conn.execute("SELECT pg_sleep(30)")

    task = asyncio.create_task(wait_in_the_database())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with any_pool.acquire() as again:
        assert await visible(again) == 0
    async with tenant(any_pool, two.ours.user_id) as conn:
        assert await conn.fetchval("SELECT count(*) FROM contacts WHERE name = 'half'") == 0


# What happens inside a COMMIT.
COMMITS = """
CREATE TABLE commits (seconds double precision);
GRANT INSERT ON commits TO swiftreplies_app;
CREATE FUNCTION commits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seconds IS NULL THEN RAISE EXCEPTION 'refused'; END IF;
    PERFORM pg_sleep(NEW.seconds);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER commits AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION commits();
"""


@pytest.fixture
async def commits(owner: Owner) -> AsyncIterator[None]:
    await owner.execute(COMMITS)
    yield
    await owner.execute("DROP TABLE commits; DROP FUNCTION commits")


@pytest.mark.parametrize("end", ["cut short", "refused"])
async def test_a_connection_whose_commit_failed_is_nobody_s_again(
    any_pool: Pool, two: Two, owner: Owner, commits: None, end: str
) -> None:
    """What became of its transaction, and whose it was, nobody here knows."""
    backends: list[int] = []

    async def write() -> None:
        async with tenant(any_pool, two.ours.user_id) as conn:
            backends.append(await conn.fetchval("SELECT pg_backend_pid()"))
            await conn.execute(
                "INSERT INTO commits VALUES ($1)", 30.0 if end != "refused" else None
            )

    writing = asyncio.create_task(write())
    if end == "cut short":
        sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        async with asyncio.timeout(10):
            while not await owner.fetchval(sleeps):
                await asyncio.sleep(0.005)
        writing.cancel()
    with pytest.raises((asyncio.CancelledError, asyncpg.RaiseError)):
        await writing
    async with any_pool.acquire() as again:
        assert await again.fetchval("SELECT pg_backend_pid()") not in backends
        assert await visible(again) == 0


async def test_tenants_that_take_turns_on_one_connection_see_their_own(
    any_pool: Pool, two: Two
) -> None:
    async def own(side: Side) -> None:
        async with tenant(any_pool, side.user_id) as conn:
            rows = await conn.fetch("SELECT user_id FROM contacts")
            assert {r["user_id"] for r in rows} == {side.user_id}

    await asyncio.gather(*(own(side) for side in (two.ours, two.theirs) * 10))


async def test_a_runtime_connection_cannot_become_more(pool: Pool) -> None:
    async with pool.acquire() as conn:
        assert await conn.fetchval("SELECT current_user") == "swiftreplies_app"
        assert await conn.fetchval("SELECT session_user") == RUNTIME_LOGIN
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("SET ROLE swiftreplies_system")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("SELECT chatbot_owner(1)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("ALTER TABLE contacts DISABLE ROW LEVEL SECURITY")


async def test_a_login_that_was_not_granted_the_role_gets_no_connection(
    postgres_server: Postgres, database: Database
) -> None:
    admin = await asyncpg.connect(postgres_server.url)
    await admin.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
    try:
        url = database.runtime_url.replace("runtime:runtime@", "stranger:x@")
        pool = await create_pool(url, size=1, name="tests")
        with pytest.raises(CannotConnect, match="permission denied to set role"):
            await pool.fetchval("SELECT 1")
        pool.terminate()
    finally:
        await admin.execute("DROP ROLE stranger")
        await admin.close()


async def test_the_owner_of_a_single_url_is_bound_as_well(postgres_server: Postgres) -> None:
    """No superuser, the tables' owner: FORCE ROW LEVEL SECURITY, and the role it takes."""
    admin = await asyncpg.connect(postgres_server.url)
    await admin.execute(
        "CREATE ROLE single LOGIN PASSWORD 'x';"
        "GRANT swiftreplies_app, swiftreplies_log TO single;"
        "GRANT swiftreplies_system TO single"
    )
    try:
        async with new_database(postgres_server, "single:x") as made:
            single = Database(made.name, *(made.owner_url,) * 3)
            await run(single)
            await admin.execute("REVOKE swiftreplies_system FROM single")
            ours, theirs = [await _side_as_admin(postgres_server, made.name) for _ in range(2)]
            plain = await asyncpg.connect(single.owner_url)
            pool = await create_pool(single.owner_url, size=1, name="tests")
            try:
                assert await visible(plain) == 0
                async with tenant(pool, ours.user_id) as conn:
                    assert await conn.fetchval("SELECT current_user") == "swiftreplies_app"
                    rows = await conn.fetch("SELECT user_id FROM contacts")
                    assert {r["user_id"] for r in rows} == {ours.user_id} != {theirs.user_id}
            finally:
                plain.terminate()
                pool.terminate()
    finally:
        await admin.execute("DROP ROLE single")
        await admin.close()


async def _side_as_admin(server: Postgres, database: str) -> Side:
    conn = await asyncpg.connect(server.database_url(database))
    try:
        return await make_side(conn)
    finally:
        await conn.close()


@pytest.mark.parametrize("column", ["id", "email", "password_hash", "is_active"])
async def test_the_runtime_cannot_change_who_a_tenant_is(
    any_pool: Pool, two: Two, column: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with tenant(any_pool, two.ours.user_id) as conn:
            await conn.execute(f"UPDATE users SET {column} = {column}")
