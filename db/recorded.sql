-- name: recorded_talk
-- Who spoke with whom.
SELECT v.id, v.chatbot_id, v.contact_id, v.thread_id, b.name AS chatbot_name, b.texts,
       c.name AS contact_name, c.language AS contact_language, u.timezone,
       ARRAY (SELECT left(i.instruction_text, 2000) FROM conversation_instructions i
               WHERE i.user_id = $1 AND i.chatbot_id = v.chatbot_id
                 AND i.contact_id = v.contact_id AND i.is_active
                 AND (i.expires_at IS NULL OR i.expires_at > now())
               ORDER BY i.id DESC LIMIT 20) AS instructions
  FROM conversations v
  JOIN contacts c ON c.user_id = $1 AND c.id = v.contact_id
  JOIN chatbots b ON b.user_id = $1 AND b.id = v.chatbot_id
  JOIN users u ON u.id = $1
 WHERE v.user_id = $1 AND v.id = $2 AND c.erased_at IS NULL;

-- name: recorded_messages
-- The last $4, up to $3 where it is given; in order of arrival. Texts are cut as a turn reads them.
SELECT m.id, m.direction, coalesce(m.is_from_human, false) AS is_from_human, m.status,
       CASE WHEN length(m.content_text) > 16000
            THEN left(m.content_text, 8000) || right(m.content_text, 8000)
            ELSE m.content_text END AS content_text,
       coalesce(m.sent_at, m.created_at) AS sent_at, m.created_at, m.input_seq,
       m.message_id AS wamid,
       as_object(m.metadata)
           - ARRAY['details', 'original', 'original_details', 'answered_text'] AS metadata,
       CASE WHEN length(m.metadata ->> 'answered_text') > 16000
            THEN left(m.metadata ->> 'answered_text', 8000) || right(m.metadata ->> 'answered_text', 8000)
            ELSE m.metadata ->> 'answered_text' END AS answered_text,
       CASE WHEN m.message_type IN ('interactive', 'button') AND m.direction = 'inbound'
            THEN left(m.metadata #>> '{details,reply,id}', 256) END AS pressed,
       NULL::jsonb AS cart, NULL::jsonb AS medium,  -- it orders nothing, and opens no files
       coalesce(m.ai_processed, false) AS answered,
       -- Written with the reply, in its transaction.
       EXISTS (SELECT FROM analytics_events e
                WHERE e.user_id = $1 AND e.created_at = m.created_at
                  AND e.event_type = 'conversation.taken_over' AND e.event_data ->> 'by' = 'bot'
                  AND e.event_data ->> 'conversation_id' = $2::text) AS handed_over
  FROM (SELECT * FROM messages
         WHERE user_id = $1 AND conversation_id = $2 AND ($3::bigint IS NULL OR id <= $3)
           AND metadata ->> 'source' IS DISTINCT FROM 'history'
         ORDER BY id DESC LIMIT $4) m
 ORDER BY m.id;

-- name: recorded_actions
-- Of a contact and a chatbot, since a moment.
SELECT id, request_type, request_details AS details, amount, currency, status, created_at,
       resolved_at
  FROM actions
 WHERE user_id = $1 AND contact_id = $2 AND chatbot_id = $3 AND created_at >= $4
 ORDER BY id LIMIT $5;

-- name: recorded_facts
-- As they are now.
SELECT about, text, created_at FROM facts
 WHERE user_id = $1 AND contact_id = $2 ORDER BY id LIMIT $3;

-- name: recorded_events
SELECT id, input_seq, kind, data, created_at FROM conversation_events
 WHERE user_id = $1 AND conversation_id = $2 AND created_at >= $3 ORDER BY input_seq LIMIT $4;

-- name: questions_of
-- Of rows that are still there.
SELECT id, question FROM bot_knowledge_base
 WHERE user_id = $1 AND chatbot_id = $2 AND id = ANY ($3::bigint[]);
