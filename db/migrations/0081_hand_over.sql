-- A chatbot hands a conversation over to a person. It lasts until it is handed back, or until nobody
-- has said a word for as long as the plan allows.

ALTER TABLE conversations DROP CONSTRAINT conversations_taken_over_by_check;
ALTER TABLE conversations ADD CONSTRAINT conversations_taken_over_by_check
    CHECK (taken_over_by IN ('human', 'bot', 'product')) NOT VALID;
CREATE INDEX conversations_handed_over ON conversations (taken_over_until)
    WHERE taken_over_by = 'bot';

-- ---- across tenants: ids only -------------------------------------------------------------------

GRANT SELECT (taken_over_by, taken_over_until) ON conversations TO swiftreplies_system;

-- Conversations that a chatbot handed over and nobody took up in time.
CREATE FUNCTION overdue_handovers(p_limit integer)
    RETURNS TABLE (user_id bigint, conversation_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT v.user_id, v.id FROM public.conversations v
     WHERE v.taken_over_by = 'bot' AND v.taken_over_until <= now()
     ORDER BY v.taken_over_until LIMIT p_limit
$$;
GRANT CREATE ON SCHEMA public TO swiftreplies_system;
DO $$
BEGIN
    ALTER FUNCTION overdue_handovers(integer) OWNER TO swiftreplies_system;
    REVOKE ALL ON FUNCTION overdue_handovers(integer) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION overdue_handovers(integer) TO CURRENT_USER;
    GRANT EXECUTE ON FUNCTION overdue_handovers(integer) TO swiftreplies_app;
END $$;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
