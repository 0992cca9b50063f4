-- name: open_conversations
-- A contact's first conversation takes the contact's thread; any other gets one of its own. The
-- contacts are locked: of two first conversations at once the later sees the earlier.
INSERT INTO conversations (user_id, chatbot_id, contact_id, thread_id)
SELECT $1, n.chatbot_id, n.contact_id,
       CASE WHEN n.place = 1 AND NOT EXISTS (
                SELECT FROM conversations o WHERE o.user_id = $1 AND o.contact_id = n.contact_id)
            THEN c.thread_id ELSE $1 || ':' || gen_random_uuid() END
  FROM (SELECT chatbot_id, contact_id,
               row_number() OVER (PARTITION BY contact_id ORDER BY chatbot_id) AS place
          FROM unnest($2::bigint[], $3::bigint[]) AS i (chatbot_id, contact_id)) n
  JOIN contacts c ON c.user_id = $1 AND c.id = n.contact_id
 ORDER BY n.contact_id, n.chatbot_id
ON CONFLICT (user_id, chatbot_id, contact_id) DO NOTHING;

-- name: lock_conversations
-- In id order, as everything that locks several does.
SELECT id, chatbot_id, contact_id FROM conversations
 WHERE user_id = $1
   AND (chatbot_id, contact_id) IN (SELECT * FROM unnest($2::bigint[], $3::bigint[]))
 ORDER BY id FOR NO KEY UPDATE;

-- name: mark_ready
-- The burst is over $5 after its last message, or $6 after its first, whichever comes first.
UPDATE conversations c
   SET input_seq = greatest(c.input_seq, n.input_seq),
       last_inbound_at = greatest(c.last_inbound_at, n.sent_at),
       pending_since = coalesce(c.pending_since, now()),
       ready_at = least(now() + $5::interval, coalesce(c.pending_since, now()) + $6::interval),
       updated_at = now()
  FROM unnest($2::bigint[], $3::bigint[], $4::timestamptz[]) AS n (id, input_seq, sent_at)
 WHERE c.user_id = $1 AND c.id = n.id;

-- name: claim_conversations
SELECT user_id, conversation_id, epoch FROM claim_conversations($1, $2, $3);

-- name: read_turn
-- All that a turn needs to know but the messages and what the chatbot knows, in one round trip. The lock keeps the lease where
-- it is until the reservation is committed: one that a lost lease left behind would bind its unit.
SELECT v.chatbot_id, v.contact_id, v.thread_id, v.answered_seq, v.attempts, v.rebuild_thread,
       v.failing_since, v.model_tries, v.told_slow_at IS NOT NULL AS told_slow,
       b.failing_since IS NOT NULL AS chatbot_failing,
       (v.lease_owner = $3 AND v.epoch = $4) AS mine,
       now() AS now, v.last_inbound_at,
       coalesce(v.taken_over_until > now(), false) AS taken_over,
       coalesce(v.taken_over_by = 'human', false) AS by_human,
       coalesce(c.conversation_paused, false) AS paused,
       c.name AS contact_name, c.language AS contact_language,
       b.name AS chatbot_name, b.language AS chatbot_language, b.texts,
       (coalesce(b.is_active, false) AND coalesce(b.bot_status, 'active') = 'active')
           AS chatbot_active,
       b.phone_number_id, b.access_token,
       b.general_instructions,
       u.timezone, u.language AS tenant_language,
       ARRAY (SELECT i.instruction_text FROM conversation_instructions i
               WHERE i.user_id = $1 AND i.chatbot_id = v.chatbot_id AND i.contact_id = v.contact_id
                 AND i.is_active AND (i.expires_at IS NULL OR i.expires_at > now())
               ORDER BY i.id) AS instructions,
       b.kb_version,
       coalesce((SELECT as_object(s.subscription_config) FROM user_subscriptions s
                  WHERE s.user_id = $1 AND s.is_active), '{}') AS plan,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(a.id, a.request_type, a.request_details)
                                  ORDER BY a.id), '[]')
          FROM (SELECT o.id, o.request_type, o.request_details FROM actions o
                 WHERE o.user_id = $1 AND o.chatbot_id = v.chatbot_id
                   AND o.contact_id = v.contact_id AND o.status = 'pending'
                 ORDER BY o.id DESC LIMIT 10) a) AS open_actions
  FROM conversations v
  JOIN contacts c ON c.user_id = $1 AND c.id = v.contact_id
  JOIN chatbots b ON b.user_id = $1 AND b.id = v.chatbot_id
  JOIN users u ON u.id = $1
 WHERE v.user_id = $1 AND v.id = $2
   FOR SHARE OF v;

-- name: since_inbound
-- How long ago the customer wrote last.
SELECT now() - last_inbound_at FROM conversations WHERE user_id = $1 AND id = $2;

-- name: fence
-- First statement of a turn's last transaction: see fence_turn() in migrations/0022. 'outdated': a
-- person has answered some of what it read since $6, and not all, so that its answer would answer
-- that once more; the lease stays. Nothing comes back when it is gone.
WITH v AS MATERIALIZED (
    SELECT answered_seq FROM conversations
     WHERE user_id = $1 AND id = $2 AND lease_owner = $3 AND epoch = $4
       FOR NO KEY UPDATE
)
SELECT CASE WHEN answered_seq > $6 AND answered_seq < $5 THEN 'outdated'
            WHEN fence_turn($1, $2, $3, $4, $5) THEN 'silenced'
            ELSE 'free' END
  FROM v;

-- name: hand_over
-- A human who has the conversation keeps it; then nothing comes back.
UPDATE conversations
   SET taken_over_at = now(), taken_over_until = now() + $3::interval, taken_over_reason = $4,
       taken_over_by = 'product'
 WHERE user_id = $1 AND id = $2 AND NOT coalesce(taken_over_until > now(), false)
RETURNING chatbot_id, contact_id, taken_over_until;

-- name: read_manner
-- How the customer is spoken to, and nothing that a turn might choke on.
SELECT c.language AS contact_language, b.language AS chatbot_language,
       u.language AS tenant_language, b.texts,
       ARRAY (SELECT left(m.content_text, 500) FROM messages m
               WHERE m.user_id = $1 AND m.conversation_id = $2 AND m.direction = 'inbound'
                 AND m.content_text <> ''
               ORDER BY m.id DESC LIMIT $3) AS wrote
  FROM conversations v
  JOIN contacts c ON c.user_id = $1 AND c.id = v.contact_id
  JOIN chatbots b ON b.user_id = $1 AND b.id = v.chatbot_id
  JOIN users u ON u.id = $1
 WHERE v.user_id = $1 AND v.id = $2;

-- name: put_off
-- See put_off_turn() in migrations/0022; p_tried ($7): the model worked for it.
SELECT put_off_turn($1, $2, $3, $4, $5, $6, $7, $8) AS tells;

-- name: note_limit
-- Comes back once a conversation and usage day: the customer is told then, and not again.
UPDATE conversations SET limit_notice_day = $3
 WHERE user_id = $1 AND id = $2 AND (limit_notice_day IS NULL OR limit_notice_day < $3)
RETURNING true;

-- name: note_media
-- Comes back once in $3: the customer is told then that media cannot be opened.
UPDATE conversations SET media_notice_at = now()
 WHERE user_id = $1 AND id = $2 AND coalesce(media_notice_at <= now() - $3::interval, true)
RETURNING true;

-- name: put_back
-- A turn that could not finish: somebody tries again. After a failure ($5) later with each one, up
-- to 32 times 0.5 s, and from messages alone: the checkpoint may be what it failed on. How often it
-- has failed by now.
UPDATE conversations
   SET lease_owner = NULL, attempts = attempts + $5::boolean::int,
       rebuild_thread = rebuild_thread OR $5::boolean,
       ready_at = CASE WHEN input_seq > answered_seq THEN now() +
                      $5::boolean::int * interval '0.5 s' * 2 ^ least(attempts, 5)
                                       * (0.75 + random() / 2) END,
       updated_at = now()
 WHERE user_id = $1 AND id = $2 AND lease_owner = $3 AND epoch = $4
RETURNING attempts;

-- name: abandon
-- Nothing that waits for an answer in it is read again.
UPDATE conversations
   SET answered_seq = input_seq, ready_at = NULL, pending_since = NULL, lease_owner = NULL,
       attempts = 0, failing_since = NULL, model_tries = 0, told_slow_at = NULL,
       rebuild_thread = true, updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: trust_thread
UPDATE conversations SET rebuild_thread = false WHERE user_id = $1 AND id = $2;

-- name: forget_threads
-- In id order, as everything that locks several does.
UPDATE conversations SET rebuild_thread = true
 WHERE user_id = $1 AND id IN (SELECT v.id FROM conversations v
                                WHERE v.user_id = $1 AND v.id = ANY ($2::bigint[])
                                ORDER BY v.id FOR NO KEY UPDATE);

-- name: list_conversations
-- $4 at most, and so many that they have $5 bytes.
WITH found AS (
    SELECT v.*
      FROM (SELECT c.id, c.chatbot_id, c.contact_id, k.phone_number, k.name, k.bsuid,
                   CASE WHEN c.taken_over_until > now() THEN 'taken_over'
                        WHEN k.conversation_paused THEN 'paused' ELSE 'bot' END AS status,
                   c.input_seq > c.answered_seq AS unanswered, c.last_inbound_at,
                   CASE WHEN c.taken_over_until > now() THEN c.taken_over_at END AS taken_over_at,
                   -- 'infinity' is NULL to the outside: until it is handed back.
                   CASE WHEN c.taken_over_until > now() AND isfinite(c.taken_over_until)
                        THEN c.taken_over_until END AS taken_over_until,
                   CASE WHEN c.taken_over_until > now() THEN c.taken_over_by END AS taken_over_by,
                   CASE WHEN c.taken_over_until > now() THEN c.taken_over_reason END
                       AS taken_over_reason,
                   c.created_at, c.updated_at
              FROM conversations c JOIN contacts k ON k.user_id = $1 AND k.id = c.contact_id
             WHERE c.user_id = $1 AND c.id < $2) v
     WHERE $3::text IS NULL OR v.status = $3
     ORDER BY v.id DESC LIMIT $4 + 1
), measured AS (
    SELECT f.*, row_number() OVER newest AS place,
           sum(octet_length(f::text)) OVER newest AS bytes
      FROM found f WINDOW newest AS (ORDER BY f.id DESC)
)
SELECT id, chatbot_id, contact_id, status, phone_number, name, bsuid, unanswered, last_inbound_at,
       taken_over_at, taken_over_until, taken_over_by, taken_over_reason, created_at, updated_at,
       count(*) OVER () < (SELECT count(*) FROM found) AS more
  FROM measured
 WHERE place <= $4 AND (bytes <= $5 OR place = 1)
 ORDER BY id DESC;

-- name: read_conversation
SELECT c.id, c.chatbot_id, c.contact_id, k.phone_number, k.name, k.bsuid,
       CASE WHEN c.taken_over_until > now() THEN 'taken_over'
            WHEN k.conversation_paused THEN 'paused' ELSE 'bot' END AS status,
       c.input_seq > c.answered_seq AS unanswered, c.last_inbound_at,
       CASE WHEN c.taken_over_until > now() THEN c.taken_over_at END AS taken_over_at,
       CASE WHEN c.taken_over_until > now() AND isfinite(c.taken_over_until)
            THEN c.taken_over_until END AS taken_over_until,
       CASE WHEN c.taken_over_until > now() THEN c.taken_over_by END AS taken_over_by,
       CASE WHEN c.taken_over_until > now() THEN c.taken_over_reason END AS taken_over_reason,
       c.created_at, c.updated_at
  FROM conversations c JOIN contacts k ON k.user_id = $1 AND k.id = c.contact_id
 WHERE c.user_id = $1 AND c.id = $2;
