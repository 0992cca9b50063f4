-- name: lock_importer
SELECT pg_advisory_xact_lock(hashtextextended('imports', $1));

-- name: count_open_imports
SELECT count(*) FROM imports i LEFT JOIN jobs j ON j.user_id = $1 AND j.id = i.job_id
 WHERE i.user_id = $1 AND i.file IS NOT NULL
   AND CASE WHEN i.job_id IS NULL THEN i.created_at > now() - interval '1 hour'
            ELSE j.settled_at IS NULL END;

-- name: begin_import
INSERT INTO imports (user_id, what, chatbot_id, file) VALUES ($1, $2, $3, $4) RETURNING id;

-- name: expect_lines
UPDATE jobs SET total = $3 WHERE user_id = $1 AND id = $2;

-- name: hold_chatbot
-- Of an import. Who deletes it waits for this transaction, and then ends what it began; or was before.
SELECT b.id FROM imports i JOIN chatbots b ON b.user_id = $1 AND b.id = i.chatbot_id
 WHERE i.user_id = $1 AND i.id = $2
   FOR KEY SHARE OF b;

-- name: received
UPDATE imports
   SET job_id = $3, delimiter = $4, columns = $5, at_byte = $6, at_line = $7,
       rejected = jsonb_array_length($8::jsonb), told = $8, ignored = $9, form = $10
 WHERE user_id = $1 AND id = $2 AND job_id IS NULL AND file IS NOT NULL
   AND chatbot_id IS NOT DISTINCT FROM $11
RETURNING true;

-- name: drop_import
DELETE FROM imports WHERE user_id = $1 AND id = $2 AND job_id IS NULL;

-- name: read_import
SELECT id, what, chatbot_id, file, form, delimiter, columns, at_byte, at_line,
       jsonb_array_length(told) AS told, ignored
  FROM imports WHERE user_id = $1 AND job_id = $2 AND file IS NOT NULL;

-- name: expect_rows
-- Also the fence, as progress.
UPDATE jobs SET total = $4, attempts = 0
 WHERE user_id = $1 AND id = $2 AND epoch = $3 AND status = 'running'
RETURNING true;

-- name: became_rows
UPDATE imports SET file = $3, form = NULL WHERE user_id = $1 AND id = $2;

-- name: new_keys
INSERT INTO import_keys (user_id, import_id, key, line)
SELECT $1, $2, k.key, k.line FROM unnest($3::uuid[], $4::bigint[]) AS k (key, line)
ON CONFLICT (user_id, import_id, key) DO NOTHING
RETURNING key;

-- name: lines_of
SELECT key, line FROM import_keys
 WHERE user_id = $1 AND import_id = $2 AND key = ANY ($3::uuid[]);

-- name: progress
-- Also the fence: who finds no row has lost the job, and all that they did in this transaction.
UPDATE jobs SET done = done + $4, attempts = 0
 WHERE user_id = $1 AND id = $2 AND epoch = $3 AND status = 'running'
RETURNING true;

-- name: note_step
UPDATE imports
   SET at_byte = $3, at_line = $4, inserted = inserted + $5, updated = updated + $6,
       unchanged = unchanged + $7, rejected = rejected + $8,
       told = CASE WHEN $9::jsonb = '[]' THEN told ELSE told || $9 END,
       ignored = CASE WHEN $10::jsonb = '[]' THEN ignored ELSE $10 END
 WHERE user_id = $1 AND id = $2;

-- name: give_way
UPDATE jobs SET status = 'queued', lease_owner = NULL, due_at = now()
 WHERE user_id = $1 AND id = $2 AND epoch = $3 AND status = 'running';

-- name: end_import
UPDATE jobs j
   SET status = CASE WHEN $4::text IS NULL THEN 'done' ELSE 'failed' END, settled_at = now(),
       lease_owner = NULL, total = CASE WHEN $4 IS NULL THEN j.done ELSE j.total END,
       report = coalesce((
           SELECT jsonb_build_object('inserted', i.inserted, 'updated', i.updated,
                                     'unchanged', i.unchanged, 'rejected', i.told,
                                     'rejected_total', i.rejected, 'ignored', i.ignored)
             FROM imports i WHERE i.user_id = $1 AND i.job_id = $2),
           '{"inserted": 0, "updated": 0, "unchanged": 0, "rejected": [], "rejected_total": 0,
             "ignored": []}')
           || CASE WHEN $4 IS NULL THEN '{}' ELSE jsonb_build_object('problem', $4) END
 WHERE j.user_id = $1 AND j.id = $2 AND j.epoch = $3 AND j.settled_at IS NULL
RETURNING true;

-- name: note_failed
UPDATE jobs j
   SET report = jsonb_build_object('inserted', i.inserted, 'updated', i.updated,
                                   'unchanged', i.unchanged, 'rejected', i.told,
                                   'rejected_total', i.rejected, 'ignored', i.ignored,
                                   'problem', $3::text)
  FROM imports i
 WHERE j.user_id = $1 AND j.id = $2 AND i.user_id = $1 AND i.job_id = $2 AND j.status = 'failed';

-- name: end_jobs
-- Those of a chatbot ($2), or, without one, of contacts. Who is at one misses at its fence.
UPDATE jobs j
   SET status = 'failed', settled_at = now(), lease_owner = NULL, epoch = j.epoch + 1,
       report = jsonb_build_object(
           'inserted', open.inserted, 'updated', open.updated, 'unchanged', open.unchanged,
           'rejected', open.told, 'rejected_total', open.rejected, 'ignored', open.ignored,
           'problem', $3::text)
  FROM (SELECT o.id, i.inserted, i.updated, i.unchanged, i.told, i.rejected, i.ignored
          FROM jobs o JOIN imports i ON i.user_id = $1 AND i.job_id = o.id
         WHERE o.user_id = $1 AND o.settled_at IS NULL
           AND CASE WHEN $2::bigint IS NULL THEN i.what = 'contacts' ELSE i.chatbot_id = $2 END
         ORDER BY o.id FOR NO KEY UPDATE OF o, i) open
 WHERE j.user_id = $1 AND j.id = open.id;

-- name: forget_coming
DELETE FROM imports WHERE user_id = $1 AND job_id IS NULL AND what = 'contacts';

-- name: files_in_use
SELECT i.file FROM imports i LEFT JOIN jobs j ON j.user_id = $1 AND j.id = i.job_id
 WHERE i.user_id = $1 AND i.file IS NOT NULL AND (i.job_id IS NULL OR j.settled_at IS NULL);

-- name: old_imports
SELECT user_id, id FROM old_imports($1);

-- name: file_of
SELECT file FROM imports WHERE user_id = $1 AND id = $2;

-- name: forget_keys
WITH gone AS (
    DELETE FROM import_keys k
     WHERE k.user_id = $1 AND k.import_id = $2
       AND k.key = ANY (ARRAY (SELECT o.key FROM import_keys o
                                WHERE o.user_id = $1 AND o.import_id = $2 LIMIT $3))
    RETURNING 1)
SELECT count(*) FROM gone;

-- name: clear_import
UPDATE imports SET file = NULL WHERE user_id = $1 AND id = $2;

-- name: drop_unborn
DELETE FROM imports WHERE user_id = $1 AND id = $2 AND job_id IS NULL;

-- name: drop_old
DELETE FROM jobs j USING imports i
 WHERE j.user_id = $1 AND i.user_id = $1 AND i.id = $2 AND j.id = i.job_id
   AND i.created_at < now() - interval '37 days';
