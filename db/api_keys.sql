-- name: count_usable_keys
SELECT count(*) AS usable FROM api_keys
 WHERE user_id = $1 AND coalesce(is_active, true) AND (expires_at IS NULL OR expires_at > now());

-- name: create_api_key
INSERT INTO api_keys (user_id, key_name, api_key_hash, key_prefix, permissions)
VALUES ($1, $2, $3, $4, $5) RETURNING id;

-- name: list_api_keys
SELECT id, key_name, key_prefix, permissions, last_used, expires_at,
       (coalesce(is_active, true) AND (expires_at IS NULL OR expires_at > now())) AS usable,
       created_at
  FROM api_keys WHERE user_id = $1 ORDER BY id;

-- name: revoke_api_key
UPDATE api_keys SET is_active = false WHERE user_id = $1 AND id = $2 RETURNING true;

-- name: find_api_keys
SELECT key_hash, user_id, id FROM find_api_keys($1);

-- name: recent_api_keys
SELECT key_hash, user_id, id FROM recent_api_keys($1, $2);

-- name: api_key_owner
-- Across tenants, and not granted to the runtime: only for operator commands.
SELECT api_key_owner($1) AS user_id;

-- name: read_access
-- What the key opens at this moment, first in every transaction of a request: a key that is revoked
-- is refused with the next one.
SELECT (coalesce(k.is_active, true) AND (k.expires_at IS NULL OR k.expires_at > now())
        AND coalesce(u.is_active, true)) AS usable,
       k.permissions,
       (now() AT TIME ZONE u.timezone)::date AS usage_day,
       coalesce(s.subscription_config, '{}') AS plan
  FROM api_keys k
  JOIN users u ON u.id = $1
  LEFT JOIN user_subscriptions s ON s.user_id = $1 AND s.is_active
 WHERE k.user_id = $1 AND k.id = $2;

-- name: note_api_use
-- At most once a minute, whoever notes it.
UPDATE api_keys k SET last_used = n.used_at
  FROM unnest($2::bigint[], $3::timestamptz[]) AS n (id, used_at)
 WHERE k.user_id = $1 AND k.id = n.id
   AND (k.last_used IS NULL OR k.last_used <= n.used_at - interval '1 min');
