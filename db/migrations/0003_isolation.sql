-- Who may see what. `swiftreplies_app` is what every runtime connection runs as; the tenant is set
-- for one transaction by app.user_id and unset means no rows. `swiftreplies_system` owns the few
-- functions that look across tenants; nobody logs in as it or is a member of it, it sees the
-- columns granted below and its functions return ids, never content.
--
-- nullif() is not optional: after the first set_config(.., true) on a connection the value falls
-- back to '' and a bare cast of that raises.

GRANT USAGE ON SCHEMA public TO swiftreplies_app, swiftreplies_system;

DO $$
DECLARE
    t regclass;
BEGIN
    FOR t IN
        SELECT c.oid::regclass FROM pg_class c
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'user_id'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($p$
            CREATE POLICY tenant ON %s
                USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
                WITH CHECK
                    (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
            $p$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO swiftreplies_app', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['checkpoints', 'checkpoint_blobs', 'checkpoint_writes']::regclass[]
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($p$
            CREATE POLICY tenant ON %1$s
                USING (EXISTS (SELECT FROM conversations c WHERE c.thread_id = %1$s.thread_id
                    AND c.user_id =
                        (SELECT nullif(current_setting('app.user_id', true), '')::bigint)))
                WITH CHECK (EXISTS (SELECT FROM conversations c WHERE c.thread_id = %1$s.thread_id
                    AND c.user_id =
                        (SELECT nullif(current_setting('app.user_id', true), '')::bigint)))
            $p$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO swiftreplies_app', t);
    END LOOP;
END $$;

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON users
    USING (id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
    WITH CHECK (id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint));
-- Not is_active, email or password_hash: those are the operator's, or a login's, to change.
GRANT SELECT, UPDATE (full_name, company_name, phone, timezone, last_login, updated_at)
    ON users TO swiftreplies_app;

-- A tenant reads its plan and cannot write it.
REVOKE INSERT, UPDATE, DELETE ON user_subscriptions FROM swiftreplies_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON workers TO swiftreplies_app;
GRANT INSERT ON parked_items TO swiftreplies_app;
GRANT SELECT ON schema_migrations TO swiftreplies_app;
GRANT SELECT ON checkpoint_migrations TO swiftreplies_app;

-- ---- across tenants ---------------------------------------------------------------------------

GRANT SELECT (id, user_id, whatsapp_phone_number, phone_number_id),
      UPDATE (phone_number_id, updated_at) ON chatbots TO swiftreplies_system;
GRANT SELECT, INSERT ON chatbot_phone_numbers TO swiftreplies_system;
GRANT SELECT (id, user_id, ready_at, lease_owner, epoch, input_seq, answered_seq, pending_since,
              attempts),
      UPDATE (ready_at, lease_owner, epoch, pending_since, attempts)
      ON conversations TO swiftreplies_system;
GRANT SELECT (id, user_id, conversation_id, direction, status, send_owner, send_after, unknown_at,
              unknown_count),
      UPDATE (status, send_owner, unknown_at, unknown_count) ON messages TO swiftreplies_system;
GRANT SELECT, DELETE ON workers TO swiftreplies_system;

CREATE POLICY system ON chatbots TO swiftreplies_system USING (true);
CREATE POLICY system ON chatbot_phone_numbers TO swiftreplies_system USING (true);
CREATE POLICY system ON conversations TO swiftreplies_system USING (true);
CREATE POLICY system ON messages TO swiftreplies_system USING (true);

-- Whose number is this? By Meta's id; by the number itself only for a chatbot without an id, which
-- with p_bind takes the id for good, unless another chatbot ever held it. Outcomes: 'known',
-- 'bound', 'bindable', or why not: 'unknown_number', 'phone_number_id_of_another'.
CREATE FUNCTION resolve_number(p_phone_number_id text, p_number text, p_bind boolean)
    RETURNS TABLE (outcome text, user_id bigint, chatbot_id bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    bot record;
    holder bigint;
BEGIN
    SELECT c.user_id, c.id INTO bot FROM public.chatbots c
     WHERE c.phone_number_id = p_phone_number_id;
    IF FOUND THEN
        RETURN QUERY SELECT 'known', bot.user_id, bot.id;
        RETURN;
    END IF;
    SELECT c.user_id, c.id, c.phone_number_id INTO bot FROM public.chatbots c
     WHERE c.whatsapp_phone_number = p_number;
    IF NOT FOUND OR coalesce(p_phone_number_id, '') = '' THEN
        RETURN QUERY SELECT 'unknown_number', NULL::bigint, NULL::bigint;
        RETURN;
    END IF;
    SELECT n.chatbot_id INTO holder FROM public.chatbot_phone_numbers n
     WHERE n.phone_number_id = p_phone_number_id;
    IF bot.phone_number_id IS NOT NULL OR (holder IS NOT NULL AND holder <> bot.id) THEN
        RETURN QUERY SELECT 'phone_number_id_of_another', NULL::bigint, NULL::bigint;
        RETURN;
    END IF;
    IF NOT p_bind THEN
        RETURN QUERY SELECT 'bindable', bot.user_id, bot.id;
        RETURN;
    END IF;
    UPDATE public.chatbots c SET phone_number_id = p_phone_number_id, updated_at = now()
     WHERE c.id = bot.id AND c.phone_number_id IS NULL;
    IF NOT FOUND THEN  -- bound by another worker between our look and our write
        RETURN QUERY SELECT r.outcome, r.user_id, r.chatbot_id
                       FROM public.resolve_number(p_phone_number_id, p_number, false) r;
        RETURN;
    END IF;
    RETURN QUERY SELECT 'bound', bot.user_id, bot.id;
END $$;

-- Which tenant a chatbot belongs to, for operator commands: an owner who is no superuser does not
-- see chatbots before it has set their tenant.
CREATE FUNCTION chatbot_owner(p_chatbot bigint) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.user_id FROM public.chatbots c WHERE c.id = p_chatbot
$$;

-- Ready conversations for a worker with p_limit free places: a tenant's n-th conversation waits
-- behind every other tenant's (n-1)-th, those already running counted, so a flood of one tenant
-- takes only the places that nobody else wants, and never more than p_tenant_max of a worker's:
-- the rest stay free for who comes next.
CREATE FUNCTION claim_conversations(p_worker bigint, p_limit integer, p_tenant_max integer)
    RETURNS TABLE (user_id bigint, conversation_id bigint, epoch bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE tenant AS (
        (SELECT c.user_id FROM public.conversations c
          WHERE c.ready_at <= now() AND c.lease_owner IS NULL
          ORDER BY c.user_id LIMIT 1)
        UNION ALL
        SELECT (SELECT c.user_id FROM public.conversations c
                 WHERE c.ready_at <= now() AND c.lease_owner IS NULL AND c.user_id > t.user_id
                 ORDER BY c.user_id LIMIT 1)
          FROM tenant t WHERE t.user_id IS NOT NULL
    ), running AS (
        SELECT c.user_id, count(*) AS n,
               count(*) FILTER (WHERE c.lease_owner = p_worker) AS here
          FROM public.conversations c
         WHERE c.lease_owner IS NOT NULL GROUP BY c.user_id
    ), picked AS (
        SELECT k.id
          FROM tenant t
          LEFT JOIN running r ON r.user_id = t.user_id
         CROSS JOIN LATERAL (
               SELECT c.id, c.ready_at, row_number() OVER (ORDER BY c.ready_at) AS place
                 FROM public.conversations c
                WHERE c.user_id = t.user_id AND c.ready_at <= now() AND c.lease_owner IS NULL
                ORDER BY c.ready_at LIMIT p_limit) k
         WHERE coalesce(r.here, 0) + k.place <= p_tenant_max
         ORDER BY coalesce(r.n, 0) + k.place, k.ready_at
         LIMIT p_limit
    ), free AS (
        SELECT c.id FROM public.conversations c
         WHERE c.id IN (SELECT id FROM picked) AND c.ready_at <= now() AND c.lease_owner IS NULL
           FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE public.conversations c
       SET lease_owner = p_worker, epoch = c.epoch + 1, ready_at = NULL, pending_since = NULL
      FROM free WHERE c.id = free.id
    RETURNING c.user_id, c.id, c.epoch
$$;

-- Replies that may leave now: queued, due, and the oldest unsettled of their conversation. Fair
-- between tenants as above.
CREATE FUNCTION claim_sends(p_worker bigint, p_limit integer, p_tenant_max integer)
    RETURNS TABLE (user_id bigint, message_id bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE tenant AS (
        (SELECT m.user_id FROM public.messages m
          WHERE m.direction = 'outbound' AND m.status IN ('queued', 'sending', 'unknown')
          ORDER BY m.user_id LIMIT 1)
        UNION ALL
        SELECT (SELECT m.user_id FROM public.messages m
                 WHERE m.direction = 'outbound' AND m.status IN ('queued', 'sending', 'unknown')
                   AND m.user_id > t.user_id
                 ORDER BY m.user_id LIMIT 1)
          FROM tenant t WHERE t.user_id IS NOT NULL
    ), running AS (
        SELECT m.user_id, count(*) AS n,
               count(*) FILTER (WHERE m.send_owner = p_worker) AS here
          FROM public.messages m
         WHERE m.direction = 'outbound' AND m.status IN ('queued', 'sending', 'unknown')
           AND m.send_owner IS NOT NULL
         GROUP BY m.user_id
    ), picked AS (
        SELECT k.id
          FROM tenant t
          LEFT JOIN running r ON r.user_id = t.user_id
         CROSS JOIN LATERAL (
               SELECT m.id, row_number() OVER (ORDER BY m.id) AS place
                 FROM public.messages m
                WHERE m.user_id = t.user_id AND m.direction = 'outbound' AND m.status = 'queued'
                  AND m.send_owner IS NULL AND (m.send_after IS NULL OR m.send_after <= now())
                  AND NOT EXISTS (
                      SELECT FROM public.messages e
                       WHERE e.user_id = m.user_id AND e.conversation_id = m.conversation_id
                         AND e.direction = 'outbound'
                         AND e.status IN ('queued', 'sending', 'unknown') AND e.id < m.id)
                ORDER BY m.id LIMIT p_limit) k
         WHERE coalesce(r.here, 0) + k.place <= p_tenant_max
         ORDER BY coalesce(r.n, 0) + k.place, k.id
         LIMIT p_limit
    ), free AS (
        SELECT m.id FROM public.messages m
         WHERE m.id IN (SELECT id FROM picked) AND m.status = 'queued' AND m.send_owner IS NULL
           FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE public.messages m SET send_owner = p_worker
      FROM free WHERE m.id = free.id
    RETURNING m.user_id, m.id
$$;

-- Takes from dead workers what they held: conversations go back to the ready, queued replies to
-- the queue, and a reply whose sending was committed becomes unknown. Alive is who beat within
-- p_term; an owner that is not registered is dead.
CREATE FUNCTION sweep_dead_workers(p_term interval)
    RETURNS TABLE (what text, user_id bigint, id bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    alive bigint[];
BEGIN
    SELECT coalesce(array_agg(w.id), '{}') INTO alive FROM public.workers w
     WHERE w.beat_at > clock_timestamp() - p_term;
    RETURN QUERY
    WITH dead AS (
        SELECT c.id FROM public.conversations c
         WHERE c.lease_owner IS NOT NULL AND c.lease_owner <> ALL (alive)
         ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED)
    -- It counts as a failed attempt: a turn that takes its process down must not take them all.
    UPDATE public.conversations c
       SET lease_owner = NULL, attempts = c.attempts + 1,
           ready_at = CASE WHEN c.input_seq > c.answered_seq THEN now() END
      FROM dead WHERE c.id = dead.id
    RETURNING 'conversation', c.user_id, c.id;
    RETURN QUERY
    WITH dead AS (
        SELECT m.id FROM public.messages m
         WHERE m.direction = 'outbound' AND m.status IN ('queued', 'sending', 'unknown')
           AND m.send_owner IS NOT NULL AND m.send_owner <> ALL (alive)
         ORDER BY m.id FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE public.messages m
       SET send_owner = NULL,
           status = CASE WHEN m.status = 'sending' THEN 'unknown' ELSE m.status END,
           unknown_at = CASE WHEN m.status = 'sending' THEN now() ELSE m.unknown_at END,
           unknown_count = m.unknown_count + (m.status = 'sending')::int
      FROM dead WHERE m.id = dead.id
    RETURNING 'message', m.user_id, m.id;
    DELETE FROM public.workers w WHERE w.id <> ALL (alive)
       AND w.beat_at < clock_timestamp() - 10 * p_term;
END $$;

-- Takes back what a live worker claimed and no longer works on: a turn or a send of it ended
-- without being able to say so, because the database was away at that moment.
CREATE FUNCTION sweep_unheld(p_worker bigint, p_conversations bigint[], p_messages bigint[])
    RETURNS TABLE (what text, user_id bigint, id bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    -- What somebody has locked can wait for the next look; who waits here holds up every claim.
    RETURN QUERY
    WITH lost AS (
        SELECT c.id FROM public.conversations c
         WHERE c.lease_owner = p_worker AND c.id <> ALL (p_conversations)
           FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE public.conversations c
       SET lease_owner = NULL,
           ready_at = CASE WHEN c.input_seq > c.answered_seq THEN now() END
      FROM lost WHERE c.id = lost.id
    RETURNING 'conversation', c.user_id, c.id;
    RETURN QUERY
    WITH lost AS (
        SELECT m.id FROM public.messages m
         WHERE m.direction = 'outbound' AND m.status IN ('queued', 'sending', 'unknown')
           AND m.send_owner = p_worker AND m.id <> ALL (p_messages)
           FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE public.messages m
       SET send_owner = NULL,
           status = CASE WHEN m.status = 'sending' THEN 'unknown' ELSE m.status END,
           unknown_at = CASE WHEN m.status = 'sending' THEN now() ELSE m.unknown_at END,
           unknown_count = m.unknown_count + (m.status = 'sending')::int
      FROM lost WHERE m.id = lost.id
    RETURNING 'message', m.user_id, m.id;
END $$;

-- Sends whose outcome has been unknown for p_wait: the caller settles each in its tenant.
CREATE FUNCTION unknown_sends(p_wait interval, p_limit integer)
    RETURNS TABLE (user_id bigint, message_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.user_id, m.id FROM public.messages m
     WHERE m.direction = 'outbound' AND m.status = 'unknown' AND m.unknown_at < now() - p_wait
     ORDER BY m.unknown_at LIMIT p_limit
$$;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN
        SELECT p.oid::regprocedure FROM pg_proc p
         WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
    LOOP
        -- First: with the ownership goes what the owner so far was granted.
        EXECUTE format('ALTER FUNCTION %s OWNER TO swiftreplies_system', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO CURRENT_USER', f);
        IF f <> 'chatbot_owner(bigint)'::regprocedure THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO swiftreplies_app', f);
        END IF;
    END LOOP;
END $$;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
