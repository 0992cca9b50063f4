-- name: open_evals
SELECT count(*) FROM evals WHERE user_id = $1 AND settled_at IS NULL AND job_id IS NOT NULL;

-- name: lock_evaluator
SELECT pg_advisory_xact_lock(hashtextextended('evals', $1)) IS NULL AS held;

-- name: create_eval
-- Of a command it runs at once.
INSERT INTO evals (user_id, chatbot_id, job_id, name, suite, repeat, total, budget, is_draft, status,
                   epoch, held_until)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $3::bigint IS NULL THEN 'running' ELSE 'queued' END,
        CASE WHEN $3 IS NULL THEN 1 ELSE 0 END, now() + interval '1 hour')
RETURNING id;

-- name: drop_older
-- Runs before the last so many of the chatbot's, with their jobs: what costs no tokens can be run for
-- ever.
WITH old AS (
    SELECT e.id, e.job_id FROM evals e
     WHERE e.user_id = $1 AND e.chatbot_id = $2 AND e.settled_at IS NOT NULL
       AND e.id <= (SELECT o.id FROM evals o WHERE o.user_id = $1 AND o.chatbot_id = $2
                     ORDER BY o.id DESC OFFSET $3 LIMIT 1)
       FOR UPDATE SKIP LOCKED
), jobs AS (
    DELETE FROM jobs j USING old WHERE j.user_id = $1 AND j.id = old.job_id
)
DELETE FROM evals e USING old WHERE e.user_id = $1 AND e.id = old.id AND old.job_id IS NULL;

-- name: expect_cases
UPDATE jobs SET total = $3 WHERE user_id = $1 AND id = $2;

-- name: begin_eval
-- Also the fence: whoever was at it before writes nothing from now on. Nothing comes back when it is
-- gone, has ended, or is somebody else's.
UPDATE evals e SET status = 'running', epoch = $3
  FROM jobs j
 WHERE e.user_id = $1 AND e.job_id = $2 AND e.settled_at IS NULL AND e.epoch <= $3
   AND j.user_id = $1 AND j.id = $2 AND j.epoch = $3 AND j.status = 'running'
RETURNING e.id, e.chatbot_id, e.suite, e.repeat, e.total;

-- name: eval_chatbot
SELECT chatbot_id FROM evals WHERE user_id = $1 AND id = $2;

-- name: dead_holds
-- Of whoever was at it before.
DELETE FROM eval_holds h WHERE h.user_id = $1 AND h.eval_id = $2 AND h.epoch < $3
RETURNING h.usage_day, h.model, h.asked;

-- name: add_tokens
UPDATE evals SET tokens = tokens + $3 WHERE user_id = $1 AND id = $2;

-- name: places_done
SELECT place FROM eval_cases WHERE user_id = $1 AND eval_id = $2;

-- name: reserve_eval_tokens
SELECT outcome, granted FROM reserve_eval_tokens($1, $2, $3, $4, $5, $6, $7, $8);

-- name: settle_eval_tokens
SELECT settle_eval_tokens($1, $2, $3, $4, $5, $6) AS usage_day;

-- name: drop_hold
DELETE FROM eval_holds WHERE user_id = $1 AND eval_id = $2 AND place = $4 AND epoch = $3;

-- name: lock_running
-- The fence.
SELECT job_id FROM evals
 WHERE user_id = $1 AND id = $2 AND epoch = $3 AND status = 'running' FOR NO KEY UPDATE;

-- name: add_case
INSERT INTO eval_cases (user_id, eval_id, place, name, passed, result)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (user_id, eval_id, place) DO NOTHING
RETURNING id;

-- name: count_case
UPDATE evals SET passed = passed + $3::boolean::int, failed = failed + (NOT $3)::int,
                 held_until = now() + interval '1 hour'
 WHERE user_id = $1 AND id = $2;

-- name: progress
UPDATE jobs SET done = done + 1, attempts = 0 WHERE user_id = $1 AND id = $2;

-- name: give_way
UPDATE jobs SET status = 'queued', lease_owner = NULL, due_at = now()
 WHERE user_id = $1 AND id = $2 AND epoch = $3 AND status = 'running';

-- name: run_before
-- The last that was done, of the bot as it was then.
SELECT id FROM evals e
 WHERE e.user_id = $1 AND e.chatbot_id = $2 AND e.id < $3 AND e.name = $4 AND e.status = 'done'
   AND NOT e.is_draft
 ORDER BY e.id DESC LIMIT 1;

-- name: cases_passed
SELECT name, passed FROM eval_cases WHERE user_id = $1 AND eval_id = $2 ORDER BY place;

-- name: end_eval
-- The suite goes: what it was about is in the results.
UPDATE evals SET status = $4, reason = $5, fell = $6, suite = NULL, held_until = NULL,
                 settled_at = now()
 WHERE user_id = $1 AND id = $2 AND epoch = $3 AND status = 'running'
RETURNING job_id;

-- name: end_job
UPDATE jobs j
   SET status = CASE WHEN e.status = 'failed' THEN 'failed' ELSE 'done' END, settled_at = now(),
       lease_owner = NULL,
       report = jsonb_strip_nulls(jsonb_build_object(
           'eval_id', e.id, 'status', e.status, 'problem', e.reason, 'passed', e.passed,
           'failed', e.failed, 'tokens', e.tokens, 'fell', e.fell))
  FROM evals e
 WHERE e.user_id = $1 AND e.job_id = $2 AND j.user_id = $1 AND j.id = $2 AND j.settled_at IS NULL;

-- name: fail_eval
-- Of a job that has failed.
UPDATE evals SET status = 'failed', reason = $3, suite = NULL, held_until = NULL,
                 settled_at = now(), epoch = epoch + 1
 WHERE user_id = $1 AND job_id = $2 AND settled_at IS NULL;

-- name: note_failed
UPDATE jobs j
   SET report = jsonb_build_object('eval_id', e.id, 'status', e.status, 'problem', e.reason,
                                   'passed', e.passed, 'failed', e.failed, 'tokens', e.tokens)
  FROM evals e
 WHERE j.user_id = $1 AND j.id = $2 AND e.user_id = $1 AND e.job_id = $2 AND j.status = 'failed';

-- name: end_open
-- Those of a chatbot ($2), or, without one, all. Who is at one misses at its fence.
UPDATE evals SET status = 'failed', reason = $3, suite = NULL, held_until = NULL,
                 settled_at = now(), epoch = epoch + 1
 WHERE user_id = $1 AND settled_at IS NULL AND ($2::bigint IS NULL OR chatbot_id = $2)
RETURNING job_id;

-- name: end_jobs
UPDATE jobs j SET status = 'failed', settled_at = now(), lease_owner = NULL, epoch = j.epoch + 1,
                  report = jsonb_build_object('problem', $3::text)
 WHERE j.user_id = $1 AND j.id = ANY ($2::bigint[]) AND j.settled_at IS NULL;

-- name: forget_words
-- What was said, of all runs: anybody may be named there.
UPDATE eval_cases SET result = NULL WHERE user_id = $1 AND result IS NOT NULL;

-- name: list_evals
SELECT e.id, e.chatbot_id, e.job_id, e.name AS suite, e.status, e.reason, e.repeat, e.total,
       e.passed, e.failed, e.fell, e.tokens, e.budget, e.is_draft, e.created_at, e.settled_at,
       count(*) OVER () > $4 AS more
  FROM (SELECT * FROM evals WHERE user_id = $1 AND chatbot_id = $2 AND id < $3
         ORDER BY id DESC LIMIT $4 + 1) e
 ORDER BY e.id DESC LIMIT $4;

-- name: read_eval
SELECT e.id, e.chatbot_id, e.job_id, e.name AS suite, e.status, e.reason, e.repeat, e.total,
       e.passed, e.failed, e.fell, e.tokens, e.budget, e.is_draft, e.created_at, e.settled_at
  FROM evals e JOIN chatbots b ON b.user_id = $1 AND b.id = e.chatbot_id
 WHERE e.user_id = $1 AND e.id = $2;

-- name: read_cases
SELECT name, passed, result::text AS result FROM eval_cases
 WHERE user_id = $1 AND eval_id = $2 ORDER BY place;

-- name: lost_evals
SELECT user_id, id FROM lost_evals($1);

-- name: end_lost
-- Of a command that is gone; unless it came back.
UPDATE evals SET status = 'failed', reason = 'abandoned', suite = NULL, held_until = NULL,
                 settled_at = now(), epoch = epoch + 1
 WHERE user_id = $1 AND id = $2 AND settled_at IS NULL AND job_id IS NULL AND held_until < now()
RETURNING epoch;

-- name: forget_evals
SELECT forget_evals($1, $2);

-- name: catalogue
-- What the shop sells, as an answer may name it.
SELECT concat_ws(' ', p.name, p.description, p.price::text, u.currency) AS told
  FROM products p JOIN users u ON u.id = $1
 WHERE p.user_id = $1 AND coalesce(p.is_active, false) ORDER BY p.id LIMIT $2;

-- name: drop_eval
-- Of what was no suite: it only held tokens.
DELETE FROM evals WHERE user_id = $1 AND id = $2;
