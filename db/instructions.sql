-- name: read_between
SELECT chatbot_id, contact_id FROM conversations WHERE user_id = $1 AND id = $2;

-- name: conversation_exists
SELECT EXISTS (SELECT FROM conversations v
                 JOIN contacts k ON k.user_id = $1 AND k.id = v.contact_id
                WHERE v.user_id = $1 AND v.id = $2 AND k.erased_at IS NULL);

-- name: count_instructions
SELECT count(*) FROM conversation_instructions
 WHERE user_id = $1 AND chatbot_id = $2 AND contact_id = $3;

-- name: create_instruction
INSERT INTO conversation_instructions (user_id, chatbot_id, contact_id, instruction_text, expires_at)
VALUES ($1, $2, $3, $4, $5) RETURNING id;

-- name: list_instructions
-- Youngest first, in pages: those below $3. $4 at most, with $5 bytes, row by row as list_actions.
WITH RECURSIVE page AS (
    SELECT $3::bigint AS id, 0 AS place, 0::bigint AS bytes, v.chatbot_id, v.contact_id
      FROM conversations v WHERE v.user_id = $1 AND v.id = $2
     UNION ALL
    SELECT i.id, page.place + 1, page.bytes + i.bytes, page.chatbot_id, page.contact_id
      FROM page CROSS JOIN LATERAL (
           SELECT i.id, octet_length(i::text) AS bytes FROM conversation_instructions i
            WHERE i.user_id = $1 AND i.chatbot_id = page.chatbot_id
              AND i.contact_id = page.contact_id AND i.id < page.id
            ORDER BY i.id DESC LIMIT 1) i
     WHERE page.place <= $4 AND (page.bytes <= $5 OR page.place = 1)
)
SELECT i.id, $2::bigint AS conversation_id, i.chatbot_id, i.contact_id, i.instruction_text,
       coalesce(i.is_active, false) AS is_active, i.expires_at, i.created_at, i.updated_at,
       count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page JOIN conversation_instructions i ON i.user_id = $1 AND i.id = page.id
 WHERE page.place BETWEEN 1 AND $4 AND (page.bytes <= $5 OR page.place = 1)
 ORDER BY i.id DESC;

-- name: read_instruction
-- There where its conversation is.
SELECT i.id, v.id AS conversation_id, i.chatbot_id, i.contact_id, i.instruction_text,
       coalesce(i.is_active, false) AS is_active, i.expires_at, i.created_at, i.updated_at,
       i.version
  FROM conversation_instructions i
  JOIN conversations v ON v.user_id = $1 AND v.chatbot_id = i.chatbot_id
   AND v.contact_id = i.contact_id
  JOIN contacts k ON k.user_id = $1 AND k.id = i.contact_id
 WHERE i.user_id = $1 AND i.id = $2 AND k.erased_at IS NULL;

-- name: lock_instruction
SELECT version FROM conversation_instructions WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: change_instruction
UPDATE conversation_instructions
   SET instruction_text = $3, expires_at = $4, is_active = $5, version = version + 1,
       updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: delete_instruction
DELETE FROM conversation_instructions WHERE user_id = $1 AND id = $2;
