-- name: claim_webhooks
SELECT user_id, id FROM claim_webhooks($1, $2, $3, $4, $5);

-- name: next_deliveries
SELECT id, event_id, order_key, tries, waited, body, webhook
  FROM next_deliveries($1, $2, $3, $4, $5, $6, $7);

-- name: settle_deliveries
SELECT settle_deliveries($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: lock_webhook_url
-- Before its state, as whoever changes it. No row: it is gone, or somebody changes it now.
SELECT url FROM webhooks WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE SKIP LOCKED;

-- name: fare_webhook
SELECT fare_webhook($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: park_deliveries
SELECT park_deliveries($1, $2, $3);

-- name: forget_deliveries
SELECT forget_deliveries($1, $2);

-- name: forget_attempts
SELECT forget_attempts(now());
