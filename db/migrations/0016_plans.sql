-- What SQL has to know of a plan while it counts, read as handlers/plans.py reads it: a value that is
-- not of its key's kind allows nothing. Before, reserve_actions() took a limit of "0" or null for
-- none, and reserve_messages() took any value for a text. Both functions are in SQL and set nothing,
-- so that they are inlined and cost no call.

-- A limit; NULL: there is none. Not for message_history_days, of which 0 would delete everything.
CREATE FUNCTION plan_limit(p_config jsonb, p_key text) RETURNS integer
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
           WHEN jsonb_typeof(p_config) <> 'object'
             OR jsonb_typeof(p_config -> 'limits') <> 'object' THEN 0
           WHEN p_config -> 'limits' -> p_key IS NULL THEN NULL
           WHEN jsonb_typeof(p_config -> 'limits' -> p_key) <> 'number'
             OR p_config -> 'limits' ->> p_key !~ '^[0-9]{1,10}$' THEN 0
           WHEN (p_config -> 'limits' ->> p_key)::bigint > 2147483647 THEN 0
           ELSE (p_config -> 'limits' ->> p_key)::integer END
$$;

-- A choice or a text among the limits; NULL: there is none.
CREATE FUNCTION plan_text(p_config jsonb, p_key text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(p_config -> 'limits' -> p_key) = 'string'
                THEN p_config -> 'limits' ->> p_key END
$$;

-- As in 0006_limit_choice.sql, but for what is read of the plan.
CREATE OR REPLACE FUNCTION reserve_messages(p_user bigint, p_conversation bigint, p_messages integer)
    RETURNS TABLE (outcome text, usage_day date, overage boolean, notice text)
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    plan record;
    v_active boolean;
    v_day date;
    v_limit text;
    held record;
    used record;
BEGIN
    SELECT (now() AT TIME ZONE u.timezone)::date, u.is_active INTO v_day, v_active
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
       AND s.contract_start_date <= v_day
       AND (s.contract_end_date IS NULL OR s.contract_end_date >= v_day OR s.auto_renew);
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
        INSERT INTO analytics_events (user_id, event_type, event_data)
             VALUES (p_user, 'limit.reached', jsonb_build_object('limit', v_limit, 'day', v_day,
                     'value', CASE v_limit WHEN 'daily_message_limit' THEN plan.daily
                                           ELSE plan.monthly END))
        ON CONFLICT DO NOTHING;
        IF NOT plan.goes_on THEN
            RETURN QUERY SELECT v_limit, v_day, false, plan.notice;
            RETURN;
        END IF;
    END IF;
    INSERT INTO usage_reservations (conversation_id, user_id, usage_day, messages, overage)
         VALUES (p_conversation, p_user, v_day, p_messages, v_limit IS NOT NULL);
    IF v_limit IS NULL THEN
        PERFORM count_messages(p_user, v_day, 0, p_messages, 0);
    END IF;
    RETURN QUERY SELECT 'granted', v_day, v_limit IS NOT NULL, NULL::text;
END $$;

-- As in 0011_actions.sql, but for what is read of the plan.
CREATE OR REPLACE FUNCTION reserve_actions(p_user bigint, p_conversation bigint, p_actions integer)
    RETURNS text
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
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
        INSERT INTO analytics_events (user_id, event_type, event_data)
             VALUES (p_user, 'limit.reached', jsonb_build_object('limit', 'max_actions_per_day',
                     'day', held.usage_day, 'value', v_limit))
        ON CONFLICT DO NOTHING;
        RETURN 'max_actions_per_day';
    END IF;
    UPDATE usage_tracking SET actions_reserved = actions_reserved + p_actions - held.actions,
                              updated_at = now()
     WHERE user_id = p_user AND tracking_date = held.usage_day;
    UPDATE usage_reservations SET actions = p_actions
     WHERE user_id = p_user AND conversation_id = p_conversation;
    RETURN 'granted';
END $$;
