-- name: add_media
-- With the messages that they came in.
INSERT INTO media (user_id, chatbot_id, contact_id, conversation_id, message_id, kind, handle,
                   named_hash, sent_at)
SELECT $1, i.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[],
                           $7::text[], $8::text[], $9::timestamptz[]) AS i;

-- name: claim_media
SELECT user_id, id, epoch FROM claim_media($1, $2, $3, $4, $5, $6);

-- name: admit_media
SELECT admit_media($1, $2, $3, $4, $5) AS outcome;

-- name: begin_fetch
-- Each try has a file of its own: who lost the lease writes over nobody.
UPDATE media m
   SET file = $4, small_file = CASE WHEN m.kind IN ('image', 'sticker') THEN $4 || '-small' END
  FROM chatbots b
 WHERE m.user_id = $1 AND m.id = $2 AND m.epoch = $3 AND m.settled_at IS NULL
   AND b.user_id = $1 AND b.id = m.chatbot_id
RETURNING m.chatbot_id, m.conversation_id, m.kind, m.handle, m.named_hash, m.sent_at, m.attempts, m.failures,
          b.phone_number_id, b.access_token;

-- name: conversation_of
SELECT conversation_id FROM media WHERE user_id = $1 AND id = $2;

-- name: hold_conversation
-- In front of a medium and its message.
SELECT input_seq, answered_seq, lease_owner IS NOT NULL AS running FROM conversations
 WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: wake_turn
-- One that waits for what has come now, or will not.
UPDATE conversations SET ready_at = now(), held_for_media = false
 WHERE user_id = $1 AND id = $2 AND held_for_media AND ready_at > now();

-- name: store_medium
UPDATE media m
   SET status = 'stored', content_type = $4, bytes = $5, reason = NULL, failures = 0,
       settled_at = CASE WHEN $6::boolean THEN NULL ELSE now() END, lease_owner = NULL
 WHERE m.user_id = $1 AND m.id = $2 AND m.epoch = $3 AND m.settled_at IS NULL
RETURNING m.message_id, m.usage_day;

-- name: show_medium
UPDATE messages m SET content_url = '/v1/media/' || $3::bigint
 WHERE m.user_id = $1 AND m.id = $2 AND NOT as_object(m.metadata) ? 'revoked';

-- name: refuse_medium
UPDATE media m
   SET status = 'refused', reason = $4, file = NULL, small_file = NULL, settled_at = now(), lease_owner = NULL
 WHERE m.user_id = $1 AND m.id = $2 AND m.epoch = $3 AND m.settled_at IS NULL
RETURNING m.message_id;

-- name: put_off_medium
UPDATE media m
   SET reason = $4, due_at = now() + $5::interval, failures = m.failures + 1, lease_owner = NULL
 WHERE m.user_id = $1 AND m.id = $2 AND m.epoch = $3 AND m.settled_at IS NULL
RETURNING m.id;

-- name: begin_reading
SELECT m.chatbot_id, m.conversation_id, m.message_id, m.content_type, m.bytes, m.file, m.sent_at,
       m.attempts, m.failures, k.language
  FROM media m JOIN contacts k ON k.user_id = $1 AND k.id = m.contact_id
 WHERE m.user_id = $1 AND m.id = $2 AND m.epoch = $3 AND m.settled_at IS NULL
   AND m.status = 'stored';

-- name: end_reading
UPDATE media m SET heard = $4, seconds = $5, text = $6, settled_at = now(), lease_owner = NULL
 WHERE m.user_id = $1 AND m.id = $2 AND m.epoch = $3 AND m.settled_at IS NULL
RETURNING m.message_id;

-- name: heard_message
SELECT m.id, m.input_seq, m.content_text, m.sent_at, as_object(m.metadata) ->> 'reason' AS reason,
       coalesce(m.ai_processed, false) AS was_answered,
       EXISTS (SELECT FROM messages p
                WHERE p.user_id = $1 AND p.conversation_id = m.conversation_id AND p.id > m.id
                  AND p.direction = 'outbound' AND p.is_from_human) AS by_person,
       CASE WHEN m.message_type IN ('image', 'sticker')
            THEN EXISTS (SELECT FROM chatbots b WHERE b.user_id = $1 AND b.id = m.chatbot_id
                            AND b.model @> '{"sees_images": true}')
            ELSE m.message_type IN ('audio', 'document') END AS is_awaited
  FROM messages m WHERE m.user_id = $1 AND m.id = $2;

-- name: write_heard
UPDATE messages m
   SET content_text = $3,
       metadata = CASE WHEN $4::boolean THEN as_object(m.metadata) - 'opaque' ELSE m.metadata END
 WHERE m.user_id = $1 AND m.id = $2;

-- name: ask_again
-- The message is an input once more: what was said of it did not know what is in it.
UPDATE messages m
   SET input_seq = $3, processing_duration = NULL, ai_processed = false,
       metadata = as_object(m.metadata) - 'reason' || '{"heard_later": true}'
 WHERE m.user_id = $1 AND m.id = $2;

-- name: raise_input
UPDATE conversations
   SET input_seq = $3, pending_since = coalesce(pending_since, now()), ready_at = now(),
       held_for_media = false, updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: give_back_medium
-- Unfinished, and nobody's fault.
UPDATE media m SET lease_owner = NULL, due_at = greatest(m.due_at, now() + $4::interval)
 WHERE m.user_id = $1 AND m.id = $2 AND m.epoch = $3 AND m.settled_at IS NULL;

-- name: blame_medium
UPDATE media m
   SET lease_owner = NULL, attempts = m.attempts + 1, reason = 'died', due_at = now() + $4::interval
 WHERE m.user_id = $1 AND m.id = $2 AND m.epoch = $3 AND m.settled_at IS NULL;

-- name: remove_media_of
-- Of a message that its sender took back. The row stays: it is counted.
WITH gone AS (
    UPDATE media d
       SET status = 'removed', file = NULL, small_file = NULL, text = NULL, settled_at = coalesce(d.settled_at, now()),
           lease_owner = NULL, epoch = d.epoch + 1
      FROM messages m
     WHERE m.user_id = $1 AND m.chatbot_id = $2 AND m.message_id = $3
       AND d.user_id = $1 AND d.message_id = m.id AND d.status <> 'removed'
    RETURNING m.id
)
UPDATE messages m SET content_url = NULL FROM gone WHERE m.user_id = $1 AND m.id = gone.id;

-- name: find_medium
-- Through its message, which a deleted chatbot and an erased contact hide; or, of a file that the
-- tenant gave, through these themselves.
SELECT d.id, d.kind, d.status, d.content_type, d.bytes, d.file, d.name
  FROM media d
 WHERE d.user_id = $1 AND d.id = $2
   AND CASE WHEN d.message_id IS NULL
            THEN d.chatbot_id IS NULL
                 OR EXISTS (SELECT FROM chatbots b WHERE b.user_id = $1 AND b.id = d.chatbot_id)
            ELSE EXISTS (SELECT FROM messages m WHERE m.user_id = $1 AND m.id = d.message_id) END
   AND (d.contact_id IS NULL
        OR EXISTS (SELECT FROM contacts k WHERE k.user_id = $1 AND k.id = d.contact_id
                      AND k.erased_at IS NULL));

-- name: media_of_contact
-- What they sent, and what the tenant gave that is about them; as find_medium.
SELECT d.id, d.kind, d.status, d.content_type, d.bytes, d.file, d.name
  FROM media d
 WHERE d.user_id = $1 AND d.contact_id = $2 AND d.id > $3 AND d.status = 'stored'
   AND CASE WHEN d.message_id IS NULL
            THEN d.chatbot_id IS NULL
                 OR EXISTS (SELECT FROM chatbots b WHERE b.user_id = $1 AND b.id = d.chatbot_id)
            ELSE EXISTS (SELECT FROM messages m WHERE m.user_id = $1 AND m.id = d.message_id) END
 ORDER BY d.id LIMIT $4;

-- name: due_files
SELECT user_id, id FROM due_files($1);

-- name: file_to_remove
SELECT file FROM files_to_remove WHERE user_id = $1 AND id = $2;

-- name: files_of_tenant
SELECT id, file FROM files_to_remove WHERE user_id = $1 AND due_at <= now() ORDER BY id LIMIT $2;

-- name: note_removed
-- Once more when whoever may have been writing has ended.
WITH again AS (
    UPDATE files_to_remove f SET due_at = f.created_at + $3::interval
     WHERE f.user_id = $1 AND f.id = ANY ($2::bigint[]) AND f.created_at + $3::interval > now()
)
DELETE FROM files_to_remove f
 WHERE f.user_id = $1 AND f.id = ANY ($2::bigint[]) AND f.created_at + $3::interval <= now();
