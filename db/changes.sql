-- name: known_messages
-- Also those that were removed for their age while Meta may still repeat them.
SELECT i.place::int
  FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS i (chatbot_id, wamid, place)
 WHERE EXISTS (SELECT FROM messages m WHERE m.user_id = $1 AND m.chatbot_id = i.chatbot_id
                  AND m.message_id = i.wamid)
    OR EXISTS (SELECT FROM gone_messages g WHERE g.user_id = $1 AND g.chatbot_id = i.chatbot_id
                  AND g.wamid = i.wamid);

-- name: quoted_texts
-- What customers quote: of a long text its two ends, as they are shown.
SELECT i.place::int,
       CASE WHEN length(m.content_text) > 2000
            THEN left(m.content_text, 1000) || right(m.content_text, 1000)
            ELSE m.content_text END AS content_text
  FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS i (chatbot_id, wamid, place)
  JOIN messages m ON m.user_id = $1 AND m.chatbot_id = i.chatbot_id AND m.message_id = i.wamid;

-- name: record_past
-- No inputs, so nothing waits for an answer and nothing is counted. What is there already stays,
-- but for a back-fill's placeholder, whose media came.
INSERT INTO messages AS m
       (user_id, chatbot_id, contact_id, conversation_id, message_id, direction, is_from_human,
        message_type, content_text, status, sent_at, metadata)
SELECT $1, i.chatbot_id, i.contact_id, i.conversation_id, i.wamid, i.direction,
       i.direction = 'outbound', i.message_type, i.content_text, i.status, i.sent_at, i.metadata
  FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[],
              $8::text[], $9::text[], $10::timestamptz[], $11::jsonb[])
       WITH ORDINALITY AS i (chatbot_id, contact_id, conversation_id, wamid, direction,
                             message_type, content_text, status, sent_at, metadata, place)
 WHERE NOT EXISTS (SELECT FROM gone_messages g WHERE g.user_id = $1
                      AND g.chatbot_id = i.chatbot_id AND g.wamid = i.wamid)
 ORDER BY i.place
ON CONFLICT (user_id, chatbot_id, message_id) DO UPDATE
   SET message_type = EXCLUDED.message_type, content_text = EXCLUDED.content_text,
       metadata = (m.metadata - 'opaque') || EXCLUDED.metadata
 WHERE m.message_type = 'media_placeholder' AND EXCLUDED.message_type <> 'media_placeholder'
RETURNING m.conversation_id, m.sent_at;

-- name: react
-- The last reaction of each side, by Meta's time: an older one that comes later changes nothing.
UPDATE messages m
   SET metadata = CASE
           WHEN (m.metadata #>> ARRAY['reactions', $4, 'at'])::timestamptz > $6 THEN m.metadata
           ELSE m.metadata || jsonb_build_object('reactions',
                coalesce(m.metadata -> 'reactions', '{}') || jsonb_build_object($4::text,
                    jsonb_build_object('emoji', $5::text, 'at', $6::timestamptz))) END
 WHERE m.user_id = $1 AND m.chatbot_id = $2 AND m.message_id = $3
RETURNING m.id;

-- name: writers_of
-- Whose messages they are, with what their chatbots take for a stop.
SELECT w.place::int, m.contact_id, b.opt_out_words
  FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS w(chatbot_id, wamid, place)
  JOIN messages m ON m.user_id = $1 AND m.chatbot_id = w.chatbot_id AND m.message_id = w.wamid
  JOIN chatbots b ON b.user_id = $1 AND b.id = m.chatbot_id
 WHERE m.direction = 'inbound' AND m.contact_id IS NOT NULL
 ORDER BY m.contact_id, w.place;

-- name: edit_message
-- The newest edit by Meta's time counts, each once; the first text is kept, and what was sent with
-- it. Of one that was answered already, what the answer was to. Only the side that wrote a message
-- edits it. The conversation is locked before its message, as in a turn.
WITH v AS MATERIALIZED (
    SELECT v.id, v.answered_seq FROM conversations v
     WHERE v.user_id = $1 AND v.id = (
           SELECT o.conversation_id FROM messages o
            WHERE o.user_id = $1 AND o.chatbot_id = $2 AND o.message_id = $3)
       FOR NO KEY UPDATE
)
UPDATE messages m
   SET content_text = $5,
       metadata = (m.metadata - ARRAY['opaque', 'details']) || $8::jsonb
           || CASE WHEN coalesce(m.metadata -> 'original_details', m.metadata -> 'details') IS NULL
                   THEN '{}' ELSE jsonb_build_object('original_details',
                        coalesce(m.metadata -> 'original_details', m.metadata -> 'details')) END
           || CASE WHEN m.input_seq <= v.answered_seq AND NOT m.metadata ? 'answered_text'
                   THEN jsonb_build_object('answered_text', m.content_text) ELSE '{}' END
           || jsonb_build_object(
           'original', coalesce(m.metadata -> 'original', to_jsonb(m.content_text)),
           'edited_at', $7::timestamptz,
           'edits', coalesce(m.metadata -> 'edits', '[]') || to_jsonb($6::text))
  FROM v
 WHERE m.user_id = $1 AND m.chatbot_id = $2 AND m.message_id = $3 AND m.direction = $4
   AND m.conversation_id = v.id
   AND NOT m.metadata ? 'revoked' AND NOT coalesce(m.metadata -> 'edits' ? $6, false)
   AND coalesce((m.metadata ->> 'edited_at')::timestamptz <= $7, true)
RETURNING m.conversation_id;

-- name: revoke_message
-- Nothing of what it said is kept.
WITH v AS MATERIALIZED (
    SELECT v.id FROM conversations v
     WHERE v.user_id = $1 AND v.id = (
           SELECT o.conversation_id FROM messages o
            WHERE o.user_id = $1 AND o.chatbot_id = $2 AND o.message_id = $3)
       FOR NO KEY UPDATE
)
UPDATE messages m
   SET content_text = NULL,
       metadata = (m.metadata - ARRAY['original', 'original_details', 'answered_text',
                                         'details', 'opaque'])
                  || jsonb_build_object('revoked', $5::timestamptz)
  FROM v
 WHERE m.user_id = $1 AND m.chatbot_id = $2 AND m.message_id = $3 AND m.direction = $4
   AND m.conversation_id = v.id
   AND NOT m.metadata ? 'revoked'
RETURNING m.conversation_id;

-- name: hand_to_human
-- A person of the business wrote on the phone: the bot is silent until $3. A longer silence stays.
-- Those come back that no person had before.
WITH taken AS (
UPDATE conversations v
   SET taken_over_at = now(), taken_over_until = n.until, taken_over_by = 'human',
       taken_over_reason = 'echo', updated_at = now()
  FROM (SELECT i.id, max(i.until) AS until FROM unnest($2::bigint[], $3::timestamptz[])
               AS i (id, until) GROUP BY i.id) n
  JOIN conversations o ON o.user_id = $1 AND o.id = n.id  -- locked by the caller
 WHERE v.user_id = $1 AND v.id = n.id AND n.until > now()
   AND NOT coalesce(v.taken_over_by = 'human' AND v.taken_over_until >= n.until, false)
RETURNING v.id, v.chatbot_id, v.contact_id, v.taken_over_until,
          coalesce(o.taken_over_by = 'human' AND o.taken_over_until > now(), false) AS was_human
)
SELECT id, chatbot_id, contact_id, taken_over_until FROM taken WHERE NOT was_human ORDER BY id;
