-- name: register_worker
INSERT INTO workers (name) VALUES ($1) RETURNING id;

-- name: beat
-- Nothing comes back when the worker was taken for dead: it has to register anew.
UPDATE workers SET beat_at = clock_timestamp() WHERE id = $1 RETURNING id;

-- name: retire_worker
DELETE FROM workers WHERE id = $1;

-- name: sweep_dead_workers
SELECT what, user_id, id FROM sweep_dead_workers($1);

-- name: sweep_unheld
SELECT what, user_id, id FROM sweep_unheld($1, $2, $3);
