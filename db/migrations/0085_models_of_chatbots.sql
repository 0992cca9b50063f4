-- A chatbot may have a model of its own, and others that answer when it is away. The keys are apart
-- from what is shown of them: one sealed text for all of a chatbot's, each with the URL that it is for.
ALTER TABLE chatbots
    ADD COLUMN model jsonb,
    ADD COLUMN model_keys text;
ALTER TABLE chatbots
    ADD CONSTRAINT chatbots_model_form CHECK (jsonb_typeof(model) = 'object') NOT VALID,
    ADD CONSTRAINT chatbots_model_keys_check CHECK (model_keys LIKE 'enc:v1:%') NOT VALID;
ALTER TABLE chatbots VALIDATE CONSTRAINT chatbots_model_form;
ALTER TABLE chatbots VALIDATE CONSTRAINT chatbots_model_keys_check;

-- Of these tokens, at the price of that day; NULL: there is none. What a tenant pays by a key of its
-- own ('own/...') costs the operator nothing, unless there is a price for it all the same.
CREATE FUNCTION model_cost(p_model text, p_kind text, p_day date, p_input bigint, p_cached bigint,
                           p_output bigint) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT coalesce(
        (SELECT round(((p_input - p_cached) * p.input_price + p_cached * p.cached_price
                       + p_output * p.output_price) / 1000000, 10)
           FROM model_prices p
          WHERE p.model = p_model AND p.kind IN (p_kind, '*') AND p.valid_from <= p_day
          ORDER BY p.kind = '*', p.valid_from DESC LIMIT 1),
        CASE WHEN p_model LIKE 'own/%' THEN 0 END)
$$;

-- Of all calls of one turn, as its reply shows it; NULL: one of them has no price.
CREATE FUNCTION turn_cost(p_user bigint, p_calls jsonb) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT CASE WHEN count(*) = count(c.cost) THEN coalesce(sum(c.cost), 0) END
      FROM users u
     CROSS JOIN LATERAL jsonb_to_recordset(p_calls)
                AS o (model text, input_tokens bigint, cached_tokens bigint, output_tokens bigint)
     CROSS JOIN LATERAL (SELECT model_cost(o.model, 'turn', usage_day(u.timezone, u.usage_day_floor),
                                           o.input_tokens, o.cached_tokens, o.output_tokens)) c (cost)
     WHERE u.id = p_user
$$;

CREATE OR REPLACE FUNCTION count_test_calls(p_user bigint, p_chatbot bigint, p_day date, p_kind text,
                                            p_model text, p_calls integer, p_input bigint,
                                            p_cached bigint, p_output bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_cost numeric := model_cost(p_model, p_kind, p_day, p_input, p_cached, p_output);
    v_unpriced integer := CASE WHEN v_cost IS NULL THEN p_calls ELSE 0 END;
BEGIN
    v_cost := coalesce(v_cost, 0);
    INSERT INTO model_calls (user_id, chatbot_id, usage_day, kind, model, calls, unpriced_calls,
                             input_tokens, cached_tokens, output_tokens, cost)
         VALUES (p_user, p_chatbot, p_day, p_kind, p_model, p_calls, v_unpriced, p_input, p_cached,
                 p_output, v_cost);
    INSERT INTO usage_tracking AS t (user_id, tracking_date, test_tokens_used)
         VALUES (p_user, p_day, p_input + p_output)
    ON CONFLICT (user_id, tracking_date) DO UPDATE
       SET test_tokens_used = t.test_tokens_used + EXCLUDED.test_tokens_used;
    INSERT INTO model_usage AS m (user_id, chatbot_id, usage_day, kind, model, calls,
                                  unpriced_calls, input_tokens, cached_tokens, output_tokens, cost)
         VALUES (p_user, p_chatbot, p_day, p_kind, p_model, p_calls, v_unpriced, p_input, p_cached,
                 p_output, v_cost)
    ON CONFLICT (user_id, chatbot_id, usage_day, kind, model) DO UPDATE
       SET calls = m.calls + EXCLUDED.calls,
           unpriced_calls = m.unpriced_calls + EXCLUDED.unpriced_calls,
           input_tokens = m.input_tokens + EXCLUDED.input_tokens,
           cached_tokens = m.cached_tokens + EXCLUDED.cached_tokens,
           output_tokens = m.output_tokens + EXCLUDED.output_tokens,
           cost = m.cost + EXCLUDED.cost;
END $$;

CREATE OR REPLACE FUNCTION count_model_calls(p_user bigint, p_chatbot bigint, p_conversation bigint,
                                             p_epoch bigint, p_model text, p_calls integer,
                                             p_input bigint, p_cached bigint, p_output bigint)
    RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_day date;
    v_cost numeric;
    v_unpriced integer;
BEGIN
    SELECT usage_day(u.timezone, u.usage_day_floor) INTO v_day FROM users u WHERE u.id = p_user;
    v_cost := model_cost(p_model, 'turn', v_day, p_input, p_cached, p_output);
    v_unpriced := CASE WHEN v_cost IS NULL THEN p_calls ELSE 0 END;
    INSERT INTO model_calls (user_id, chatbot_id, conversation_id, epoch, usage_day, kind, model,
                             calls, unpriced_calls, input_tokens, cached_tokens, output_tokens, cost)
         VALUES (p_user, p_chatbot, p_conversation, p_epoch, v_day, 'turn', p_model,
                 p_calls, v_unpriced, p_input, p_cached, p_output, coalesce(v_cost, 0))
    ON CONFLICT (user_id, conversation_id, epoch, model) DO NOTHING
    RETURNING cost INTO v_cost;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO model_usage AS m (user_id, chatbot_id, usage_day, kind, model, calls,
                                  unpriced_calls, input_tokens, cached_tokens, output_tokens, cost)
         VALUES (p_user, p_chatbot, v_day, 'turn', p_model, p_calls, v_unpriced, p_input, p_cached,
                 p_output, v_cost)
    ON CONFLICT (user_id, chatbot_id, usage_day, kind, model) DO UPDATE
       SET calls = m.calls + EXCLUDED.calls,
           unpriced_calls = m.unpriced_calls + EXCLUDED.unpriced_calls,
           input_tokens = m.input_tokens + EXCLUDED.input_tokens,
           cached_tokens = m.cached_tokens + EXCLUDED.cached_tokens,
           output_tokens = m.output_tokens + EXCLUDED.output_tokens,
           cost = m.cost + EXCLUDED.cost;
END $$;

CREATE TRIGGER raise_chatbot_version_with_model AFTER UPDATE ON chatbots
    FOR EACH ROW WHEN (new.version = old.version
                       AND (old.model IS DISTINCT FROM new.model
                            OR old.model_keys IS DISTINCT FROM new.model_keys))
    EXECUTE FUNCTION raise_chatbot_version();
