-- What rows mean, as vectors that the operator's model makes: for questions in other words, or in
-- another language. A chatbot has them when it wants them; without the extension pgvector, since the
-- rows of one chatbot are compared in memory.

ALTER TABLE chatbots ADD COLUMN embeddings boolean NOT NULL DEFAULT false;
CREATE INDEX chatbots_embeddings ON chatbots (user_id, id) WHERE embeddings;
GRANT SELECT (embeddings) ON chatbots TO swiftreplies_system;

-- `embedding_seq` moves with every change of the vectors, under the lock of the row: whoever has read
-- up to one has read all before it.
ALTER TABLE knowledge_bases
    ADD COLUMN embedding_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN embedded_version bigint,  -- all rows of this version have their vectors
    ADD COLUMN embedding_model text,
    ADD COLUMN embedder bigint,  -- the worker that is at it; of one that is dead anybody's
    ADD COLUMN embed_tries integer NOT NULL DEFAULT 0,
    ADD COLUMN embed_at timestamptz NOT NULL DEFAULT now();
GRANT SELECT (version, embedded_version, embedding_model, embedder, embed_at), UPDATE (embedder)
    ON knowledge_bases TO swiftreplies_system;

-- Of a row's text as it is now: who changes the text empties it. Without `text_hash` it is due; with
-- one and without a vector the model refuses this text.
CREATE TABLE knowledge_embeddings (
    user_id    bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chatbot_id bigint NOT NULL,
    row_id     bigint NOT NULL,
    model      text   NOT NULL,
    text_hash  uuid,
    vector     bytea,  -- 16-bit floats, of length 1
    seq        bigint NOT NULL,
    PRIMARY KEY (user_id, chatbot_id, row_id),
    FOREIGN KEY (user_id, chatbot_id) REFERENCES knowledge_bases (user_id, chatbot_id)
        ON DELETE CASCADE
);
ALTER TABLE knowledge_embeddings ALTER COLUMN vector SET STORAGE EXTERNAL;  -- does not compress
CREATE INDEX knowledge_embeddings_seq ON knowledge_embeddings (user_id, chatbot_id, seq);

ALTER TABLE knowledge_embeddings ENABLE ROW LEVEL SECURITY;
ALTER TABLE knowledge_embeddings FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON knowledge_embeddings
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE, DELETE ON knowledge_embeddings TO swiftreplies_app;

CREATE FUNCTION knowledge_hash(p_question text, p_alternatives jsonb, p_answer text) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT md5(jsonb_build_array(p_question, p_alternatives, p_answer)::text)::uuid
$$;

-- The next number of a base's vectors; its row is locked until the transaction ends.
CREATE FUNCTION next_embedding_seq(p_user bigint, p_chatbot bigint) RETURNS bigint
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    UPDATE knowledge_bases k SET embedding_seq = k.embedding_seq + 1
     WHERE k.user_id = p_user AND k.chatbot_id = p_chatbot
    RETURNING k.embedding_seq
$$;

-- After bump_kb_version, by its name: the base is locked by then.
CREATE FUNCTION drop_embeddings() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM knowledge_embeddings e USING old_rows o
         WHERE e.user_id = o.user_id AND e.chatbot_id = o.chatbot_id AND e.row_id = o.id;
        RETURN NULL;
    END IF;
    UPDATE knowledge_embeddings e SET text_hash = NULL, vector = NULL, seq = b.seq
      FROM (SELECT c.user_id, c.chatbot_id, next_embedding_seq(c.user_id, c.chatbot_id) AS seq
              FROM (SELECT DISTINCT o.user_id, o.chatbot_id
                      FROM old_rows o
                      JOIN knowledge_embeddings h ON h.user_id = o.user_id
                       AND h.chatbot_id = o.chatbot_id AND h.row_id = o.id
                     ORDER BY 1, 2) c) b,
           old_rows o LEFT JOIN new_rows n ON n.id = o.id
     WHERE e.user_id = b.user_id AND e.chatbot_id = b.chatbot_id
       AND o.user_id = e.user_id AND o.chatbot_id = e.chatbot_id AND o.id = e.row_id
       AND (n.id IS NULL OR NOT n.is_active OR n.chatbot_id <> o.chatbot_id
            OR (n.question, n.alternatives, n.answer)
               IS DISTINCT FROM (o.question, o.alternatives, o.answer));
    RETURN NULL;
END $$;
CREATE TRIGGER drop_embeddings_update AFTER UPDATE ON bot_knowledge_base
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION drop_embeddings();
CREATE TRIGGER drop_embeddings_delete AFTER DELETE ON bot_knowledge_base
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION drop_embeddings();

-- A knowledge base whose vectors are not those of its rows or of this model.
CREATE FUNCTION claim_embedding(p_worker bigint, p_term interval, p_model text)
    RETURNS TABLE (user_id bigint, chatbot_id bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.knowledge_bases k SET embedder = p_worker
      FROM (SELECT d.user_id, d.chatbot_id
              FROM public.chatbots b
              JOIN public.knowledge_bases d ON d.user_id = b.user_id AND d.chatbot_id = b.id
             WHERE b.embeddings AND b.deleted_at IS NULL AND d.embed_at <= now()
               AND (d.embedded_version IS NULL OR d.embedded_version < d.version
                    OR d.embedding_model IS DISTINCT FROM p_model)
               AND (d.embedder IS NULL OR d.embedder = p_worker
                    OR NOT EXISTS (SELECT FROM public.workers w
                                    WHERE w.id = d.embedder
                                      AND w.beat_at > clock_timestamp() - p_term))
             ORDER BY d.embed_at LIMIT 1
               FOR NO KEY UPDATE OF d SKIP LOCKED) c
     WHERE k.user_id = c.user_id AND k.chatbot_id = c.chatbot_id
    RETURNING k.user_id, k.chatbot_id
$$;

-- What embedding was paid for, with the COMMIT; of a turn (its conversation and epoch) once.
CREATE FUNCTION count_embedding_calls(p_user bigint, p_chatbot bigint, p_conversation bigint,
                                      p_epoch bigint, p_model text, p_calls integer,
                                      p_input bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_day date;
    v_price numeric;
    v_cost numeric;
    v_unpriced integer;
BEGIN
    SELECT usage_day(u.timezone, u.usage_day_floor) INTO v_day FROM users u WHERE u.id = p_user;
    SELECT p.input_price INTO v_price FROM model_prices p
     WHERE p.model = p_model AND p.kind IN ('embedding', '*') AND p.valid_from <= v_day
     ORDER BY p.kind = '*', p.valid_from DESC LIMIT 1;
    v_unpriced := CASE WHEN FOUND THEN 0 ELSE p_calls END;
    v_cost := round(coalesce(p_input * v_price / 1000000, 0), 10);
    INSERT INTO model_calls (user_id, chatbot_id, conversation_id, epoch, usage_day, kind, model,
                             calls, unpriced_calls, input_tokens, cached_tokens, output_tokens, cost)
         VALUES (p_user, p_chatbot, p_conversation, p_epoch, v_day, 'embedding', p_model, p_calls,
                 v_unpriced, p_input, 0, 0, v_cost)
    ON CONFLICT (user_id, conversation_id, epoch, model) DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO model_usage AS m (user_id, chatbot_id, usage_day, kind, model, calls,
                                  unpriced_calls, input_tokens, cost)
         VALUES (p_user, p_chatbot, v_day, 'embedding', p_model, p_calls, v_unpriced, p_input,
                 v_cost)
    ON CONFLICT (user_id, chatbot_id, usage_day, kind, model) DO UPDATE
       SET calls = m.calls + EXCLUDED.calls,
           unpriced_calls = m.unpriced_calls + EXCLUDED.unpriced_calls,
           input_tokens = m.input_tokens + EXCLUDED.input_tokens,
           cost = m.cost + EXCLUDED.cost;
END $$;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION claim_embedding(bigint, interval, text) OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION claim_embedding(bigint, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim_embedding(bigint, interval, text) TO CURRENT_USER, swiftreplies_app;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;

-- Beside raise_chatbot_version (0050_claims.sql), of which it does the same.
CREATE TRIGGER raise_chatbot_version_by_embeddings AFTER UPDATE ON chatbots FOR EACH ROW
    WHEN (NEW.version = OLD.version AND NEW.embeddings IS DISTINCT FROM OLD.embeddings)
    EXECUTE FUNCTION raise_chatbot_version();
