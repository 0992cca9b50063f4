-- name: create_action
-- As the tenant's earlier decisions have it: an approved action that says auto_approve_similar
-- approves this one too, if the same contact asks for the same. Type, details and context are a
-- model's words, and a model can be talked into words: equal are those that differ in nothing but
-- case, spaces and how Unicode spells a letter. What the customer wrote meanwhile may differ.
INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details, context_data,
                     usage_day, expires_at, status, auto_approved_by, resolved_at, resolved_by)
SELECT $1, v.chatbot_id, v.contact_id, $3, $4, $5, $6,
       now() + make_interval(hours => $7),
       CASE WHEN like_it.id IS NULL THEN 'pending' ELSE 'approved' END, like_it.id,
       CASE WHEN like_it.id IS NOT NULL THEN now() END,
       CASE WHEN like_it.id IS NOT NULL THEN $1 END
  FROM conversations v
  LEFT JOIN LATERAL (
       SELECT a.id FROM actions a
        WHERE a.user_id = $1 AND a.chatbot_id = v.chatbot_id AND a.contact_id = v.contact_id
          AND a.request_type = $3
          AND lower(normalize(btrim(regexp_replace(a.request_details, '\s+', ' ', 'g')), NFC))
            = lower(normalize(btrim(regexp_replace($4::text, '\s+', ' ', 'g')), NFC))
          AND a.context_data - 'customer_wrote' = $5::jsonb - 'customer_wrote'
          AND a.status = 'approved' AND a.auto_approve_similar
        ORDER BY a.id DESC LIMIT 1) like_it ON true
 WHERE v.user_id = $1 AND v.id = $2
RETURNING id, user_id, chatbot_id, contact_id, request_type, request_details,
          coalesce(context_data, 'null')::text AS context_data, status, user_response,
          auto_approve_similar, auto_approved_by, created_at, expires_at, resolved_at, resolved_by;

-- name: lock_action_conversation
-- Before the action itself, as the order of locks wants it. The action's chatbot and contact say
-- which conversation it is.
SELECT v.id FROM actions a
  JOIN conversations v ON v.user_id = $1 AND v.chatbot_id = a.chatbot_id
   AND v.contact_id = a.contact_id
 WHERE a.user_id = $1 AND a.id = $2
   FOR NO KEY UPDATE OF v;

-- name: resolve_action
-- Out of 'pending', once. $5 is kept only with an approval; an expiry is nobody's decision.
UPDATE actions
   SET status = $3, user_response = $4, auto_approve_similar = ($5 AND $3 = 'approved'),
       resolved_at = now(), resolved_by = CASE WHEN $3 <> 'expired' THEN $1 END
 WHERE user_id = $1 AND id = $2 AND status = 'pending'
   AND ($3 <> 'expired' OR expires_at <= now())
RETURNING id, user_id, chatbot_id, contact_id, request_type, request_details,
          coalesce(context_data, 'null')::text AS context_data, status, user_response,
          auto_approve_similar, auto_approved_by, created_at, expires_at, resolved_at, resolved_by;

-- name: read_action
SELECT id, user_id, chatbot_id, contact_id, request_type, request_details,
       coalesce(context_data, 'null')::text AS context_data, status, user_response,
       auto_approve_similar, auto_approved_by, created_at, expires_at, resolved_at, resolved_by
  FROM actions WHERE user_id = $1 AND id = $2;

-- name: list_actions
-- Youngest first, in pages: those with an id below $3. $2 NULL: whatever their status. At most $4,
-- and so many that they have $5 bytes. Row by row, since of those that do not fit nothing is to be
-- read: 200 that were kept apart and packed are 25 MB.
WITH RECURSIVE page AS (
    SELECT $3::bigint AS id, 0 AS place, 0::bigint AS bytes
     UNION ALL
    SELECT a.id, page.place + 1, page.bytes + a.bytes
      FROM page CROSS JOIN LATERAL (
           SELECT a.id, octet_length(a::text) AS bytes FROM actions a
            WHERE a.user_id = $1 AND ($2::text IS NULL OR a.status = $2) AND a.id < page.id
            ORDER BY a.id DESC LIMIT 1) a
     WHERE page.place <= $4 AND (page.bytes <= $5 OR page.place = 1)
)
SELECT a.id, a.user_id, a.chatbot_id, a.contact_id, a.request_type, a.request_details,
       coalesce(a.context_data, 'null')::text AS context_data, a.status, a.user_response,
       a.auto_approve_similar, a.auto_approved_by, a.created_at, a.expires_at, a.resolved_at,
       a.resolved_by, count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page JOIN actions a ON a.user_id = $1 AND a.id = page.id
 WHERE page.place BETWEEN 1 AND $4 AND (page.bytes <= $5 OR page.place = 1)
 ORDER BY a.id DESC;

-- name: overdue_actions
SELECT user_id, id FROM overdue_actions($1);

-- name: owners_of_actions
SELECT owners_of_actions() AS user_id;

-- name: owner_of_action
SELECT owner_of_action($1) AS user_id;
