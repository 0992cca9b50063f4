-- What is asked again and again, planned once a connection. A function in SQL that is not inlined is
-- planned anew in every call: 0.6 of the 0.66 ms that a claim of turns took with nothing to claim, and
-- 1.9 of the 2.07 ms of a claim of sends. An idle worker makes ten and twenty of them a second.
-- The bodies are those of 0003_isolation.sql, 0005_sends.sql and 0006_limit_choice.sql, but for the
-- look-up of a number's allowance.

CREATE OR REPLACE FUNCTION claim_conversations(p_worker bigint, p_limit integer, p_tenant_max integer)
    RETURNS TABLE (user_id bigint, conversation_id bigint, epoch bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
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
    RETURNING c.user_id, c.id, c.epoch;
END $$;

CREATE OR REPLACE FUNCTION claim_sends(p_worker bigint, p_limit integer, p_tenant_max integer,
                            p_every interval, p_burst integer, p_max_age interval)
    RETURNS TABLE (user_id bigint, message_id bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
    ), picked AS (
        SELECT d.user_id, d.chatbot_id, d.id, d.bulk, d.too_old
          FROM due d LEFT JOIN running r ON r.user_id = d.user_id
         WHERE coalesce(r.here, 0) + d.place <= p_tenant_max
         ORDER BY d.bulk, coalesce(r.n, 0) + d.place, d.id
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

CREATE OR REPLACE FUNCTION send_rate(p_max real, p_slow real, p_slowed_at timestamptz)
    RETURNS double precision
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE WHEN p_slowed_at IS NULL THEN p_max
                -- 2^30 is more than any limit, and a power that does not overflow.
                ELSE least(p_max, p_slow * 2 ^ least(30, extract(epoch FROM now() - p_slowed_at)
                                                         / 60)) END;
END $$;

CREATE OR REPLACE FUNCTION send_allowance(l send_limits) RETURNS integer
    LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    v_rate double precision := send_rate(l.max_rate, l.slow_rate, l.slowed_at);
BEGIN
    RETURN CASE WHEN l.held_until > now() THEN 0
                ELSE least(CASE WHEN l.holds > 0 THEN 1 END,
                           -- The 1e-6 keeps a full bucket of 1 from rounding down to none.
                           floor((greatest(1.0, 1.0 / v_rate) + 1e-6
                                  - greatest(0, extract(epoch FROM l.full_at - now()))) * v_rate
                                )::int) END;
END $$;

CREATE OR REPLACE FUNCTION count_messages(p_user bigint, p_day date, p_sent integer,
                                          p_reserved integer, p_overage integer) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE usage_tracking
       SET daily_messages_sent = daily_messages_sent + p_sent,
           messages_reserved = messages_reserved + p_reserved,
           daily_overage_messages = daily_overage_messages + p_overage, updated_at = now()
     WHERE user_id = p_user AND tracking_date = p_day;
    UPDATE monthly_usage_summary
       SET total_messages_sent = total_messages_sent + p_sent,
           messages_reserved = messages_reserved + p_reserved,
           overage_messages = overage_messages + p_overage
     WHERE user_id = p_user AND year = extract(year FROM p_day)
       AND month = extract(month FROM p_day);
END $$;
