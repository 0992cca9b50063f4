-- name: embedding_state
-- Whether the chatbot wants its rows compared by meaning, and how far their vectors have come.
SELECT b.embeddings AS wanted, coalesce(k.embedding_seq, 0) AS seq
  FROM chatbots b LEFT JOIN knowledge_bases k ON k.user_id = $1 AND k.chatbot_id = b.id
 WHERE b.user_id = $1 AND b.id = $2;

-- name: vectors_since
-- Those that changed after this number; of one that is due again or refused there is none.
SELECT e.row_id, CASE WHEN e.model = $4 THEN e.vector END AS vector, e.seq
  FROM knowledge_embeddings e
 WHERE e.user_id = $1 AND e.chatbot_id = $2 AND e.seq > $3
 ORDER BY e.seq, e.row_id;

-- name: vectors_there
-- How many there are, and how many bytes those have that changed after this number.
SELECT count(*)::int AS count,
       coalesce(sum(octet_length(e.vector)) FILTER (WHERE e.seq > $3), 0)::bigint AS bytes
  FROM knowledge_embeddings e
 WHERE e.user_id = $1 AND e.chatbot_id = $2 AND e.vector IS NOT NULL AND e.model = $4;

-- name: claim_embedding
SELECT user_id, chatbot_id FROM claim_embedding($1, $2, $3);

-- name: version_to_embed
SELECT k.version,
       (SELECT count(*) FROM knowledge_embeddings e
         WHERE e.user_id = $1 AND e.chatbot_id = $2 AND e.vector IS NOT NULL AND e.model = $3)
           AS embedded
  FROM knowledge_bases k JOIN chatbots b ON b.user_id = $1 AND b.id = k.chatbot_id
 WHERE k.user_id = $1 AND k.chatbot_id = $2 AND b.embeddings;

-- name: rows_to_embed
-- The next after $4 without a vector of this model.
SELECT k.id, k.question, k.alternatives, k.answer,
       knowledge_hash(k.question, k.alternatives, k.answer) AS text_hash
  FROM bot_knowledge_base k
  LEFT JOIN knowledge_embeddings e ON e.user_id = $1 AND e.chatbot_id = $2 AND e.row_id = k.id
 WHERE k.user_id = $1 AND k.chatbot_id = $2 AND k.is_active AND k.id > $4
   AND (e.row_id IS NULL OR e.model <> $3 OR e.text_hash IS NULL)
 ORDER BY k.id LIMIT $5;

-- name: hold_embedding
-- By who still has the claim; the base is locked then, and with it what its rows say.
UPDATE knowledge_bases k SET embedding_seq = k.embedding_seq + 1
 WHERE k.user_id = $1 AND k.chatbot_id = $2 AND k.embedder = $3
RETURNING k.embedding_seq;

-- name: store_vectors
-- Of rows whose text is still the one that was embedded.
INSERT INTO knowledge_embeddings (user_id, chatbot_id, row_id, model, text_hash, vector, seq)
SELECT $1, $2, k.id, $3, n.text_hash, n.vector, $7
  FROM unnest($4::bigint[], $5::uuid[], $6::bytea[]) AS n (row_id, text_hash, vector)
  JOIN bot_knowledge_base k
    ON k.user_id = $1 AND k.chatbot_id = $2 AND k.id = n.row_id AND k.is_active
   AND knowledge_hash(k.question, k.alternatives, k.answer) = n.text_hash
ON CONFLICT (user_id, chatbot_id, row_id) DO UPDATE
   SET model = EXCLUDED.model, text_hash = EXCLUDED.text_hash, vector = EXCLUDED.vector,
       seq = EXCLUDED.seq;

-- name: finish_embedding
UPDATE knowledge_bases k
   SET embedded_version = $4, embedding_model = $5, embedder = NULL, embed_tries = 0,
       embed_at = now()
 WHERE k.user_id = $1 AND k.chatbot_id = $2 AND k.embedder = $3
RETURNING true;

-- name: leave_embedding
-- To whoever comes next, this worker too: at once when others had no turn, later when it failed.
UPDATE knowledge_bases k
   SET embedder = NULL,
       embed_tries = CASE WHEN $4::interval IS NULL THEN 0 ELSE k.embed_tries + 1 END,
       embed_at = CASE WHEN $4 IS NULL THEN now()
                       ELSE now() + greatest($4, least(interval '2 s' * 2 ^ least(k.embed_tries, 20),
                                                       interval '10 min')) END
 WHERE k.user_id = $1 AND k.chatbot_id = $2 AND k.embedder = $3;
