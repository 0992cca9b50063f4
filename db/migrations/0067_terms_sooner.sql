-- What contacts are found by is written in a third of the time: the same terms, made by a loop and
-- not by five queries a contact, and put in order, so that rows of one statement that share
-- beginnings meet in the same pages. A new contact has no terms yet: there is nothing to pass over.

CREATE OR REPLACE FUNCTION contact_terms_of(p_name text, p_number text, p_tags jsonb,
                                            p_chatbot bigint) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_terms text[] := '{}';
    v_term text;
    v_word text;
    v_digits constant integer := CASE WHEN p_number IS NULL THEN 0
                                      ELSE least(8, length(p_number) - 1) END;
BEGIN
    FOREACH v_word IN ARRAY public.words_of(p_name) LOOP
        FOR n IN 1 .. length(v_word) LOOP
            v_term := 'w:' || left(v_word, n);
            IF v_term <> ALL (v_terms) THEN
                v_terms := v_terms || v_term;
            END IF;
        END LOOP;
    END LOOP;
    FOR n IN 2 .. v_digits LOOP
        v_term := 'w:' || substr(p_number, 2, n);
        IF v_term <> ALL (v_terms) THEN
            v_terms := v_terms || v_term;
        END IF;
    END LOOP;
    FOR n IN 4 .. v_digits LOOP
        v_terms := v_terms || ('s:' || right(p_number, n));
    END LOOP;
    IF p_tags <> '[]' THEN
        FOREACH v_word IN ARRAY (public.texts_of(p_tags))[:100] LOOP
            v_term := 't:' || v_word;
            IF length(v_word) <= 100 AND v_term <> ALL (v_terms) THEN
                v_terms := v_terms || v_term;
            END IF;
        END LOOP;
    END IF;
    IF p_chatbot IS NOT NULL THEN
        v_terms := v_terms || ('c:' || p_chatbot);
    END IF;
    RETURN v_terms;
END $$;

CREATE OR REPLACE FUNCTION add_contact_terms() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.contact_terms (user_id, term, of_contact)
    SELECT n.user_id, t, n.id
      FROM made n,
           unnest(public.contact_terms_of(n.name, n.phone_number, n.tags, n.chatbot_id)) t
     ORDER BY n.user_id, t, n.id;
    RETURN NULL;
END $$;
