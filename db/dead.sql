-- name: owners_of_dead
SELECT owners_of_dead() AS user_id;

-- name: owner_of_dead
SELECT owner_of_dead($1, $2);

-- name: list_dead
-- A tenant's sends, statuses that found no message, and items that are tried again, without what
-- they say.
SELECT 'send-' || d.message_id AS id, d.reason, d.detail, 'send' AS kind, b.phone_number_id,
       b.whatsapp_phone_number AS display_number, d.trace_id, d.died_at AS parked_at,
       coalesce(octet_length(m.content_text), 0) AS bytes
  FROM dead_sends d
  JOIN messages m ON m.user_id = $1 AND m.id = d.message_id
  JOIN chatbots b ON b.user_id = $1 AND b.id = m.chatbot_id
 WHERE d.user_id = $1
UNION ALL
SELECT 'status-' || o.id, 'orphan_status', o.status, 'status', o.phone_number_id,
       o.display_number, o.trace_id, o.parked_at, octet_length(o.raw)
  FROM orphan_statuses o
 WHERE o.user_id = $1
UNION ALL
SELECT 'stuck-' || s.id, CASE WHEN s.told_at IS NULL THEN 'retrying' ELSE 'stuck' END, s.error,
       s.kind, s.phone_number_id, s.display_number, s.trace_id, s.failed_at, octet_length(s.raw)
  FROM stuck_items s
 WHERE s.user_id = $1
 ORDER BY parked_at, id;

-- name: show_dead_send
-- Together with what it was to answer.
SELECT d.message_id, d.reason, d.detail, d.trace_id, d.died_at, m.user_id, m.chatbot_id,
       m.contact_id, m.conversation_id, m.status, m.content_text, m.send_attempts,
       m.unknown_count, m.created_at, m.metadata,
       b.phone_number_id, b.whatsapp_phone_number AS display_number,
       coalesce(c.phone_number, c.bsuid) AS recipient, i.content_text AS answers
  FROM dead_sends d
  JOIN messages m ON m.user_id = $1 AND m.id = d.message_id
  JOIN chatbots b ON b.user_id = $1 AND b.id = m.chatbot_id
  LEFT JOIN contacts c ON c.user_id = $1 AND c.id = m.contact_id
  LEFT JOIN messages i ON i.user_id = $1 AND i.chatbot_id = m.chatbot_id
   AND i.message_id = m.in_reply_to
 WHERE d.user_id = $1 AND d.message_id = $2;

-- name: show_orphan
SELECT id, user_id, status, phone_number_id, display_number, trace_id, parked_at, raw
  FROM orphan_statuses WHERE user_id = $1 AND id = $2;

-- name: lock_dead_message
-- The message before its conversation, as everybody who settles a send does.
SELECT id FROM messages WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: lock_dead_conversation
-- No turn can start in it meanwhile.
SELECT v.id FROM conversations v
 WHERE v.user_id = $1
   AND v.id = (SELECT m.conversation_id FROM messages m WHERE m.user_id = $1 AND m.id = $2)
   FOR NO KEY UPDATE;

-- name: read_dead_send
-- What a replay has to know, when it has the locks. Nothing: it is not dead any more.
SELECT v.id AS conversation_id, m.status, v.lease_owner IS NOT NULL AS being_answered,
       coalesce(m.metadata ->> 'kind' IN ('notice', 'file'), false) AS is_notice  -- outside the meter
  FROM dead_sends d
  JOIN messages m ON m.user_id = $1 AND m.id = d.message_id
  JOIN conversations v ON v.user_id = $1 AND v.id = m.conversation_id
 WHERE d.user_id = $1 AND d.message_id = $2;

-- name: requeue_dead_send
-- As if it had just been queued, but for its attempts: they tell late statuses apart. It waits for
-- those that were accepted before its COMMIT (date_replay() in migrations/0026, release_replayed() in
-- 0017).
WITH gone AS (DELETE FROM dead_sends WHERE user_id = $1 AND message_id = $2)
UPDATE messages
   SET status = 'queued', message_id = NULL, send_owner = NULL, send_after = 'infinity',
       unknown_at = NULL, unknown_count = 0, sent_at = now(), usage_day = NULL, overage = false,
       metadata = metadata - 'reason' - 'errors' - 'refused' - 'last_error'
                  - 'resent_after_unknown' || jsonb_build_object('replayed_at', now())
 WHERE user_id = $1 AND id = $2;

-- name: bury
-- Replies that will not reach their customer, for the dead list.
INSERT INTO dead_sends (user_id, message_id, reason, detail, trace_id)
SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[])
ON CONFLICT (user_id, message_id) DO UPDATE
   SET reason = excluded.reason, detail = excluded.detail, died_at = now();

-- name: unbury
-- They did reach them after all.
DELETE FROM dead_sends WHERE user_id = $1 AND message_id = ANY ($2::bigint[]);
