-- name: overdue_sends
-- Unknown for $1, and every status that came in that time is merged. Never beyond now: after a
-- failover the clock may be behind what it was.
SELECT u.user_id, u.message_id
  FROM status_fence f,
       unknown_sends($1, least(f.merged_until, clock_timestamp()), $2) u;

-- name: fence_wanted
-- The time for a new mark, if some send has been unknown for $1; else NULL.
SELECT clock_timestamp() WHERE EXISTS (SELECT FROM unknown_sends($1, clock_timestamp(), 1));

-- name: move_fence
-- Not only forwards: marks come in order, and one that comes again says less and is as true.
UPDATE status_fence SET merged_until = $1;
