-- What a turn read may be taken back, given up or asked for by another worker while it thinks.

-- How often a thread was given up: a turn that makes it anew may trust it only when nobody has given
-- it up since. Whoever names the column in an update means it, also where the thread was given up
-- already, and also processes of the release before.
ALTER TABLE conversations ADD COLUMN forgotten integer NOT NULL DEFAULT 0;
CREATE FUNCTION count_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.forgotten := OLD.forgotten + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER count_forgotten BEFORE UPDATE OF rebuild_thread ON conversations
    FOR EACH ROW WHEN (NEW.rebuild_thread) EXECUTE FUNCTION count_forgotten();

-- The first message that the turn read; the last is message_id. What lies between is not always its
-- own: an answer to an earlier one may. NULL of rows of the release before.
ALTER TABLE facts ADD COLUMN first_message_id bigint;
ALTER TABLE unanswered_questions ADD COLUMN first_message_id bigint;

-- By which model a worker embeds. Of workers that live the newest says which it is: while some are
-- restarted with another one, each would embed the same rows again in its turn.
ALTER TABLE workers ADD COLUMN embedding_model text;
GRANT UPDATE (embedding_model) ON workers TO swiftreplies_system;

CREATE OR REPLACE FUNCTION claim_embedding(p_worker bigint, p_term interval, p_model text)
    RETURNS TABLE (user_id bigint, chatbot_id bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.workers w SET embedding_model = p_model
     WHERE w.id = p_worker AND w.embedding_model IS DISTINCT FROM p_model;
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
               AND NOT EXISTS (SELECT FROM public.workers w
                                WHERE w.id > p_worker AND w.embedding_model <> p_model
                                  AND w.beat_at > clock_timestamp() - p_term)
             ORDER BY d.embed_at LIMIT 1
               FOR NO KEY UPDATE OF d SKIP LOCKED) c
     WHERE k.user_id = c.user_id AND k.chatbot_id = c.chatbot_id
    RETURNING k.user_id, k.chatbot_id
$$;
