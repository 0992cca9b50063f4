-- name: conversations_of_contact
SELECT id FROM conversations WHERE user_id = $1 AND contact_id = $2 ORDER BY id;

-- name: lock_queued
-- A message before its contact and its conversation, as everybody does who settles one.
SELECT id FROM messages
 WHERE user_id = $1 AND conversation_id = ANY ($2::bigint[])
   AND direction = 'outbound' AND status = 'queued'
 ORDER BY id FOR NO KEY UPDATE;

-- name: lock_erasable
-- Whoever records something for the contact has it locked too, or comes after and finds it erased.
SELECT phone_number, wa_id, bsuid,
       CASE WHEN marketing_choice = 'stop' THEN marketing_choice_at END AS stopped_at
  FROM contacts WHERE user_id = $1 AND id = $2 AND erased_at IS NULL
   FOR UPDATE;

-- name: silence_conversations
-- A turn that runs misses at the fence, and nothing waits for an answer any more.
UPDATE conversations c
   SET lease_owner = NULL, epoch = c.epoch + 1, ready_at = NULL, pending_since = NULL,
       answered_seq = c.input_seq, waits_for = NULL, updated_at = now()
  FROM (SELECT id FROM conversations WHERE user_id = $1 AND contact_id = $2
         ORDER BY id FOR NO KEY UPDATE) v
 WHERE c.user_id = $1 AND c.id = v.id
RETURNING c.id;

-- name: cancel_queued
-- One that is locked now is about to leave, and its worker waits for us: it finds nobody to send it
-- to (read_send).
UPDATE messages m SET status = 'cancelled', send_owner = NULL, usage_day = NULL
  FROM (SELECT id, usage_day, overage FROM messages
         WHERE user_id = $1 AND conversation_id = ANY ($2::bigint[])
           AND direction = 'outbound' AND status = 'queued'
         ORDER BY id FOR NO KEY UPDATE SKIP LOCKED) was
 WHERE m.user_id = $1 AND m.id = was.id
RETURNING was.usage_day, was.overage;

-- name: erase_actions
DELETE FROM actions WHERE user_id = $1 AND contact_id = $2;

-- name: erase_orders
DELETE FROM orders WHERE user_id = $1 AND contact_id = $2;

-- name: erase_recipients
-- The rows stay, and figures with them; the key of their contact goes with the contact.
UPDATE campaign_recipients SET params = NULL WHERE user_id = $1 AND contact_id = $2;

-- name: erase_quotes
DELETE FROM quotes WHERE user_id = $1 AND contact_id = $2;

-- name: erase_tool_calls
DELETE FROM tool_calls WHERE user_id = $1 AND contact_id = $2;

-- name: erase_instructions
DELETE FROM conversation_instructions WHERE user_id = $1 AND contact_id = $2;

-- name: erase_facts
DELETE FROM facts WHERE user_id = $1 AND contact_id = $2;

-- name: erase_unanswered
DELETE FROM unanswered_questions WHERE user_id = $1 AND contact_id = $2;

-- name: forget_answers
-- What is kept of first answers shows the contact: whoever repeats such a request asks anew.
DELETE FROM idempotency_keys WHERE user_id = $1 AND contact_id = $2;

-- name: begin_contact
INSERT INTO erasures (user_id, contact_id, numbers, bsuids, stopped_at)
VALUES ($1, $2, $3, $4, $5) RETURNING id;

-- name: hide_contact
-- A row must name somebody; this names nobody, and no webhook brings such a BSUID.
UPDATE contacts
   SET phone_number = NULL, wa_id = NULL, bsuid = 'erased:' || id, name = NULL, tags = '[]',
       custom_fields = '{}', language = NULL, marketing_choice = NULL, marketing_choice_at = NULL,
       conversation_paused = true, entered_at = NULL, erased_at = now(), updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: due_erasures
SELECT user_id, id FROM due_erasures($1);

-- name: lock_erasure
-- Nothing comes back when another worker is at it, or it is done.
SELECT contact_id, phase, created_at, numbers, bsuids, phone_number_ids, stopped_at, parked_upto,
       now() AS now
  FROM erasures WHERE user_id = $1 AND id = $2 AND settled_at IS NULL
   FOR NO KEY UPDATE SKIP LOCKED;

-- name: mark_people
INSERT INTO erased_people AS p (user_id, mark, key_name, erased_at, stopped_at)
SELECT $1, m.mark, $3, $4, $5 FROM unnest($2::bytea[]) AS m (mark)
ON CONFLICT (user_id, mark) DO UPDATE
   SET erased_at = greatest(p.erased_at, excluded.erased_at),
       stopped_at = coalesce(excluded.stopped_at, p.stopped_at);

-- name: move_erasure
UPDATE erasures SET phase = $3, due_at = $4, parked_upto = 0 WHERE user_id = $1 AND id = $2;

-- name: erase_rows_of_contact
SELECT erase_rows_of_contact($1, $2, $3);

-- name: erase_rows_of_tenant
SELECT erase_rows_of_tenant($1, $2);

-- name: numbers_of_tenant
-- That its chatbots have or had.
SELECT phone_number_id, whatsapp_phone_number AS number FROM chatbots WHERE user_id = $1
 UNION SELECT phone_number_id, NULL FROM chatbot_phone_numbers WHERE user_id = $1;

-- name: erase_parked
SELECT erase_parked($1, $2, $3, $4, $5, $6);

-- name: note_parked
UPDATE erasures SET parked_upto = $3 WHERE user_id = $1 AND id = $2;

-- name: erase_stuck
DELETE FROM stuck_items
 WHERE user_id = $1 AND failed_at <= $3
   AND EXISTS (SELECT FROM unnest($2::text[]) n WHERE position(convert_to(n, 'UTF8') IN raw) > 0);

-- name: erase_orphans
DELETE FROM orphan_statuses
 WHERE user_id = $1 AND parked_at <= $3
   AND EXISTS (SELECT FROM unnest($2::text[]) n WHERE position(convert_to(n, 'UTF8') IN raw) > 0);

-- name: erase_account_events
DELETE FROM account_events
 WHERE user_id = $1 AND received_at <= $3
   AND EXISTS (SELECT FROM unnest($2::text[]) n WHERE position(convert_to(n, 'UTF8') IN raw) > 0);

-- name: drop_contact
-- Its conversations go with it, and their checkpoints.
DELETE FROM contacts WHERE user_id = $1 AND id = $2 AND erased_at IS NOT NULL;

-- name: end_erasure
UPDATE erasures
   SET phase = 'done', settled_at = now(), numbers = '{}', bsuids = '{}', phone_number_ids = '{}',
       stopped_at = NULL
 WHERE user_id = $1 AND id = $2;

-- name: erased_among
-- Of these numbers ($2), BSUIDs ($3) and marks ($4) those of erased people: while the erasure runs
-- in clear, then by mark.
SELECT NULL AS named, p.mark, p.erased_at, p.stopped_at
  FROM erased_people p WHERE p.user_id = $1 AND p.mark = ANY ($4::bytea[])
UNION ALL
SELECT n.named, NULL, e.created_at, e.stopped_at
  FROM erasures e CROSS JOIN LATERAL unnest(e.numbers || e.bsuids) AS n (named)
 WHERE e.user_id = $1 AND e.settled_at IS NULL
   AND (n.named = ANY ($2::text[]) OR n.named = ANY ($3::text[]));

-- name: find_erased_numbers
SELECT find_erased_numbers($1) AS place;

-- name: forget_erased_numbers
SELECT forget_erased_numbers($1);

-- name: owner_of_contact
SELECT owner_of_contact($1);

-- ---- a tenant, as the owner --------------------------------------------------------------------

-- name: lock_tenant
SELECT email FROM users WHERE id = $1 FOR UPDATE;

-- name: begin_tenant
INSERT INTO erasures (user_id, numbers, phone_number_ids) VALUES ($1, $2, $3) RETURNING id;

-- name: remember_numbers
INSERT INTO erased_numbers (user_id, mark) SELECT $1, m.mark FROM unnest($2::bytea[]) AS m (mark)
ON CONFLICT (mark, user_id) DO NOTHING;

-- name: silence_tenant
UPDATE conversations c
   SET lease_owner = NULL, epoch = c.epoch + 1, ready_at = NULL, pending_since = NULL,
       answered_seq = c.input_seq, waits_for = NULL
  FROM (SELECT id FROM conversations
         WHERE user_id = $1
           AND (ready_at IS NOT NULL OR lease_owner IS NOT NULL OR waits_for IS NOT NULL)
         ORDER BY id FOR NO KEY UPDATE) v
 WHERE c.user_id = $1 AND c.id = v.id;

-- name: let_go_of_numbers
UPDATE chatbots
   SET whatsapp_phone_number = NULL, phone_number_id = NULL, waba_id = NULL, access_token = NULL,
       model_keys = NULL, claimed_number = NULL, claimed_phone_number_id = NULL, claimed_waba_id = NULL,
       proof_seq = proof_seq + 1, proof_due_at = NULL, number_problem = NULL,
       is_active = false, updated_at = now()
 WHERE user_id = $1;

-- name: forget_bound_numbers
DELETE FROM chatbot_phone_numbers WHERE user_id = $1;

-- name: erase_keys
WITH paced AS (DELETE FROM api_pace WHERE user_id = $1)
DELETE FROM api_keys WHERE user_id = $1;

-- name: erase_webhooks
-- What was to be posted goes after them, in batches.
DELETE FROM webhooks WHERE user_id = $1;

-- name: erase_plans
DELETE FROM user_subscriptions WHERE user_id = $1;

-- name: hide_user
UPDATE users
   SET email = 'erased-' || id || '@invalid', password_hash = '!', full_name = NULL,
       company_name = NULL, phone = NULL, language = NULL, last_login = NULL, is_active = false,
       app_id = NULL, updated_at = now()
 WHERE id = $1;
