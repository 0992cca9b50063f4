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
-- The last $4 rows of the conversation that are no open inputs, and the first $5 that are. Of a text
-- of more than 16,000 characters its two ends: a turn shows less of one, and might read 70 of them.
SELECT id, direction, is_from_human, status,
       CASE WHEN length(content_text) > 16000 THEN left(content_text, 8000) || right(content_text, 8000)
            ELSE content_text END AS content_text,
       sent_at, created_at, input_seq, wamid,
       as_object(metadata) - ARRAY['details', 'original', 'original_details'] AS metadata
  FROM ((SELECT id, direction, is_from_human, status, content_text, sent_at, created_at, input_seq,
                message_id AS wamid, metadata
           FROM messages WHERE user_id = $1 AND conversation_id = $2
            AND (input_seq IS NULL OR input_seq <= $3)
            AND metadata ->> 'source' IS DISTINCT FROM 'history'  -- was said long before, and came late
          ORDER BY id DESC LIMIT $4)
        UNION ALL
        (SELECT id, direction, is_from_human, status, content_text, sent_at, created_at, input_seq,
                message_id AS wamid, metadata
           FROM messages WHERE user_id = $1 AND conversation_id = $2 AND input_seq > $3
          ORDER BY input_seq LIMIT $5)) m
 ORDER BY id;

-- name: settle_inputs
-- The turn's inputs: answered ($3), or not, and then the reason why none will be. One that a person
-- answered meanwhile has its reason.
UPDATE messages
   SET ai_processed = $3::boolean, processing_duration = $5::numeric,
       metadata = CASE WHEN $4::text IS NULL THEN metadata
                       ELSE jsonb_build_object('reason', $4::text) || as_object(metadata) END
 WHERE user_id = $1 AND id = ANY ($2::bigint[]);

-- name: abandon_inputs
-- Whatever waits for an answer in the conversation gets none, and $3 is why.
UPDATE messages m
   SET ai_processed = false,
       metadata = jsonb_build_object('reason', $3::text) || as_object(m.metadata)
  FROM conversations v
 WHERE v.user_id = $1 AND v.id = $2
   AND m.user_id = $1 AND m.conversation_id = $2 AND m.input_seq > v.answered_seq;

-- name: queue_text
INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, message_type,
                      content_text, status, sent_at, metadata, in_reply_to, usage_day, overage,
                      is_from_human)
SELECT $1, v.chatbot_id, v.contact_id, v.id, 'outbound', 'text', $3, 'queued', now(), $4, $5, $6,
       $7, $8
  FROM conversations v WHERE v.user_id = $1 AND v.id = $2
RETURNING id;

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
