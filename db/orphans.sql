-- name: park_orphans
-- The same status comes several times; it waits once.
INSERT INTO orphan_statuses (user_id, chatbot_id, wamid, status, phone_number_id, display_number,
                             trace_id, raw)
SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                         $8::bytea[])
ON CONFLICT (user_id, chatbot_id, wamid, status) DO NOTHING;

-- name: found_orphans
SELECT user_id, id FROM found_orphans($1, $2);

-- name: take_orphans
-- Gone when the caller commits, which it does together with what they say.
DELETE FROM orphan_statuses WHERE user_id = $1 AND id = ANY ($2::bigint[])
RETURNING id, chatbot_id, phone_number_id, display_number, trace_id, raw;

-- name: forget_orphans
SELECT forget_orphans($1, $2);
