-- name: version_of_chatbot
SELECT version FROM chatbots WHERE user_id = $1 AND id = $2 AND deleted_at IS NULL;

-- name: lock_living_chatbot
-- As strong as what follows, whose key changes: who refers to the chatbot by then, and is to change it
-- with their COMMIT (what it knows), would wait for us and we for them.
SELECT version FROM chatbots WHERE user_id = $1 AND id = $2 AND deleted_at IS NULL
   FOR UPDATE;

-- name: cancel_queued_of_chatbot
-- $3 at most. One that is about to leave is locked: whoever sends it is waited for, or waits for us.
UPDATE messages m SET status = 'cancelled', send_owner = NULL, usage_day = NULL
  FROM (SELECT id, usage_day, overage FROM messages
         WHERE user_id = $1 AND chatbot_id = $2 AND direction = 'outbound' AND status = 'queued'
         ORDER BY id LIMIT $3 FOR NO KEY UPDATE) was
 WHERE m.user_id = $1 AND m.id = was.id
RETURNING was.usage_day, was.overage;

-- name: queued_left
SELECT EXISTS (SELECT FROM messages
                WHERE user_id = $1 AND chatbot_id = $2
                  AND direction = 'outbound' AND status = 'queued');

-- name: silence_conversations_of_chatbot
-- $3 at most of those that a turn has, that wait for one, or for what keeps one from answering: each
-- kind by its own index, since a chatbot has a million others.
UPDATE conversations c
   SET lease_owner = NULL, epoch = c.epoch + 1, ready_at = NULL, pending_since = NULL,
       answered_seq = c.input_seq, waits_for = NULL
  FROM (SELECT v.id FROM conversations v
         WHERE v.user_id = $1 AND v.id IN (
               SELECT r.id FROM conversations r
                WHERE r.user_id = $1 AND r.chatbot_id = $2
                  AND r.ready_at IS NOT NULL AND r.lease_owner IS NULL
                UNION
               SELECT l.id FROM conversations l
                WHERE l.user_id = $1 AND l.chatbot_id = $2 AND l.lease_owner IS NOT NULL
                UNION
               SELECT w.id FROM conversations w
                WHERE w.user_id + 0 = $1 AND w.chatbot_id = $2
                  AND w.waits_for IS NOT NULL AND w.waits_for <> 'contact_limit'
                LIMIT $3)
         ORDER BY v.id FOR NO KEY UPDATE) v
 WHERE c.user_id = $1 AND c.id = v.id
RETURNING c.id;

-- name: reserved_of_chatbot
-- Conversations for which a turn holds something.
SELECT r.conversation_id FROM usage_reservations r
  JOIN conversations v ON v.user_id = $1 AND v.id = r.conversation_id
 WHERE r.user_id = $1 AND v.chatbot_id = $2 ORDER BY r.conversation_id;

-- name: campaign_of_chatbot
-- One that runs, or is about to.
SELECT id FROM campaigns
 WHERE user_id = $1 AND chatbot_id = $2 AND status IN ('preparing', 'running')
 ORDER BY id LIMIT 1;

-- name: see_deleted
-- For the rest of the transaction nothing is hidden.
SELECT set_config('app.deletes', '1', true);

-- name: empty_chatbot
UPDATE chatbots
   SET deleted_at = now(), is_active = false, name = '', whatsapp_phone_number = NULL,
       phone_number_id = NULL, waba_id = NULL, access_token = NULL, model = NULL,
       model_keys = NULL, topic = NULL, opt_out_words = '{}', order_messages = '{}', general_instructions = NULL,
       language = NULL, texts = '{}', window_template = NULL, order_template = NULL,
       decision_template = NULL, business_hours = NULL,
       failing_since = NULL,
       number_confirmed_at = NULL, app_id = NULL, claimed_number = NULL,
       claimed_phone_number_id = NULL, claimed_waba_id = NULL, number_problem = NULL,
       proof_seq = proof_seq + 1, proof_due_at = NULL, proof_until = NULL, updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: begin_deletion
INSERT INTO chatbot_deletions (user_id, chatbot_id) VALUES ($1, $2);

-- name: delete_webhooks_of_chatbot
-- What was to be posted goes after them, in batches.
DELETE FROM webhooks WHERE user_id = $1 AND chatbot_id = $2;

-- name: due_deletions
SELECT user_id, id FROM due_deletions($1);

-- name: lock_deletion
-- Nothing comes back when another worker is at it, or it is done.
SELECT chatbot_id, at_table, created_at, now() AS now FROM chatbot_deletions
 WHERE user_id = $1 AND id = $2 AND settled_at IS NULL
   FOR NO KEY UPDATE SKIP LOCKED;

-- name: delete_rows_of_chatbot
SELECT gone, at_table FROM delete_rows_of_chatbot($1, $2, $3, $4);

-- name: let_contacts_go
UPDATE contacts c SET chatbot_id = NULL
  FROM (SELECT id FROM contacts WHERE user_id = $1 AND chatbot_id = $2
         ORDER BY id LIMIT $3 FOR NO KEY UPDATE) mine
 WHERE c.user_id = $1 AND c.id = mine.id
RETURNING c.id;

-- name: let_campaigns_go
UPDATE campaigns SET chatbot_id = NULL WHERE user_id = $1 AND chatbot_id = $2;

-- name: nobody_refers
-- Whoever began something of the chatbot before it was deleted has ended: they hold its key.
SELECT true FROM chatbots WHERE user_id = $1 AND id = $2 FOR UPDATE SKIP LOCKED;

-- name: move_deletion
UPDATE chatbot_deletions SET at_table = $3, due_at = $4 WHERE user_id = $1 AND id = $2;

-- name: end_deletion
UPDATE chatbot_deletions SET at_table = NULL, settled_at = now() WHERE user_id = $1 AND id = $2;

-- name: owner_of_deleted_chatbot
SELECT owner_of_deleted_chatbot($1);
