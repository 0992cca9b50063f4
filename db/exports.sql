-- name: create_export
INSERT INTO exports (user_id, job_id, what, contact_id, columns)
VALUES ($1, $2, $3, $4, $5)
RETURNING id;

-- name: lock_tenant
SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE;

-- name: open_exports
SELECT count(*) FROM exports e JOIN jobs j ON j.user_id = $1 AND j.id = e.job_id
 WHERE e.user_id = $1 AND j.settled_at IS NULL;

-- name: contact_exists
SELECT EXISTS (SELECT FROM contacts WHERE user_id = $1 AND id = $2 AND erased_at IS NULL);

-- name: read_export
SELECT id, what, contact_id, columns FROM exports
 WHERE user_id = $1 AND job_id = $2 AND status = 'queued';

-- name: find_export
SELECT e.id, e.job_id, e.what, e.contact_id, e.columns, e.bytes, e.created_at, e.expires_at,
       CASE WHEN e.status = 'queued' THEN j.status
            WHEN e.status = 'ready' AND e.expires_at <= now() THEN 'expired'
            ELSE e.status END AS status,
       CASE WHEN e.status = 'ready' AND e.expires_at > now() THEN e.file END AS file
  FROM exports e JOIN jobs j ON j.user_id = $1 AND j.id = e.job_id
 WHERE e.user_id = $1 AND e.id = $2;

-- name: list_exports
SELECT e.id, e.job_id, e.what, e.contact_id, e.columns, e.bytes, e.created_at, e.expires_at,
       CASE WHEN e.status = 'queued' THEN j.status
            WHEN e.status = 'ready' AND e.expires_at <= now() THEN 'expired'
            ELSE e.status END AS status, NULL AS file, e.more
  FROM (SELECT x.*, count(*) OVER () > $3 AS more
          FROM (SELECT * FROM exports WHERE user_id = $1 AND id < $2
                 ORDER BY id DESC LIMIT $3 + 1) x) e
  JOIN jobs j ON j.user_id = $1 AND j.id = e.job_id
 ORDER BY e.id DESC LIMIT $3;

-- name: tables_of
SELECT export_tables($1, $2) AS name;

-- name: columns_of
SELECT export_columns($1);

-- name: lock_running
SELECT true FROM jobs WHERE user_id = $1 AND id = $2 AND epoch = $3 AND status = 'running'
   FOR NO KEY UPDATE;

-- name: note_ready
UPDATE exports SET status = 'ready', file = $3, bytes = $4, expires_at = now() + $5::interval
 WHERE user_id = $1 AND id = $2;

-- name: note_done
UPDATE jobs
   SET status = 'done', settled_at = now(), lease_owner = NULL,
       report = jsonb_build_object('export_id', $3::bigint)
 WHERE user_id = $1 AND id = $2;

-- name: fail_export
UPDATE exports SET status = 'failed' WHERE user_id = $1 AND job_id = $2 AND status = 'queued';

-- name: begin_anew
-- An erasure begins. What is being made misses at its end and is begun anew; what waits cannot be
-- begun until the erasure is committed, since a claim passes over what is locked.
UPDATE jobs j
   SET status = 'queued', epoch = j.epoch + 1, lease_owner = NULL,
       due_at = CASE WHEN j.status = 'running' THEN now() ELSE j.due_at END
  FROM (SELECT id FROM jobs WHERE user_id = $1 AND kind = 'export' AND settled_at IS NULL
         ORDER BY id FOR NO KEY UPDATE) open
 WHERE j.user_id = $1 AND j.id = open.id;

-- name: void_ready
-- What was made before has the person in it. A statement of its own, after the jobs are locked: one
-- that ended while we waited for it is ready now.
UPDATE exports e SET status = 'erased'
  FROM (SELECT id FROM exports WHERE user_id = $1 AND status = 'ready'
         ORDER BY id FOR NO KEY UPDATE) ready
 WHERE e.user_id = $1 AND e.id = ready.id;

-- name: drop_exports_of
-- Of who is erased. The exports go with their jobs; their files have no row then, and go for that.
DELETE FROM jobs j USING exports e
 WHERE j.user_id = $1 AND e.user_id = $1 AND e.contact_id = $2 AND j.id = e.job_id;

-- name: drop_idle_job
-- Its export is gone. Nothing happens when it is somebody else's.
DELETE FROM jobs j WHERE j.user_id = $1 AND j.id = $2 AND j.epoch = $3 AND j.settled_at IS NULL
   AND NOT EXISTS (SELECT FROM exports e WHERE e.user_id = $1 AND e.job_id = $2);

-- name: erased_files
SELECT file FROM exports WHERE user_id = $1 AND status = 'erased' AND file IS NOT NULL;

-- name: made_now
-- Each with the epoch of which its file is or will be.
SELECT e.id, j.epoch FROM exports e JOIN jobs j ON j.user_id = $1 AND j.id = e.job_id
 WHERE e.user_id = $1 AND (e.status = 'ready' OR j.status = 'running');

-- name: clear_erased
UPDATE exports SET file = NULL WHERE user_id = $1 AND file = ANY ($2::text[]);

-- name: old_exports
SELECT user_id, id FROM old_exports($1);

-- name: clear_export
UPDATE exports
   SET file = NULL, status = CASE WHEN status = 'ready' THEN 'expired' ELSE status END
 WHERE user_id = $1 AND id = $2 AND created_at >= now() - interval '37 days';

-- name: drop_export
DELETE FROM jobs j USING exports e
 WHERE j.user_id = $1 AND e.user_id = $1 AND e.id = $2 AND j.id = e.job_id
   AND e.created_at < now() - interval '37 days';
