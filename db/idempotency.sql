-- name: find_request
SELECT request_hash, message_id FROM idempotency_keys WHERE user_id = $1 AND idempotency_key = $2;

-- name: remember_request
INSERT INTO idempotency_keys (user_id, idempotency_key, request_hash, message_id)
VALUES ($1, $2, $3, $4);
