-- name: list_people
-- Newest first, in pages: those with an id below $2. Row by row, as list_actions: $3 at most, with $4
-- bytes.
WITH RECURSIVE page AS (
    SELECT $2::bigint AS id, 0 AS place, 0::bigint AS bytes
     UNION ALL
    SELECT c.id, page.place + 1, page.bytes + c.bytes
      FROM page CROSS JOIN LATERAL (
           SELECT c.id, octet_length(c::text) AS bytes FROM contacts c
            WHERE c.user_id = $1 AND c.id < page.id AND c.erased_at IS NULL
            ORDER BY c.id DESC LIMIT 1) c
     WHERE page.place <= $3 AND (page.bytes <= $4 OR page.place = 1)
)
SELECT c.id, phone_number, bsuid, name, language, texts_of(tags) AS tags,
       as_object(custom_fields)::text AS custom_fields,
       coalesce(contact_status, 'active') AS contact_status,
       coalesce(conversation_paused, false) AS conversation_paused, chatbot_id, over_limit,
       last_interaction, created_at, updated_at,
       count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page JOIN contacts c ON c.user_id = $1 AND c.id = page.id
 WHERE page.place BETWEEN 1 AND $3 AND (page.bytes <= $4 OR page.place = 1)
 ORDER BY c.id DESC;

-- name: search_people
-- See contacts_by_terms() in migrations/0054 and 0097. A row without an id says where it stopped looking.
WITH hit AS MATERIALIZED (
    SELECT h.id, h.stopped FROM contacts_by_terms($1, $2, $3, $4, $5 + 1, $7, $8) h
), measured AS (
    SELECT c.*, row_number() OVER newest AS place,
           sum(octet_length(c::text)) OVER newest AS bytes
      -- One by one: of a tenant with half of all contacts a join read every one, 7 s for a page.
      FROM hit h
     CROSS JOIN LATERAL (
           SELECT k.* FROM contacts k WHERE k.user_id = $1 AND k.id = h.id LIMIT 1) c
    WINDOW newest AS (ORDER BY c.id DESC)
)
SELECT id, phone_number, bsuid, name, language, texts_of(tags) AS tags,
       as_object(custom_fields)::text AS custom_fields,
       coalesce(contact_status, 'active') AS contact_status,
       coalesce(conversation_paused, false) AS conversation_paused, chatbot_id, over_limit,
       last_interaction, created_at, updated_at,
       (SELECT count(*) FROM measured m WHERE m.place > $5 OR (m.bytes > $6 AND m.place > 1)) > 0
           AS more,
       (SELECT h.stopped FROM hit h WHERE h.id IS NULL) AS stopped
  FROM (VALUES (1)) one (row)
  LEFT JOIN measured ON place <= $5 AND (bytes <= $6 OR place = 1)
 ORDER BY id DESC;

-- name: words_of
SELECT words_of($1) AS words;

-- name: people_with_number
-- In any of its spellings ($2).
SELECT id FROM contacts
 WHERE user_id = $1 AND phone_number = ANY ($2::text[]) AND erased_at IS NULL
 ORDER BY phone_number <> ($2::text[])[1], id;

-- name: read_person
SELECT id, phone_number, bsuid, name, language, texts_of(tags) AS tags,
       as_object(custom_fields)::text AS custom_fields,
       coalesce(contact_status, 'active') AS contact_status,
       coalesce(conversation_paused, false) AS conversation_paused, chatbot_id, over_limit,
       last_interaction, created_at, updated_at, version
  FROM contacts WHERE user_id = $1 AND id = $2 AND erased_at IS NULL;

-- name: lock_person
-- In a statement of its own: what is read next is as it is since then.
SELECT version FROM contacts WHERE user_id = $1 AND id = $2 AND erased_at IS NULL
   FOR NO KEY UPDATE;

-- name: create_person
-- As add_contacts: where contacts are limited it has room only once admit_contacts() lets it in.
-- Nothing comes back when somebody else made it meanwhile.
INSERT INTO contacts (user_id, phone_number, name, name_given, language, tags, custom_fields,
                      contact_status, chatbot_id, thread_id, over_limit)
SELECT $1, $2, $3::text, $3::text IS NOT NULL, $4, to_jsonb($5::text[]), $6::jsonb, $7, $8::bigint,
       $1::bigint || ':' || gen_random_uuid(),
       EXISTS (SELECT FROM contact_counts c WHERE c.user_id = $1)
ON CONFLICT (user_id, phone_number) DO NOTHING
RETURNING id;

-- name: change_person
UPDATE contacts
   SET name = $3::text, name_given = CASE WHEN $9 THEN $3::text IS NOT NULL ELSE name_given END,
       language = $4, tags = to_jsonb($5::text[]), custom_fields = $6::jsonb, contact_status = $7,
       conversation_paused = $8, updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: give_name
-- The name that there is, from now on by the tenant; or no more.
UPDATE contacts SET name_given = $3
 WHERE user_id = $1 AND id = $2 AND name_given <> $3;

-- name: wanted_of_contacts
-- Whether some webhook wants to hear of it.
SELECT coalesce($2 = ANY (u.told), false) FROM users u WHERE u.id = $1;

-- name: room
-- Without a row there is no limit. Its row is held by admit_contacts().
SELECT c.contacts, plan_limit(s.subscription_config, 'max_contacts') AS most,
       k.over_limit
  FROM contact_counts c
  JOIN contacts k ON k.user_id = $1 AND k.id = $2
  LEFT JOIN user_subscriptions s ON s.user_id = $1 AND s.is_active
 WHERE c.user_id = $1;

-- name: enter
UPDATE contacts SET over_limit = false WHERE user_id = $1 AND id = $2;
