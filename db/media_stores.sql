-- name: note_sighting
INSERT INTO media_stores (process, store, marker, problem) VALUES ($1, $2, $3, $4)
ON CONFLICT (process) DO UPDATE
   SET store = excluded.store, marker = excluded.marker, problem = excluded.problem, seen_at = now();

-- name: note_reading
UPDATE media_stores SET read_of = $2, found = $3 WHERE process = $1;

-- name: old_sightings
SELECT process FROM media_stores WHERE seen_at < now() - $1::interval;

-- name: forget_sightings
DELETE FROM media_stores WHERE process = ANY ($1::text[]) AND seen_at < now() - $2::interval;

-- name: sightings
SELECT process, store, marker, read_of, found, problem FROM media_stores
 WHERE seen_at > now() - $1::interval ORDER BY process;
