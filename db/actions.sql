-- name: equal_requests
-- Keys that are pending in the conversation already. The caller holds its row: nobody adds one.
SELECT a.request_key FROM actions a
  JOIN conversations v ON v.user_id = $1 AND v.id = $2
 WHERE a.user_id = $1 AND a.chatbot_id = v.chatbot_id AND a.contact_id = v.contact_id
   AND a.status = 'pending' AND a.request_key = ANY ($3::text[]);

-- name: lock_approving
-- Decisions that approve requests of these types in this conversation, locked in the order of their
-- ids: from here on no other turn takes of their sums, and none is withdrawn.
SELECT a.id FROM actions a
  JOIN conversations v ON v.user_id = $1 AND v.id = $2
 WHERE a.user_id = $1 AND a.chatbot_id = v.chatbot_id AND a.request_type = ANY ($3::text[])
   AND a.status = 'approved' AND a.auto_approve_similar
   AND (a.any_contact OR a.contact_id = v.contact_id)
   AND coalesce(a.auto_approve_until, a.resolved_at + interval '30 days') > now()
 ORDER BY a.id FOR NO KEY UPDATE OF a;

-- name: read_approving
-- As they are now that they are locked. Of those without an amount, which approve what is equal, not
-- the ones that approved $3 in the last 24 hours: money has a sum a day, words have a number.
SELECT a.id, a.request_type, a.request_details, a.request_key, a.currency, a.max_amount,
       coalesce(a.context_data, 'null')::text AS context
  FROM actions a
 WHERE a.user_id = $1 AND a.id = ANY ($2::bigint[]) AND a.auto_approve_similar
   AND coalesce(a.auto_approve_until, a.resolved_at + interval '30 days') > now()
   AND (a.max_amount IS NOT NULL
        OR (SELECT count(*) FROM actions x
             WHERE x.user_id = $1 AND x.auto_approved_by = a.id
               AND x.created_at > now() - interval '24 hours') < $3);

-- name: take_of_bound
-- Of what the decision may approve on that day; of days that are over nothing is taken any more.
-- Nothing comes back when there is no room.
UPDATE actions a
   SET auto_approved_sum = CASE WHEN a.auto_approved_day >= $3 THEN a.auto_approved_sum ELSE 0 END
                           + $4,
       auto_approved_day = greatest(a.auto_approved_day, $3)
 WHERE a.user_id = $1 AND a.id = $2 AND a.auto_approve_similar
   AND CASE WHEN a.auto_approved_day >= $3 THEN a.auto_approved_sum ELSE 0 END + $4
       <= a.max_per_day
RETURNING true;

-- name: create_action
-- $11: the earlier decision that approves it; NULL: a person is to decide.
INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details, context_data,
                     amount, currency, request_key, usage_day, expires_at, status,
                     auto_approved_by, resolved_at, resolved_by)
SELECT v.user_id, v.chatbot_id, v.contact_id, $3::text, $4::text, $5::jsonb, $6::numeric,
       $7::text, $8::text, $9::date,
       now() + make_interval(hours => $10),
       CASE WHEN $11::bigint IS NULL THEN 'pending' ELSE 'approved' END, $11,
       CASE WHEN $11::bigint IS NOT NULL THEN now() END,
       CASE WHEN $11::bigint IS NOT NULL THEN v.user_id END
  FROM conversations v
 WHERE v.user_id = $1 AND v.id = $2
RETURNING id, user_id, chatbot_id, contact_id, request_type, request_details,
          coalesce(context_data, 'null')::text AS context_data, amount, currency, status,
          user_response, auto_approve_similar, max_amount, max_per_day, any_contact,
          auto_approve_until, withdrawn_at, auto_approved_by, created_at, expires_at, resolved_at,
          resolved_by;

-- name: lock_action_conversation
-- Before the action itself, as the order of locks wants it. The action's chatbot and contact say
-- which conversation it is.
SELECT v.id FROM actions a
  JOIN conversations v ON v.user_id = $1 AND v.chatbot_id = a.chatbot_id
   AND v.contact_id = a.contact_id
 WHERE a.user_id = $1 AND a.id = $2
   FOR NO KEY UPDATE OF v;

-- name: resolve_action
-- Out of 'pending', once. What it approves from now on is kept only with an approval; an expiry is
-- nobody's decision.
UPDATE actions
   SET status = $3, user_response = $4, auto_approve_similar = ($5 AND $3 = 'approved'),
       max_amount = $6, max_per_day = $7, any_contact = $8, auto_approve_until = $9,
       resolved_at = now(), resolved_by = CASE WHEN $3 <> 'expired' THEN $1 END
 WHERE user_id = $1 AND id = $2 AND status = 'pending'
   AND ($3 <> 'expired' OR expires_at <= now())
RETURNING id, user_id, chatbot_id, contact_id, request_type, request_details,
          coalesce(context_data, 'null')::text AS context_data, amount, currency, status,
          user_response, auto_approve_similar, max_amount, max_per_day, any_contact,
          auto_approve_until, withdrawn_at, auto_approved_by, created_at, expires_at, resolved_at,
          resolved_by;

-- name: withdraw_action
-- It approves nothing any more. Nothing comes back when it does not.
UPDATE actions SET auto_approve_similar = false, withdrawn_at = now()
 WHERE user_id = $1 AND id = $2 AND status = 'approved' AND auto_approve_similar
RETURNING id, user_id, chatbot_id, contact_id, request_type, request_details,
          coalesce(context_data, 'null')::text AS context_data, amount, currency, status,
          user_response, auto_approve_similar, max_amount, max_per_day, any_contact,
          auto_approve_until, withdrawn_at, auto_approved_by, created_at, expires_at, resolved_at,
          resolved_by;

-- name: read_action
SELECT id, user_id, chatbot_id, contact_id, request_type, request_details,
       coalesce(context_data, 'null')::text AS context_data, amount, currency, status,
       user_response, auto_approve_similar, max_amount, max_per_day, any_contact,
       auto_approve_until, withdrawn_at, auto_approved_by, created_at, expires_at, resolved_at,
       resolved_by
  FROM actions WHERE user_id = $1 AND id = $2;

-- name: list_actions
-- Youngest first, in pages: those with an id below $2. `only` stands for what is asked for, `key` for
-- how its index has the id. At most $3, and so many that they have $4 bytes. Row by row, since of
-- those that do not fit nothing is to be read: 200 that were kept apart and packed are 25 MB.
WITH RECURSIVE page AS (
    SELECT $2::bigint AS id, 0 AS place, 0::bigint AS bytes
     UNION ALL
    SELECT a.id, page.place + 1, page.bytes + a.bytes
      FROM page CROSS JOIN LATERAL (
           SELECT a.id, octet_length(a::text) AS bytes FROM actions a
            WHERE a.user_id = $1 AND /* key */ < page.id AND /* only */
            ORDER BY /* key */ DESC LIMIT 1) a
     WHERE page.place <= $3 AND (page.bytes <= $4 OR page.place = 1)
)
SELECT a.id, a.user_id, a.chatbot_id, a.contact_id, a.request_type, a.request_details,
       coalesce(a.context_data, 'null')::text AS context_data, a.amount, a.currency, a.status,
       a.user_response, a.auto_approve_similar, a.max_amount, a.max_per_day, a.any_contact,
       a.auto_approve_until, a.withdrawn_at, a.auto_approved_by, a.created_at, a.expires_at,
       a.resolved_at, a.resolved_by, count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page JOIN actions a ON a.user_id = $1 AND a.id = page.id
 WHERE page.place BETWEEN 1 AND $3 AND (page.bytes <= $4 OR page.place = 1)
 ORDER BY a.id DESC;

-- name: overdue_actions
SELECT user_id, id FROM overdue_actions($1);

-- name: owners_of_actions
SELECT owners_of_actions() AS user_id;

-- name: owner_of_action
SELECT owner_of_action($1) AS user_id;
