-- Message limits by reservation. They run as the caller, inside row-level security, so a tenant
-- can only ever move its own counters. Lock order everywhere: conversation, daily rows by date,
-- monthly rows by date; counters come last in a transaction and are never held across a network
-- call.

-- Locks (and first creates) the tenant's rows of these days and their months.
CREATE FUNCTION lock_usage(p_user bigint, p_days date[]) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    d date;
BEGIN
    FOR d IN SELECT DISTINCT unnest(p_days) ORDER BY 1 LOOP
        PERFORM FROM usage_tracking WHERE user_id = p_user AND tracking_date = d
            FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            INSERT INTO usage_tracking (user_id, tracking_date) VALUES (p_user, d)
                ON CONFLICT (user_id, tracking_date) DO NOTHING;
            PERFORM FROM usage_tracking WHERE user_id = p_user AND tracking_date = d
                FOR NO KEY UPDATE;
        END IF;
    END LOOP;
    FOR d IN SELECT DISTINCT date_trunc('month', x)::date FROM unnest(p_days) x ORDER BY 1 LOOP
        PERFORM FROM monthly_usage_summary
            WHERE user_id = p_user AND year = extract(year FROM d)
              AND month = extract(month FROM d) FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            INSERT INTO monthly_usage_summary (user_id, year, month)
                VALUES (p_user, extract(year FROM d)::int, extract(month FROM d)::int)
                ON CONFLICT (user_id, year, month) DO NOTHING;
            PERFORM FROM monthly_usage_summary
                WHERE user_id = p_user AND year = extract(year FROM d)
                  AND month = extract(month FROM d) FOR NO KEY UPDATE;
        END IF;
    END LOOP;
END $$;

-- Moves counters of a day and its month together.
CREATE FUNCTION count_messages(p_user bigint, p_day date, p_sent integer, p_reserved integer,
                               p_overage integer) RETURNS void
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    UPDATE usage_tracking
       SET daily_messages_sent = daily_messages_sent + p_sent,
           messages_reserved = messages_reserved + p_reserved, updated_at = now()
     WHERE user_id = p_user AND tracking_date = p_day;
    UPDATE monthly_usage_summary
       SET total_messages_sent = total_messages_sent + p_sent,
           messages_reserved = messages_reserved + p_reserved,
           overage_messages = overage_messages + p_overage
     WHERE user_id = p_user AND year = extract(year FROM p_day)
       AND month = extract(month FROM p_day);
$$;

-- Holds p_messages units for the conversation's turn. 'granted', or why not. A turn that is
-- repeated on the same day keeps what it held; on another day its hold moves.
CREATE FUNCTION reserve_messages(p_user bigint, p_conversation bigint, p_messages integer)
    RETURNS TABLE (outcome text, usage_day date)
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    plan record;
    v_active boolean;
    v_day date;
    held record;
    used record;
BEGIN
    SELECT (now() AT TIME ZONE u.timezone)::date, u.is_active INTO v_day, v_active
      FROM users u WHERE u.id = p_user;
    IF NOT coalesce(v_active, false) THEN
        RETURN QUERY SELECT 'tenant_inactive', v_day;
        RETURN;
    END IF;
    SELECT s.daily_message_limit AS daily, s.monthly_message_limit AS monthly INTO plan
      FROM user_subscriptions s WHERE s.user_id = p_user AND s.is_active
       AND s.contract_start_date <= v_day
       AND (s.contract_end_date IS NULL OR s.contract_end_date >= v_day OR s.auto_renew);
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'no_active_subscription', v_day;
        RETURN;
    END IF;
    SELECT r.usage_day, r.messages INTO held FROM usage_reservations r
     WHERE r.user_id = p_user AND r.conversation_id = p_conversation FOR UPDATE;
    IF FOUND AND held.usage_day = v_day AND held.messages = p_messages THEN
        RETURN QUERY SELECT 'granted', v_day;
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
    IF used.daily + p_messages > plan.daily THEN
        RETURN QUERY SELECT 'daily_message_limit', v_day;
        RETURN;
    ELSIF used.monthly + p_messages > plan.monthly THEN
        RETURN QUERY SELECT 'monthly_message_limit', v_day;
        RETURN;
    END IF;
    INSERT INTO usage_reservations (conversation_id, user_id, usage_day, messages)
         VALUES (p_conversation, p_user, v_day, p_messages);
    PERFORM count_messages(p_user, v_day, 0, p_messages, 0);
    RETURN QUERY SELECT 'granted', v_day;
END $$;

-- A hold that goes gives its units back, whoever takes it away: a turn that settles, or the
-- deletion of its conversation.
CREATE FUNCTION release_hold() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM lock_usage(OLD.user_id, ARRAY[OLD.usage_day])
       FROM users u WHERE u.id = OLD.user_id;  -- not while the tenant itself is deleted
    PERFORM count_messages(OLD.user_id, OLD.usage_day, 0, -OLD.messages, 0);
    RETURN NULL;
END $$;
CREATE TRIGGER release_hold AFTER DELETE ON usage_reservations
    FOR EACH ROW EXECUTE FUNCTION release_hold();

-- Turns the conversation's hold into p_sent units spent; what is over goes back. Without a hold
-- nothing is spent: the row that was to be counted must not be written either.
CREATE FUNCTION settle_messages(p_user bigint, p_conversation bigint, p_sent integer)
    RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    held record;
BEGIN
    DELETE FROM usage_reservations r
     WHERE r.user_id = p_user AND r.conversation_id = p_conversation
    RETURNING r.usage_day, r.messages INTO held;
    IF NOT FOUND THEN
        RETURN p_sent = 0;
    END IF;
    PERFORM count_messages(p_user, held.usage_day, p_sent, 0, 0);
    RETURN p_sent <= held.messages;
END $$;

CREATE FUNCTION release_messages(p_user bigint, p_conversation bigint) RETURNS boolean
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    SELECT settle_messages(p_user, p_conversation, 0)
$$;

-- Gives back the units of messages that will not be sent after all, by the days on their rows. All
-- at once, because the days' rows are locked in order.
CREATE FUNCTION give_back_messages(p_user bigint, p_days date[]) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM lock_usage(p_user, p_days);
    PERFORM count_messages(p_user, d.day, -d.units, 0, 0)
       FROM (SELECT day, count(*)::int AS units FROM unnest(p_days) AS day GROUP BY day) d;
END $$;

CREATE FUNCTION count_received(p_user bigint, p_messages integer) RETURNS void
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_received)
    SELECT p_user, (now() AT TIME ZONE u.timezone)::date, p_messages
      FROM users u WHERE u.id = p_user
    ON CONFLICT (user_id, tracking_date) DO UPDATE
       SET daily_messages_received = usage_tracking.daily_messages_received + p_messages,
           updated_at = now();
$$;
