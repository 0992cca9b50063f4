-- What the tenant's own people and programs see and change. Lists are newest first; $2 is the last
-- id of the page before.

-- name: list_conversations
SELECT v.id, v.chatbot_id, v.contact_id, v.status, v.phone_number, v.name, v.bsuid, v.unanswered,
       v.last_inbound_at, v.taken_over_at, v.taken_over_until, v.taken_over_by,
       v.taken_over_reason, v.created_at, v.updated_at
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
 ORDER BY v.id DESC LIMIT $4;

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
SELECT id, conversation_id, chatbot_id, contact_id, message_id, direction, message_type,
       content_text, content_url, status, sent_at, is_from_human, ai_processed, in_reply_to,
       metadata, created_at
  FROM messages
 WHERE user_id = $1 AND conversation_id = $3 AND id < $2
 ORDER BY id DESC LIMIT $4;

-- name: read_message
SELECT id, conversation_id, chatbot_id, contact_id, message_id, direction, message_type,
       content_text, content_url, status, sent_at, is_from_human, ai_processed, in_reply_to,
       metadata, created_at
  FROM messages WHERE user_id = $1 AND id = $2;

-- name: list_chatbots
SELECT id, name, whatsapp_phone_number, phone_number_id, general_instructions, is_active,
       bot_status, created_at, updated_at
  FROM chatbots
 WHERE user_id = $1 AND id < $2
 ORDER BY id DESC LIMIT $3;

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
