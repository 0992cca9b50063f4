-- name: park_items
-- The runtime may add and not read, so the conflict's target (which it would have to be able to read)
-- is not named; beside the identity there is one key only.
INSERT INTO parked_items
       (item_key, reason, detail, kind, phone_number_id, display_number, trace_id, raw)
SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::text[], $8::bytea[])
ON CONFLICT DO NOTHING;

-- name: list_parked
-- As the owner, like the rest below: oldest first, without what the item says.
SELECT id, reason, detail, kind, phone_number_id, display_number, trace_id, parked_at,
       octet_length(raw) AS bytes
  FROM parked_items
 WHERE id > $1 ORDER BY id LIMIT $2;

-- name: show_parked
SELECT id, reason, detail, kind, phone_number_id, display_number, trace_id, parked_at, raw
  FROM parked_items WHERE id = $1;

-- name: parked_of_number
-- What came before its chatbot was there, and what the database refused then: what does not fit may
-- fit now, and the rest is parked again. A number is parked in Meta's spelling.
SELECT id FROM parked_items
 WHERE reason IN ('unknown_number', 'phone_number_id_of_another', 'bindable', 'poison')
   AND (phone_number_id = $1
        OR '+' || regexp_replace(display_number, '\D', '', 'g') = $2)
 ORDER BY id;

-- name: parked_of_other_apps
SELECT id FROM parked_items WHERE id = ANY ($1::bigint[]) AND reason = 'number_of_another_app';

-- name: take_parked
-- Gone when the caller commits, which it does after the item is durable elsewhere. Until then the
-- key is held: should the item be parked again at once, that waits for the commit and succeeds.
-- What an app said of another's number is never processed.
DELETE FROM parked_items WHERE id = $1 AND reason <> 'number_of_another_app'
RETURNING id, kind, phone_number_id, display_number, trace_id, raw;
