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
    RETURNING m.id, m.conversation_id, m.contact_id, m.status, m.overage, m.bulk, f.place,
              CASE WHEN f.upward AND f.status = 'failed' THEN f.usage_day END AS give_back_day,
              (f.upward AND f.status = 'failed') AS failed_now,
              (f.upward AND f.was IN ('failed', 'cancelled')) AS arrived_after_all,
              -- Nobody knew before that Meta took it.
              (f.upward AND f.status <> 'failed'
               AND f.was IN ('queued', 'sending', 'unknown', 'cancelled')) AS sent_now,
              f.upward AND f.status <> 'failed' AS moved,
              m.metadata ->> 'trace_id' AS trace_id
)
SELECT hit.place::int, done.id, done.conversation_id, done.contact_id, done.status, done.trace_id,
       done.overage, done.bulk,
       CASE WHEN done.place = hit.place THEN done.give_back_day END AS give_back_day,
       (done.place = hit.place AND done.failed_now) AS failed_now,
       (done.place = hit.place AND done.arrived_after_all) AS arrived_after_all,
       (done.place = hit.place AND done.sent_now) AS sent_now,
       (done.place = hit.place AND done.moved) AS moved,
       (SELECT u.told FROM users u WHERE u.id = $1) AS told
  FROM hit JOIN done ON done.id = hit.id;
