-- name: create_chatbot
INSERT INTO chatbots (user_id, name, whatsapp_phone_number, phone_number_id, general_instructions)
VALUES ($1, $2, $3, $4, $5) RETURNING id;

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

-- name: import_knowledge
INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer, category)
SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::text[])
ON CONFLICT (user_id, chatbot_id, md5(question)) DO UPDATE
   SET answer = EXCLUDED.answer, category = EXCLUDED.category, is_active = true,
       updated_at = now()
RETURNING (xmax = 0) AS inserted;
