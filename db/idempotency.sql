-- name: hold_key
SELECT pg_try_advisory_xact_lock(hashtextextended('idempotency_keys:' || $2, $1)) AS held;

-- name: find_answer
-- None of a contact that is being erased, or of a message that is hidden with its chatbot. An ask that
-- is in hand has no answer yet.
SELECT i.request_hash, i.message_id, i.contact_id, i.status, i.headers, i.body
  FROM idempotency_keys i
 WHERE i.user_id = $1 AND i.idempotency_key = $2
   AND (i.message_id IS NULL
        OR EXISTS (SELECT FROM messages m
                     JOIN contacts k ON k.user_id = $1 AND k.id = m.contact_id
                    WHERE m.user_id = $1 AND m.id = i.message_id AND k.erased_at IS NULL))
UNION ALL
SELECT a.request_hash, NULL, NULL, NULL, NULL, NULL FROM asks a
 WHERE a.user_id = $1 AND a.idempotency_key = $2 AND a.settled_at IS NULL
   AND a.expires_at > clock_timestamp()
 LIMIT 1;

-- name: keep_answer
INSERT INTO idempotency_keys (user_id, idempotency_key, request_hash, message_id, contact_id,
                              status, headers, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);
