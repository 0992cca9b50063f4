-- Calls of a chatbot that is being deleted are hidden from whoever would take them, so they are due
-- until they are gone: nobody is to be shown them in place of the tenant's others.
CREATE OR REPLACE FUNCTION due_tool_calls(p_each integer, p_limit integer)
    RETURNS TABLE (user_id bigint, id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT w.user_id, d.id
      FROM (SELECT DISTINCT c.user_id FROM public.tool_calls c
             WHERE c.status = 'due' AND c.due_at <= now()) w
     CROSS JOIN LATERAL (
           SELECT c.id, row_number() OVER (ORDER BY c.due_at, c.id) AS place FROM (
               SELECT t.id, t.due_at FROM public.tool_calls t
                WHERE t.user_id = w.user_id AND t.status = 'due' AND t.due_at <= now()
                  AND NOT EXISTS (SELECT FROM public.chatbot_deletions g
                                   WHERE g.user_id = t.user_id AND g.chatbot_id = t.chatbot_id
                                     AND g.settled_at IS NULL)
                ORDER BY t.due_at LIMIT p_each) c) d
     ORDER BY d.place, d.id LIMIT p_limit
$$;
-- The same of those whose worker is gone.
CREATE OR REPLACE FUNCTION lost_tool_calls(p_after interval, p_limit integer)
    RETURNS TABLE (user_id bigint, id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.user_id, c.id FROM public.tool_calls c
     WHERE c.status = 'calling' AND c.called_at < now() - p_after
       AND NOT EXISTS (SELECT FROM public.chatbot_deletions g
                        WHERE g.user_id = c.user_id AND g.chatbot_id = c.chatbot_id
                          AND g.settled_at IS NULL)
     ORDER BY c.called_at LIMIT p_limit
$$;

GRANT SELECT (chatbot_id) ON tool_calls TO swiftreplies_system;
