-- name: note_unfinished
INSERT INTO files_to_remove (user_id, file, due_at) VALUES ($1, $2, now() + $3::interval);

-- name: note_finished
-- Not when its removal is near: whoever removes files looks at what is due, and not again.
DELETE FROM files_to_remove
 WHERE user_id = $1 AND file = $2 AND due_at > clock_timestamp() + $3::interval
RETURNING true;

-- name: drop_unfinished
UPDATE files_to_remove SET due_at = now() WHERE user_id = $1 AND file = $2;

-- name: hasten_unfinished
UPDATE files_to_remove SET due_at = now() WHERE user_id = $1 AND due_at > now();

-- name: held_by
-- The tenant is locked by the caller.
SELECT count(*) AS files, coalesce(sum(m.bytes), 0)::bigint AS bytes,
       coalesce((SELECT d.given FROM media_days d JOIN users u ON u.id = $1
                  WHERE d.user_id = $1
                    AND d.usage_day = usage_day(u.timezone, u.usage_day_floor)), 0) AS today
  FROM media m WHERE m.user_id = $1 AND m.message_id IS NULL;

-- name: give_file
-- Only of what is there: a chatbot that is being deleted is hidden, a contact that is erased goes.
WITH made AS (
    INSERT INTO media (user_id, kind, file, content_type, bytes, name, title, chatbot_id,
                       contact_id, status, sent_at, settled_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8::bigint, $9::bigint, 'stored', now(), now()
     WHERE ($8 IS NULL OR EXISTS (SELECT FROM chatbots b WHERE b.user_id = $1 AND b.id = $8))
       AND ($9 IS NULL OR EXISTS (SELECT FROM contacts k WHERE k.user_id = $1 AND k.id = $9
                                     AND k.erased_at IS NULL))
    RETURNING *
), metered AS (
    INSERT INTO media_days AS d (user_id, usage_day, given, given_bytes)
    SELECT $1, usage_day(u.timezone, u.usage_day_floor), 1, made.bytes
      FROM made JOIN users u ON u.id = $1
    ON CONFLICT (user_id, usage_day)
       DO UPDATE SET given = d.given + 1, given_bytes = d.given_bytes + EXCLUDED.given_bytes
)
SELECT id, kind, content_type, bytes, name, title, chatbot_id, contact_id,
       '/v1/media/' || id AS content_url, created_at
  FROM made;

-- name: find_given
SELECT d.id, d.kind, d.content_type, d.bytes, d.name, d.title, d.chatbot_id, d.contact_id,
       '/v1/media/' || d.id AS content_url, d.created_at
  FROM media d
 WHERE d.user_id = $1 AND d.id = $2 AND d.message_id IS NULL
   AND (d.chatbot_id IS NULL
        OR EXISTS (SELECT FROM chatbots b WHERE b.user_id = $1 AND b.id = d.chatbot_id))
   AND (d.contact_id IS NULL
        OR EXISTS (SELECT FROM contacts k WHERE k.user_id = $1 AND k.id = d.contact_id
                      AND k.erased_at IS NULL));

-- name: list_given
-- Newest first. A tenant has a few hundred at most.
SELECT f.*, '/v1/media/' || f.id AS content_url, count(*) OVER () > $3 AS more
  FROM (SELECT d.id, d.kind, d.content_type, d.bytes, d.name, d.title, d.chatbot_id, d.contact_id,
               d.created_at
          FROM media d
         WHERE d.user_id = $1 AND d.id < $2 AND d.message_id IS NULL
           AND ($4::bigint IS NULL OR d.chatbot_id = $4)
           AND (d.chatbot_id IS NULL
                OR EXISTS (SELECT FROM chatbots b WHERE b.user_id = $1 AND b.id = d.chatbot_id))
           AND (d.contact_id IS NULL
                OR EXISTS (SELECT FROM contacts k WHERE k.user_id = $1 AND k.id = d.contact_id
                              AND k.erased_at IS NULL))
         ORDER BY d.id DESC LIMIT $3 + 1) f
 ORDER BY f.id DESC LIMIT $3;

-- name: delete_given
-- Its file is removed by a trigger's note; what waits to be sent with it ends when its turn comes.
DELETE FROM media d WHERE d.user_id = $1 AND d.id = $2 AND d.message_id IS NULL RETURNING true;

-- name: handle_of
SELECT handle FROM media_handles
 WHERE user_id = $1 AND media_id = $2 AND phone_number_id = $3 AND expires_at > now();

-- name: keep_handle
INSERT INTO media_handles AS h (user_id, media_id, phone_number_id, handle, expires_at)
SELECT $1, d.id, $3, $4, now() + $5::interval FROM media d WHERE d.user_id = $1 AND d.id = $2
ON CONFLICT (user_id, media_id, phone_number_id)
   DO UPDATE SET handle = EXCLUDED.handle, expires_at = EXCLUDED.expires_at;

-- name: forget_handles
DELETE FROM media_handles h
 USING messages m
 WHERE m.user_id = $1 AND m.id = ANY ($2::bigint[]) AND m.direction = 'outbound'
   AND m.message_type IN ('image', 'video', 'audio', 'document')
   AND h.user_id = $1 AND h.media_id = (m.metadata #>> '{media,id}')::bigint;
