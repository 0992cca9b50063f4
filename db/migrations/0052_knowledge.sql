-- What the tenant's people and programs do with knowledge: read it by pages, find it by words, change
-- the version that they have read.

-- Of the release before, rows have none of it: `version` and `alternatives` have a default that no row
-- is rewritten for.
ALTER TABLE bot_knowledge_base
    ADD COLUMN alternatives jsonb NOT NULL DEFAULT '[]',  -- other ways to ask it, as texts
    ADD COLUMN language text,
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD CONSTRAINT bot_knowledge_base_alternatives_check
        CHECK (jsonb_typeof(alternatives) = 'array') NOT VALID,
    ADD CONSTRAINT bot_knowledge_base_language_form
        CHECK (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$' AND length(language) <= 35) NOT VALID;

-- By a trigger, since `kb import` and what comes later change rows too.
CREATE FUNCTION raise_knowledge_version() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER raise_knowledge_version BEFORE UPDATE ON bot_knowledge_base FOR EACH ROW
    WHEN ((OLD.category, OLD.question, OLD.answer, OLD.is_active, OLD.alternatives, OLD.language,
           OLD.updated_at)
          IS DISTINCT FROM
          (NEW.category, NEW.question, NEW.answer, NEW.is_active, NEW.alternatives, NEW.language,
           NEW.updated_at))
    EXECUTE FUNCTION raise_knowledge_version();

-- Pages of one chatbot's rows, whatever others there are.
CREATE INDEX knowledge_listed ON bot_knowledge_base (user_id, chatbot_id, id);
CREATE INDEX knowledge_listed_by_category ON bot_knowledge_base (user_id, chatbot_id, category, id);

-- A text as words are looked for in it: without case, accents and the width of letters. Of ASCII
-- there is nothing to decompose: 0.1 s for 50,000 rows instead of a second.
CREATE FUNCTION folded(p_text text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN octet_length(p_text) = length(p_text) THEN lower(p_text)
                ELSE lower(regexp_replace(normalize(p_text, NFKD), '[\u0300-\u036f]', '', 'g')) END
$$;
