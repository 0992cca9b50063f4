-- name: list_knowledge
-- Row by row, as list_actions: $4 at most, with $5 bytes. With words ($6) rows of this chatbot are
-- looked at until there are enough: 0.3 s for 50,000.
WITH RECURSIVE page AS (
    SELECT $3::bigint AS id, 0 AS place, 0::bigint AS bytes
     UNION ALL
    SELECT k.id, page.place + 1, page.bytes + k.bytes
      FROM page CROSS JOIN LATERAL (
           SELECT b.id, octet_length(b::text) AS bytes FROM bot_knowledge_base b
            WHERE b.user_id = $1 AND b.chatbot_id = $2 AND b.id < page.id
              AND (cardinality($6::text[]) = 0
                   OR (SELECT bool_and(strpos(s.said, folded(w.word)) > 0)
                         FROM (SELECT folded(b.question || ' ' || b.answer || ' '
                                             || b.alternatives) AS said OFFSET 0) s,
                              unnest($6::text[]) AS w (word)))
            ORDER BY b.id DESC LIMIT 1) k
     WHERE page.place <= $4 AND (page.bytes <= $5 OR page.place = 1)
)
SELECT k.id, k.chatbot_id, k.category, k.question, k.answer, k.alternatives, k.language,
       coalesce(k.is_active, false) AS is_active, k.created_at, k.updated_at,
       count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page JOIN bot_knowledge_base k ON k.user_id = $1 AND k.id = page.id
 WHERE page.place BETWEEN 1 AND $4 AND (page.bytes <= $5 OR page.place = 1)
 ORDER BY k.id DESC;

-- name: list_knowledge_by_category
WITH RECURSIVE page AS (
    SELECT $3::bigint AS id, 0 AS place, 0::bigint AS bytes
     UNION ALL
    SELECT k.id, page.place + 1, page.bytes + k.bytes
      FROM page CROSS JOIN LATERAL (
           SELECT b.id, octet_length(b::text) AS bytes FROM bot_knowledge_base b
            WHERE b.user_id = $1 AND b.chatbot_id = $2 AND b.category = $7 AND b.id < page.id
              AND (cardinality($6::text[]) = 0
                   OR (SELECT bool_and(strpos(s.said, folded(w.word)) > 0)
                         FROM (SELECT folded(b.question || ' ' || b.answer || ' '
                                             || b.alternatives) AS said OFFSET 0) s,
                              unnest($6::text[]) AS w (word)))
            ORDER BY b.id DESC LIMIT 1) k
     WHERE page.place <= $4 AND (page.bytes <= $5 OR page.place = 1)
)
SELECT k.id, k.chatbot_id, k.category, k.question, k.answer, k.alternatives, k.language,
       coalesce(k.is_active, false) AS is_active, k.created_at, k.updated_at,
       count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page JOIN bot_knowledge_base k ON k.user_id = $1 AND k.id = page.id
 WHERE page.place BETWEEN 1 AND $4 AND (page.bytes <= $5 OR page.place = 1)
 ORDER BY k.id DESC;

-- name: read_knowledge_row
SELECT id, chatbot_id, category, question, answer, alternatives, language,
       coalesce(is_active, false) AS is_active, created_at, updated_at, version
  FROM bot_knowledge_base WHERE user_id = $1 AND id = $2;

-- name: lock_knowledge_row
SELECT id FROM bot_knowledge_base WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: row_with_question
-- Among the rows of the chatbot: row-level security lets nobody look by md5 in the unique index.
SELECT id FROM bot_knowledge_base
 WHERE user_id = $1 AND chatbot_id = $2 AND question = $3 LIMIT 1;

-- name: add_knowledge
INSERT INTO bot_knowledge_base (user_id, chatbot_id, category, question, answer, alternatives,
                                language, is_active)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (user_id, chatbot_id, md5(question)) DO NOTHING
RETURNING id;

-- name: change_knowledge
UPDATE bot_knowledge_base
   SET category = $3, question = $4, answer = $5, alternatives = $6, language = $7,
       is_active = $8, updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: delete_knowledge
DELETE FROM bot_knowledge_base WHERE user_id = $1 AND id = $2;
