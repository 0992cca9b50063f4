-- name: open_conversations
-- A contact's first conversation takes the contact's thread; any other gets one of its own. The
-- contacts are locked: of two first conversations at once the later sees the earlier.
INSERT INTO conversations (user_id, chatbot_id, contact_id, thread_id)
SELECT $1, n.chatbot_id, n.contact_id,
       CASE WHEN n.place = 1 AND c.thread_id IS NOT NULL AND NOT thread_is_taken($1, c.thread_id)
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
SELECT user_id, conversation_id, epoch FROM claim_conversations($1, $2, $3, $4);

-- name: read_turn
-- All that a turn needs to know but the messages and what the chatbot knows, in one round trip. The lock keeps the lease where
-- it is until the reservation is committed: one that a lost lease left behind would bind its unit.
SELECT v.chatbot_id, v.contact_id, v.thread_id, v.answered_seq, v.attempts, v.rebuild_thread,
       v.forgotten,
       v.failing_since, v.model_tries, v.told_slow_at IS NOT NULL AS told_slow,
       b.failing_since IS NOT NULL AS chatbot_failing,
       (v.lease_owner = $3 AND v.epoch = $4) AS mine,
       now() AS now, v.last_inbound_at,
       coalesce(v.taken_over_until > now(), false) AS taken_over,
       coalesce(v.taken_over_by = 'human', false) AS by_human,
       coalesce(c.conversation_paused, false) AS paused,
       coalesce(c.contact_status = 'blocked', false) AS blocked, c.over_limit,
       c.name AS contact_name, c.language AS contact_language,
       b.name AS chatbot_name, b.language AS chatbot_language, b.texts,
       (coalesce(b.is_active, false) AND coalesce(b.bot_status, 'active') = 'active')
           AS chatbot_active,
       b.business_hours, b.answer_checks,
       b.phone_number_id, b.access_token,
       b.general_instructions,
       u.timezone, u.language AS tenant_language, u.currency,
       (SELECT g.version FROM catalogues g WHERE g.user_id = $1) AS catalogue_version,
       EXISTS (SELECT FROM products p WHERE p.user_id = $1 AND coalesce(p.is_active, false) = true)
           AS sells,
       EXISTS (SELECT FROM tools t WHERE t.user_id = $1 AND t.chatbot_id = v.chatbot_id) AS has_tools,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(f.id, f.kind, f.title) ORDER BY f.id), '[]')
          FROM (SELECT d.id, d.kind, d.title FROM media d
                 WHERE d.user_id = $1 AND d.chatbot_id = v.chatbot_id AND d.title IS NOT NULL
                 ORDER BY d.id DESC LIMIT 20) f) AS files,
       coalesce(u.is_active, false) AS tenant_active,
       EXISTS (SELECT FROM user_subscriptions s,
                           LATERAL (SELECT (now() AT TIME ZONE u.timezone)::date AS on_day) today
                WHERE s.user_id = $1 AND s.is_active AND s.contract_start_date <= today.on_day
                  AND (s.contract_end_date IS NULL OR s.contract_end_date >= today.on_day
                       OR s.auto_renew)) AS plan_in_force,
       ARRAY (SELECT i.instruction_text
                FROM (SELECT o.id, left(o.instruction_text, 2000) AS instruction_text
                        FROM conversation_instructions o
                       WHERE o.user_id = $1 AND o.chatbot_id = v.chatbot_id
                         AND o.contact_id = v.contact_id AND o.is_active
                         AND (o.expires_at IS NULL OR o.expires_at > now())
                       ORDER BY o.id DESC LIMIT 20) i
               ORDER BY i.id) AS instructions,
       b.kb_version,
       coalesce((SELECT as_object(s.subscription_config) FROM user_subscriptions s
                  WHERE s.user_id = $1 AND s.is_active), '{}') AS plan,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(a.id, a.request_type, a.request_details,
                                                    a.amount::text, a.currency)
                                  ORDER BY a.id), '[]')
          FROM (SELECT o.id, o.request_type, o.request_details, o.amount, o.currency
                  FROM actions o
                 WHERE o.user_id = $1 AND o.chatbot_id = v.chatbot_id
                   AND o.contact_id = v.contact_id AND o.status = 'pending'
                 ORDER BY o.id DESC LIMIT 10) a) AS open_actions,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(f.about, f.text) ORDER BY f.id), '[]')
          FROM facts f
         WHERE f.user_id = $1 AND f.contact_id = v.contact_id) AS facts,
       b.budgets,
       b.model, b.model_keys, b.topic, b.opt_out_words, c.marketing_choice, c.marketing_choice_at,
       -- Counted only where the 31st message back is so young.
       CASE WHEN (SELECT m.created_at FROM messages m
                   WHERE m.user_id = $1 AND m.conversation_id = $2
                   ORDER BY m.id DESC OFFSET 30 LIMIT 1) > lately.since
            THEN (SELECT count(*) FROM (
                      SELECT m.direction, m.is_from_human, m.bulk, m.created_at FROM messages m
                       WHERE m.user_id = $1 AND m.conversation_id = $2
                       ORDER BY m.id DESC LIMIT 400) m
                   WHERE m.direction = 'outbound' AND NOT coalesce(m.is_from_human, false)
                     AND NOT m.bulk AND m.created_at > lately.since)::int
            ELSE 0 END AS turns_lately,
       v.loop_stopped_at, v.off_topic, v.off_topic_at
  FROM conversations v
 CROSS JOIN LATERAL (SELECT greatest(now() - interval '10 min', v.loop_stopped_at)) lately (since)
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

-- name: is_blocked
SELECT coalesce(c.contact_status = 'blocked', false) AS blocked
  FROM conversations v JOIN contacts c ON c.user_id = $1 AND c.id = v.contact_id
 WHERE v.user_id = $1 AND v.id = $2;

-- name: hand_over
-- A human who has the conversation keeps it; then nothing comes back.
UPDATE conversations
   SET taken_over_at = now(), taken_over_until = now() + $3::interval, taken_over_by = $4,
       taken_over_reason = $5
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

-- name: stop_loop
-- A hand-back ends it. What was said before counts no more.
UPDATE conversations
   SET taken_over_at = now(), taken_over_until = now() + $3::interval, taken_over_reason = $4,
       taken_over_by = 'product', loop_stopped_at = now()
 WHERE user_id = $1 AND id = $2 AND NOT coalesce(taken_over_until > now(), false)
RETURNING chatbot_id, contact_id, taken_over_until;

-- name: note_topic
UPDATE conversations
   SET off_topic = CASE WHEN $3::boolean THEN least(off_topic + 1, 1000) ELSE 0 END,
       off_topic_at = CASE WHEN $3 THEN now() END
 WHERE user_id = $1 AND id = $2;

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

-- name: hold_turn
-- The turn waits for what its inputs brought, until $5; what came meanwhile keeps its time.
UPDATE conversations
   SET lease_owner = NULL, held_for_media = true, ready_at = least(ready_at, $5::timestamptz),
       updated_at = now()
 WHERE user_id = $1 AND id = $2 AND lease_owner = $3 AND epoch = $4;

-- name: abandon
-- Nothing that waits for an answer in it is read again.
UPDATE conversations
   SET answered_seq = input_seq, ready_at = NULL, pending_since = NULL, lease_owner = NULL,
       attempts = 0, failing_since = NULL, model_tries = 0, told_slow_at = NULL,
       rebuild_thread = true, updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: trust_thread
-- Unless it was given up since it was read ($3): migrations/0092.
UPDATE conversations SET rebuild_thread = false
 WHERE user_id = $1 AND id = $2 AND forgotten = $3;

-- name: forget_threads
-- In id order, as everything that locks several does.
UPDATE conversations SET rebuild_thread = true
 WHERE user_id = $1 AND id IN (SELECT v.id FROM conversations v
                                WHERE v.user_id = $1 AND v.id = ANY ($2::bigint[])
                                ORDER BY v.id FOR NO KEY UPDATE);
