-- name: register_worker
INSERT INTO workers (name) VALUES ($1) RETURNING id;

-- name: beat
-- Nothing comes back when the worker was taken for dead: it has to register anew.
UPDATE workers SET beat_at = clock_timestamp() WHERE id = $1 RETURNING id;

-- name: beat_without_lock
-- The lock that the row names, if it does, is another session's.
UPDATE workers SET beat_at = clock_timestamp(),
       session_lock = NULL, session_pid = NULL, locked_at = NULL
 WHERE id = $1
RETURNING id;

-- name: take_session_lock
SELECT pg_try_advisory_lock($1, $2);

-- name: show_session_lock
-- From here on the others believe it. Only what this very session is seen to hold: a pooler that
-- lends its connections for a statement had the lock taken by another one.
UPDATE workers
   SET session_lock = $3, session_pid = pg_backend_pid(), locked_at = clock_timestamp()
 WHERE id = $1
   AND EXISTS (
    SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
     WHERE l.locktype = 'advisory' AND l.classid = $2::integer::oid AND l.objid = $3::integer::oid
       AND l.objsubid = 2 AND l.granted AND l.mode = 'ExclusiveLock'
       AND l.pid = pg_backend_pid() AND d.datname = current_database())
RETURNING id;

-- name: has_shown_lock
-- Whether this is the session that the row names, as far as the row goes.
SELECT session_pid IS NOT DISTINCT FROM pg_backend_pid() FROM workers WHERE id = $1;

-- name: broken_locks
-- Only in a session that has held its own lock for a whole term: after an outage all locks are gone
-- at once, and so is that one. A shared lock is to be had when nobody holds the exclusive one; it
-- ends with the statement. (pg_locks would be a look at every lock of the server.)
SELECT w.session_lock FROM workers w
 WHERE w.id <> $1 AND w.session_lock IS NOT NULL
   AND EXISTS (SELECT FROM workers me
                WHERE me.id = $1 AND me.session_pid = pg_backend_pid()
                  AND me.locked_at < clock_timestamp() - $2::interval)
   AND CASE WHEN w.id <> $1 THEN pg_try_advisory_xact_lock_shared($3, w.session_lock) END;

-- name: forget_broken
-- A worker that lives has another number by now, or registers anew.
DELETE FROM workers WHERE session_lock = ANY ($1::integer[]) RETURNING id, name;

-- name: retire_worker
DELETE FROM workers WHERE id = $1;

-- name: sweep_dead_workers
SELECT what, user_id, id FROM sweep_dead_workers($1);

-- name: sweep_unheld
SELECT what, user_id, id FROM sweep_unheld($1, $2, $3);
