-- name: create_chatbot
INSERT INTO chatbots (user_id, name, whatsapp_phone_number, phone_number_id, general_instructions)
VALUES ($1, $2, $3, $4, $5) RETURNING id;

-- name: count_chatbots
SELECT count(*) AS chatbots FROM chatbots WHERE user_id = $1;

-- name: store_access_token
-- After the insert, because the id is part of what the encryption authenticates.
UPDATE chatbots SET access_token = $3, updated_at = now() WHERE user_id = $1 AND id = $2;

-- name: resolve_numbers
-- In one order everywhere, because binding writes.
SELECT n.place::int, r.outcome, r.user_id, r.chatbot_id
  FROM (SELECT * FROM unnest($1::text[], $2::text[])
               WITH ORDINALITY AS i (phone_number_id, number, place)
         ORDER BY phone_number_id, number) n
 CROSS JOIN LATERAL resolve_number(n.phone_number_id, n.number, $3) r;

-- name: chatbot_owner
-- Across tenants, and not granted to the runtime: only for operator commands.
SELECT chatbot_owner($1) AS user_id;

-- name: mark_failing
-- Comes back once, until it answers again.
UPDATE chatbots SET failing_since = now()
 WHERE user_id = $1 AND id = $2 AND failing_since IS NULL
RETURNING failing_since;

-- name: mark_recovered
UPDATE chatbots SET failing_since = NULL
 WHERE user_id = $1 AND id = $2 AND failing_since IS NOT NULL
RETURNING true;

-- name: owners_of_chatbots
-- Across tenants, and not granted to the runtime: only for operator commands.
SELECT owners_of_chatbots() AS user_id;

-- name: chatbot_credentials
SELECT id, name, whatsapp_phone_number, phone_number_id, access_token
  FROM chatbots WHERE user_id = $1 AND coalesce(is_active, true) ORDER BY id;

-- name: list_chatbots
-- Row by row, as list_actions: $3 at most, with $4 bytes.
WITH RECURSIVE page AS (
    SELECT $2::bigint AS id, 0 AS place, 0::bigint AS bytes
     UNION ALL
    SELECT b.id, page.place + 1, page.bytes + b.bytes
      FROM page CROSS JOIN LATERAL (
           SELECT b.id, octet_length(b::text) AS bytes FROM chatbots b
            WHERE b.user_id = $1 AND b.id < page.id
            ORDER BY b.id DESC LIMIT 1) b
     WHERE page.place <= $3 AND (page.bytes <= $4 OR page.place = 1)
)
SELECT b.id, b.name, b.whatsapp_phone_number, b.phone_number_id, b.general_instructions,
       b.is_active, b.bot_status, b.created_at, b.updated_at,
       count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page JOIN chatbots b ON b.user_id = $1 AND b.id = page.id
 WHERE page.place BETWEEN 1 AND $3 AND (page.bytes <= $4 OR page.place = 1)
 ORDER BY b.id DESC;
