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
       AND NOT EXISTS (SELECT FROM gone_messages g WHERE g.user_id = $1
                          AND g.chatbot_id = item.chatbot_id AND g.wamid = item.wamid)
)
INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, message_id, direction,
                      message_type, content_text, status, sent_at, metadata, input_seq,
                      received_day)
SELECT $1, f.chatbot_id, f.contact_id, f.conversation_id, f.wamid, 'inbound',
       f.message_type, f.content_text, 'received', f.sent_at, f.metadata, f.input_seq,
       usage_day(u.timezone, u.usage_day_floor)
  FROM fresh f JOIN users u ON u.id = $1 ORDER BY f.place
ON CONFLICT (user_id, chatbot_id, message_id) DO NOTHING
RETURNING id, conversation_id, input_seq, sent_at, received_day,
          (SELECT 'message.received' = ANY (u.told) FROM users u WHERE u.id = $1) AS told,
          (SELECT b.opt_out_words FROM chatbots b
            WHERE b.user_id = $1 AND b.id = messages.chatbot_id) AS opt_out_words,
          chatbot_id, message_id AS wamid;

-- name: read_messages
-- The last $4 rows of the conversation that are no open inputs, and the first $5 that are. Of a text
-- of more than 16,000 characters its two ends: a turn shows less of one, and might read 70 of them.
SELECT id, direction, is_from_human, status,
       CASE WHEN length(content_text) > 16000 THEN left(content_text, 8000) || right(content_text, 8000)
            ELSE content_text END AS content_text,
       coalesce(sent_at, created_at) AS sent_at, created_at, input_seq, wamid,
       as_object(metadata)
           - ARRAY['details', 'original', 'original_details', 'answered_text'] AS metadata,
       CASE WHEN length(metadata ->> 'answered_text') > 16000
            THEN left(metadata ->> 'answered_text', 8000) || right(metadata ->> 'answered_text', 8000)
            ELSE metadata ->> 'answered_text' END AS answered_text,
       CASE WHEN message_type IN ('interactive', 'button') AND direction = 'inbound'
            THEN left(metadata #>> '{details,reply,id}', 256) END AS pressed,
       CASE WHEN message_type = 'order' AND input_seq > $3 AND pg_column_size(metadata) < 65536
                 AND jsonb_typeof(metadata #> '{details,order}') = 'object'
            THEN metadata #> '{details,order}' END AS cart,
       medium
  FROM ((SELECT id, direction, is_from_human, status, content_text, sent_at, created_at, input_seq,
                message_id AS wamid, metadata, message_type,
                NULL::jsonb AS medium
           FROM messages WHERE user_id = $1 AND conversation_id = $2
            AND (input_seq IS NULL OR input_seq <= $3)
            AND metadata ->> 'source' IS DISTINCT FROM 'history'  -- was said long before, and came late
          ORDER BY id DESC LIMIT $4)
        UNION ALL
        (SELECT id, direction, is_from_human, status, content_text, sent_at, created_at, input_seq,
                message_id AS wamid, metadata, message_type,
                CASE WHEN message_type IN ('audio', 'image', 'document', 'sticker', 'video')
                     THEN (SELECT jsonb_build_object('kind', d.kind, 'since', d.created_at,
                                                     'open', d.settled_at IS NULL,
                                                     'text', d.text, 'stored', d.status = 'stored',
                                                     'small_file', d.small_file)
                             FROM media d WHERE d.user_id = $1 AND d.message_id = messages.id)
                     END AS medium
           FROM messages WHERE user_id = $1 AND conversation_id = $2 AND input_seq > $3
          ORDER BY input_seq LIMIT $5)) m
 ORDER BY id;

-- name: settle_inputs
-- The turn's inputs: answered ($3), or not, and then the reason why none will be. One that a person
-- answered meanwhile has its reason. One with more edits than were read ($6) was edited while the
-- turn thought: what it answers is kept. The fence holds the conversation, so that an edit that comes
-- after it finds the message answered.
UPDATE messages m
   SET ai_processed = $3::boolean, processing_duration = $5::numeric,
       metadata = CASE WHEN $4::text IS NULL THEN m.metadata
                       ELSE jsonb_build_object('reason', $4::text) || as_object(m.metadata) END
           || CASE WHEN jsonb_typeof(m.metadata -> 'edits') = 'array'
                        AND jsonb_array_length(m.metadata -> 'edits') > i.edits
                   THEN jsonb_build_object('answered_text', m.metadata -> 'original')
                   ELSE '{}' END
  FROM unnest($2::bigint[], $6::int[]) AS i (id, edits)
 WHERE m.user_id = $1 AND m.id = i.id;

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
                      content_url,
                      content_text, status, sent_at, metadata, in_reply_to, usage_day, overage,
                      is_from_human, confidence_score)
SELECT $1, v.chatbot_id, v.contact_id, v.id, 'outbound',
       CASE WHEN $4::jsonb ? 'interactive' THEN 'interactive'
            WHEN $4::jsonb ? 'media' THEN $4::jsonb #>> '{media,kind}'
            WHEN $4::jsonb ? 'template' THEN 'template' ELSE 'text' END,
       '/v1/media/' || ($4::jsonb #>> '{media,id}'), $3, 'queued', now(),
       CASE WHEN $9::jsonb IS NULL THEN $4::jsonb
            ELSE $4::jsonb || jsonb_strip_nulls(jsonb_build_object(
                     'cost', trim_scale(turn_cost($1, $9::jsonb))::text)) END,
       $5, $6, $7, $8, $10::numeric
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
       m.ai_processed, m.confidence_score::float8 AS confidence_score, m.in_reply_to,
       CASE WHEN $6::boolean THEN m.metadata
            ELSE as_object(m.metadata) - $7::text[] END::text AS metadata,
       m.created_at,
       count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page JOIN messages m ON m.user_id = $1 AND m.id = page.id
 WHERE page.place BETWEEN 1 AND $4 AND (page.bytes <= $5 OR page.place = 1)
 ORDER BY m.id DESC;

-- name: read_message
SELECT m.id, m.conversation_id, m.chatbot_id, m.contact_id, m.message_id, m.direction,
       m.message_type, m.content_text, m.content_url, m.status, m.sent_at, m.is_from_human,
       m.ai_processed, m.confidence_score::float8 AS confidence_score, m.in_reply_to,
       CASE WHEN $3::boolean THEN m.metadata
            ELSE as_object(m.metadata) - $4::text[] END::text AS metadata,
       m.created_at
  FROM messages m JOIN contacts k ON k.user_id = $1 AND k.id = m.contact_id
 WHERE m.user_id = $1 AND m.id = $2 AND k.erased_at IS NULL;
