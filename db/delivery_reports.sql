-- name: list_deliveries
-- The newest events first, in pages: those below $4. $3 NULL: whatever their status. At most $5, and
-- so many that their attempts have $6 bytes; of each the last $7 since $8 ago. A branch for each
-- status, since an index stands behind each; 201 are one more than the largest page has, said as a
-- number, since of a parameter PostgreSQL thinks that it is a tenth of all.
WITH RECURSIVE ids AS MATERIALIZED (
    SELECT i.id, row_number() OVER (ORDER BY i.event_id DESC) AS place
      FROM (
        (SELECT d.id, d.event_id FROM webhook_deliveries d
          WHERE $3::text IS NULL AND d.user_id = $1 AND d.webhook_id = $2 AND d.event_id < $4
          ORDER BY d.event_id DESC LIMIT 201)
        UNION ALL
        (SELECT d.id, d.event_id FROM webhook_deliveries d
          WHERE $3 = 'delivered' AND d.user_id = $1 AND d.webhook_id = $2 AND d.event_id < $4
            AND d.status = 'delivered'
          ORDER BY d.event_id DESC LIMIT 201)
        UNION ALL
        (SELECT d.id, d.event_id FROM webhook_deliveries d
          WHERE $3 = 'failed' AND d.user_id = $1 AND d.webhook_id = $2 AND d.event_id < $4
            AND d.status = 'failed'
          ORDER BY d.event_id DESC LIMIT 201)
        UNION ALL
        (SELECT d.id, d.event_id FROM webhook_deliveries d
          WHERE $3 = 'pending' AND d.user_id = $1 AND d.webhook_id = $2 AND d.event_id < $4
            AND d.status = 'pending' AND d.due_at IS NULL
          ORDER BY d.event_id DESC LIMIT 201)
        UNION ALL
        (SELECT d.id, d.event_id FROM webhook_deliveries d
          WHERE $3 = 'pending' AND d.user_id = $1 AND d.webhook_id = $2 AND d.event_id < $4
            AND d.status = 'pending' AND d.due_at IS NOT NULL
          ORDER BY d.event_id DESC LIMIT 201)) i
     ORDER BY i.event_id DESC LIMIT 201
), page AS (
    SELECT 0::bigint AS id, 0::bigint AS place, 0::bigint AS bytes, NULL::jsonb AS attempts
     UNION ALL
    SELECT i.id, i.place, page.bytes + octet_length(a.attempts::text), a.attempts
      FROM page JOIN ids i ON i.place = page.place + 1
     CROSS JOIN LATERAL (SELECT delivery_attempts($1, i.id, $7, $8) AS attempts) a
     WHERE page.place <= $5 AND (page.bytes <= $6 OR page.place = 1)
)
SELECT d.id, d.event_id, d.webhook_id, e.type, d.status, d.created_at,
       CASE WHEN d.status = 'pending' THEN d.due_at END AS next_attempt_at, page.attempts,
       count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page
  JOIN webhook_deliveries d ON d.user_id = $1 AND d.id = page.id
  LEFT JOIN webhook_events e ON e.user_id = $1 AND e.id = d.event_id
   AND NOT EXISTS (SELECT FROM contacts k WHERE k.user_id = $1 AND k.id = e.contact_id
                      AND k.erased_at IS NOT NULL)
 WHERE page.place BETWEEN 1 AND $5 AND (page.bytes <= $6 OR page.place = 1)
 ORDER BY d.event_id DESC;

-- name: read_delivery
-- Those of a webhook that is gone go after it, in batches.
SELECT d.id, d.event_id, d.webhook_id, e.type, d.status, d.created_at,
       CASE WHEN d.status = 'pending' THEN d.due_at END AS next_attempt_at,
       delivery_attempts($1, d.id, $3, $4) AS attempts, e.body AS payload
  FROM webhook_deliveries d
  LEFT JOIN webhook_events e ON e.user_id = $1 AND e.id = d.event_id
   AND NOT EXISTS (SELECT FROM contacts k WHERE k.user_id = $1 AND k.id = e.contact_id
                      AND k.erased_at IS NOT NULL)
 WHERE d.user_id = $1 AND d.id = $2
   AND EXISTS (SELECT FROM webhooks w WHERE w.user_id = $1 AND w.id = d.webhook_id);

-- name: replay_delivery
UPDATE webhook_deliveries
   SET status = 'pending', due_at = clock_timestamp(), tries = 0, ended_at = NULL
 WHERE user_id = $1 AND id = $2;
