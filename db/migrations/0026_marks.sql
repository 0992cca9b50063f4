-- What a status that is to be tried again holds back is all that was accepted since the last mark
-- before it: it came after that one, however long it waited in the log. When it failed says less. Of a
-- status that had waited for longer than a send waits for its own, the send was repeated.

-- The last mark, also where a status keeps `merged_until` behind it.
ALTER TABLE status_fence ADD COLUMN marked_until timestamptz NOT NULL DEFAULT '-infinity';
UPDATE status_fence SET marked_until = merged_until;
ALTER TABLE stuck_items ADD COLUMN marked_until timestamptz;  -- as it was when the item failed
GRANT SELECT (marked_until) ON stuck_items TO swiftreplies_system;
GRANT UPDATE (marked_until) ON status_fence TO swiftreplies_system;

CREATE OR REPLACE FUNCTION move_fence(p_until timestamptz, p_patience interval) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.status_fence
       SET marked_until = p_until,
           merged_until = least(p_until, (SELECT min(coalesce(s.marked_until, s.failed_at))
                                            FROM public.stuck_items s
                                           WHERE s.kind = 'status'
                                             AND s.failed_at > now() - p_patience))
$$;

-- A replay counts from its COMMIT, with which this travels: it may wait for a counter, and a status
-- that is accepted meanwhile may say that the message arrived.
CREATE FUNCTION date_replay(p_user bigint, p_message bigint) RETURNS void
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    UPDATE messages SET replayed_at = clock_timestamp() WHERE user_id = p_user AND id = p_message
$$;
