-- name: record_inbound
-- A message recorded before is not recorded again and does not come back. Its conversation is
-- locked by lock_conversations(), so input_seq cannot move under us; the ids follow the order of
-- the batch, which is the order of arrival.
WITH item AS (
    SELECT DISTINCT ON (i.chatbot_id, i.wamid) i.*
      FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                  $8::timestamptz[], $9::jsonb[])
           WITH ORDINALITY AS i (chatbot_id, contact_id, conversation_id, wamid, message_type,
                                 content_text, sent_at, metadata, place)
     ORDER BY i.chatbot_id, i.wamid, i.place
), fresh AS (
    SELECT item.*,
           v.input_seq + row_number() OVER (PARTITION BY v.id ORDER BY item.place) AS input_seq
      FROM item
      JOIN conversations v ON v.user_id = $1 AND v.id = item.conversation_id
     WHERE NOT EXISTS (SELECT FROM messages m WHERE m.user_id = $1
                          AND m.chatbot_id = item.chatbot_id AND m.message_id = item.wamid)
)
INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, message_id, direction,
                      message_type, content_text, status, sent_at, metadata, input_seq)
SELECT $1, chatbot_id, contact_id, conversation_id, wamid, 'inbound',
       message_type, content_text, 'received', sent_at, metadata, input_seq
  FROM fresh ORDER BY place
ON CONFLICT (user_id, chatbot_id, message_id) DO NOTHING
RETURNING id, conversation_id, input_seq, sent_at;

-- name: read_messages
-- The last $4 rows of the conversation that are no open inputs, and the first $5 that are.
(SELECT id, direction, is_from_human, status, content_text, sent_at, created_at, input_seq,
        message_id AS wamid, metadata
   FROM messages WHERE user_id = $1 AND conversation_id = $2
    AND (input_seq IS NULL OR input_seq <= $3)
    AND metadata ->> 'source' IS DISTINCT FROM 'history'  -- was said long before, and came late
  ORDER BY id DESC LIMIT $4)
UNION ALL
(SELECT id, direction, is_from_human, status, content_text, sent_at, created_at, input_seq,
        message_id AS wamid, metadata
   FROM messages WHERE user_id = $1 AND conversation_id = $2 AND input_seq > $3
  ORDER BY input_seq LIMIT $5)
ORDER BY id;

-- name: settle_inputs
-- The turn's inputs: answered ($3), or not, and then the reason why none will be.
UPDATE messages
   SET ai_processed = $3::boolean, processing_duration = $5::numeric,
       metadata = CASE WHEN $4::text IS NULL THEN metadata
                       ELSE metadata || jsonb_build_object('reason', $4::text) END
 WHERE user_id = $1 AND id = ANY ($2::bigint[]);

-- name: queue_reply
INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, message_type,
                      content_text, status, sent_at, metadata, in_reply_to, usage_day, overage)
SELECT $1, v.chatbot_id, v.contact_id, v.id, 'outbound', 'text', $3, 'queued', now(), $4, $5, $6,
       $7
  FROM conversations v WHERE v.user_id = $1 AND v.id = $2
RETURNING id;

-- name: claim_sends
SELECT user_id, message_id FROM claim_sends($1, $2, $3, $4, $5, $6);

-- name: read_send
-- What is to be sent and to whom. Nothing comes back when it is no longer the worker's to send.
SELECT m.conversation_id, m.content_text, m.in_reply_to, m.send_attempts, m.usage_day,
       coalesce(m.metadata -> 'refused', '{}') AS refused, m.metadata ->> 'trace_id' AS trace_id,
       coalesce(m.sent_at < now() - $4::interval, false) AS too_old,
       now() - m.sent_at AS waited,
       now() - v.last_inbound_at AS since_inbound,
       CASE WHEN m.message_type = 'template' THEN m.metadata -> 'template' END AS template,
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
           AS silenced
  FROM messages m
  LEFT JOIN conversations v ON v.user_id = $1 AND v.id = m.conversation_id
  JOIN contacts c ON c.user_id = $1 AND c.id = m.contact_id
  JOIN chatbots b ON b.user_id = $1 AND b.id = m.chatbot_id
  JOIN users u ON u.id = $1
 WHERE m.user_id = $1 AND m.id = $2 AND m.send_owner = $3 AND m.status = 'queued'
   FOR NO KEY UPDATE OF m;

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

-- name: bury
-- Replies that will not reach their customer, for the dead list.
INSERT INTO dead_sends (user_id, message_id, reason, detail, trace_id)
SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[])
ON CONFLICT (user_id, message_id) DO UPDATE
   SET reason = excluded.reason, detail = excluded.detail, died_at = now();

-- name: unbury
-- They did reach them after all.
DELETE FROM dead_sends WHERE user_id = $1 AND message_id = ANY ($2::bigint[]);

-- name: mark_accepted
-- A status may have come before Meta's answer to the call: it is further on and stays. 'queued':
-- somebody took this worker for dead and put the message up again; it need not go again.
UPDATE messages
   SET message_id = coalesce(message_id, $3), send_owner = NULL, sent_at = now(), unknown_at = NULL,
       status = CASE WHEN status IN ('queued', 'sending', 'unknown') THEN 'accepted'
                     ELSE status END
 WHERE user_id = $1 AND id = $2
RETURNING status;

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

-- name: lock_unknown
-- Overdue still, at this moment: it may have been settled, sent again and become unknown anew since
-- it was found.
SELECT m.unknown_count FROM messages m
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
          was.usage_day, m.overage;

-- name: queue_window_template
-- The window was closed for the reply $2: the chatbot's template goes instead, if it has one, and
-- asks the customer to write again. One a window, whatever else was to be said: 'asked_already'. The
-- reply's unit ($3, $4) is then the template's. The conversation is locked by the caller.
WITH late AS (
    SELECT m.id, m.chatbot_id, m.contact_id, m.conversation_id, m.metadata -> 'trace_id' AS trace_id,
           jsonb_build_object('name', b.window_template -> 'name',
                              'language', b.window_template -> 'language') AS template,
           EXISTS (SELECT FROM messages t
                    WHERE t.user_id = $1 AND t.conversation_id = m.conversation_id
                      AND t.message_type = 'template' AND t.direction = 'outbound'
                      AND t.status NOT IN ('failed', 'cancelled')
                      AND t.created_at > coalesce(v.last_inbound_at, '-infinity')) AS asked
      FROM messages m
      JOIN conversations v ON v.user_id = $1 AND v.id = m.conversation_id
      JOIN chatbots b ON b.user_id = $1 AND b.id = m.chatbot_id
     WHERE m.user_id = $1 AND m.id = $2 AND m.message_type = 'text'
       AND m.metadata ->> 'kind' = 'reply' AND NOT coalesce(m.is_from_human, false)
       AND b.window_template IS NOT NULL
), queued AS (
    INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,
                          message_type, content_text, status, sent_at, metadata, usage_day, overage)
    SELECT $1, chatbot_id, contact_id, conversation_id, 'outbound', 'template',
           '[template ' || (template ->> 'name') || ']', 'queued', now(),
           jsonb_strip_nulls(jsonb_build_object('kind', 'reply', 'trace_id', trace_id,
                                                'template', template, 'instead_of', id)), $3, $4
      FROM late WHERE NOT asked
    RETURNING id
)
SELECT CASE WHEN EXISTS (SELECT FROM queued) THEN 'queued' ELSE 'asked_already' END FROM late;

-- name: merge_statuses
-- Upwards only, in any order of arrival: 'failed' stands above 'sent' (Meta gave up) and below
-- 'delivered' (it arrived all the same). Matched by wamid, or by the id that we sent along: of a
-- message that went out twice both wamids tell how far it got, but only its last attempt can fail
-- it. Several statuses of one message count by the furthest. 'cancelled' says that we did not send
-- it (again): any status but 'failed' proves that an attempt before arrived at Meta.
WITH item AS (
    SELECT * FROM unnest($3::text[], $4::bigint[], $5::int[], $6::text[], $7::jsonb[])
        WITH ORDINALITY AS i (wamid, our_id, attempt, status, report, place)
), hit AS (
    SELECT i.place, i.wamid, i.status, i.report, m.id, m.status AS was, m.usage_day,
           array_position(ARRAY['queued', 'sending', 'unknown', 'accepted', 'sent', 'failed',
                                'delivered', 'read', 'played'], i.status) AS rank,
           array_position(ARRAY['queued', 'sending', 'unknown', 'accepted', 'sent', 'failed',
                                'delivered', 'read', 'played'],
                          CASE WHEN m.status = 'cancelled' AND i.status <> 'failed' THEN 'accepted'
                               ELSE m.status::text END) AS rank_was,
           (i.status = 'failed'
            AND (m.message_id <> i.wamid
                 OR (m.message_id IS NULL
                     AND (m.status = 'queued' OR i.attempt < m.send_attempts)))) AS of_another_send
      FROM item i
           -- Looked up one way after the other, and each row by its key alone: for an OR over the
           -- join, and for a chatbot beside the key (which PostgreSQL takes for independent of the
           -- tenant, so for few), all messages of the chatbot are read, 1,800 a status in a tenant of
           -- 10,000.
     CROSS JOIN LATERAL (
           SELECT w.id FROM messages w
            WHERE w.user_id = $1 AND w.chatbot_id = $2 AND w.message_id = i.wamid
           UNION
           SELECT o.id FROM messages o
            WHERE o.user_id = $1 AND o.id = i.our_id AND o.chatbot_id = $2) k
      JOIN messages m ON m.user_id = $1 AND m.id = k.id AND m.direction = 'outbound'
       AND (m.message_id = i.wamid
            OR (m.id = i.our_id AND (m.message_id IS NULL OR m.send_attempts > 1)))
     ORDER BY m.id FOR NO KEY UPDATE OF m
), furthest AS (
    SELECT DISTINCT ON (id) *,
           (NOT coalesce(of_another_send, false) AND rank > coalesce(rank_was, 99)) AS upward
      FROM hit ORDER BY id, coalesce(of_another_send, false), rank DESC
), done AS (
    UPDATE messages m
       SET -- Not that of a send that only tells of its failure: the last one's must still fit.
           message_id = CASE WHEN f.of_another_send THEN m.message_id
                             ELSE coalesce(m.message_id, f.wamid) END,
           status = CASE WHEN f.upward THEN f.status ELSE m.status END,
           unknown_at = CASE WHEN f.upward THEN NULL ELSE m.unknown_at END,
           send_owner = CASE WHEN f.upward THEN NULL ELSE m.send_owner END,
           usage_day = CASE WHEN f.upward AND f.status = 'failed' THEN NULL ELSE m.usage_day END,
           metadata = m.metadata || jsonb_build_object(
               'statuses', f.report -> 'statuses' || coalesce(m.metadata -> 'statuses', '{}'))
               || (f.report - 'statuses')
      FROM furthest f WHERE m.user_id = $1 AND m.id = f.id
    RETURNING m.id, m.conversation_id, m.contact_id, m.status, m.overage, f.place,
              CASE WHEN f.upward AND f.status = 'failed' THEN f.usage_day END AS give_back_day,
              (f.upward AND f.status = 'failed') AS failed_now,
              (f.upward AND f.was IN ('failed', 'cancelled')) AS arrived_after_all,
              m.metadata ->> 'trace_id' AS trace_id
)
SELECT hit.place::int, done.id, done.conversation_id, done.contact_id, done.status, done.trace_id,
       done.overage,
       CASE WHEN done.place = hit.place THEN done.give_back_day END AS give_back_day,
       (done.place = hit.place AND done.failed_now) AS failed_now,
       (done.place = hit.place AND done.arrived_after_all) AS arrived_after_all
  FROM hit JOIN done ON done.id = hit.id;
