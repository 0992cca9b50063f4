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
