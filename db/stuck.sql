-- name: set_aside
-- An item that is aside already keeps the time of its first failure.
INSERT INTO stuck_items (user_id, item_key, kind, phone_number_id, display_number, trace_id, raw,
                         error, retry_at, marked_until)
SELECT $1, i.*, now() + interval '2 s', (SELECT f.marked_until FROM status_fence f)
  FROM unnest($2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[])
       AS i
ON CONFLICT (user_id, item_key) DO UPDATE SET error = excluded.error;

-- name: due_stuck_items
SELECT user_id, id FROM due_stuck_items($1);

-- name: take_stuck
-- For one more try. Whoever else finds it due takes it in a while, longer with each time, up to an
-- hour. `stuck` comes once: when it has been waiting for $3.
UPDATE stuck_items
   SET tries = tries + 1,
       retry_at = now() + least(interval '1 h', interval '2 s' * 2 ^ least(tries + 1, 12)),
       told_at = CASE WHEN failed_at < now() - $3::interval THEN coalesce(told_at, now()) END
 WHERE user_id = $1 AND id = $2 AND retry_at <= now()
RETURNING kind, phone_number_id, display_number, trace_id, raw, tries,
          coalesce(told_at = now(), false) AS stuck_now;

-- name: forget_stuck
DELETE FROM stuck_items WHERE user_id = $1 AND id = $2;

-- name: retry_stuck_now
UPDATE stuck_items SET retry_at = now() WHERE user_id = $1 AND id = $2 RETURNING true;

-- name: show_stuck
SELECT id, kind, phone_number_id, display_number, trace_id, error, tries, failed_at, retry_at, told_at,
       raw
  FROM stuck_items WHERE user_id = $1 AND id = $2;
