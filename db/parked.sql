-- name: park_items
-- The runtime may add and not read, so a conflict target (which would need SELECT) is not named.
INSERT INTO parked_items
       (item_key, reason, detail, kind, phone_number_id, display_number, trace_id, raw)
SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::text[], $8::bytea[])
ON CONFLICT DO NOTHING;
