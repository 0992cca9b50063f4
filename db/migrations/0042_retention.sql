-- What is kept for how long, and goes then: messages by the tenant's plan, the rest by a term for all.

CREATE INDEX conversation_events_age ON conversation_events (settled_at)
    WHERE settled_at IS NOT NULL;

-- ---- messages: message_history_days of the plan --------------------------------------------------

-- Of tenants whose plan bounds it, or did. A lower value acts 7 days after it was given, so that one
-- mistyped digit deletes nothing at once.
CREATE TABLE retention (
    user_id    bigint PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    days       integer CHECK (days >= 0),  -- NULL: all are kept
    lower_days integer CHECK (lower_days >= 0),
    lower_from timestamptz,
    due_at     timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    swept_upto bigint NOT NULL DEFAULT 0,  -- the last message that was looked at
    CHECK ((lower_days IS NULL) = (lower_from IS NULL))
);
CREATE INDEX retention_due ON retention (due_at);

-- wamids of messages that were removed before Meta is done repeating them: for 8 days after they
-- were recorded.
CREATE TABLE gone_messages (
    user_id    bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chatbot_id bigint NOT NULL,
    contact_id bigint NOT NULL,
    wamid      text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, chatbot_id, wamid),
    FOREIGN KEY (user_id, chatbot_id) REFERENCES chatbots (user_id, id) ON DELETE CASCADE,
    FOREIGN KEY (user_id, contact_id) REFERENCES contacts (user_id, id) ON DELETE CASCADE
);
CREATE INDEX gone_messages_contact ON gone_messages (user_id, contact_id);
CREATE INDEX gone_messages_age ON gone_messages (created_at);

DO $$
DECLARE
    t regclass;
BEGIN
    FOREACH t IN ARRAY ARRAY['retention', 'gone_messages']::regclass[] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format($p$
            CREATE POLICY tenant ON %s
                USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
                WITH CHECK
                    (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
            $p$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO swiftreplies_app', t);
    END LOOP;
END $$;

-- As the plan has it: a value of another kind keeps all (handlers/plans.py).
CREATE FUNCTION plan_history_days(p_config jsonb) RETURNS integer
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN jsonb_typeof(p_config #> '{limits,message_history_days}') = 'number'
                 AND p_config #>> '{limits,message_history_days}' ~ '^[0-9]{1,9}$'
                THEN (p_config #>> '{limits,message_history_days}')::integer END
$$;

CREATE FUNCTION note_retention() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_days integer := public.plan_history_days(NEW.subscription_config);
    v_now integer;
    r record;
    v_first boolean;
BEGIN
    SELECT * INTO r FROM public.retention t WHERE t.user_id = NEW.user_id FOR UPDATE;
    IF NOT FOUND THEN
        v_first := TG_OP = 'INSERT' AND NOT EXISTS (
            SELECT FROM public.user_subscriptions s
             WHERE s.user_id = NEW.user_id AND s.id <> NEW.id);
        INSERT INTO public.retention (user_id, days, lower_days, lower_from)
        SELECT NEW.user_id, CASE WHEN v_first THEN v_days END,
               CASE WHEN NOT v_first THEN v_days END,
               CASE WHEN NOT v_first THEN now() + interval '7 days' END
         WHERE v_days IS NOT NULL;
        RETURN NULL;
    END IF;
    v_now := CASE WHEN r.lower_from <= now() THEN r.lower_days ELSE r.days END;
    IF v_days IS NULL OR v_days >= v_now THEN
        UPDATE public.retention t SET days = v_days, lower_days = NULL, lower_from = NULL
         WHERE t.user_id = NEW.user_id;
    ELSIF r.lower_from > now() AND r.lower_days = v_days THEN
        NULL;  -- it waits already
    ELSE
        UPDATE public.retention t
           SET days = v_now, lower_days = v_days, lower_from = now() + interval '7 days'
         WHERE t.user_id = NEW.user_id;
    END IF;
    UPDATE public.retention t SET due_at = now() WHERE t.user_id = NEW.user_id;
    RETURN NULL;
END $$;
CREATE TRIGGER note_retention AFTER INSERT OR UPDATE OF subscription_config, is_active
    ON user_subscriptions FOR EACH ROW WHEN (NEW.is_active) EXECUTE FUNCTION note_retention();

-- Plans that were there before: as if they had just been lowered from keeping all.
ALTER TABLE user_subscriptions NO FORCE ROW LEVEL SECURITY;
INSERT INTO retention (user_id, lower_days, lower_from)
SELECT s.user_id, plan_history_days(s.subscription_config), now() + interval '7 days'
  FROM user_subscriptions s
 WHERE s.is_active AND plan_history_days(s.subscription_config) IS NOT NULL;
ALTER TABLE user_subscriptions FORCE ROW LEVEL SECURITY;
ALTER TABLE retention FORCE ROW LEVEL SECURITY;
ALTER TABLE gone_messages FORCE ROW LEVEL SECURITY;

CREATE POLICY system ON retention TO swiftreplies_system USING (true);
GRANT SELECT, INSERT, UPDATE ON retention TO swiftreplies_system;

CREATE FUNCTION due_retentions(p_limit integer) RETURNS SETOF bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.user_id FROM public.retention r WHERE r.due_at <= now() ORDER BY r.due_at LIMIT p_limit
$$;

-- Of the tenant's next p_limit messages after p_after those that are older than p_days, with their
-- copies in threads. Left, and looked at in the next round: what is unanswered, queued, on its way or
-- unknown, what waits for a plan and may be answered yet (12 hours), what an Idempotency-Key still
-- answers with, what somebody has locked, and all of a conversation that is being answered. The
-- contact is locked too, since gone_messages refers to it and an erasure has it before the
-- conversation. An hour old they are at least: statuses are still to come.
-- The last that was looked at (NULL: there were none), how many went, and when the first of those
-- that are too young is due.
CREATE FUNCTION forget_history(p_user bigint, p_days integer, p_after bigint, p_limit integer)
    RETURNS TABLE (upto bigint, gone integer, young_since timestamptz)
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_before timestamptz := now() - greatest(make_interval(days => p_days), interval '1 hour');
    v_conversations bigint[];
    v_ids bigint[];
    v_threads text[];
BEGIN
    SELECT max(p.id), min(p.created_at) FILTER (WHERE p.created_at >= v_before),
           array_agg(DISTINCT p.conversation_id) FILTER (WHERE p.created_at < v_before)
      INTO upto, young_since, v_conversations
      FROM (SELECT m.id, m.created_at, m.conversation_id FROM messages m
             WHERE m.user_id = p_user AND m.id > p_after ORDER BY m.id LIMIT p_limit) p;
    gone := 0;
    IF v_conversations IS NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT coalesce(array_agg(c.id), '{}') INTO v_conversations
      FROM (SELECT v.id FROM conversations v
              JOIN contacts k ON k.user_id = p_user AND k.id = v.contact_id
             WHERE v.user_id = p_user AND v.id = ANY (v_conversations)
               AND v.lease_owner IS NULL
             ORDER BY v.id FOR NO KEY UPDATE OF v SKIP LOCKED
                           FOR KEY SHARE OF k SKIP LOCKED) c;
    SELECT coalesce(array_agg(o.id), '{}') INTO v_ids
      FROM (SELECT m.id FROM messages m
             WHERE m.user_id = p_user AND m.id > p_after AND m.id <= upto
               AND m.created_at < v_before
               AND (m.conversation_id IS NULL OR m.conversation_id = ANY (v_conversations))
               AND NOT (m.direction = 'outbound' AND m.status IN ('queued', 'sending', 'unknown'))
               AND NOT coalesce(m.input_seq > (SELECT v.answered_seq FROM conversations v
                                                WHERE v.user_id = p_user
                                                  AND v.id = m.conversation_id), false)
               AND NOT (m.created_at > now() - interval '12 hours'
                        AND EXISTS (SELECT FROM conversations v
                                     WHERE v.user_id = p_user AND v.id = m.conversation_id
                                       AND v.waits_for IS NOT NULL))
               AND NOT EXISTS (SELECT FROM idempotency_keys k
                                WHERE k.user_id = p_user AND k.message_id = m.id
                                  AND k.created_at > now() - interval '24 hours')
               FOR UPDATE OF m SKIP LOCKED) o;
    INSERT INTO gone_messages (user_id, chatbot_id, contact_id, wamid, created_at)
    SELECT p_user, m.chatbot_id, m.contact_id, m.message_id, m.created_at FROM messages m
     WHERE m.user_id = p_user AND m.id = ANY (v_ids) AND m.message_id IS NOT NULL
       AND m.created_at > now() - interval '8 days'
        ON CONFLICT (user_id, chatbot_id, wamid) DO NOTHING;
    WITH went AS (
        DELETE FROM messages m WHERE m.user_id = p_user AND m.id = ANY (v_ids)
        RETURNING m.conversation_id
    )
    SELECT count(*), array_agg(DISTINCT w.conversation_id) INTO gone, v_conversations FROM went w;
    -- A thread has its last 40 messages: where as many are left, none of those that went.
    WITH short AS (
        UPDATE conversations v SET rebuild_thread = true
         WHERE v.user_id = p_user AND v.id = ANY (v_conversations)
           AND (SELECT count(*) FROM (SELECT FROM messages m WHERE m.user_id = p_user
                                         AND m.conversation_id = v.id LIMIT 40) l) < 40
        RETURNING v.thread_id
    )
    SELECT array_agg(s.thread_id) INTO v_threads FROM short s;
    DELETE FROM checkpoint_writes w WHERE w.thread_id = ANY (v_threads);
    DELETE FROM checkpoint_blobs b WHERE b.thread_id = ANY (v_threads);
    DELETE FROM checkpoints c WHERE c.thread_id = ANY (v_threads);
    RETURN NEXT;
END $$;

-- What webhooks were told of, as bodies: no longer than the messages that are in them. Up to p_limit,
-- oldest first; how many went. What is kept as a row of analytics_events can be told again.
CREATE FUNCTION forget_told(p_user bigint, p_days integer, p_limit integer) RETURNS bigint
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    WITH gone AS (
        DELETE FROM webhook_events e
         USING (SELECT o.id FROM (SELECT i.id, i.created_at FROM webhook_events i
                                   WHERE i.user_id = p_user ORDER BY i.user_id, i.id LIMIT p_limit
                                     FOR UPDATE SKIP LOCKED) o
                 WHERE o.created_at < now() - greatest(make_interval(days => p_days),
                                                       interval '1 hour')) old
         WHERE e.user_id = p_user AND e.id = old.id RETURNING 1
    )
    SELECT count(*) FROM gone
$$;

-- ---- one term for all ----------------------------------------------------------------------------

CREATE POLICY system ON idempotency_keys TO swiftreplies_system USING (true);
CREATE POLICY system ON analytics_events TO swiftreplies_system USING (true);
CREATE POLICY system ON account_events TO swiftreplies_system USING (true);
CREATE POLICY system ON gone_messages TO swiftreplies_system USING (true);
GRANT SELECT (user_id, idempotency_key, created_at), DELETE ON idempotency_keys
    TO swiftreplies_system;
GRANT SELECT (id, created_at), DELETE ON analytics_events TO swiftreplies_system;
GRANT SELECT (id, received_at), DELETE ON account_events TO swiftreplies_system;
GRANT DELETE ON conversation_events TO swiftreplies_system;
GRANT SELECT (user_id, chatbot_id, wamid, created_at), DELETE ON gone_messages
    TO swiftreplies_system;
GRANT UPDATE (idempotency_key) ON idempotency_keys TO swiftreplies_system;  -- a lock wants one
GRANT UPDATE (id) ON analytics_events, account_events, conversation_events TO swiftreplies_system;
GRANT UPDATE (wamid) ON gone_messages TO swiftreplies_system;

-- Up to p_limit rows that are older than p_after; how many went. Ids grow with time, so where there
-- is no index by age the oldest are looked at.
CREATE FUNCTION forget_old(p_what text, p_after interval, p_limit integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_gone bigint;
BEGIN
    CASE p_what
    WHEN 'parked_items' THEN
        DELETE FROM public.parked_items p USING (
            SELECT o.id FROM (SELECT i.id, i.parked_at FROM public.parked_items i
                               ORDER BY i.id LIMIT p_limit FOR UPDATE SKIP LOCKED) o
             WHERE o.parked_at < now() - p_after) old WHERE p.id = old.id;
    WHEN 'analytics_events' THEN
        DELETE FROM public.analytics_events p USING (
            SELECT o.id FROM (SELECT i.id, i.created_at FROM public.analytics_events i
                               ORDER BY i.id LIMIT p_limit FOR UPDATE SKIP LOCKED) o
             WHERE o.created_at < now() - p_after) old WHERE p.id = old.id;
    WHEN 'account_events' THEN
        DELETE FROM public.account_events p USING (
            SELECT o.id FROM (SELECT i.id, i.received_at FROM public.account_events i
                               ORDER BY i.id LIMIT p_limit FOR UPDATE SKIP LOCKED) o
             WHERE o.received_at < now() - p_after) old WHERE p.id = old.id;
    WHEN 'conversation_events' THEN
        DELETE FROM public.conversation_events p USING (
            SELECT i.id FROM public.conversation_events i
             WHERE i.settled_at < now() - p_after
             ORDER BY i.settled_at LIMIT p_limit FOR UPDATE SKIP LOCKED) old WHERE p.id = old.id;
    WHEN 'idempotency_keys' THEN
        DELETE FROM public.idempotency_keys p USING (
            SELECT i.user_id, i.idempotency_key FROM public.idempotency_keys i
             WHERE i.created_at < now() - p_after
             ORDER BY i.created_at LIMIT p_limit FOR UPDATE SKIP LOCKED) old
         WHERE p.user_id = old.user_id AND p.idempotency_key = old.idempotency_key;
    WHEN 'gone_messages' THEN
        DELETE FROM public.gone_messages p USING (
            SELECT i.user_id, i.chatbot_id, i.wamid FROM public.gone_messages i
             WHERE i.created_at < now() - p_after
             ORDER BY i.created_at LIMIT p_limit FOR UPDATE SKIP LOCKED) old
         WHERE p.user_id = old.user_id AND p.chatbot_id = old.chatbot_id AND p.wamid = old.wamid;
    END CASE;
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN v_gone;
END $$;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOREACH f IN ARRAY ARRAY['note_retention()', 'due_retentions(integer)',
                             'forget_old(text, interval, integer)']::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO swiftreplies_system', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
GRANT EXECUTE ON FUNCTION due_retentions(integer), forget_old(text, interval, integer)
    TO CURRENT_USER, swiftreplies_app;
