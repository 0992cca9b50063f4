-- name: find_contacts
SELECT id, phone_number, bsuid FROM contacts
 WHERE user_id = $1 AND (phone_number = ANY ($2::text[]) OR bsuid = ANY ($3::text[]));

-- name: add_contacts
-- Another worker may add the same customer at this moment (writing to another bot of the tenant);
-- who lost finds the row by find_contacts, or, when it is another's by one of two names, does it all
-- again. Sorted, so that two such batches cannot deadlock.
WITH new AS (
    SELECT $1::bigint AS user_id, n.chatbot_id, n.phone_number, n.bsuid, n.wa_id,
           left(n.name, 255) AS name, $1::bigint || ':' || gen_random_uuid() AS thread_id
      FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
           AS n (chatbot_id, phone_number, bsuid, wa_id, name)
), numbered AS (
    INSERT INTO contacts (user_id, chatbot_id, phone_number, bsuid, wa_id, name, thread_id)
    SELECT * FROM new WHERE phone_number IS NOT NULL ORDER BY phone_number, bsuid
    ON CONFLICT (user_id, phone_number) DO NOTHING
)
INSERT INTO contacts (user_id, chatbot_id, phone_number, bsuid, wa_id, name, thread_id)
SELECT * FROM new WHERE phone_number IS NULL ORDER BY bsuid
ON CONFLICT (user_id, bsuid) DO NOTHING;

-- name: lock_contacts
-- In id order, as everything that locks several does.
SELECT id FROM contacts WHERE user_id = $1 AND id = ANY ($2::bigint[])
 ORDER BY id FOR NO KEY UPDATE;

-- name: release_numbers
UPDATE contacts SET phone_number = NULL, wa_id = NULL, updated_at = now()
 WHERE user_id = $1 AND id = ANY ($2::bigint[]) AND bsuid IS NOT NULL;

-- name: touch_contacts
-- What the message says anew of its sender; an identifier is added, never replaced.
UPDATE contacts c
   SET name = coalesce(left(n.name, 255), c.name),
       wa_id = coalesce(n.wa_id, c.wa_id),
       bsuid = coalesce(c.bsuid, (
           SELECT n.bsuid WHERE NOT EXISTS (
               SELECT FROM contacts o WHERE o.user_id = $1 AND o.bsuid = n.bsuid))),
       last_interaction = greatest(c.last_interaction, n.seen_at),
       updated_at = now()
  FROM (SELECT * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
               AS i (id, name, wa_id, bsuid, seen_at)
          JOIN (SELECT id AS locked FROM contacts
                 WHERE user_id = $1 AND id = ANY ($2::bigint[])
                 ORDER BY id FOR NO KEY UPDATE) l ON l.locked = i.id) n
 WHERE c.user_id = $1 AND c.id = n.id;

-- name: move_contact
-- Another number, another BSUID, or both: the conversation goes on. Without a number of its own the
-- old one goes, since it is somebody else's now.
UPDATE contacts SET bsuid = coalesce($4, bsuid), phone_number = $3, wa_id = $5, updated_at = now()
 WHERE user_id = $1 AND id = $2 AND ($3::text IS NOT NULL OR coalesce($4, bsuid) IS NOT NULL);

-- name: choose_marketing
-- The newest choice by Meta's time.
UPDATE contacts SET marketing_choice = $3, marketing_choice_at = $4, updated_at = now()
 WHERE user_id = $1 AND id = $2 AND coalesce(marketing_choice_at <= $4, true);
