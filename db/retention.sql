-- name: due_retentions
SELECT due_retentions($1) AS user_id;

-- name: lock_retention
-- Nothing comes back when another worker is at it.
SELECT CASE WHEN lower_from <= now() THEN lower_days ELSE days END AS days, lower_from, swept_upto,
       now() AS now
  FROM retention WHERE user_id = $1 FOR NO KEY UPDATE SKIP LOCKED;

-- name: forget_history
SELECT upto, gone, young_since FROM forget_history($1, $2, $3, $4);

-- name: forget_told
SELECT forget_told($1, $2, $3);

-- name: note_retention
UPDATE retention SET swept_upto = $2, due_at = $3 WHERE user_id = $1;

-- name: forget_old
SELECT forget_old($1, $2, $3);
