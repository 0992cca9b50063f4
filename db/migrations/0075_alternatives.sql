-- Rows are found by the other ways to ask them too, and the model is told in which languages a
-- knowledge base is written.

-- What a row takes of memory, with all ways to ask it.
CREATE FUNCTION knowledge_chars(p_question text, p_answer text, p_alternatives jsonb)
    RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT length(p_question) + length(p_answer)
           + CASE WHEN p_alternatives = '[]' THEN 0 ELSE length(p_alternatives::text) END
$$;

CREATE OR REPLACE FUNCTION bump_kb_version() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM note_knowledge(c.user_id, c.chatbot_id, c.rows, c.chars, c.ids)
           FROM (SELECT o.user_id, o.chatbot_id,
                        (- count(*) FILTER (WHERE o.is_active))::integer AS rows,
                        - coalesce(sum(knowledge_chars(o.question, o.answer, o.alternatives))
                                   FILTER (WHERE o.is_active), 0) AS chars,
                        array_agg(o.id) AS ids
                   FROM old_rows o GROUP BY 1, 2 ORDER BY 1, 2) c;
        RETURN NULL;
    END IF;
    INSERT INTO knowledge_bases (user_id, chatbot_id, version)
    SELECT DISTINCT n.user_id, n.chatbot_id, b.kb_version
      FROM new_rows n JOIN chatbots b ON b.user_id = n.user_id AND b.id = n.chatbot_id
     ORDER BY 1, 2
        ON CONFLICT (user_id, chatbot_id) DO NOTHING;
    IF TG_OP = 'INSERT' THEN
        PERFORM note_knowledge(c.user_id, c.chatbot_id, c.rows, c.chars, c.ids)
           FROM (SELECT n.user_id, n.chatbot_id,
                        (count(*) FILTER (WHERE n.is_active))::integer AS rows,
                        coalesce(sum(knowledge_chars(n.question, n.answer, n.alternatives))
                                 FILTER (WHERE n.is_active), 0) AS chars,
                        array_agg(n.id) AS ids
                   FROM new_rows n GROUP BY 1, 2 ORDER BY 1, 2) c;
    ELSE
        PERFORM note_knowledge(c.user_id, c.chatbot_id, c.rows, c.chars, c.ids)
           FROM (SELECT r.user_id, r.chatbot_id,
                        coalesce(sum(r.sign) FILTER (WHERE r.is_active), 0)::integer AS rows,
                        coalesce(sum(r.sign * knowledge_chars(r.question, r.answer, r.alternatives))
                                 FILTER (WHERE r.is_active), 0) AS chars,
                        array_agg(DISTINCT r.id) AS ids
                   FROM (SELECT 1 AS sign, n.* FROM new_rows n
                         UNION ALL SELECT -1, o.* FROM old_rows o) r
                  GROUP BY 1, 2 ORDER BY 1, 2) c;
    END IF;
    RETURN NULL;
END $$;

-- What there is, while nobody changes any of it (as 0025_knowledge.sql).
ALTER TABLE bot_knowledge_base NO FORCE ROW LEVEL SECURITY;
ALTER TABLE knowledge_bases NO FORCE ROW LEVEL SECURITY;
UPDATE knowledge_bases b SET chars = b.chars + c.chars
  FROM (SELECT k.user_id, k.chatbot_id, sum(length(k.alternatives::text)) AS chars
          FROM bot_knowledge_base k WHERE k.is_active AND k.alternatives <> '[]'
         GROUP BY 1, 2) c
 WHERE b.user_id = c.user_id AND b.chatbot_id = c.chatbot_id;
ALTER TABLE bot_knowledge_base FORCE ROW LEVEL SECURITY;
ALTER TABLE knowledge_bases FORCE ROW LEVEL SECURITY;

-- The languages of a knowledge base, five at most: each by one look into an index, however many rows
-- there are.
CREATE INDEX knowledge_in_language ON bot_knowledge_base (user_id, chatbot_id, language)
    WHERE is_active AND language IS NOT NULL;
CREATE FUNCTION knowledge_languages(p_user bigint, p_chatbot bigint) RETURNS text[]
    LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    WITH RECURSIVE found AS (
        (SELECT k.language, 1 AS place FROM bot_knowledge_base k
          WHERE k.user_id = p_user AND k.chatbot_id = p_chatbot AND k.is_active
            AND k.language IS NOT NULL
          ORDER BY k.language LIMIT 1)
        UNION ALL
        SELECT n.language, f.place + 1
          FROM found f CROSS JOIN LATERAL (
               SELECT k.language FROM bot_knowledge_base k
                WHERE k.user_id = p_user AND k.chatbot_id = p_chatbot AND k.is_active
                  AND k.language > f.language
                ORDER BY k.language LIMIT 1) n
         WHERE f.place < 5)
    SELECT coalesce(array_agg(f.language ORDER BY f.language), '{}') FROM found f
$$;
