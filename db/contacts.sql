-- name: find_contacts
SELECT id, phone_number, bsuid FROM contacts
 WHERE user_id = $1 AND (phone_number = ANY ($2::text[]) OR bsuid = ANY ($3::text[]));

-- name: hold_numbers
-- Until the transaction ends, who is to make a contact of one of these lines waits. In 64 parts of
-- the tenant's, in one order.
SELECT pg_advisory_xact_lock(hashtextextended('numbers of ' || $1::bigint, p.part))
  FROM (SELECT DISTINCT abs(hashtext(n) % 64)::bigint AS part FROM unnest($2::text[]) AS n
         ORDER BY part) p;

-- name: find_people
-- Contacts, and in the same look who of them was erased: in clear while it is being done, then by
-- mark ($4).
SELECT id, phone_number, bsuid, NULL::text AS named, NULL::bytea AS mark,
       NULL::timestamptz AS erased_at, NULL::timestamptz AS stopped_at
  FROM contacts
 WHERE user_id = $1 AND (phone_number = ANY ($2::text[]) OR bsuid = ANY ($3::text[]))
UNION ALL
SELECT NULL, NULL, NULL, NULL, p.mark, p.erased_at, p.stopped_at
  FROM erased_people p WHERE p.user_id = $1 AND p.mark = ANY ($4::bytea[])
UNION ALL
SELECT NULL, NULL, NULL, n.named, NULL, e.created_at, e.stopped_at
  FROM erasures e CROSS JOIN LATERAL unnest(e.numbers || e.bsuids) AS n (named)
 WHERE e.user_id = $1 AND e.settled_at IS NULL
   AND (n.named = ANY ($2::text[]) OR n.named = ANY ($3::text[]));

-- name: add_contacts
-- Another worker may add the same customer at this moment (writing to another bot of the tenant);
-- who lost finds the row by find_contacts, or, when it is another's by one of two names, does it all
-- again. Sorted, so that two such batches cannot deadlock. Where contacts are limited they have room
-- only once admit_contacts() lets them in.
WITH new AS (
    SELECT $1::bigint AS user_id, n.chatbot_id, n.phone_number, n.bsuid, n.wa_id,
           left(n.name, 255) AS name, $1::bigint || ':' || gen_random_uuid() AS thread_id,
           EXISTS (SELECT FROM contact_counts c WHERE c.user_id = $1) AS over_limit
      FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
           AS n (chatbot_id, phone_number, bsuid, wa_id, name)
), numbered AS (
    INSERT INTO contacts (user_id, chatbot_id, phone_number, bsuid, wa_id, name, thread_id,
                          over_limit)
    SELECT * FROM new WHERE phone_number IS NOT NULL ORDER BY phone_number, bsuid
    ON CONFLICT (user_id, phone_number) DO NOTHING RETURNING id
), unnumbered AS (
    INSERT INTO contacts (user_id, chatbot_id, phone_number, bsuid, wa_id, name, thread_id,
                          over_limit)
    SELECT * FROM new WHERE phone_number IS NULL ORDER BY bsuid
    ON CONFLICT (user_id, bsuid) DO NOTHING RETURNING id
)
SELECT id FROM (SELECT id FROM numbered UNION ALL SELECT id FROM unnumbered) n
 WHERE (SELECT 'contact.created' = ANY (u.told) FROM users u WHERE u.id = $1)
 ORDER BY id;

-- name: lock_contacts
-- In id order, as everything that locks several does. One that was erased meanwhile is not there.
SELECT id FROM contacts WHERE user_id = $1 AND id = ANY ($2::bigint[]) AND erased_at IS NULL
 ORDER BY id FOR NO KEY UPDATE;

-- name: release_numbers
UPDATE contacts SET phone_number = NULL, wa_id = NULL, updated_at = now()
 WHERE user_id = $1 AND id = ANY ($2::bigint[]) AND bsuid IS NOT NULL;

-- name: touch_contacts
-- What the message says anew of its sender; an identifier is added, never replaced, and a name that
-- the tenant gave stays. told: it changed,
-- and some webhook wants to hear of it.
WITH touched AS (
UPDATE contacts c
   SET name = CASE WHEN c.name_given THEN c.name ELSE coalesce(left(n.name, 255), c.name) END,
       wa_id = coalesce(n.wa_id, c.wa_id),
       bsuid = coalesce(c.bsuid, (
           SELECT n.bsuid WHERE NOT EXISTS (
               SELECT FROM contacts o WHERE o.user_id = $1 AND o.bsuid = n.bsuid))),
       last_interaction = greatest(c.last_interaction, n.seen_at),
       updated_at = now()
  FROM (SELECT * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
               AS i (id, name, wa_id, bsuid, seen_at)
          JOIN (SELECT id AS locked, name AS old_name, bsuid AS old_bsuid FROM contacts
                 WHERE user_id = $1 AND id = ANY ($2::bigint[])
                 ORDER BY id FOR NO KEY UPDATE) l ON l.locked = i.id) n
 WHERE c.user_id = $1 AND c.id = n.id AND c.erased_at IS NULL
RETURNING c.id, (c.name IS DISTINCT FROM n.old_name OR c.bsuid IS DISTINCT FROM n.old_bsuid) AS changed
)
SELECT id, changed AND (SELECT 'contact.updated' = ANY (u.told) FROM users u WHERE u.id = $1)
           AS told
  FROM touched ORDER BY id;

-- name: move_contact
-- Another number, another BSUID, or both: the conversation goes on. Without a number of its own the
-- old one goes, since it is somebody else's now.
UPDATE contacts SET bsuid = coalesce($4, bsuid), phone_number = $3, wa_id = $5, updated_at = now()
 WHERE user_id = $1 AND id = $2 AND erased_at IS NULL
   AND ($3::text IS NOT NULL OR coalesce($4, bsuid) IS NOT NULL);

-- name: choose_marketing
-- The newest choice by Meta's time.
UPDATE contacts SET marketing_choice = $3, marketing_choice_at = $4, updated_at = now()
 WHERE user_id = $1 AND id = $2 AND erased_at IS NULL
   AND coalesce(marketing_choice_at <= $4, true);

-- name: resume_marketing
-- Of who had stopped: else it is a word like any other.
UPDATE contacts SET marketing_choice = 'resume', marketing_choice_at = $3, updated_at = now()
 WHERE user_id = $1 AND id = $2 AND erased_at IS NULL
   AND marketing_choice = 'stop' AND marketing_choice_at <= $3;
