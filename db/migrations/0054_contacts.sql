-- What the tenant's people and programs do with contacts: read them by pages, find them by words,
-- change the version that they have read, block them.

-- ---- a version, and a name that is the tenant's -------------------------------------------------

ALTER TABLE contacts
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN name_given boolean NOT NULL DEFAULT false;  -- by the tenant: no message changes it

-- Raised by whatever changes what a client decides by, whoever does it. That somebody wrote is no
-- such change: with each message another version, nobody could ever change a busy contact.
CREATE FUNCTION raise_contact_version() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE public.contacts c SET version = c.version + 1
     WHERE c.user_id = NEW.user_id AND c.id = NEW.id;
    RETURN NULL;
END $$;
-- Not before: then an update that names a unique column, as what a message says of its sender does,
-- would lock the row as if its key changed, wait for open inserts of its messages, and deadlock.
CREATE TRIGGER raise_contact_version AFTER UPDATE ON contacts FOR EACH ROW
    WHEN ((OLD.phone_number, OLD.bsuid, OLD.name, OLD.language, OLD.tags, OLD.custom_fields,
           OLD.contact_status, OLD.conversation_paused, OLD.chatbot_id, OLD.over_limit)
          IS DISTINCT FROM
          (NEW.phone_number, NEW.bsuid, NEW.name, NEW.language, NEW.tags, NEW.custom_fields,
           NEW.contact_status, NEW.conversation_paused, NEW.chatbot_id, NEW.over_limit))
    EXECUTE FUNCTION raise_contact_version();

-- ---- by what contacts are found -----------------------------------------------------------------

-- A row for each thing that a contact is found by. The key is in the order of pages, so that a page
-- costs the same whatever the tenant, and others, have: an inverted index knows no order, and row-
-- level security lets nobody use its operators.
CREATE TABLE contact_terms (
    user_id    bigint NOT NULL,
    term       text NOT NULL,
    of_contact bigint NOT NULL,  -- kept by triggers, which a key would check again row by row
    PRIMARY KEY (user_id, term, of_contact)
);
ALTER TABLE contact_terms ENABLE ROW LEVEL SECURITY;
ALTER TABLE contact_terms FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON contact_terms
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE, DELETE ON contact_terms TO swiftreplies_app;

-- Words of a name or a query, without case and accents, up to 12 letters each.
CREATE FUNCTION words_of(p_text text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(DISTINCT left(w.word, 12)), '{}')
      FROM (SELECT s.word
              FROM regexp_split_to_table(
                       lower(regexp_replace(normalize(p_text, NFKD), '[\u0300-\u036f]', '', 'g')),
                       '[\s!-/:-@\[-`{-~\u2010-\u201f]+') AS s (word)
             WHERE s.word <> '' LIMIT 10) w
$$;

CREATE FUNCTION texts_of(p_list jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(t.text ORDER BY t.place) FILTER (WHERE t.text IS NOT NULL), '{}')
      FROM jsonb_array_elements_text(CASE WHEN jsonb_typeof(p_list) = 'array' THEN p_list END)
           WITH ORDINALITY AS t (text, place)
$$;

-- w: the beginnings of the name's words and of the number, s: the number's ends, t: tags, c: the
-- chatbot. Some thirty, which are written once a contact: so no more than people look for.
CREATE FUNCTION contact_terms_of(p_name text, p_number text, p_tags jsonb, p_chatbot bigint)
    RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(DISTINCT term), '{}')
      FROM (SELECT 'w:' || left(w, n)
              FROM unnest(public.words_of(p_name)) w, generate_series(1, length(w)) n
            UNION ALL
            SELECT 'w:' || substr(p_number, 2, n)
              FROM generate_series(2, least(8, length(p_number) - 1)) n
             WHERE p_number IS NOT NULL
            UNION ALL
            SELECT 's:' || right(p_number, n)
              FROM generate_series(4, least(8, length(p_number) - 1)) n
             WHERE p_number IS NOT NULL
            UNION ALL
            SELECT 't:' || t FROM unnest((public.texts_of(p_tags))[:100]) t WHERE length(t) <= 100
            UNION ALL
            SELECT 'c:' || p_chatbot WHERE p_chatbot IS NOT NULL) all_terms (term)
$$;

CREATE FUNCTION add_contact_terms() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.contact_terms (user_id, term, of_contact)
    SELECT n.user_id, t, n.id
      FROM made n,
           unnest(public.contact_terms_of(n.name, n.phone_number, n.tags, n.chatbot_id)) t
    ON CONFLICT (user_id, term, of_contact) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER add_contact_terms AFTER INSERT ON contacts REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION add_contact_terms();

CREATE FUNCTION change_contact_terms() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_old text[] := public.contact_terms_of(OLD.name, OLD.phone_number, OLD.tags, OLD.chatbot_id);
    v_new text[] := '{}';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        v_new := public.contact_terms_of(NEW.name, NEW.phone_number, NEW.tags, NEW.chatbot_id);
    END IF;
    DELETE FROM public.contact_terms t
     WHERE t.user_id = OLD.user_id AND t.of_contact = OLD.id
       AND t.term = ANY (ARRAY (SELECT unnest(v_old) EXCEPT SELECT unnest(v_new)));
    INSERT INTO public.contact_terms (user_id, term, of_contact)
    SELECT OLD.user_id, n.term, OLD.id
      FROM (SELECT unnest(v_new) EXCEPT SELECT unnest(v_old)) n (term)
    ON CONFLICT (user_id, term, of_contact) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER change_contact_terms
    AFTER UPDATE OF name, phone_number, tags, chatbot_id ON contacts FOR EACH ROW
    WHEN ((OLD.name, OLD.phone_number, OLD.tags, OLD.chatbot_id)
          IS DISTINCT FROM (NEW.name, NEW.phone_number, NEW.tags, NEW.chatbot_id))
    EXECUTE FUNCTION change_contact_terms();
CREATE TRIGGER drop_contact_terms AFTER DELETE ON contacts FOR EACH ROW
    EXECUTE FUNCTION change_contact_terms();

-- Contacts of before get theirs after this, in transactions of their own (db/backfills.py): the
-- triggers hold everybody up who writes contacts. For the owner alone.
CREATE TABLE contact_terms_due (
    tenant_id bigint PRIMARY KEY,
    after_id  bigint NOT NULL,  -- up to which they have them
    upto_id   bigint NOT NULL
);
ALTER TABLE contacts NO FORCE ROW LEVEL SECURITY;
INSERT INTO contact_terms_due (tenant_id, after_id, upto_id)
SELECT c.user_id, 0, max(c.id) FROM contacts c GROUP BY c.user_id;
ALTER TABLE contacts FORCE ROW LEVEL SECURITY;

-- The contacts below p_before that have all of these terms, newest first, p_limit at most. Of each
-- place one of p_terms and p_else (NULL: there is no other) is enough. What all terms but one jump
-- over is not read. After p_steps it stops all the same: then the last row has no contact, and
-- p_before of the next call is its `stopped`. p_number: of more digits than a term has, the number's
-- last or first, or those that a word of the name begins with.
CREATE FUNCTION contacts_by_terms(p_user bigint, p_terms text[], p_else text[], p_before bigint,
                                  p_limit integer, p_steps integer, p_number text)
    RETURNS TABLE (id bigint, stopped bigint)
    LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    v_places constant integer := cardinality(p_terms);
    v_below bigint := p_before;  -- all that is from here on has been looked at
    v_found bigint;
    v_other bigint;
    v_at bigint;
    v_agree integer := 0;
    v_place integer := 1;
    v_left integer := p_limit;
BEGIN
    FOR step IN 1 .. p_steps LOOP
        SELECT t.of_contact INTO v_found FROM contact_terms t
         WHERE t.user_id = p_user AND t.term = p_terms[v_place] AND t.of_contact < v_below
         ORDER BY t.of_contact DESC LIMIT 1;
        IF p_else[v_place] IS NOT NULL THEN
            SELECT t.of_contact INTO v_other FROM contact_terms t
             WHERE t.user_id = p_user AND t.term = p_else[v_place] AND t.of_contact < v_below
             ORDER BY t.of_contact DESC LIMIT 1;
            v_found := greatest(v_found, v_other);
        END IF;
        IF v_found IS NULL THEN
            RETURN;
        END IF;
        v_agree := CASE WHEN v_found = v_at THEN v_agree + 1 ELSE 1 END;
        v_at := v_found;
        v_below := v_found + 1;
        v_place := v_place % v_places + 1;
        IF v_agree = v_places THEN
            IF EXISTS (SELECT FROM contacts c
                        WHERE c.user_id = p_user AND c.id = v_at AND c.erased_at IS NULL
                          AND (p_number IS NULL
                               OR right(c.phone_number, length(p_number)) = p_number
                               OR starts_with(c.phone_number, '+' || p_number)
                               OR EXISTS (SELECT FROM contact_terms t
                                           WHERE t.user_id = p_user AND t.of_contact = v_at
                                             AND t.term = 'w:' || left(p_number, 12)))) THEN
                id := v_at;
                RETURN NEXT;
                v_left := v_left - 1;
                EXIT WHEN v_left = 0;
            END IF;
            v_below := v_at;
            v_agree := 0;
            v_at := NULL;
        END IF;
    END LOOP;
    IF v_left > 0 THEN
        id := NULL;
        stopped := v_below;
        RETURN NEXT;
    END IF;
END $$;

-- ---- who is blocked is recorded, and not answered -----------------------------------------------

-- As before, and a blocked contact is as one whose conversations are paused.
CREATE OR REPLACE FUNCTION fence_turn(p_user bigint, p_conversation bigint, p_worker bigint, p_epoch bigint,
                           p_read_seq bigint) RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v record;
BEGIN
    SELECT c.contact_id, c.answered_seq, greatest(c.answered_seq, p_read_seq) AS done,
           coalesce(c.taken_over_until > now(), false) AS taken_over
      INTO v FROM conversations c
     WHERE c.user_id = p_user AND c.id = p_conversation
       AND c.lease_owner = p_worker AND c.epoch = p_epoch
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE conversations c
       SET lease_owner = NULL, answered_seq = v.done,
           ready_at = CASE WHEN c.input_seq > v.done THEN coalesce(c.ready_at, now()) END,
           -- What came meanwhile and was read is no burst's first message any more.
           pending_since = CASE WHEN c.input_seq > v.done THEN c.pending_since END,
           attempts = 0, failing_since = NULL, model_tries = 0, told_slow_at = NULL,
           updated_at = now()
     WHERE c.user_id = p_user AND c.id = p_conversation;
    RETURN v.taken_over OR v.answered_seq >= p_read_seq
        OR EXISTS (SELECT FROM contacts c WHERE c.user_id = p_user AND c.id = v.contact_id
                      AND (c.conversation_paused OR c.contact_status = 'blocked'));
END $$;

-- As before, and a blocked contact is not told that it takes longer.
CREATE OR REPLACE FUNCTION put_off_turn(p_user bigint, p_conversation bigint, p_worker bigint, p_epoch bigint,
                             p_wait interval, p_failing interval, p_tried boolean, p_tells boolean)
    RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v record;
    v_tells boolean;
BEGIN
    SELECT c.contact_id, coalesce(c.taken_over_until > now(), false) AS taken_over,
           c.input_seq > c.answered_seq AS waits
      INTO v FROM conversations c
     WHERE c.user_id = p_user AND c.id = p_conversation
       AND c.lease_owner = p_worker AND c.epoch = p_epoch
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_tells := p_tells AND v.waits AND NOT v.taken_over
           AND NOT EXISTS (SELECT FROM contacts c WHERE c.user_id = p_user AND c.id = v.contact_id
                              AND (c.conversation_paused OR c.contact_status = 'blocked'));
    UPDATE conversations c
       SET lease_owner = NULL,
           -- What came meanwhile comes along, when it is due.
           ready_at = CASE WHEN v.waits
                           THEN least(c.ready_at, now() + p_wait * (0.75 + random() / 2)) END,
           failing_since = CASE WHEN v.waits
                                THEN coalesce(c.failing_since, now() - p_failing) END,
           model_tries = CASE WHEN v.waits THEN c.model_tries + p_tried::int ELSE 0 END,
           told_slow_at = CASE WHEN v_tells THEN now() WHEN v.waits THEN c.told_slow_at END,
           updated_at = now()
     WHERE c.user_id = p_user AND c.id = p_conversation;
    RETURN v_tells;
END $$;

-- ---- first answers that tell of a contact -------------------------------------------------------

ALTER TABLE idempotency_keys
    ADD COLUMN contact_id bigint,  -- whom the answer shows: it is forgotten with them
    ADD FOREIGN KEY (user_id, contact_id) REFERENCES contacts (user_id, id) ON DELETE CASCADE;
CREATE INDEX idempotency_keys_contact ON idempotency_keys (user_id, contact_id)
    WHERE contact_id IS NOT NULL;
