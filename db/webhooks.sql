-- name: webhook_fields
-- Of those in $2. Kept deliveries are counted up to $3.
SELECT w.id, w.chatbot_id, w.url, w.events, w.ordered, coalesce(w.is_active, false) AS is_active,
       w.disabled_reason, w.disabled_at,
       CASE WHEN w.prev_secret_until > now() THEN w.prev_secret_until END AS prev_secret_until,
       (SELECT count(*) FROM (SELECT FROM webhook_deliveries d
                               WHERE d.webhook_id = w.id AND d.status = 'pending'
                                 AND d.due_at IS NULL LIMIT $3) k) AS missed,
       s.failing_since, s.last_success_at, w.created_at, w.updated_at, w.version
  FROM webhooks w LEFT JOIN webhook_states s ON s.user_id = $1 AND s.webhook_id = w.id
 WHERE w.user_id = $1 AND w.id = ANY ($2::bigint[])
 ORDER BY w.id DESC;

-- name: webhook_ids
-- Youngest first, in pages: those below $2.
SELECT id FROM webhooks WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: webhook_is_there
SELECT EXISTS (SELECT FROM webhooks WHERE user_id = $1 AND id = $2) AS there;

-- name: lock_webhook
SELECT version, coalesce(is_active, false) AS is_active FROM webhooks
 WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: lock_webhooks
-- Before counting what the tenant has, in a statement of its own. It is also that of the trigger
-- which notes what webhooks want.
SELECT pg_advisory_xact_lock(hashtextextended('webhooks', $1));

-- name: count_webhooks
SELECT count(*) AS there FROM webhooks WHERE user_id = $1;

-- name: create_webhook
INSERT INTO webhooks (user_id, url, events, chatbot_id, ordered, is_active)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING id;

-- name: store_secret
UPDATE webhooks SET secret_token = $3 WHERE user_id = $1 AND id = $2;

-- name: rotate_secret
-- The one before last signs no more.
UPDATE webhooks
   SET prev_secret_token = secret_token, prev_secret_until = now() + $4::interval,
       secret_token = $3, version = version + 1, updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: change_webhook
UPDATE webhooks
   SET url = $3, chatbot_id = $4, ordered = $5, is_active = $6,
       disabled_reason = CASE WHEN $6 THEN NULL ELSE disabled_reason END,
       disabled_at = CASE WHEN $6 THEN NULL ELSE disabled_at END,
       version = version + 1, updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: change_events
-- Apart: it makes a trigger look at all that the tenant's webhooks want.
UPDATE webhooks SET events = $3 WHERE user_id = $1 AND id = $2;

-- name: forgive
-- As if it had never failed: tried again at once.
UPDATE webhook_states
   SET failures = 0, timeouts = 0, opened = 0, failing_since = NULL, open_until = NULL
 WHERE user_id = $1 AND webhook_id = $2;

-- name: delete_webhook
DELETE FROM webhooks WHERE user_id = $1 AND id = $2;

-- name: chatbot_exists
SELECT EXISTS (SELECT FROM chatbots WHERE user_id = $1 AND id = $2) AS there;

-- name: add_ping
-- For this webhook alone, whatever it wants to hear.
WITH e AS (
    INSERT INTO webhook_events (id, user_id, type, body)
    SELECT nextval(pg_get_serial_sequence('analytics_events', 'id')), $1, 'ping',
           event_body($1, 'ping', clock_timestamp(), NULL, NULL,
                      jsonb_build_object('webhook_id', $2::bigint))
    RETURNING id
)
INSERT INTO webhook_deliveries (user_id, webhook_id, event_id, order_key)
SELECT $1, $2, e.id, -e.id FROM e RETURNING id;

-- name: begin_recovery
SELECT begin_recovery($1, $2, $3);

-- name: recover_deliveries
SELECT recover_deliveries($1, $2, $3) AS due;

-- name: recovery_goes_on
SELECT EXISTS (SELECT FROM webhook_recoveries WHERE user_id = $1 AND webhook_id = $2) AS more;

-- name: recoveries_under_way
SELECT user_id, id FROM recoveries_under_way($1);

-- name: webhook_owner
SELECT webhook_owner($1) AS user_id;

-- name: owners_of_webhooks
SELECT owners_of_webhooks() AS user_id;
