-- What happens at a message limit is the plan's choice: subscription_config.limits.on_message_limit
-- is 'refuse' (also when it is anything else, or missing) or 'overage'. With overage the turn goes
-- on, and its unit is counted apart: no counter ever passes its limit. The row and the hold say
-- which of the two counters theirs is, so that what is given back comes off the right one.

ALTER TABLE messages ADD COLUMN overage boolean NOT NULL DEFAULT false;
ALTER TABLE usage_tracking ADD COLUMN daily_overage_messages integer NOT NULL DEFAULT 0
    CHECK (daily_overage_messages >= 0);
ALTER TABLE usage_reservations ADD COLUMN overage boolean NOT NULL DEFAULT false;
-- The last usage day on which the customer was told of a limit.
ALTER TABLE conversations ADD COLUMN limit_notice_day date;

-- The tenant is told of a limit once a day, of the monthly one once a month.
CREATE UNIQUE INDEX analytics_events_limit_once ON analytics_events
    (user_id, (event_data ->> 'limit'),
     (CASE WHEN event_data ->> 'limit' = 'monthly_message_limit'
           THEN left(event_data ->> 'day', 7) ELSE event_data ->> 'day' END))
    WHERE event_type = 'limit.reached';

CREATE OR REPLACE FUNCTION count_messages(p_user bigint, p_day date, p_sent integer,
                                          p_reserved integer, p_overage integer) RETURNS void
    LANGUAGE sql SET search_path = public, pg_temp AS $$
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
$$;

-- Holds p_messages units for the conversation's turn. 'granted', or why not; then `notice` is what
-- the plan wants its customers to be told, if anything. A turn that is repeated on the same day
-- keeps what it held; on another day its hold moves. Units that do not fit both limits together are
-- overage together.
DROP FUNCTION reserve_messages(bigint, bigint, integer);
CREATE FUNCTION reserve_messages(p_user bigint, p_conversation bigint, p_messages integer)
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
           coalesce(s.subscription_config #>> '{limits,on_message_limit}' = 'overage', false)
               AS goes_on,
           nullif(btrim(s.subscription_config #>> '{limits,message_limit_notice}'), '') AS notice
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

-- Only units within the limits are reserved: what is beyond takes nothing from anybody.
CREATE OR REPLACE FUNCTION release_hold() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM lock_usage(OLD.user_id, ARRAY[OLD.usage_day])
       FROM users u WHERE u.id = OLD.user_id;  -- not while the tenant itself is deleted
    IF NOT OLD.overage THEN
        PERFORM count_messages(OLD.user_id, OLD.usage_day, 0, -OLD.messages, 0);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION settle_messages(p_user bigint, p_conversation bigint, p_sent integer)
    RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    held record;
BEGIN
    DELETE FROM usage_reservations r
     WHERE r.user_id = p_user AND r.conversation_id = p_conversation
    RETURNING r.usage_day, r.messages, r.overage INTO held;
    IF NOT FOUND THEN
        RETURN p_sent = 0;
    END IF;
    IF held.overage THEN
        PERFORM count_messages(p_user, held.usage_day, 0, 0, p_sent);
    ELSE
        PERFORM count_messages(p_user, held.usage_day, p_sent, 0, 0);
    END IF;
    RETURN p_sent <= held.messages;
END $$;

-- p_overage goes beside p_days. Its default is for processes of the release before, which run on
-- while a deploy replaces them.
DROP FUNCTION give_back_messages(bigint, date[]);
CREATE FUNCTION give_back_messages(p_user bigint, p_days date[],
                                   p_overage boolean[] DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM lock_usage(p_user, p_days);
    PERFORM count_messages(p_user, d.day, -d.within, 0, -d.beyond)
       FROM (SELECT day, (count(*) FILTER (WHERE overage IS NOT TRUE))::int AS within,
                    (count(*) FILTER (WHERE overage))::int AS beyond
               FROM unnest(p_days, p_overage) AS u (day, overage) GROUP BY day) d;
END $$;
