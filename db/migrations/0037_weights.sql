-- priority_queue is a weight in the fair claims of turns and of sends, and max_concurrent_conversations
-- a bound in that of turns. The claims of the release before stay beside these, and count as before.

CREATE FUNCTION claim_conversations(p_worker bigint, p_limit integer, p_tenant_max integer,
                                    p_priority integer)
 RETURNS TABLE(user_id bigint, conversation_id bigint, epoch bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $$
#variable_conflict use_column
DECLARE
    v_users bigint[];
    v_weights integer[];
    v_bounds integer[];
    v_busy bigint[];
BEGIN
    WITH RECURSIVE tenant AS (
        (SELECT c.user_id FROM public.conversations c
          WHERE c.ready_at <= now() AND c.lease_owner IS NULL
          ORDER BY c.user_id LIMIT 1)
        UNION ALL
        SELECT (SELECT c.user_id FROM public.conversations c
                 WHERE c.ready_at <= now() AND c.lease_owner IS NULL AND c.user_id > t.user_id
                 ORDER BY c.user_id LIMIT 1)
          FROM tenant t WHERE t.user_id IS NOT NULL
    ), plan AS (
        SELECT t.user_id, CASE WHEN s.has_priority THEN p_priority ELSE 1 END AS weight,
               s.max_concurrent AS bound
          FROM tenant t
          LEFT JOIN public.user_subscriptions s ON s.user_id = t.user_id AND s.is_active
         WHERE t.user_id IS NOT NULL
    )
    SELECT array_agg(p.user_id), array_agg(p.weight), array_agg(p.bound),
           array_agg(p.user_id) FILTER (WHERE p.bound IS NOT NULL)
      INTO v_users, v_weights, v_bounds, v_busy
      FROM plan p;
    IF v_users IS NULL THEN
        RETURN;
    END IF;
    -- Of a tenant with a bound one claim at a time: two would each fill the same places. Whoever
    -- finds it held comes again in a moment. What is counted is counted after it: by the next
    -- statement.
    IF v_busy IS NOT NULL THEN
        SELECT coalesce(array_agg(b.id), '{}') INTO v_busy
          FROM (SELECT u.id, pg_try_advisory_xact_lock(730580993, (u.id % 2147483647)::integer) AS got
                  FROM unnest(v_busy) AS u (id) OFFSET 0) b
         WHERE NOT b.got;
    END IF;
    RETURN QUERY
    WITH tenant AS (
        SELECT t.user_id, t.weight, t.bound
          FROM unnest(v_users, v_weights, v_bounds) AS t (user_id, weight, bound)
         WHERE t.bound IS NULL OR t.user_id <> ALL (v_busy)
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
           AND coalesce(r.n, 0) + k.place <= coalesce(t.bound, 2147483647)
         -- The first place of each is the same: whatever the weights, nobody is passed by for ever.
         ORDER BY (coalesce(r.n, 0) + k.place - 1)::float8 / t.weight, k.ready_at
         LIMIT p_limit
    ), free AS (
        SELECT c.id FROM public.conversations c
         WHERE c.id IN (SELECT id FROM picked) AND c.ready_at <= now() AND c.lease_owner IS NULL
           FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE public.conversations c
       SET lease_owner = p_worker, epoch = c.epoch + 1, ready_at = NULL, pending_since = NULL
      FROM free WHERE c.id = free.id
    RETURNING c.user_id, c.id, c.epoch;
END $$;

CREATE FUNCTION claim_sends(p_worker bigint, p_limit integer, p_tenant_max integer, p_every interval, p_burst integer, p_max_age interval,
                            p_priority integer)
 RETURNS TABLE(user_id bigint, message_id bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE number AS (
        (SELECT m.user_id, m.chatbot_id FROM public.messages m
          WHERE m.direction = 'outbound' AND m.status = 'queued'
          ORDER BY m.user_id, m.chatbot_id LIMIT 1)
        UNION ALL
        SELECT n.user_id, n.chatbot_id
          FROM number b
         CROSS JOIN LATERAL (
               SELECT m.user_id, m.chatbot_id FROM public.messages m
                WHERE m.direction = 'outbound' AND m.status = 'queued'
                  AND (m.user_id, m.chatbot_id) > (b.user_id, b.chatbot_id)
                ORDER BY m.user_id, m.chatbot_id LIMIT 1) n
    ), open AS MATERIALIZED (
        -- No join: how many numbers have something queued is not known when it is planned, and the
        -- limits of all numbers would be read in every claim.
        SELECT n.user_id, n.chatbot_id,
               (SELECT public.send_allowance(l) FROM public.send_limits l
                 WHERE l.user_id = n.user_id AND l.chatbot_id = n.chatbot_id) AS allowance
          FROM number n
    ), running AS (
        SELECT m.user_id, count(*) AS n,
               count(*) FILTER (WHERE m.send_owner = p_worker) AS here
          FROM public.messages m
         WHERE m.direction = 'outbound' AND m.status IN ('queued', 'sending', 'unknown')
           AND m.send_owner IS NOT NULL
         GROUP BY m.user_id
    ), due AS (
        SELECT n.user_id, n.chatbot_id, k.id, k.bulk, false AS too_old,
               row_number() OVER (PARTITION BY n.user_id ORDER BY k.bulk, k.id) AS place
          FROM open n
         CROSS JOIN LATERAL (
               SELECT m.id, m.bulk FROM public.messages m
                WHERE m.user_id = n.user_id AND m.chatbot_id = n.chatbot_id
                  AND m.direction = 'outbound' AND m.status = 'queued'
                  AND m.send_owner IS NULL AND (m.send_after IS NULL OR m.send_after <= now())
                  AND NOT EXISTS (
                      SELECT FROM public.messages e
                       WHERE e.user_id = m.user_id AND e.conversation_id = m.conversation_id
                         AND e.direction = 'outbound'
                         AND e.status IN ('queued', 'sending', 'unknown') AND e.id < m.id)
                  AND NOT EXISTS (
                      SELECT FROM public.conversations v
                       WHERE v.user_id = m.user_id AND v.id = m.conversation_id
                         AND v.pair_full_at > now() + (p_burst - 1) * p_every)
                ORDER BY m.bulk, m.id LIMIT least(p_limit, n.allowance)) k
         WHERE n.allowance > 0
        UNION ALL
        -- Of a number that may not send, the oldest are looked at: one that is too old leaves the
        -- queue all the same.
        SELECT n.user_id, n.chatbot_id, k.id, k.bulk, true, 1
          FROM open n
         CROSS JOIN LATERAL (
               SELECT m.id, m.bulk, m.sent_at, m.send_owner FROM public.messages m
                WHERE m.user_id = n.user_id AND m.chatbot_id = n.chatbot_id
                  AND m.direction = 'outbound' AND m.status = 'queued'
                ORDER BY m.bulk, m.id LIMIT 1) k
         WHERE n.allowance <= 0 AND k.send_owner IS NULL AND k.sent_at < now() - p_max_age
    ), weight AS MATERIALIZED (
        SELECT n.user_id,
               (SELECT CASE WHEN s.has_priority THEN p_priority ELSE 1 END
                  FROM public.user_subscriptions s
                 WHERE s.user_id = n.user_id AND s.is_active) AS weight
          FROM (SELECT DISTINCT user_id FROM due) n
    ), picked AS (
        SELECT d.user_id, d.chatbot_id, d.id, d.bulk, d.too_old
          FROM due d LEFT JOIN running r ON r.user_id = d.user_id
          LEFT JOIN weight w ON w.user_id = d.user_id
         WHERE coalesce(r.here, 0) + d.place <= p_tenant_max
         ORDER BY d.bulk, (coalesce(r.n, 0) + d.place - 1)::float8 / coalesce(w.weight, 1), d.id
         LIMIT p_limit
    ), bucket AS MATERIALIZED (
        -- One claim at a time for a number, so that two cannot spend one token. Whoever finds it
        -- locked comes again in a moment.
        SELECT l.user_id, l.chatbot_id, public.send_allowance(l) AS allowance,
               public.send_rate(l.max_rate, l.slow_rate, l.slowed_at) AS rate, l.holds
          FROM public.send_limits l
         WHERE (l.user_id, l.chatbot_id) IN (SELECT p.user_id, p.chatbot_id FROM picked p)
         ORDER BY l.chatbot_id
           FOR NO KEY UPDATE OF l SKIP LOCKED
    ), allowed AS (
        SELECT a.id
          FROM (SELECT p.id, p.too_old, b.allowance,
                       row_number() OVER (PARTITION BY b.chatbot_id ORDER BY p.bulk, p.id) AS place
                  FROM picked p JOIN bucket b USING (user_id, chatbot_id)) a
         WHERE a.place <= a.allowance OR a.too_old
    ), free AS (
        SELECT m.id FROM public.messages m
         WHERE m.id IN (SELECT a.id FROM allowed a)
           AND m.status = 'queued' AND m.send_owner IS NULL
           FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE public.messages m SET send_owner = p_worker
          FROM free WHERE m.id = free.id
        RETURNING m.user_id, m.chatbot_id, m.id
    ), spent AS (
        UPDATE public.send_limits l
           SET full_at = greatest(l.full_at, now())
                         -- A try after a pause spends half a minute's worth: the next one waits
                         -- for what becomes of it.
                         + CASE WHEN b.holds > 0 THEN interval '30 s'
                                ELSE make_interval(secs => c.n / b.rate) END
          FROM bucket b
          JOIN (SELECT chatbot_id, count(*) AS n FROM claimed GROUP BY chatbot_id) c
            USING (chatbot_id)
         WHERE l.user_id = b.user_id AND l.chatbot_id = b.chatbot_id AND b.allowance > 0
    )
    SELECT c.user_id, c.id FROM claimed c ORDER BY c.id;
END $$;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION claim_conversations(bigint, integer, integer, integer) OWNER TO swiftreplies_system;
ALTER FUNCTION claim_sends(bigint, integer, integer, interval, integer, interval, integer)
    OWNER TO swiftreplies_system;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
REVOKE ALL ON FUNCTION claim_conversations(bigint, integer, integer, integer),
    claim_sends(bigint, integer, integer, interval, integer, interval, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim_conversations(bigint, integer, integer, integer),
    claim_sends(bigint, integer, integer, interval, integer, interval, integer)
    TO CURRENT_USER, swiftreplies_app;
