-- A knowledge base of any size, searched without a turn waiting for it: its index is built once for
-- all workers, and kept here. And no change of one, however long it takes, is waited for by what
-- comes in.

-- ---- what intake writes of a chatbot is locked by nobody for long ---------------------------------

-- An UPDATE of a column with a unique constraint waits for every transaction that has inserted rows
-- which refer to the chatbot: binding a number waited for an import of 60,000 rows, and a batch of
-- all tenants with it. A partial index can be no foreign key's target, so nothing waits for it.
CREATE UNIQUE INDEX chatbots_phone_number_id ON chatbots (phone_number_id)
    WHERE phone_number_id IS NOT NULL;
ALTER TABLE chatbots DROP CONSTRAINT chatbots_phone_number_id_key;

-- ---- what there is of each knowledge base ---------------------------------------------------------

-- `changed` rows since `built_version`: logged in knowledge_changes, or since `unlogged_version` too
-- many for that. `builder` is the worker that builds; a dead one's work is anybody's.
CREATE TABLE knowledge_bases (
    user_id          bigint      NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chatbot_id       bigint      NOT NULL,
    version          bigint      NOT NULL,
    rows             integer     NOT NULL DEFAULT 0,
    chars            bigint      NOT NULL DEFAULT 0,  -- of active rows, question and answer
    big              boolean     NOT NULL DEFAULT false,
    built_version    bigint,
    changed          integer     NOT NULL DEFAULT 0,
    unlogged_version bigint      NOT NULL DEFAULT 0,
    due              boolean     NOT NULL DEFAULT false,
    builder          bigint,
    tries            integer     NOT NULL DEFAULT 0,
    retry_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, chatbot_id),
    FOREIGN KEY (user_id, chatbot_id) REFERENCES chatbots (user_id, id) ON DELETE CASCADE
) WITH (fillfactor = 50);
-- Smaller ones are held whole and indexed in memory, in a tenth of a second.
CREATE FUNCTION judge_knowledge() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.big := NEW.chars > 300000;
    NEW.due := NEW.big AND (NEW.built_version IS NULL OR NEW.changed > 500);
    RETURN NEW;
END $$;
CREATE TRIGGER judge_knowledge BEFORE INSERT OR UPDATE ON knowledge_bases
    FOR EACH ROW EXECUTE FUNCTION judge_knowledge();

CREATE INDEX knowledge_bases_due ON knowledge_bases (retry_at) WHERE due;

CREATE TABLE knowledge_changes (
    user_id    bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chatbot_id bigint NOT NULL,
    version    bigint NOT NULL,
    row_id     bigint NOT NULL,
    PRIMARY KEY (user_id, chatbot_id, version, row_id),
    FOREIGN KEY (user_id, chatbot_id) REFERENCES knowledge_bases (user_id, chatbot_id)
        ON DELETE CASCADE
);

-- The index in parts, so that neither side ever holds it twice in one piece.
CREATE TABLE knowledge_indexes (
    user_id    bigint  NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chatbot_id bigint  NOT NULL,
    version    bigint  NOT NULL,
    part       integer NOT NULL,
    data       bytea   NOT NULL,
    PRIMARY KEY (user_id, chatbot_id, version, part),
    FOREIGN KEY (user_id, chatbot_id) REFERENCES knowledge_bases (user_id, chatbot_id)
        ON DELETE CASCADE
);
ALTER TABLE knowledge_indexes ALTER COLUMN data SET STORAGE EXTERNAL;  -- counts do not compress

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['knowledge_bases', 'knowledge_changes', 'knowledge_indexes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY tenant ON %I'
                       ' USING (user_id = (SELECT nullif(current_setting(''app.user_id'', true), '''')::bigint))'
                       ' WITH CHECK (user_id = (SELECT nullif(current_setting(''app.user_id'', true), '''')::bigint))', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO swiftreplies_app', t);
    END LOOP;
END $$;
CREATE POLICY system ON knowledge_bases TO swiftreplies_system USING (true);
GRANT SELECT (user_id, chatbot_id, due, builder, retry_at), UPDATE (builder) ON knowledge_bases
   TO swiftreplies_system;

-- ---- every change is noted ------------------------------------------------------------------------

-- The lock on the knowledge base lasts until the change commits, so its changes have one order.
CREATE FUNCTION note_knowledge(p_user bigint, p_chatbot bigint, p_rows integer, p_chars bigint,
                               p_ids bigint[]) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v record;
    v_logged boolean := cardinality(p_ids) <= 500;
BEGIN
    UPDATE knowledge_bases k
       SET version = k.version + 1, rows = k.rows + p_rows, chars = k.chars + p_chars,
           changed = least(k.changed::bigint + cardinality(p_ids), 1000000),
           unlogged_version = CASE WHEN v_logged THEN k.unlogged_version ELSE k.version + 1 END
     WHERE k.user_id = p_user AND k.chatbot_id = p_chatbot
    RETURNING k.version, k.big, k.built_version INTO v;
    IF NOT FOUND THEN  -- its chatbot is being deleted
        RETURN;
    END IF;
    IF v.big AND v_logged THEN
        INSERT INTO knowledge_changes (user_id, chatbot_id, version, row_id)
        SELECT p_user, p_chatbot, v.version, unnest(p_ids);
    ELSIF NOT v.big AND v.built_version IS NOT NULL THEN
        DELETE FROM knowledge_changes c WHERE c.user_id = p_user AND c.chatbot_id = p_chatbot;
        DELETE FROM knowledge_indexes i WHERE i.user_id = p_user AND i.chatbot_id = p_chatbot;
        UPDATE knowledge_bases k SET built_version = NULL
         WHERE k.user_id = p_user AND k.chatbot_id = p_chatbot;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION bump_kb_version() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM note_knowledge(c.user_id, c.chatbot_id, c.rows, c.chars, c.ids)
           FROM (SELECT o.user_id, o.chatbot_id,
                        (- count(*) FILTER (WHERE o.is_active))::integer AS rows,
                        - coalesce(sum(length(o.question) + length(o.answer))
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
                        coalesce(sum(length(n.question) + length(n.answer))
                                 FILTER (WHERE n.is_active), 0) AS chars,
                        array_agg(n.id) AS ids
                   FROM new_rows n GROUP BY 1, 2 ORDER BY 1, 2) c;
    ELSE
        PERFORM note_knowledge(c.user_id, c.chatbot_id, c.rows, c.chars, c.ids)
           FROM (SELECT r.user_id, r.chatbot_id,
                        coalesce(sum(r.sign) FILTER (WHERE r.is_active), 0)::integer AS rows,
                        coalesce(sum(r.sign * (length(r.question) + length(r.answer)))
                                 FILTER (WHERE r.is_active), 0) AS chars,
                        array_agg(DISTINCT r.id) AS ids
                   FROM (SELECT 1 AS sign, n.* FROM new_rows n
                         UNION ALL SELECT -1, o.* FROM old_rows o) r
                  GROUP BY 1, 2 ORDER BY 1, 2) c;
    END IF;
    RETURN NULL;
END $$;

-- What a turn compares with is the chatbot's row, which is locked when the change commits, and not
-- for as long as it takes.
CREATE FUNCTION tell_kb_version() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE chatbots b SET kb_version = k.version
      FROM knowledge_bases k
     WHERE k.user_id = NEW.user_id AND k.chatbot_id = NEW.chatbot_id
       AND b.user_id = NEW.user_id AND b.id = NEW.chatbot_id AND b.kb_version < NEW.version;
    RETURN NULL;
END $$;
-- What there is. The owner, whom forced row-level security would keep from it, may look meanwhile;
-- and nobody changes any of it.
ALTER TABLE bot_knowledge_base NO FORCE ROW LEVEL SECURITY;
ALTER TABLE chatbots NO FORCE ROW LEVEL SECURITY;
ALTER TABLE knowledge_bases NO FORCE ROW LEVEL SECURITY;
INSERT INTO knowledge_bases (user_id, chatbot_id, version, rows, chars)
SELECT b.user_id, b.id, b.kb_version, count(k.id),
       coalesce(sum(length(k.question) + length(k.answer)), 0)
  FROM chatbots b
  LEFT JOIN bot_knowledge_base k ON k.user_id = b.user_id AND k.chatbot_id = b.id AND k.is_active
 WHERE b.kb_version > 0 OR k.id IS NOT NULL
 GROUP BY b.user_id, b.id;
ALTER TABLE bot_knowledge_base FORCE ROW LEVEL SECURITY;
ALTER TABLE chatbots FORCE ROW LEVEL SECURITY;
ALTER TABLE knowledge_bases FORCE ROW LEVEL SECURITY;
CREATE CONSTRAINT TRIGGER tell_kb_version AFTER INSERT OR UPDATE OF version ON knowledge_bases
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell_kb_version();

-- ---- one worker builds ----------------------------------------------------------------------------

-- An index that is due, for a worker that builds none: nobody's, or a dead worker's, or its own.
CREATE FUNCTION claim_knowledge(p_worker bigint, p_term interval)
    RETURNS TABLE (user_id bigint, chatbot_id bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.knowledge_bases k SET builder = p_worker
      FROM (SELECT d.user_id, d.chatbot_id FROM public.knowledge_bases d
             WHERE d.due AND d.retry_at <= now()
               AND (d.builder IS NULL OR d.builder = p_worker
                    OR NOT EXISTS (SELECT FROM public.workers w
                                    WHERE w.id = d.builder
                                      AND w.beat_at > clock_timestamp() - p_term))
             ORDER BY d.retry_at LIMIT 1
               FOR NO KEY UPDATE SKIP LOCKED) c
     WHERE k.user_id = c.user_id AND k.chatbot_id = c.chatbot_id
    RETURNING k.user_id, k.chatbot_id
$$;
GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION claim_knowledge(bigint, interval) OWNER TO swiftreplies_system;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
REVOKE ALL ON FUNCTION claim_knowledge(bigint, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim_knowledge(bigint, interval) TO CURRENT_USER, swiftreplies_app;
