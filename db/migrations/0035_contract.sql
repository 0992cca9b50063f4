-- A contract begins, is renewed and ends on the tenant's own days, and nothing that a customer wrote
-- while none was in force is lost when one is again.

-- ---- the contract -------------------------------------------------------------------------------

ALTER TABLE user_subscriptions
    ADD COLUMN renewed_to date,         -- the end that a renewal set; any other a person did
    ADD COLUMN end_day smallint,        -- with it: the first end's day of the month
    ADD COLUMN told_end date,           -- the end of which the tenant was told last,
    ADD COLUMN told_days smallint;      -- and so many days before: 14, 7, 1; 0: that it has ended

CREATE INDEX user_subscriptions_ends ON user_subscriptions (contract_end_date)
 WHERE is_active AND contract_end_date IS NOT NULL
   AND NOT coalesce(told_days = 0 AND told_end = contract_end_date, false);

-- One cycle later, on the first end's day of the month or the last that the month has.
CREATE FUNCTION next_end(p_end date, p_day integer, p_cycle text) RETURNS date
    LANGUAGE sql IMMUTABLE AS $$
    SELECT m.first + least(p_day, extract(day FROM m.first + interval '1 month'
                                                   - interval '1 day')::integer) - 1
      FROM (SELECT (date_trunc('month', p_end::timestamp)
                    + make_interval(months => CASE p_cycle WHEN 'quarterly' THEN 3
                                                           WHEN 'yearly' THEN 12 ELSE 1 END))::date
                   AS first) m
$$;

-- What a tenant has to know of an end by now: 14, 7 or 1 days are left, or less; 0: none.
CREATE FUNCTION contract_step(p_end date, p_today date) RETURNS integer
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_end < p_today THEN 0
                WHEN p_end - p_today <= 1 THEN 1
                WHEN p_end - p_today <= 7 THEN 7
                WHEN p_end - p_today <= 14 THEN 14 END
$$;

GRANT SELECT (id, timezone, is_active) ON users TO swiftreplies_system;
DROP POLICY IF EXISTS system ON users;
CREATE POLICY system ON users TO swiftreplies_system USING (true);
GRANT SELECT (contract_end_date, auto_renew, billing_cycle, renewed_to, end_day, told_end, told_days),
      UPDATE (contract_end_date, renewed_to, end_day, told_end, told_days)
   ON user_subscriptions TO swiftreplies_system;

CREATE FUNCTION due_contracts(p_limit integer) RETURNS TABLE (user_id bigint, id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.user_id, s.id
      FROM public.user_subscriptions s
      JOIN public.users u ON u.id = s.user_id
     CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE u.timezone)::date AS today) d
     WHERE s.is_active AND s.contract_end_date IS NOT NULL
       AND NOT coalesce(s.told_days = 0 AND s.told_end = s.contract_end_date, false)
       AND s.contract_end_date < current_date + 16
       AND CASE WHEN s.auto_renew THEN s.contract_end_date <= d.today
                ELSE public.contract_step(s.contract_end_date, d.today)
                     < CASE WHEN s.told_end = s.contract_end_date THEN s.told_days ELSE 99 END END
     ORDER BY s.contract_end_date LIMIT p_limit
$$;

-- Does what is due, once, whoever asks and however often: 'renewed', or what the tenant is to be
-- told in the same transaction, 'expiring' or 'ended'. NULL: nothing is.
CREATE FUNCTION advance_contract(p_user bigint, p_id bigint) RETURNS TABLE (what text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s record;
    v_today date;
    v_end date;
    v_day integer;
    v_step integer;
BEGIN
    SELECT k.contract_end_date, k.auto_renew, k.billing_cycle, k.renewed_to, k.end_day, k.told_end,
           k.told_days INTO s
      FROM public.user_subscriptions k
     WHERE k.user_id = p_user AND k.id = p_id AND k.is_active AND k.contract_end_date IS NOT NULL
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT (now() AT TIME ZONE u.timezone)::date INTO v_today FROM public.users u WHERE u.id = p_user;
    v_end := s.contract_end_date;
    IF s.auto_renew THEN
        v_day := CASE WHEN s.renewed_to = v_end THEN s.end_day ELSE extract(day FROM v_end) END;
        WHILE v_end <= v_today LOOP  -- more than once where nobody looked for months
            v_end := public.next_end(v_end, v_day, s.billing_cycle);
        END LOOP;
        IF v_end <> s.contract_end_date THEN
            UPDATE public.user_subscriptions k
               SET contract_end_date = v_end, renewed_to = v_end, end_day = v_day, updated_at = now()
             WHERE k.id = p_id;
            RETURN QUERY SELECT 'renewed';
        END IF;
        RETURN;
    END IF;
    v_step := public.contract_step(v_end, v_today);
    IF v_step < (CASE WHEN s.told_end = v_end THEN s.told_days ELSE 99 END) THEN
        UPDATE public.user_subscriptions k SET told_end = v_end, told_days = v_step WHERE k.id = p_id;
        RETURN QUERY SELECT CASE v_step WHEN 0 THEN 'ended' ELSE 'expiring' END;
    END IF;
END $$;

-- ---- what waits for a tenant, a chatbot or a plan -----------------------------------------------

-- Why the last turn gave no answer, where the answer is only put off: a reason of
-- messages.metadata. NULL: nothing waits.
ALTER TABLE conversations ADD COLUMN waits_for text;
-- By an expression, as the look asks, so that no index with all conversations can be taken for it.
CREATE INDEX conversations_wait ON conversations ((user_id + 0), chatbot_id, id)
 WHERE waits_for IS NOT NULL AND waits_for <> 'contact_limit';
CREATE INDEX conversations_wait_since ON conversations (last_inbound_at)
 WHERE waits_for IS NOT NULL;

GRANT SELECT (waits_for, chatbot_id, contact_id, last_inbound_at), UPDATE (waits_for)
   ON conversations TO swiftreplies_system;
GRANT SELECT (is_active, bot_status) ON chatbots TO swiftreplies_system;

-- Conversations that wait and need not any more: a plan is in force, tenant and chatbot are active.
-- Of each chatbot the first before any other's second: who has many holds nobody up.
CREATE FUNCTION waits_over(p_limit integer) RETURNS TABLE (user_id bigint, conversation_id bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE place AS (
        (SELECT c.user_id, c.chatbot_id FROM public.conversations c
          WHERE c.waits_for IS NOT NULL AND c.waits_for <> 'contact_limit'
          ORDER BY c.user_id + 0, c.chatbot_id LIMIT 1)
        UNION ALL
        SELECT n.user_id, n.chatbot_id
          FROM place p
         CROSS JOIN LATERAL (
               SELECT c.user_id, c.chatbot_id FROM public.conversations c
                WHERE c.waits_for IS NOT NULL AND c.waits_for <> 'contact_limit'
                  AND (c.user_id + 0, c.chatbot_id) > (p.user_id, p.chatbot_id)
                ORDER BY c.user_id + 0, c.chatbot_id LIMIT 1) n
    )
    SELECT v.user_id, v.id
      FROM place p
      JOIN public.users u ON u.id = p.user_id AND u.is_active
      JOIN public.chatbots b ON b.user_id = p.user_id AND b.id = p.chatbot_id
       AND b.is_active AND coalesce(b.bot_status, 'active') = 'active'
      JOIN public.user_subscriptions s ON s.user_id = p.user_id AND s.is_active
     CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE u.timezone)::date AS today) d
     CROSS JOIN LATERAL (
           SELECT c.user_id, c.id,
                  row_number() OVER (ORDER BY c.user_id + 0, c.chatbot_id, c.id) AS nth
             FROM public.conversations c
            WHERE c.user_id + 0 = p.user_id AND c.chatbot_id = p.chatbot_id
              AND c.waits_for IS NOT NULL AND c.waits_for <> 'contact_limit'
            ORDER BY c.user_id + 0, c.chatbot_id, c.id LIMIT p_limit) v
     WHERE s.contract_start_date <= d.today
       AND (s.contract_end_date IS NULL OR s.contract_end_date >= d.today OR s.auto_renew)
     ORDER BY v.nth, v.user_id, v.id LIMIT p_limit;
END $$;

-- What waits for too long is history: nobody would answer it any more.
CREATE FUNCTION forget_waits(p_age interval, p_limit integer) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH old AS (
        SELECT c.id FROM public.conversations c
         WHERE c.waits_for IS NOT NULL AND c.last_inbound_at < now() - p_age
         ORDER BY c.last_inbound_at LIMIT p_limit
           FOR NO KEY UPDATE SKIP LOCKED
    ), gone AS (
        UPDATE public.conversations c SET waits_for = NULL FROM old WHERE c.id = old.id RETURNING 1
    )
    SELECT count(*) FROM gone
$$;

-- In a turn's last transaction, which holds the conversation.
CREATE FUNCTION note_wait(p_user bigint, p_conversation bigint, p_reason text) RETURNS void
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    UPDATE conversations SET waits_for = p_reason
     WHERE user_id = p_user AND id = p_conversation AND waits_for IS DISTINCT FROM p_reason
$$;

-- Inputs that were put off and are still young enough become inputs again, with new places after all
-- others; a turn takes them by WhatsApp's time. What a person answered since stays answered.
CREATE FUNCTION end_wait(p_user bigint, p_conversation bigint, p_age interval) RETURNS integer
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v record;
    v_inputs integer;
BEGIN
    SELECT c.input_seq, c.answered_seq INTO v FROM conversations c
     WHERE c.user_id = p_user AND c.id = p_conversation AND c.waits_for IS NOT NULL
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    WITH late AS (
        SELECT m.id, m.input_seq, m.sent_at, m.metadata FROM messages m
         WHERE m.user_id = p_user AND m.conversation_id = p_conversation
           AND m.input_seq <= v.answered_seq
         ORDER BY m.input_seq DESC LIMIT 200
    ), again AS (
        SELECT l.id, row_number() OVER (ORDER BY l.input_seq) AS place FROM late l
         WHERE l.metadata ->> 'reason' IN ('no_active_subscription', 'tenant_inactive',
                                           'chatbot_inactive', 'contact_limit')
           AND l.sent_at > now() - p_age
           AND NOT EXISTS (SELECT FROM messages o
                            WHERE o.user_id = p_user AND o.conversation_id = p_conversation
                              AND o.id > l.id AND o.direction = 'outbound' AND o.is_from_human)
    ), raised AS (
        UPDATE messages m SET input_seq = v.input_seq + again.place, processing_duration = NULL,
                              metadata = m.metadata - 'reason'
          FROM again WHERE m.user_id = p_user AND m.id = again.id
        RETURNING 1
    )
    SELECT count(*) INTO v_inputs FROM raised;
    UPDATE conversations c
       SET waits_for = NULL, input_seq = c.input_seq + v_inputs,
           ready_at = CASE WHEN v_inputs > 0 THEN now() ELSE c.ready_at END, updated_at = now()
     WHERE c.user_id = p_user AND c.id = p_conversation;
    RETURN v_inputs;
END $$;

-- A reply that was queued and never tried, and now does not leave: what it answered waits for another.
-- Those are the inputs up to the one that it quotes, from after the one that the reply before quotes.
CREATE FUNCTION put_off_again(p_user bigint, p_message bigint, p_reason text) RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_conversation bigint;
    v_last integer;
    v_before integer;
BEGIN
    SELECT m.conversation_id, i.input_seq INTO v_conversation, v_last
      FROM messages m
      JOIN messages i ON i.user_id = p_user AND i.chatbot_id = m.chatbot_id
       AND i.message_id = m.in_reply_to AND i.conversation_id = m.conversation_id
     WHERE m.user_id = p_user AND m.id = p_message AND m.direction = 'outbound'
       AND m.send_attempts = 0 AND NOT coalesce(m.is_from_human, false);
    IF v_last IS NULL THEN
        RETURN false;
    END IF;
    SELECT i.input_seq INTO v_before
      FROM messages o
      JOIN messages i ON i.user_id = p_user AND i.chatbot_id = o.chatbot_id
       AND i.message_id = o.in_reply_to AND i.conversation_id = v_conversation
     WHERE o.user_id = p_user AND o.conversation_id = v_conversation AND o.id < p_message
       AND o.direction = 'outbound' AND o.in_reply_to IS NOT NULL
     ORDER BY o.id DESC LIMIT 1;
    -- Not below the one that is quoted, should that before it have got another place since.
    UPDATE messages i
       SET ai_processed = false,
           metadata = jsonb_build_object('reason', p_reason) || as_object(i.metadata)
     WHERE i.user_id = p_user AND i.conversation_id = v_conversation
       AND i.input_seq > least(coalesce(v_before, 0), v_last - 1) AND i.input_seq <= v_last
       AND i.ai_processed AND as_object(i.metadata) ->> 'reason' IS NULL;
    IF FOUND THEN
        PERFORM note_wait(p_user, v_conversation, p_reason);
    END IF;
    RETURN FOUND;
END $$;

-- ---- operators ----------------------------------------------------------------------------------

CREATE FUNCTION all_tenants() RETURNS SETOF bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.id FROM public.users u ORDER BY 1
$$;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION due_contracts(integer) OWNER TO swiftreplies_system;
ALTER FUNCTION advance_contract(bigint, bigint) OWNER TO swiftreplies_system;
ALTER FUNCTION waits_over(integer) OWNER TO swiftreplies_system;
ALTER FUNCTION forget_waits(interval, integer) OWNER TO swiftreplies_system;
ALTER FUNCTION all_tenants() OWNER TO swiftreplies_system;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
REVOKE ALL ON FUNCTION due_contracts(integer), advance_contract(bigint, bigint),
    waits_over(integer), forget_waits(interval, integer), all_tenants() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION due_contracts(integer), advance_contract(bigint, bigint),
    waits_over(integer), forget_waits(interval, integer) TO CURRENT_USER, swiftreplies_app;
GRANT EXECUTE ON FUNCTION all_tenants() TO CURRENT_USER;

-- ---- told before a limit ------------------------------------------------------------------------

-- Once a day, of a month's once a month, as limit.reached.
CREATE UNIQUE INDEX analytics_events_warning_once ON analytics_events (
    user_id, (event_data ->> 'limit'),
    (CASE WHEN event_data ->> 'limit' LIKE 'monthly%' THEN left(event_data ->> 'day', 7)
          ELSE event_data ->> 'day' END)
) WHERE event_type = 'limit.warning';

-- `p_used` of `p_value`, by now.
CREATE FUNCTION limit_near(p_user bigint, p_limit text, p_day date, p_used bigint, p_value integer)
    RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF p_used * 5 >= p_value::bigint * 4 AND p_value > 0 THEN
        INSERT INTO analytics_events (user_id, event_type, event_data)
             VALUES (p_user, 'limit.warning',
                     jsonb_build_object('limit', p_limit, 'day', p_day, 'value', p_value,
                                        'used', p_used))
        ON CONFLICT (user_id, (event_data ->> 'limit'),
                     (CASE WHEN event_data ->> 'limit' LIKE 'monthly%'
                           THEN left(event_data ->> 'day', 7) ELSE event_data ->> 'day' END))
              WHERE event_type = 'limit.warning' DO NOTHING;
    END IF;
END $$;

-- What a tenant has of something countable, after one more was made or refused: told on its own day.
CREATE FUNCTION tell_limit(p_user bigint, p_limit text, p_used bigint, p_value integer,
                           p_refused boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_day date;
BEGIN
    SELECT (now() AT TIME ZONE u.timezone)::date INTO v_day FROM users u WHERE u.id = p_user;
    IF p_refused THEN
        PERFORM limit_reached(p_user, p_limit, v_day, p_value);
    ELSE
        PERFORM limit_near(p_user, p_limit, v_day, p_used, p_value);
    END IF;
END $$;

-- As in 0017_looked_at_again.sql, and tell of 80 %.
CREATE OR REPLACE FUNCTION reserve_messages(p_user bigint, p_conversation bigint, p_messages integer)
 RETURNS TABLE(outcome text, usage_day date, overage boolean, notice text)
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $$
#variable_conflict use_column
DECLARE
    plan record;
    v_active boolean;
    v_day date;
    v_today date;  -- of the contract, as whoever looks whether a plan is in force has it
    v_limit text;
    held record;
    used record;
BEGIN
    SELECT (now() AT TIME ZONE u.timezone)::date, (now() AT TIME ZONE u.timezone)::date, u.is_active
      INTO v_day, v_today, v_active
      FROM users u WHERE u.id = p_user;
    IF NOT coalesce(v_active, false) THEN
        RETURN QUERY SELECT 'tenant_inactive', v_day, false, NULL::text;
        RETURN;
    END IF;
    SELECT s.daily_message_limit AS daily, s.monthly_message_limit AS monthly,
           coalesce(plan_text(s.subscription_config, 'on_message_limit') = 'overage', false)
               AS goes_on,
           nullif(btrim(plan_text(s.subscription_config, 'message_limit_notice'),
                        E' \t\n\r\x0b\f'), '') AS notice
      INTO plan
      FROM user_subscriptions s WHERE s.user_id = p_user AND s.is_active
       AND s.contract_start_date <= v_today
       AND (s.contract_end_date IS NULL OR s.contract_end_date >= v_today OR s.auto_renew);
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'no_active_subscription', v_day, false, NULL::text;
        RETURN;
    END IF;
    SELECT r.usage_day, r.messages, r.overage INTO held FROM usage_reservations r
     WHERE r.user_id = p_user AND r.conversation_id = p_conversation FOR UPDATE;
    IF FOUND AND held.usage_day = v_day AND held.messages = p_messages THEN
        RETURN QUERY SELECT 'granted', v_day, held.overage, NULL::text;
        RETURN;
    END IF;
    IF held.usage_day IS NOT NULL THEN
        PERFORM lock_usage(p_user, ARRAY[held.usage_day, v_day]);
        PERFORM release_messages(p_user, p_conversation);
    END IF;
    PERFORM lock_usage(p_user, ARRAY[v_day]);
    SELECT d.daily_messages_sent + d.messages_reserved AS daily,
           m.total_messages_sent + m.messages_reserved AS monthly INTO used
      FROM usage_tracking d
      JOIN monthly_usage_summary m ON m.user_id = d.user_id
       AND m.year = extract(year FROM v_day) AND m.month = extract(month FROM v_day)
     WHERE d.user_id = p_user AND d.tracking_date = v_day;
    v_limit := CASE WHEN used.daily + p_messages > plan.daily THEN 'daily_message_limit'
                    WHEN used.monthly + p_messages > plan.monthly THEN 'monthly_message_limit' END;
    IF v_limit IS NOT NULL THEN
        PERFORM limit_reached(p_user, v_limit, v_day, CASE v_limit WHEN 'daily_message_limit'
                                                      THEN plan.daily ELSE plan.monthly END);
        IF NOT plan.goes_on THEN
            RETURN QUERY SELECT v_limit, v_day, false, plan.notice;
            RETURN;
        END IF;
    END IF;
    INSERT INTO usage_reservations (conversation_id, user_id, usage_day, messages, overage)
         VALUES (p_conversation, p_user, v_day, p_messages, v_limit IS NOT NULL);
    IF v_limit IS NULL THEN
        PERFORM count_messages(p_user, v_day, 0, p_messages, 0);
        PERFORM limit_near(p_user, 'daily_message_limit', v_day, used.daily + p_messages, plan.daily),
                limit_near(p_user, 'monthly_message_limit', v_day, used.monthly + p_messages,
                           plan.monthly);
    END IF;
    RETURN QUERY SELECT 'granted', v_day, v_limit IS NOT NULL, NULL::text;
END $$;

CREATE OR REPLACE FUNCTION reserve_actions(p_user bigint, p_conversation bigint, p_actions integer)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $$
DECLARE
    held record;
    v_limit integer;
    v_used integer;
BEGIN
    SELECT r.usage_day, r.actions INTO held FROM usage_reservations r
     WHERE r.user_id = p_user AND r.conversation_id = p_conversation FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'no_reservation';
    ELSIF held.actions >= p_actions THEN
        RETURN 'granted';
    END IF;
    SELECT plan_limit(s.subscription_config, 'max_actions_per_day') INTO v_limit
      FROM user_subscriptions s WHERE s.user_id = p_user AND s.is_active;
    PERFORM lock_usage(p_user, ARRAY[held.usage_day]);
    SELECT t.actions_created + t.actions_reserved INTO v_used FROM usage_tracking t
     WHERE t.user_id = p_user AND t.tracking_date = held.usage_day;
    IF v_used + p_actions - held.actions > v_limit THEN
        PERFORM limit_reached(p_user, 'max_actions_per_day', held.usage_day, v_limit);
        RETURN 'max_actions_per_day';
    END IF;
    PERFORM limit_near(p_user, 'max_actions_per_day', held.usage_day,
                       v_used + p_actions - held.actions, v_limit);
    UPDATE usage_tracking SET actions_reserved = actions_reserved + p_actions - held.actions,
                              updated_at = now()
     WHERE user_id = p_user AND tracking_date = held.usage_day;
    UPDATE usage_reservations SET actions = p_actions
     WHERE user_id = p_user AND conversation_id = p_conversation;
    RETURN 'granted';
END $$;
