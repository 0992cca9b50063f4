-- What every turn calls, cheaper. A function in SQL that is not inlined is planned in each call, which
-- of these two took 0.5 ms of a turn; one in PL/pgSQL is planned once a session.
CREATE OR REPLACE FUNCTION model_cost(p_model text, p_kind text, p_day date, p_input bigint,
                                      p_cached bigint, p_output bigint)
RETURNS numeric LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN coalesce(
        (SELECT round(((p_input - p_cached) * p.input_price + p_cached * p.cached_price
                       + p_output * p.output_price) / 1000000, 10)
           FROM model_prices p
          WHERE p.model = p_model AND p.kind IN (p_kind, '*') AND p.valid_from <= p_day
          ORDER BY p.kind = '*', p.valid_from DESC LIMIT 1),
        CASE WHEN p_model LIKE 'own/%' THEN 0 END);
END $$;

CREATE OR REPLACE FUNCTION turn_cost(p_user bigint, p_calls jsonb)
RETURNS numeric LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    v_day date;
    v_cost numeric;
BEGIN
    SELECT usage_day(u.timezone, u.usage_day_floor) INTO v_day FROM users u WHERE u.id = p_user;
    SELECT CASE WHEN count(*) = count(c.cost) THEN coalesce(sum(c.cost), 0) END INTO v_cost
      FROM (SELECT model_cost(o.model, 'turn', v_day, o.input_tokens, o.cached_tokens,
                              o.output_tokens) AS cost
              FROM jsonb_to_recordset(p_calls)
                   AS o (model text, input_tokens bigint, cached_tokens bigint, output_tokens bigint)
            OFFSET 0) c;  -- each is priced once
    RETURN v_cost;
END $$;

-- Who settles a reservation counts what it releases and what was sent in one go, and tells the
-- trigger by `app.settles`. Whatever else deletes one is counted by the trigger, as before.
CREATE OR REPLACE FUNCTION release_hold()
RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF current_setting('app.settles', true) = OLD.conversation_id::text THEN
        RETURN NULL;
    END IF;
    PERFORM lock_usage(OLD.user_id, ARRAY[OLD.usage_day])
       FROM users u WHERE u.id = OLD.user_id;  -- not while the tenant itself is deleted
    IF NOT OLD.overage THEN
        PERFORM count_messages(OLD.user_id, OLD.usage_day, 0, -OLD.messages, 0);
    END IF;
    IF OLD.actions > 0 THEN
        UPDATE usage_tracking SET actions_reserved = actions_reserved - OLD.actions
         WHERE user_id = OLD.user_id AND tracking_date = OLD.usage_day;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION settle_messages(p_user bigint, p_conversation bigint, p_sent integer)
RETURNS boolean LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    held record;
BEGIN
    PERFORM set_config('app.settles', p_conversation::text, true);
    DELETE FROM usage_reservations r
     WHERE r.user_id = p_user AND r.conversation_id = p_conversation
    RETURNING r.usage_day, r.messages, r.overage, r.actions INTO held;
    PERFORM set_config('app.settles', '', true);
    IF held.usage_day IS NULL THEN
        RETURN p_sent = 0;
    END IF;
    PERFORM lock_usage(p_user, ARRAY[held.usage_day]);
    IF held.overage THEN
        PERFORM count_messages(p_user, held.usage_day, 0, 0, p_sent);
    ELSE
        PERFORM count_messages(p_user, held.usage_day, p_sent, -held.messages, 0);
    END IF;
    IF held.actions > 0 THEN
        UPDATE usage_tracking SET actions_reserved = actions_reserved - held.actions
         WHERE user_id = p_user AND tracking_date = held.usage_day;
    END IF;
    RETURN p_sent <= held.messages;
END $$;
