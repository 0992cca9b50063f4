-- Customers who want no more advertising, other bots, and how much one customer may cost a day.
ALTER TABLE chatbots
    ADD COLUMN topic text,  -- what it is there for; about the rest it says nothing
    ADD COLUMN opt_out_words text[] NOT NULL DEFAULT '{}';  -- beside those that everybody has
CREATE TRIGGER raise_chatbot_version_with_care AFTER UPDATE ON chatbots
    FOR EACH ROW WHEN (new.version = old.version
                       AND (old.topic IS DISTINCT FROM new.topic
                            OR old.opt_out_words IS DISTINCT FROM new.opt_out_words))
    EXECUTE FUNCTION raise_chatbot_version();
ALTER TABLE conversations
    ADD COLUMN loop_stopped_at timestamptz,  -- of before then no message counts for the next loop
    ADD COLUMN off_topic smallint NOT NULL DEFAULT 0,  -- answers in a row that it had to decline
    ADD COLUMN off_topic_at timestamptz;  -- the last of them

-- What one customer had on one day of the tenant's, in all conversations; only where the plan bounds
-- it. An answer that fails to arrive counts as well: it was made.
CREATE TABLE contact_days (
    user_id    bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    contact_id bigint NOT NULL,
    usage_day  date NOT NULL,
    answers    integer NOT NULL DEFAULT 0 CHECK (answers >= 0),
    tokens     bigint NOT NULL DEFAULT 0 CHECK (tokens >= 0),
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (user_id, contact_id, usage_day),
    FOREIGN KEY (user_id, contact_id) REFERENCES contacts (user_id, id) ON DELETE CASCADE
);
CREATE INDEX contact_days_created ON contact_days (created_at);
ALTER TABLE contact_days ENABLE ROW LEVEL SECURITY;
ALTER TABLE contact_days FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON contact_days
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE, DELETE ON contact_days TO swiftreplies_app;
CREATE POLICY system ON contact_days TO swiftreplies_system USING (true);
GRANT SELECT (user_id, contact_id, usage_day, created_at), DELETE ON contact_days TO swiftreplies_system;

-- What a running turn may still spend of them.
ALTER TABLE usage_reservations
    ADD COLUMN tokens bigint NOT NULL DEFAULT 0 CHECK (tokens >= 0);

CREATE FUNCTION forget_contact_days(p_after interval, p_limit integer) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM public.contact_days d USING (
            SELECT o.user_id, o.contact_id, o.usage_day FROM public.contact_days o
             WHERE o.created_at < now() - p_after
             ORDER BY o.created_at LIMIT p_limit FOR UPDATE SKIP LOCKED) old
         WHERE d.user_id = old.user_id AND d.contact_id = old.contact_id
           AND d.usage_day = old.usage_day RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION forget_contact_days(interval, integer) OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION forget_contact_days(interval, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_contact_days(interval, integer) TO CURRENT_USER, swiftreplies_app;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;

-- A contact's day, locked: what is read after it, is what everybody else has left.
CREATE FUNCTION lock_contact_day(p_user bigint, p_contact bigint, p_day date) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO contact_days (user_id, contact_id, usage_day) VALUES (p_user, p_contact, p_day)
    ON CONFLICT (user_id, contact_id, usage_day) DO NOTHING;
    PERFORM FROM contact_days d
      WHERE d.user_id = p_user AND d.contact_id = p_contact AND d.usage_day = p_day
        FOR NO KEY UPDATE;
END $$;

-- Whether the plan's bounds of a contact's day leave room for one more answer; NULL: they do. The
-- answers that other conversations of the contact are making count, and the tokens that they hold.
CREATE FUNCTION contact_limit_reached(p_user bigint, p_conversation bigint, p_day date) RETURNS text
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_answers integer;
    v_tokens integer;
    v_contact bigint;
    v_used record;
    v_limit text;
BEGIN
    SELECT plan_limit(s.subscription_config, 'max_messages_per_contact_day'),
           plan_limit(s.subscription_config, 'max_tokens_per_contact_day')
      INTO v_answers, v_tokens
      FROM user_subscriptions s WHERE s.user_id = p_user AND s.is_active;
    IF num_nonnulls(v_answers, v_tokens) = 0 THEN
        RETURN NULL;
    END IF;
    SELECT c.contact_id INTO v_contact FROM conversations c
     WHERE c.user_id = p_user AND c.id = p_conversation;
    PERFORM lock_contact_day(p_user, v_contact, p_day);
    SELECT d.answers + r.answers AS answers, d.tokens + r.tokens AS tokens INTO v_used
      FROM contact_days d
     CROSS JOIN LATERAL (
           SELECT coalesce(sum(h.messages), 0) AS answers, coalesce(sum(h.tokens), 0) AS tokens
             FROM usage_reservations h
             JOIN conversations c ON c.user_id = p_user AND c.id = h.conversation_id
            WHERE h.user_id = p_user AND c.contact_id = v_contact AND h.usage_day = p_day
              AND h.conversation_id <> p_conversation) r
     WHERE d.user_id = p_user AND d.contact_id = v_contact AND d.usage_day = p_day;
    v_limit := CASE WHEN v_used.answers >= v_answers THEN 'max_messages_per_contact_day'
                    WHEN v_used.tokens >= v_tokens THEN 'max_tokens_per_contact_day' END;
    IF v_limit IS NOT NULL THEN
        PERFORM limit_reached(p_user, v_limit, p_day,
                              CASE v_limit WHEN 'max_messages_per_contact_day' THEN v_answers
                                           ELSE v_tokens END);
    END IF;
    RETURN v_limit;
END $$;

-- The contact's day before the tenant's. A unit that was held before stays held for the next turn's
-- look: it is given back where that ends.
CREATE OR REPLACE FUNCTION reserve_for_turn(p_user bigint, p_conversation bigint, p_worker bigint,
                                            p_epoch bigint, p_messages integer)
    RETURNS TABLE (outcome text, usage_day date, overage boolean, notice text)
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_day date;
    v_limit text;
BEGIN
    IF NOT hold_turn(p_user, p_conversation, p_worker, p_epoch) THEN
        RETURN QUERY SELECT 'lease_lost', NULL::date, false, NULL::text;
        RETURN;
    END IF;
    SELECT usage_day(u.timezone, u.usage_day_floor) INTO v_day FROM users u WHERE u.id = p_user;
    v_limit := contact_limit_reached(p_user, p_conversation, v_day);
    IF v_limit IS NOT NULL THEN
        RETURN QUERY
        SELECT v_limit, v_day, false,
               nullif(btrim(plan_text(s.subscription_config, 'message_limit_notice'),
                            E' \t\n\r\x0b\f'), '')
          FROM user_subscriptions s WHERE s.user_id = p_user AND s.is_active;
        RETURN;
    END IF;
    RETURN QUERY SELECT r.outcome, r.usage_day, r.overage, r.notice
                   FROM reserve_messages(p_user, p_conversation, p_messages) r;
END $$;

-- Before each request to a model: holds so many tokens of the contact's day in all for this turn,
-- p_least to p_most, as many as there are. 'unbounded', 'granted', 'reached', 'lost' (the lease).
CREATE FUNCTION hold_contact_tokens(p_user bigint, p_conversation bigint, p_worker bigint,
                                    p_epoch bigint, p_least bigint, p_most bigint)
    RETURNS TABLE (outcome text, granted bigint)
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_limit integer;
    v_contact bigint;
    v_day date;
    v_left bigint;
BEGIN
    IF NOT hold_turn(p_user, p_conversation, p_worker, p_epoch) THEN
        RETURN QUERY SELECT 'lost', 0::bigint;
        RETURN;
    END IF;
    SELECT plan_limit(s.subscription_config, 'max_tokens_per_contact_day') INTO v_limit
      FROM user_subscriptions s WHERE s.user_id = p_user AND s.is_active;
    IF v_limit IS NULL THEN
        RETURN QUERY SELECT 'unbounded', p_most;
        RETURN;
    END IF;
    SELECT c.contact_id, r.usage_day INTO v_contact, v_day
      FROM conversations c
      JOIN usage_reservations r ON r.user_id = p_user AND r.conversation_id = c.id
     WHERE c.user_id = p_user AND c.id = p_conversation;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'lost', 0::bigint;
        RETURN;
    END IF;
    PERFORM lock_contact_day(p_user, v_contact, v_day);
    SELECT v_limit - d.tokens - r.tokens INTO v_left
      FROM contact_days d
     CROSS JOIN LATERAL (
           SELECT coalesce(sum(h.tokens), 0) AS tokens
             FROM usage_reservations h
             JOIN conversations c ON c.user_id = p_user AND c.id = h.conversation_id
            WHERE h.user_id = p_user AND c.contact_id = v_contact AND h.usage_day = v_day
              AND h.conversation_id <> p_conversation) r
     WHERE d.user_id = p_user AND d.contact_id = v_contact AND d.usage_day = v_day;
    IF v_left < p_least THEN
        PERFORM limit_reached(p_user, 'max_tokens_per_contact_day', v_day, v_limit);
        RETURN QUERY SELECT 'reached', greatest(v_left, 0);
        RETURN;
    END IF;
    v_left := least(v_left, p_most);
    UPDATE usage_reservations r SET tokens = v_left
     WHERE r.user_id = p_user AND r.conversation_id = p_conversation;
    RETURN QUERY SELECT 'granted', v_left;
END $$;

-- With the COMMIT, and before the turn's unit is settled, in that order of locks: an answer, where the
-- plan bounds a contact's day.
CREATE FUNCTION count_contact_answer(p_user bigint, p_conversation bigint, p_day date) RETURNS void
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    INSERT INTO contact_days AS d (user_id, contact_id, usage_day, answers)
    SELECT p_user, c.contact_id, p_day, 1 FROM conversations c
     WHERE c.user_id = p_user AND c.id = p_conversation
    ON CONFLICT (user_id, contact_id, usage_day) DO UPDATE SET answers = d.answers + 1
$$;

-- And what the turn's calls took, on the day on which it was held; before its calls are counted, by
-- which it is known whether a try of before has committed.
CREATE FUNCTION count_contact_tokens(p_user bigint, p_conversation bigint, p_epoch bigint,
                                     p_tokens bigint) RETURNS void
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    INSERT INTO contact_days AS d (user_id, contact_id, usage_day, tokens)
    SELECT p_user, c.contact_id,
           coalesce(r.usage_day, usage_day(u.timezone, u.usage_day_floor)), p_tokens
      FROM conversations c
      JOIN users u ON u.id = p_user
      LEFT JOIN usage_reservations r ON r.user_id = p_user AND r.conversation_id = c.id
     WHERE c.user_id = p_user AND c.id = p_conversation
       AND NOT EXISTS (SELECT FROM model_calls m WHERE m.user_id = p_user
                          AND m.conversation_id = p_conversation AND m.epoch = p_epoch)
    ON CONFLICT (user_id, contact_id, usage_day) DO UPDATE SET tokens = d.tokens + EXCLUDED.tokens
$$;
