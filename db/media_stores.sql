-- name: note_sighting
INSERT INTO media_stores (process, store) VALUES ($1, $2)
ON CONFLICT (process) DO UPDATE SET store = excluded.store, seen_at = now();

-- name: forget_sightings
DELETE FROM media_stores WHERE seen_at < now() - $1::interval;

-- name: sightings
SELECT process, store FROM media_stores WHERE seen_at > now() - $1::interval ORDER BY process;
