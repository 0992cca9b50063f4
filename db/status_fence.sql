-- name: overdue_sends
-- Unknown for $1, and every status that came in that time is merged. Never beyond now: after a
-- failover the clock may be behind what it was.
SELECT u.user_id, u.message_id
  FROM status_fence f,
       unknown_sends($1, least(f.merged_until, clock_timestamp()), $2) u;

-- name: fence_wanted
-- The time for a new mark, if some send has been unknown for $1 or a replay waits; else NULL.
SELECT clock_timestamp() WHERE EXISTS (SELECT FROM unknown_sends($1, clock_timestamp(), 1))
                            OR EXISTS (SELECT FROM replays_wait());

-- name: move_fence
-- Not only forwards: marks come in order, and one that comes again says less and is as true. Not
-- past the last one before a status that is to be tried again.
SELECT move_fence($1, $2);

-- name: release_replayed
SELECT r.user_id, r.message_id
  FROM status_fence f, release_replayed(least(f.merged_until, clock_timestamp())) r;
