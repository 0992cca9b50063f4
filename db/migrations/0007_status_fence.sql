-- Up to when Meta's statuses are known to be merged, by the database's clock: whatever was durable in
-- the log before. Moved by a mark that goes through the statuses' queue like a status does.

CREATE TABLE status_fence (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    merged_until timestamptz NOT NULL
);
INSERT INTO status_fence (merged_until) VALUES ('-infinity');
GRANT SELECT, UPDATE (merged_until) ON status_fence TO swiftreplies_app;

-- Sends that had become unknown p_wait before p_until: the caller settles each in its tenant.
DROP FUNCTION unknown_sends(interval, integer);
CREATE FUNCTION unknown_sends(p_wait interval, p_until timestamptz, p_limit integer)
    RETURNS TABLE (user_id bigint, message_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.user_id, m.id FROM public.messages m
     WHERE m.direction = 'outbound' AND m.status = 'unknown' AND m.unknown_at < p_until - p_wait
     ORDER BY m.unknown_at LIMIT p_limit
$$;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION unknown_sends(interval, timestamptz, integer) OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION unknown_sends(interval, timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION unknown_sends(interval, timestamptz, integer)
   TO CURRENT_USER, swiftreplies_app;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
