-- name: read_knowledge
-- All active rows, or of a big base the first $3, with the version that they are of: of one
-- snapshot, so they belong together.
SELECT b.kb_version AS version, coalesce(n.big, false) AS big, coalesce(n.rows, 0) AS count,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(k.id, k.category, k.question, k.answer,
                                                    k.alternatives, k.language) ORDER BY k.id),
                        '[]')
          FROM (SELECT * FROM bot_knowledge_base r
                 WHERE r.user_id = $1 AND r.chatbot_id = b.id AND r.is_active
                 ORDER BY r.id LIMIT CASE WHEN n.big THEN $3::int END) k) AS rows,
       knowledge_languages($1, b.id) AS languages
  FROM chatbots b
  LEFT JOIN knowledge_bases n ON n.user_id = $1 AND n.chatbot_id = b.id
 WHERE b.user_id = $1 AND b.id = $2;

-- name: rows_of
-- What there is now of these rows.
SELECT k.id, k.category, k.question, k.answer, k.alternatives, k.language
  FROM bot_knowledge_base k
 WHERE k.user_id = $1 AND k.chatbot_id = $2 AND k.id = ANY ($3::bigint[]) AND k.is_active;

-- name: rows_with
-- Without an index: rows whose question has some of these words, first those with the most. Each
-- question is made small once, and answers are read of the rows found: 0.2 s for 45,000 rows.
WITH found AS (
    SELECT k.id, m.matches, length(k.question) AS length
      FROM bot_knowledge_base k
     CROSS JOIN LATERAL (SELECT lower(k.question) AS said OFFSET 0) l
     CROSS JOIN LATERAL (SELECT count(*) AS matches FROM unnest($3::text[]) AS w (word)
                          WHERE strpos(l.said, w.word) > 0) m
     WHERE k.user_id = $1 AND k.chatbot_id = $2 AND k.is_active AND m.matches > 0
     ORDER BY m.matches DESC, length(k.question), k.id LIMIT $4)
SELECT k.id, k.category, k.question, k.answer, k.alternatives, k.language, f.matches
  FROM found f JOIN bot_knowledge_base k ON k.user_id = $1 AND k.id = f.id
 ORDER BY f.matches DESC, f.length, f.id;

-- name: index_state
-- Which version was built, with a row for each row that changed since, as it is now (NULL: it is not
-- there any more), or one without any. Of one snapshot: a build that ends forgets the changes that
-- it has. `whole`: these are all changes.
SELECT b.built_version AS built,
       b.unlogged_version <= b.built_version AND b.changed <= $3::int AS whole, c.row_id,
       k.question, k.answer, k.alternatives
  FROM knowledge_bases b
  LEFT JOIN LATERAL (SELECT DISTINCT h.row_id FROM knowledge_changes h
                      WHERE h.user_id = $1 AND h.chatbot_id = $2 AND h.version > b.built_version
                      ORDER BY h.row_id LIMIT $3::int) c ON true
  LEFT JOIN bot_knowledge_base k
    ON k.user_id = $1 AND k.chatbot_id = $2 AND k.id = c.row_id AND k.is_active
 WHERE b.user_id = $1 AND b.chatbot_id = $2 AND b.built_version IS NOT NULL
 ORDER BY c.row_id;

-- name: index_built
SELECT k.built_version FROM knowledge_bases k WHERE k.user_id = $1 AND k.chatbot_id = $2;

-- name: index_bytes
SELECT coalesce(sum(octet_length(i.data)), 0)::bigint FROM knowledge_indexes i
 WHERE i.user_id = $1 AND i.chatbot_id = $2 AND i.version = $3;

-- name: index_parts
SELECT i.data FROM knowledge_indexes i
 WHERE i.user_id = $1 AND i.chatbot_id = $2 AND i.version = $3 ORDER BY i.part;

-- name: disown_index
-- Its bytes are of another release: somebody has to build it anew.
UPDATE knowledge_bases k SET built_version = NULL
 WHERE k.user_id = $1 AND k.chatbot_id = $2 AND k.built_version = $3;

-- name: claim_build
SELECT user_id, chatbot_id FROM claim_knowledge($1, $2);

-- name: rows_to_build
SELECT k.id, k.question, k.answer, k.alternatives FROM bot_knowledge_base k
 WHERE k.user_id = $1 AND k.chatbot_id = $2 AND k.is_active ORDER BY k.id;

-- name: version_to_build
SELECT k.version FROM knowledge_bases k WHERE k.user_id = $1 AND k.chatbot_id = $2;

-- name: forget_index
DELETE FROM knowledge_indexes i WHERE i.user_id = $1 AND i.chatbot_id = $2;

-- name: store_part
INSERT INTO knowledge_indexes (user_id, chatbot_id, version, part, data)
VALUES ($1, $2, $3, $4, $5);

-- name: lock_base
SELECT k.version FROM knowledge_bases k WHERE k.user_id = $1 AND k.chatbot_id = $2
   FOR NO KEY UPDATE;

-- name: forget_changes
DELETE FROM knowledge_changes c WHERE c.user_id = $1 AND c.chatbot_id = $2 AND c.version <= $3;

-- name: finish_build
-- Only by who still has the claim. 501 stands for more than are logged.
UPDATE knowledge_bases k
   SET built_version = $3, builder = NULL, tries = 0, retry_at = now(),
       changed = CASE WHEN k.unlogged_version > $3 THEN 501
                      ELSE (SELECT least(count(DISTINCT c.row_id), 501) FROM knowledge_changes c
                             WHERE c.user_id = $1 AND c.chatbot_id = $2 AND c.version > $3) END
 WHERE k.user_id = $1 AND k.chatbot_id = $2 AND k.builder = $4
RETURNING true;

-- name: give_up_build
-- Somebody tries again: soon, then later and later. Of a build that was only interrupted at once.
UPDATE knowledge_bases k
   SET builder = NULL, tries = CASE WHEN $4::boolean THEN k.tries + 1 ELSE k.tries END,
       retry_at = CASE WHEN $4 THEN now() + least(interval '2 s' * 2 ^ least(k.tries, 20),
                                                  interval '10 min')
                       ELSE now() END
 WHERE k.user_id = $1 AND k.chatbot_id = $2 AND k.builder = $3;
