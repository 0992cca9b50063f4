-- What is in a medium becomes words: a voice message is heard by a model, after it is stored.

ALTER TABLE media
    ADD COLUMN seconds numeric(8,1) CHECK (seconds >= 0),  -- of sound
    ADD COLUMN heard   text;  -- how the reading ended: 'heard', 'nothing', or a problem

ALTER TABLE media_days
    ADD COLUMN seconds numeric(12,1) NOT NULL DEFAULT 0
        CONSTRAINT media_days_seconds_check CHECK (seconds >= 0);

-- A turn waits for a medium of its inputs: whoever settles one wakes it.
ALTER TABLE conversations ADD COLUMN held_for_media boolean NOT NULL DEFAULT false;

-- What was heard for a tenant, with the COMMIT; at the price of that day.
CREATE FUNCTION count_transcription(p_user bigint, p_chatbot bigint, p_medium bigint, p_model text,
                                    p_seconds numeric, p_input bigint, p_output bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_day date;
    v_price record;
    v_cost numeric;
    v_unpriced integer;
BEGIN
    SELECT usage_day(u.timezone, u.usage_day_floor) INTO v_day FROM users u WHERE u.id = p_user;
    UPDATE media_days d SET seconds = d.seconds + p_seconds
      FROM media m
     WHERE m.user_id = p_user AND m.id = p_medium
       AND d.user_id = p_user AND d.usage_day = m.usage_day;
    SELECT p.input_price, p.output_price INTO v_price FROM model_prices p
     WHERE p.model = p_model AND p.kind IN ('transcription', '*') AND p.valid_from <= v_day
     ORDER BY p.kind = '*', p.valid_from DESC LIMIT 1;
    v_unpriced := CASE WHEN FOUND THEN 0 ELSE 1 END;
    v_cost := round(coalesce((p_input * v_price.input_price + p_output * v_price.output_price)
                             / 1000000, 0), 10);
    INSERT INTO model_calls (user_id, chatbot_id, usage_day, kind, model, calls, unpriced_calls,
                             input_tokens, cached_tokens, output_tokens, cost)
         VALUES (p_user, p_chatbot, v_day, 'transcription', p_model, 1, v_unpriced, p_input, 0,
                 p_output, v_cost);
    INSERT INTO model_usage AS u (user_id, chatbot_id, usage_day, kind, model, calls,
                                  unpriced_calls, input_tokens, cached_tokens, output_tokens, cost)
         VALUES (p_user, p_chatbot, v_day, 'transcription', p_model, 1, v_unpriced, p_input, 0,
                 p_output, v_cost)
    ON CONFLICT (user_id, chatbot_id, usage_day, kind, model) DO UPDATE
       SET calls = u.calls + 1, unpriced_calls = u.unpriced_calls + EXCLUDED.unpriced_calls,
           input_tokens = u.input_tokens + EXCLUDED.input_tokens,
           output_tokens = u.output_tokens + EXCLUDED.output_tokens,
           cost = u.cost + EXCLUDED.cost;
END $$;
