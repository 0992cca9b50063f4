-- What the tenant's own people and programs see and change. Lists are newest first; $2 is the last
-- id of the page before.

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

-- name: list_messages
-- Row by row, as list_actions: $4 at most, with $5 bytes.
WITH RECURSIVE page AS (
    SELECT $2::bigint AS id, 0 AS place, 0::bigint AS bytes
     UNION ALL
    SELECT m.id, page.place + 1, page.bytes + m.bytes
      FROM page CROSS JOIN LATERAL (
           SELECT m.id, octet_length(m::text) AS bytes FROM messages m
            WHERE m.user_id = $1 AND m.conversation_id = $3 AND m.id < page.id
            ORDER BY m.id DESC LIMIT 1) m
     WHERE page.place <= $4 AND (page.bytes <= $5 OR page.place = 1)
)
SELECT m.id, m.conversation_id, m.chatbot_id, m.contact_id, m.message_id, m.direction,
       m.message_type, m.content_text, m.content_url, m.status, m.sent_at, m.is_from_human,
       m.ai_processed, m.in_reply_to, m.metadata::text AS metadata, m.created_at,
       count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page JOIN messages m ON m.user_id = $1 AND m.id = page.id
 WHERE page.place BETWEEN 1 AND $4 AND (page.bytes <= $5 OR page.place = 1)
 ORDER BY m.id DESC;

-- name: read_message
SELECT id, conversation_id, chatbot_id, contact_id, message_id, direction, message_type,
       content_text, content_url, status, sent_at, is_from_human, ai_processed, in_reply_to,
       metadata::text AS metadata, created_at
  FROM messages WHERE user_id = $1 AND id = $2;

-- name: list_chatbots
-- Row by row, as list_actions: $3 at most, with $4 bytes.
WITH RECURSIVE page AS (
    SELECT $2::bigint AS id, 0 AS place, 0::bigint AS bytes
     UNION ALL
    SELECT b.id, page.place + 1, page.bytes + b.bytes
      FROM page CROSS JOIN LATERAL (
           SELECT b.id, octet_length(b::text) AS bytes FROM chatbots b
            WHERE b.user_id = $1 AND b.id < page.id
            ORDER BY b.id DESC LIMIT 1) b
     WHERE page.place <= $3 AND (page.bytes <= $4 OR page.place = 1)
)
SELECT b.id, b.name, b.whatsapp_phone_number, b.phone_number_id, b.general_instructions,
       b.is_active, b.bot_status, b.created_at, b.updated_at,
       count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page JOIN chatbots b ON b.user_id = $1 AND b.id = page.id
 WHERE page.place BETWEEN 1 AND $3 AND (page.bytes <= $4 OR page.place = 1)
 ORDER BY b.id DESC;

-- name: read_usage
-- The tenant's own day and month, and when they end.
SELECT u.timezone, d.day AS tracking_date,
       (d.day + 1)::timestamp AT TIME ZONE u.timezone AS day_ends_at,
       (d.month + interval '1 month')::timestamp AT TIME ZONE u.timezone AS month_ends_at,
       extract(year FROM d.day)::int AS year, extract(month FROM d.day)::int AS month,
       s.subscription_name, s.daily_message_limit, s.monthly_message_limit,
       coalesce(t.daily_messages_sent, 0) AS daily_messages_sent,
       coalesce(t.daily_messages_received, 0) AS daily_messages_received,
       coalesce(t.daily_overage_messages, 0) AS daily_overage_messages,
       coalesce(t.messages_reserved, 0) AS messages_reserved,
       coalesce(t.live_takeovers_used, 0) AS live_takeovers_used,
       coalesce(t.actions_created, 0) AS actions_created,
       coalesce(t.api_calls_made, 0) AS api_calls_made,
       coalesce(m.total_messages_sent, 0) AS total_messages_sent,
       coalesce(m.overage_messages, 0) AS overage_messages
  FROM users u
 CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE u.timezone)::date AS day,
                            date_trunc('month', now() AT TIME ZONE u.timezone) AS month) d
  LEFT JOIN user_subscriptions s ON s.user_id = $1 AND s.is_active
  LEFT JOIN usage_tracking t ON t.user_id = $1 AND t.tracking_date = d.day
  LEFT JOIN monthly_usage_summary m ON m.user_id = $1 AND m.year = extract(year FROM d.day)
        AND m.month = extract(month FROM d.day)
 WHERE u.id = $1;
