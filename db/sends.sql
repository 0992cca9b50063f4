-- name: claim_sends
SELECT user_id, message_id FROM claim_sends($1, $2, $3, $4, $5, $6, $7);

-- name: lock_send
-- The send, and what may change what becomes of it: its contact and its conversation. The message
-- first, as everybody does who settles one. What is read is read by the next statement, which sees
-- what was done before the locks were there. Nothing comes back when it is no longer the worker's.
WITH mine AS MATERIALIZED (
    SELECT m.id, m.contact_id, m.conversation_id FROM messages m
     WHERE m.user_id = $1 AND m.id = $2 AND m.send_owner = $3 AND m.status = 'queued'
       FOR NO KEY UPDATE
), whose AS MATERIALIZED (
    SELECT c.id FROM contacts c JOIN mine ON c.id = mine.contact_id
     WHERE c.user_id = $1 FOR SHARE OF c
)
SELECT true AS locked
  FROM mine
  LEFT JOIN LATERAL (
       SELECT v.id FROM conversations v
        WHERE v.user_id = $1 AND v.id = mine.conversation_id
          AND (SELECT count(*) FROM whose) >= 0  -- which is locked before it
          FOR NO KEY UPDATE) v ON true;

-- name: read_send
-- What is to be sent and to whom.
SELECT m.conversation_id, m.content_text, m.in_reply_to, m.send_attempts, m.usage_day,
       coalesce(m.metadata -> 'refused', '{}') AS refused, m.metadata ->> 'trace_id' AS trace_id,
       coalesce(m.sent_at < now() - $3::interval, false) AS too_old,
       now() - m.sent_at AS waited,
       now() - v.last_inbound_at AS since_inbound,
       CASE WHEN m.message_type = 'template' THEN m.metadata -> 'template' END AS template,
       CASE WHEN m.bulk THEN (m.metadata ->> 'campaign_id')::bigint END AS campaign_id,
       CASE WHEN m.message_type = 'interactive' THEN m.metadata -> 'interactive' END AS interactive,
       brings.medium,
       (b.marketing_api AND EXISTS (
            SELECT FROM message_templates t
             WHERE t.user_id = $1 AND t.id = (m.metadata #>> '{template,template_id}')::bigint
               AND t.category = 'MARKETING')) AS by_marketing_api,
       -- What it goes out behind was cancelled, and is on no dead list: a person answers, or another
       -- answer comes, with its own files.
       EXISTS (SELECT FROM messages r
                WHERE r.user_id = $1 AND r.id = (m.metadata ->> 'behind')::bigint
                  AND r.status = 'cancelled'
                  AND NOT EXISTS (SELECT FROM dead_sends d
                                   WHERE d.user_id = $1 AND d.message_id = r.id)) AS left_behind,
       coalesce((SELECT l.holds > 0 FROM send_limits l
                  WHERE l.user_id = $1 AND l.chatbot_id = m.chatbot_id), false) AS trying,
       m.contact_id, c.phone_number, c.wa_id, c.bsuid,
       b.id AS chatbot_id, b.phone_number_id, b.access_token,
       (coalesce(b.is_active, false) AND coalesce(b.bot_status, 'active') = 'active')
           AS chatbot_active,
       coalesce(u.is_active, false) AS tenant_active,
       -- A person has the conversation: what the bot still had to say would talk over them.
       (NOT coalesce(m.is_from_human, false)
        AND (coalesce(c.conversation_paused, false)
             OR coalesce(v.taken_over_until > now() AND v.taken_over_by = 'human', false)))
           AS silenced,
       (NOT coalesce(m.is_from_human, false) AND coalesce(c.contact_status = 'blocked', false))
           AS blocked
  FROM messages m
  LEFT JOIN conversations v ON v.user_id = $1 AND v.id = m.conversation_id
  JOIN contacts c ON c.user_id = $1 AND c.id = m.contact_id
  JOIN chatbots b ON b.user_id = $1 AND b.id = m.chatbot_id
  JOIN users u ON u.id = $1
  -- The file that it brings: where it is, and under which id Meta has it for this number.
  LEFT JOIN LATERAL (
       SELECT (m.metadata -> 'media') || jsonb_build_object(
                  'file', d.file, 'content_type', d.content_type, 'bytes', d.bytes,
                  'handle', h.handle) AS medium
         FROM (SELECT (m.metadata #>> '{media,id}')::bigint AS id) w
         LEFT JOIN media d ON d.user_id = $1 AND d.id = w.id AND d.message_id IS NULL
         LEFT JOIN media_handles h ON h.user_id = $1 AND h.media_id = d.id
              AND h.phone_number_id = b.phone_number_id AND h.expires_at > now()) brings
    ON m.message_type IN ('image', 'video', 'audio', 'document')
 WHERE m.user_id = $1 AND m.id = $2 AND c.erased_at IS NULL;

-- name: mark_sending
-- Committed before the HTTP call, so that a crash between leaves a row that says so. The pair's
-- bucket loses a token, which comes back after $3.
WITH sent AS (
    UPDATE messages SET status = 'sending', send_attempts = send_attempts + 1, send_after = NULL
     WHERE user_id = $1 AND id = $2
    RETURNING conversation_id
)
UPDATE conversations v SET pair_full_at = greatest(v.pair_full_at, now()) + $3::interval
  FROM sent WHERE v.user_id = $1 AND v.id = sent.conversation_id;

-- name: drain_pair
-- Meta says that the pair was too fast: its bucket is empty.
UPDATE conversations SET pair_full_at = greatest(pair_full_at, now() + $3::interval)
 WHERE user_id = $1 AND id = $2;

-- name: slow_number
-- Meta says that the number was too fast: half the rate, and a pause. Once for all the sends that
-- were on their way together.
UPDATE send_limits
   SET slow_rate = greatest(1, send_rate(max_rate, slow_rate, slowed_at) / 2), slowed_at = now(),
       full_at = greatest(full_at, now()) + $3::interval
 WHERE user_id = $1 AND chatbot_id = $2
   AND (slowed_at IS NULL OR slowed_at < now() - interval '1 s');

-- name: hold_number
-- Nothing of it leaves for $3, doubled with each try that failed, up to $4. Once for all the sends
-- that were on their way together.
UPDATE send_limits
   SET held_until = now() + least($4::interval, $3::interval * 2 ^ least(holds, 20)),
       held_reason = $5, holds = holds + 1
 WHERE user_id = $1 AND chatbot_id = $2 AND NOT coalesce(held_until > now(), false)
RETURNING held_until, holds;

-- name: resume_number
UPDATE send_limits
   SET held_until = NULL, held_reason = NULL, holds = 0, full_at = now()
 WHERE user_id = $1 AND chatbot_id = $2 AND holds > 0
RETURNING true AS resumed;

-- name: mark_accepted
-- A status may have come before Meta's answer to the call: it is further on and stays. 'queued':
-- somebody took this worker for dead and put the message up again; it need not go again.
-- Whether some webhook wants to hear that Meta took it, which is told once.
WITH was AS MATERIALIZED (
    SELECT id, status FROM messages WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE
)
UPDATE messages m
   SET message_id = coalesce(message_id, $3), send_owner = NULL, sent_at = now(), unknown_at = NULL,
       status = CASE WHEN was.status IN ('queued', 'sending', 'unknown') THEN 'accepted'
                     ELSE was.status END
  FROM was WHERE m.user_id = $1 AND m.id = was.id
RETURNING m.status, was.status IN ('queued', 'sending', 'unknown')
          AND (SELECT 'message.sent' = ANY (u.told) FROM users u WHERE u.id = $1) AS told;

-- name: mark_unknown
-- Only what is still being sent: a sweep may have found it unknown before, and that it has been so
-- since then must not be forgotten, or nobody would ever settle it.
UPDATE messages
   SET status = 'unknown', unknown_at = now(), unknown_count = unknown_count + 1, send_owner = NULL
 WHERE user_id = $1 AND id = $2 AND status = 'sending'
RETURNING status;

-- name: lock_attempt
-- Whether it is still this send of the message that counts. Whoever was taken for dead in the middle
-- of a call may hear of its end when the message has gone again: that says nothing of the other send.
SELECT true FROM messages
 WHERE user_id = $1 AND id = $2 AND send_attempts = $3 AND status IN ('sending', 'unknown')
   FOR NO KEY UPDATE;

-- name: requeue_send
-- A send that certainly did not happen (Meta said so), or whose outcome stayed unknown, goes again
-- after $3; $4 is kept with the row.
UPDATE messages
   SET status = 'queued', send_owner = NULL, unknown_at = NULL, send_after = now() + $3::interval,
       metadata = metadata || $4::jsonb
 WHERE user_id = $1 AND id = $2 AND status IN ('sending', 'unknown')
RETURNING send_attempts;

-- name: let_go
-- Back to the queue unsent.
UPDATE messages SET send_owner = NULL WHERE user_id = $1 AND id = $2 AND status = 'queued';

-- name: put_off_send
-- It was not sent yet, and goes after $3; $4 is kept with the row.
UPDATE messages
   SET send_owner = NULL, send_after = now() + $3::interval, metadata = metadata || $4::jsonb
 WHERE user_id = $1 AND id = $2 AND status = 'queued';

-- name: lock_unknown
-- Overdue still, at this moment: it may have been settled, sent again and become unknown anew since
-- it was found.
SELECT m.unknown_count, m.bulk FROM messages m
 WHERE m.user_id = $1 AND m.id = $2 AND m.status = 'unknown'
   AND m.unknown_at < (SELECT least(f.merged_until, clock_timestamp()) FROM status_fence f)
                      - $3::interval
   FOR NO KEY UPDATE OF m;

-- name: end_send
-- It will not be sent any more: 'failed' or 'cancelled', and why. The unit's day comes back once,
-- to be given back by the caller.
WITH was AS (
    SELECT m.id, m.usage_day FROM messages m
     WHERE m.user_id = $1 AND m.id = $2 AND m.status IN ('queued', 'sending', 'unknown')
       FOR NO KEY UPDATE
)
UPDATE messages m
   SET status = $3, send_owner = NULL, unknown_at = NULL, usage_day = NULL,
       metadata = m.metadata || $4::jsonb
  FROM was WHERE m.user_id = $1 AND m.id = was.id
RETURNING m.conversation_id, m.chatbot_id, m.contact_id, m.metadata ->> 'trace_id' AS trace_id,
          was.usage_day, m.overage, m.bulk;

-- name: late_reply
-- For the reply $2 the window was closed: what may go instead, and whether a template asked the customer
-- to write since they last did, whatever else was to be said. The conversation is locked by the caller.
SELECT m.chatbot_id, m.contact_id, m.conversation_id, m.content_text,
       m.metadata ->> 'trace_id' AS trace_id, (m.metadata ->> 'decided')::bigint AS decided,
       b.window_template, b.decision_template,
       EXISTS (SELECT FROM messages t
                WHERE t.user_id = $1 AND t.conversation_id = m.conversation_id
                  AND t.message_type = 'template' AND t.direction = 'outbound'
                  AND t.status NOT IN ('failed', 'cancelled')
                  AND coalesce(t.metadata ->> 'kind', '') <> 'campaign'
                  AND t.created_at > coalesce(v.last_inbound_at, '-infinity')) AS asked
  FROM messages m
  JOIN conversations v ON v.user_id = $1 AND v.id = m.conversation_id
  JOIN chatbots b ON b.user_id = $1 AND b.id = m.chatbot_id
 WHERE m.user_id = $1 AND m.id = $2 AND m.message_type IN ('text', 'interactive')
   AND m.metadata ->> 'kind' = 'reply' AND NOT coalesce(m.is_from_human, false);
