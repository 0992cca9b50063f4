-- name: add_entries
-- In the order given: identity values are taken row by row, after the sort.
INSERT INTO ingest_entries (lane, body)
SELECT lane, body FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS e (lane, body, n)
 ORDER BY n;

-- name: log_size
SELECT count(*) AS entries, coalesce(sum(octet_length(body)), 0)::bigint AS bytes
  FROM ingest_entries;

-- name: is_waiting
-- A scalar subquery, here and below, where EXISTS may be planned as one look at the whole table.
SELECT EXISTS (
    SELECT FROM unnest($1::text[]) AS l (lane)
     WHERE (SELECT e.id FROM ingest_entries e WHERE e.lane = l.lane LIMIT 1) IS NOT NULL);

-- name: lock_lanes
-- Of the lanes with entries up to $4 that nobody holds, in the order given; until the transaction
-- ends. CASE keeps the order: no lane is locked for nothing.
SELECT l.lane FROM unnest($1::text[], $2::integer[]) AS l (lane, number)
 WHERE CASE WHEN (SELECT e.id FROM ingest_entries e WHERE e.lane = l.lane LIMIT 1) IS NULL
            THEN false
            ELSE pg_try_advisory_xact_lock($3, l.number) END
 LIMIT $4;

-- name: read_entries
-- A statement of its own: its snapshot is younger than the lock, so what the last holder deleted is
-- gone. At most $2 a lane, and $3 bytes and the entry that passes them.
SELECT t.id, t.lane, t.body, coalesce(d.times, 0) AS delivered
  FROM (SELECT e.id, e.lane, e.body,
               sum(octet_length(e.body)) OVER (ORDER BY e.id) - octet_length(e.body) AS before
          FROM unnest($1::text[]) AS l (lane)
         CROSS JOIN LATERAL (SELECT * FROM ingest_entries i WHERE i.lane = l.lane
                              ORDER BY i.id LIMIT $2) e) t
  LEFT JOIN ingest_deliveries d ON d.lane = t.lane AND d.first_id = t.id
 WHERE t.before < $3
 ORDER BY t.id;

-- name: count_deliveries
INSERT INTO ingest_deliveries AS d (lane, first_id, times)
SELECT lane, first_id, 1 FROM unnest($1::text[], $2::bigint[]) AS f (lane, first_id)
ON CONFLICT (lane) DO UPDATE
   SET first_id = excluded.first_id,
       times = CASE WHEN d.first_id = excluded.first_id THEN d.times + 1 ELSE 1 END;

-- name: remove_entries
-- By name and never up to the last one: an entry with a smaller id may be committed only now.
DELETE FROM ingest_entries e USING unnest($1::text[], $2::bigint[]) AS done (lane, id)
 WHERE e.lane = done.lane AND e.id = done.id;

-- name: move_entry
UPDATE ingest_entries SET lane = $3 WHERE lane = $1 AND id = $2;

-- name: lane_sizes
SELECT lane, count(*)::bigint AS entries FROM ingest_entries GROUP BY lane ORDER BY lane;
