-- name: claim_job
SELECT user_id, id, epoch FROM claim_job($1, $2, $3);

-- name: job_kind
-- Nothing comes back when it is somebody else's, or took its worker down too often.
SELECT kind FROM jobs WHERE user_id = $1 AND id = $2 AND epoch = $3 AND attempts < $4;

-- name: create_job
INSERT INTO jobs (user_id, kind) VALUES ($1, $2) RETURNING id;

-- name: is_running
-- No: it was ended, or somebody else has begun it anew: the epoch moved.
SELECT EXISTS (SELECT FROM jobs WHERE user_id = $1 AND id = $2 AND epoch = $3
                  AND status = 'running');

-- name: fail_job
-- Again after 2, 4, 8 ... s; after $4 tries it has failed. Nothing comes back when it is somebody
-- else's.
UPDATE jobs
   SET attempts = attempts + 1, lease_owner = NULL,
       due_at = now() + interval '1 s' * 2 ^ least(attempts + 1, 10),
       status = CASE WHEN attempts + 1 < $4 THEN 'queued' ELSE 'failed' END,
       settled_at = CASE WHEN attempts + 1 < $4 THEN NULL ELSE now() END
 WHERE user_id = $1 AND id = $2 AND epoch = $3 AND settled_at IS NULL
RETURNING status;

-- name: read_job
SELECT id, kind, status, done, total, report::text AS report, created_at, settled_at
  FROM jobs WHERE user_id = $1 AND id = $2;

-- name: list_jobs
-- Without the lines that an import rejected: they are in the job itself.
SELECT id, kind, status, done, total, (report - 'rejected')::text AS report, created_at, settled_at,
       count(*) OVER () > $4 AS more
  FROM (SELECT * FROM jobs WHERE user_id = $1 AND id < $3 AND kind = ANY ($2::text[])
         ORDER BY id DESC LIMIT $4 + 1) j
 ORDER BY id DESC LIMIT $4;
