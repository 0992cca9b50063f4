-- name: next_chatbot_id
-- Taken before the insert, because a token is encrypted for it.
SELECT nextval(pg_get_serial_sequence('chatbots', 'id'));

-- name: create_chatbot
INSERT INTO chatbots (user_id, name, whatsapp_phone_number, phone_number_id, general_instructions)
VALUES ($1, $2, $3, $4, $5) RETURNING id;

-- name: add_chatbot
INSERT INTO chatbots
       (user_id, id, name, whatsapp_phone_number, phone_number_id, waba_id, claimed_number,
        claimed_phone_number_id, claimed_waba_id, access_token, general_instructions, is_active,
        bot_status, language, texts, window_template, budgets, embeddings, business_hours,
        answer_checks, model, model_keys, topic, opt_out_words, order_messages, marketing_api,
        order_template, decision_template)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
        $21, $22, $23, $24, $25, $26, $27, $28);

-- name: count_chatbots
SELECT count(*) AS chatbots FROM chatbots WHERE user_id = $1 AND deleted_at IS NULL;

-- name: store_access_token
-- After the insert, because the id is part of what the encryption authenticates.
UPDATE chatbots SET access_token = $3, updated_at = now() WHERE user_id = $1 AND id = $2;

-- name: note_numbers
-- Whatever the app: a note beside what is published, which decides nothing.
SELECT n.place::int, r.outcome, r.user_id, r.chatbot_id
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (phone_number_id, number, place)
 CROSS JOIN LATERAL resolve_number(n.phone_number_id, n.number, false) r;

-- name: resolve_numbers
-- In one order everywhere, because binding writes.
SELECT n.place::int, r.outcome, r.user_id, r.chatbot_id
  FROM (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
               WITH ORDINALITY AS i (phone_number_id, number, app_id, place)
         ORDER BY phone_number_id, number, app_id) n
 CROSS JOIN LATERAL resolve_number(n.phone_number_id, n.number, n.app_id, $4) r;

-- name: lock_chatbot
-- What it claims comes before what it has.
SELECT id, coalesce(claimed_number, whatsapp_phone_number) AS whatsapp_phone_number,
       coalesce(claimed_phone_number_id, phone_number_id) AS phone_number_id
  FROM chatbots WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: lock_settings
SELECT name, whatsapp_phone_number, phone_number_id, waba_id, claimed_number,
       claimed_phone_number_id, claimed_waba_id, access_token, general_instructions,
       coalesce(is_active, false) AS is_active, coalesce(bot_status, 'active') AS bot_status,
       language, texts, window_template, budgets, embeddings, business_hours, answer_checks, model,
       model_keys, topic, opt_out_words, order_messages, marketing_api, order_template,
       decision_template, version
  FROM chatbots WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: change_chatbot
-- Without number and id nothing is proven any more.
UPDATE chatbots
   SET name = $3, whatsapp_phone_number = $4, phone_number_id = $5, waba_id = $6,
       claimed_number = $7, claimed_phone_number_id = $8, claimed_waba_id = $9, access_token = $10,
       general_instructions = $11, is_active = $12, bot_status = $13, language = $14, texts = $15,
       window_template = $16, budgets = $17, embeddings = $18, business_hours = $19,
       answer_checks = $20, model = $21, model_keys = $22, topic = $23, opt_out_words = $24,
       order_messages = $25, marketing_api = $26, order_template = $27, decision_template = $28,
       number_confirmed_at = CASE WHEN $4::varchar IS NOT NULL OR $5::text IS NOT NULL
                                  THEN number_confirmed_at END
 WHERE user_id = $1 AND id = $2;

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
-- With a number: of what is only claimed its tenant is told.
SELECT id, name, whatsapp_phone_number, phone_number_id, access_token
  FROM chatbots
 WHERE user_id = $1 AND coalesce(is_active, true)
   AND (whatsapp_phone_number IS NOT NULL OR phone_number_id IS NOT NULL)
 ORDER BY id;

-- name: chatbot_page
-- Row by row, as list_actions: $3 at most, with $4 bytes.
WITH RECURSIVE page AS (
    SELECT $2::bigint AS id, 0 AS place, 0::bigint AS bytes
     UNION ALL
    SELECT b.id, page.place + 1, page.bytes + b.bytes
      FROM page CROSS JOIN LATERAL (
           SELECT b.id, octet_length(b::text) AS bytes FROM chatbots b
            WHERE b.user_id = $1 AND b.id < page.id AND b.deleted_at IS NULL
            ORDER BY b.id DESC LIMIT 1) b
     WHERE page.place <= $3 AND (page.bytes <= $4 OR page.place = 1)
)
SELECT page.id, count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page
 WHERE page.place BETWEEN 1 AND $3 AND (page.bytes <= $4 OR page.place = 1);

-- name: chatbot_fields
-- As the API shows it: what is named, and beside it which of that is only a claim.
SELECT b.id, b.name,
       coalesce(b.claimed_number, b.whatsapp_phone_number) AS whatsapp_phone_number,
       coalesce(b.claimed_phone_number_id, b.phone_number_id) AS phone_number_id,
       coalesce(b.claimed_waba_id, b.waba_id) AS waba_id,
       CASE WHEN b.claimed_number IS NULL AND b.claimed_phone_number_id IS NULL
            THEN b.number_confirmed_at END AS number_confirmed_at,
       array_remove(ARRAY[
           CASE WHEN b.claimed_number IS NOT NULL THEN 'whatsapp_phone_number' END,
           CASE WHEN b.claimed_phone_number_id IS NOT NULL THEN 'phone_number_id' END,
           CASE WHEN b.claimed_waba_id IS NOT NULL THEN 'waba_id' END], NULL) AS unproven,
       b.number_problem, b.general_instructions, coalesce(b.is_active, false) AS is_active,
       coalesce(b.bot_status, 'active') AS bot_status, b.language, b.texts, b.window_template,
       b.budgets, b.embeddings, b.business_hours, b.answer_checks, b.model, b.topic,
       b.opt_out_words, b.order_messages, b.marketing_api, b.order_template, b.decision_template,
       b.created_at, b.updated_at, b.version
  FROM chatbots b
 WHERE b.user_id = $1 AND b.id = ANY ($2::bigint[]) AND b.deleted_at IS NULL
 ORDER BY b.id DESC;
