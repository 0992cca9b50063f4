-- A counter's lock is held for no round trip: whoever waits for one holds a connection meanwhile, and
-- those of a busy tenant took all of a worker's.

-- What a turn reserves, in one statement that is a transaction of its own. The commit does not wait
-- for the disk: a crash of the server may undo it, but not what any later, durable transaction has
-- seen of it, because the log is written in order. What a crash undid, the turn's last transaction
-- misses.
CREATE FUNCTION reserve_for_turn(p_user bigint, p_conversation bigint, p_worker bigint,
                                 p_epoch bigint, p_messages integer)
    RETURNS TABLE (outcome text, usage_day date, overage boolean, notice text)
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT hold_turn(p_user, p_conversation, p_worker, p_epoch) THEN
        RETURN QUERY SELECT 'lease_lost', NULL::date, false, NULL::text;
        RETURN;
    END IF;
    RETURN QUERY SELECT r.outcome, r.usage_day, r.overage, r.notice
                   FROM reserve_messages(p_user, p_conversation, p_messages) r;
END $$;

-- By the turn that has the lease; a turn that lost it must not add to another's hold.
CREATE FUNCTION reserve_actions_for_turn(p_user bigint, p_conversation bigint, p_worker bigint,
                                         p_epoch bigint, p_actions integer) RETURNS text
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT hold_turn(p_user, p_conversation, p_worker, p_epoch) THEN
        RETURN 'no_reservation';
    END IF;
    RETURN reserve_actions(p_user, p_conversation, p_actions);
END $$;

CREATE FUNCTION hold_turn(p_user bigint, p_conversation bigint, p_worker bigint, p_epoch bigint)
    RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM set_config('app.user_id', p_user::text, true),
            set_config('synchronous_commit', 'off', true);
    PERFORM FROM conversations c WHERE c.user_id = p_user AND c.id = p_conversation
        AND c.lease_owner = p_worker AND c.epoch = p_epoch FOR SHARE;
    RETURN FOUND;
END $$;

-- What travels with a COMMIT says no with an exception.
CREATE FUNCTION spend_messages(p_user bigint, p_conversation bigint, p_sent integer) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT settle_messages(p_user, p_conversation, p_sent) THEN
        RAISE 'the unit that was reserved here is gone';
    END IF;
END $$;

-- Whether a unit could be had: reserved, looked at and undone, with its locks.
CREATE FUNCTION could_reserve(p_user bigint, p_conversation bigint, p_messages integer) RETURNS text
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_outcome text;
BEGIN
    SELECT r.outcome INTO v_outcome FROM reserve_messages(p_user, p_conversation, p_messages) r;
    RAISE SQLSTATE 'SR000';
EXCEPTION WHEN SQLSTATE 'SR000' THEN
    RETURN v_outcome;
END $$;

-- A unit for a message that is queued in this transaction. That others took the last one since it
-- was looked for is a conflict like any other: what is done again finds the limit reached.
CREATE FUNCTION spend_on_message(p_user bigint, p_conversation bigint, p_message bigint)
    RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v record;
BEGIN
    SELECT * INTO v FROM reserve_messages(p_user, p_conversation, 1);
    IF v.outcome <> 'granted' THEN
        RAISE 'the plan allows no message more' USING ERRCODE = 'serialization_failure';
    END IF;
    UPDATE messages m SET usage_day = v.usage_day, overage = v.overage
     WHERE m.user_id = p_user AND m.id = p_message;
    PERFORM spend_messages(p_user, p_conversation, 1);
END $$;

-- Requests become actions: their day is known before, their counting comes with the COMMIT.
CREATE FUNCTION take_actions(p_user bigint, p_conversation bigint, p_actions integer) RETURNS date
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    UPDATE usage_reservations r SET actions = r.actions - p_actions
     WHERE r.user_id = p_user AND r.conversation_id = p_conversation AND r.actions >= p_actions
    RETURNING r.usage_day
$$;

CREATE FUNCTION count_actions(p_user bigint, p_day date, p_actions integer) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM lock_usage(p_user, ARRAY[p_day]);
    UPDATE usage_tracking SET actions_reserved = actions_reserved - p_actions,
                              actions_created = actions_created + p_actions, updated_at = now()
     WHERE user_id = p_user AND tracking_date = p_day;
END $$;

-- settle_actions() stays: processes of the release before go on while this is applied.

-- In PL/pgSQL they are planned once a connection; in SQL, with every call.
CREATE OR REPLACE FUNCTION count_received(p_user bigint, p_messages integer) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_received)
    SELECT p_user, (now() AT TIME ZONE u.timezone)::date, p_messages
      FROM users u WHERE u.id = p_user
    ON CONFLICT (user_id, tracking_date) DO UPDATE
       SET daily_messages_received = usage_tracking.daily_messages_received + p_messages,
           updated_at = now();
END $$;

CREATE OR REPLACE FUNCTION count_takeover(p_user bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO usage_tracking (user_id, tracking_date, live_takeovers_used)
    SELECT p_user, (now() AT TIME ZONE u.timezone)::date, 1 FROM users u WHERE u.id = p_user
    ON CONFLICT (user_id, tracking_date) DO UPDATE
       SET live_takeovers_used = coalesce(usage_tracking.live_takeovers_used, 0) + 1,
           updated_at = now();
END $$;

CREATE OR REPLACE FUNCTION count_api_calls(p_user bigint, p_day date, p_calls integer) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO usage_tracking (user_id, tracking_date, api_calls_made)
         VALUES (p_user, p_day, p_calls)
    ON CONFLICT (user_id, tracking_date) DO UPDATE
       SET api_calls_made = coalesce(usage_tracking.api_calls_made, 0) + p_calls,
           updated_at = now();
END $$;
