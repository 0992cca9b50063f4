-- name: upsert_knowledge
-- In the order of the file. What would change nothing is not written, so no worker reads it again.
INSERT INTO bot_knowledge_base AS k (user_id, chatbot_id, question, answer, category, alternatives,
                                     language, is_active)
SELECT $1, $2, n.question, n.answer, n.category, coalesce(n.alternatives, '[]'), n.language,
       coalesce(n.is_active, true)
  FROM jsonb_to_recordset($3::jsonb) AS n (place integer, question text, answer text, category text,
                                           alternatives jsonb, language text, is_active boolean)
 ORDER BY n.place
ON CONFLICT (user_id, chatbot_id, md5(question)) DO UPDATE
   SET answer = EXCLUDED.answer,
       category = CASE WHEN 'category' = ANY ($4::text[]) THEN EXCLUDED.category
                       ELSE k.category END,
       alternatives = CASE WHEN 'alternatives' = ANY ($4) THEN EXCLUDED.alternatives
                           ELSE k.alternatives END,
       language = CASE WHEN 'language' = ANY ($4) THEN EXCLUDED.language ELSE k.language END,
       is_active = CASE WHEN 'is_active' = ANY ($4) THEN EXCLUDED.is_active ELSE k.is_active END,
       updated_at = now()
 WHERE k.answer <> EXCLUDED.answer
    OR 'category' = ANY ($4) AND k.category IS DISTINCT FROM EXCLUDED.category
    OR 'alternatives' = ANY ($4) AND k.alternatives <> EXCLUDED.alternatives
    OR 'language' = ANY ($4) AND k.language IS DISTINCT FROM EXCLUDED.language
    OR 'is_active' = ANY ($4) AND k.is_active IS DISTINCT FROM EXCLUDED.is_active
RETURNING (xmax = 0) AS inserted;

-- name: upsert_products
INSERT INTO products AS p (user_id, sku, name, price, description, image_url, is_active, stock)
SELECT $1, n.sku, n.name, n.price, n.description, n.image_url, coalesce(n.is_active, true), n.stock
  FROM jsonb_to_recordset($2::jsonb) AS n (place integer, sku text, name text, price numeric,
                                           description text, image_url text, is_active boolean,
                                           stock integer)
 ORDER BY n.place
ON CONFLICT (user_id, sku) DO UPDATE
   SET name = EXCLUDED.name,
       price = CASE WHEN 'price' = ANY ($3::text[]) THEN EXCLUDED.price ELSE p.price END,
       description = CASE WHEN 'description' = ANY ($3) THEN EXCLUDED.description
                          ELSE p.description END,
       image_url = CASE WHEN 'image_url' = ANY ($3) THEN EXCLUDED.image_url ELSE p.image_url END,
       is_active = CASE WHEN 'is_active' = ANY ($3) THEN EXCLUDED.is_active ELSE p.is_active END,
       stock = CASE WHEN 'stock' = ANY ($3) THEN EXCLUDED.stock ELSE p.stock END,
       updated_at = now()
 WHERE p.name <> EXCLUDED.name
    OR 'price' = ANY ($3) AND p.price IS DISTINCT FROM EXCLUDED.price
    OR 'description' = ANY ($3) AND p.description IS DISTINCT FROM EXCLUDED.description
    OR 'image_url' = ANY ($3) AND p.image_url IS DISTINCT FROM EXCLUDED.image_url
    OR 'is_active' = ANY ($3) AND p.is_active IS DISTINCT FROM EXCLUDED.is_active
    OR 'stock' = ANY ($3) AND p.stock IS DISTINCT FROM EXCLUDED.stock
RETURNING (xmax = 0) AS inserted;

-- name: update_contacts
-- A name that is written is the tenant's, as by PATCH. One that was so already is as it was: a file
-- that was exported and comes back makes no name of WhatsApp's the tenant's.
UPDATE contacts c
   SET name = CASE WHEN 'name' = ANY ($3::text[]) THEN n.name ELSE c.name END,
       name_given = CASE WHEN 'name' = ANY ($3) AND c.name IS DISTINCT FROM n.name
                         THEN n.name IS NOT NULL ELSE c.name_given END,
       tags = CASE WHEN 'tags' = ANY ($3) THEN n.tags ELSE c.tags END,
       custom_fields = CASE WHEN 'custom_fields' = ANY ($3) THEN n.custom_fields
                            ELSE c.custom_fields END,
       language = CASE WHEN 'language' = ANY ($3) THEN n.language ELSE c.language END,
       contact_status = CASE WHEN 'contact_status' = ANY ($3) THEN n.contact_status
                             ELSE c.contact_status END,
       updated_at = now()
  FROM jsonb_to_recordset($2::jsonb) AS n (id bigint, name text, tags jsonb, custom_fields jsonb,
                                           language text, contact_status text)
 WHERE c.user_id = $1 AND c.id = n.id
   AND ('name' = ANY ($3) AND c.name IS DISTINCT FROM n.name
        OR 'tags' = ANY ($3) AND c.tags IS DISTINCT FROM n.tags
        OR 'custom_fields' = ANY ($3) AND c.custom_fields IS DISTINCT FROM n.custom_fields
        OR 'language' = ANY ($3) AND c.language IS DISTINCT FROM n.language
        OR 'contact_status' = ANY ($3) AND c.contact_status IS DISTINCT FROM n.contact_status)
RETURNING c.id;

-- name: insert_contacts
-- As add_contacts, and in its order: where contacts are limited they have room once
-- admit_contacts() lets them in.
INSERT INTO contacts (user_id, phone_number, wa_id, name, name_given, tags, custom_fields, language,
                      contact_status, thread_id, over_limit)
SELECT $1, n.phone_number, substr(n.phone_number, 2), n.name, n.name IS NOT NULL,
       coalesce(n.tags, '[]'), coalesce(n.custom_fields, '{}'), n.language,
       coalesce(n.contact_status, 'active'), $1::bigint || ':' || gen_random_uuid(),
       EXISTS (SELECT FROM contact_counts c WHERE c.user_id = $1)
  FROM jsonb_to_recordset($2::jsonb) AS n (phone_number text, name text, tags jsonb,
                                           custom_fields jsonb, language text, contact_status text)
 ORDER BY n.phone_number
ON CONFLICT (user_id, phone_number) DO NOTHING
RETURNING id, phone_number;

-- name: enter_new
-- contact_counts is locked by admit_contacts(), which this goes after.
UPDATE contacts c SET over_limit = false
 WHERE c.user_id = $1 AND c.id IN (
       SELECT n.id FROM contacts n
        WHERE n.user_id = $1 AND n.id = ANY ($2::bigint[]) AND n.over_limit ORDER BY n.id
        LIMIT (SELECT CASE WHEN s.most IS NOT NULL THEN greatest(0, s.most - k.contacts) END
                 FROM contact_counts k
                 LEFT JOIN (SELECT plan_limit(subscription_config, 'max_contacts') AS most
                              FROM user_subscriptions WHERE user_id = $1 AND is_active) s ON true
                WHERE k.user_id = $1));

-- name: without_room
DELETE FROM contacts c WHERE c.user_id = $1 AND c.id = ANY ($2::bigint[]) AND c.over_limit
RETURNING c.id;

-- name: wants_to_hear
SELECT $2 = ANY (told) FROM users WHERE id = $1;

-- name: last_of_knowledge
SELECT max(id) FROM bot_knowledge_base WHERE user_id = $1 AND chatbot_id = $2;

-- name: last_of_contacts
SELECT max(id) FROM contacts WHERE user_id = $1;

-- name: last_of_products
SELECT max(id) FROM products WHERE user_id = $1;

-- name: page_of_knowledge
SELECT id, question, answer, category, alternatives, language,
       coalesce(is_active, false) AS is_active
  FROM bot_knowledge_base
 WHERE user_id = $1 AND id > $2 AND id <= $3 AND chatbot_id = $4
 ORDER BY id LIMIT 500;

-- name: page_of_contacts
SELECT id, phone_number, name, coalesce(tags, '[]') AS tags,
       coalesce(custom_fields, '{}') AS custom_fields, language, contact_status
  FROM contacts
 WHERE user_id = $1 AND id > $2 AND id <= $3 AND phone_number IS NOT NULL AND erased_at IS NULL
 ORDER BY id LIMIT 500;

-- name: page_of_products
SELECT id, sku, name, price::text AS price, description, image_url,
       coalesce(is_active, false) AS is_active, stock
  FROM products
 WHERE user_id = $1 AND id > $2 AND id <= $3 AND sku IS NOT NULL
 ORDER BY id LIMIT 500;
