-- As before, but imports stay, as their jobs do: their files go once nobody is at them, and the row
-- says which. So do the asks that a worker is at, until their tokens are counted: they are forgotten
-- within minutes.
CREATE OR REPLACE FUNCTION delete_rows_of_chatbot(p_user bigint, p_chatbot bigint, p_table text,
                                                  p_limit integer, OUT gone integer,
                                                  OUT at_table text)
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_tables text[] := ARRAY(
        SELECT c.relname::text FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
           AND NOT c.relispartition
           AND (SELECT count(*) FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND NOT a.attisdropped
                   AND a.attname IN ('user_id', 'chatbot_id')) = 2
           AND c.relname NOT IN ('contacts', 'orders', 'campaigns', 'analytics_events',
                                 'webhook_events', 'model_calls', 'model_usage', 'imports',
                                 'chatbot_phone_numbers', 'chatbot_deletions')
         ORDER BY c.relname = 'conversations', c.relname <> 'bot_knowledge_base', c.oid DESC);
    v_stays text;
    v_most integer;
    n integer;
BEGIN
    gone := 0;
    FOR i IN coalesce(array_position(v_tables, p_table), 1) .. cardinality(v_tables) LOOP
        at_table := v_tables[i];
        v_most := CASE WHEN at_table = 'conversations' THEN least(p_limit, 200)
                       ELSE p_limit - gone END;
        -- What waits to be sent is cancelled before, and its unit given back.
        v_stays := CASE at_table
            WHEN 'messages' THEN
                $q$ AND NOT (t.direction = 'outbound' AND t.status = 'queued') $q$
            WHEN 'conversations' THEN
                $q$ AND NOT EXISTS (SELECT FROM messages m WHERE m.user_id = $1
                                       AND m.conversation_id = t.id
                                       AND m.direction = 'outbound' AND m.status = 'queued') $q$
            WHEN 'asks' THEN
                $q$ AND (t.lease_owner IS NULL OR t.billed @> ARRAY[t.epoch]) $q$
            ELSE '' END;
        -- By ctid alone: with more conditions it would be compared with every row of the chatbot.
        EXECUTE format('DELETE FROM %1$I WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM %1$I t'
                       ' WHERE t.user_id = $1 AND t.chatbot_id = $2 %2$s LIMIT $3))',
                       at_table, v_stays)
          USING p_user, p_chatbot, v_most;
        GET DIAGNOSTICS n = ROW_COUNT;
        gone := gone + n;
        IF n >= v_most THEN
            gone := greatest(gone, p_limit);
            RETURN;
        END IF;
    END LOOP;
END $$;
