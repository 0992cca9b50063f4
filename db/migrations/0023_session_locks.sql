-- A worker that was killed is known dead when its connection breaks, not only when its beat is old.
--
-- The session that beats holds an advisory lock, and the worker's row says which (session_lock), in
-- which backend, and since when. The number is drawn anew by each session: what an old one, which the
-- server may take for alive for hours, still holds is nobody's lock any more. NULL: there is none, or
-- it is not to be believed, and beats alone count.
ALTER TABLE workers
    ADD COLUMN session_lock integer,
    ADD COLUMN session_pid integer,
    ADD COLUMN locked_at timestamptz,
    ADD CONSTRAINT workers_lock_check
        CHECK (num_nulls(session_lock, session_pid, locked_at) IN (0, 3));
