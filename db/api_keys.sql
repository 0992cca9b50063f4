-- name: count_usable_keys
SELECT count(*) AS usable FROM api_keys
 WHERE user_id = $1 AND coalesce(is_active, true) AND (expires_at IS NULL OR expires_at > now());

-- name: create_api_key
INSERT INTO api_keys
       (user_id, key_name, api_key_hash, key_prefix, permissions, expires_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id;

-- name: every_api_key_id
SELECT id FROM api_keys WHERE user_id = $1 ORDER BY id;

-- name: api_key_ids
-- Of those that are not revoked. Youngest first, in pages: those below $2.
SELECT id FROM api_keys
 WHERE user_id = $1 AND coalesce(is_active, true) AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: api_key_fields
-- Of those in $2.
SELECT id, key_name, key_prefix,
       ARRAY(SELECT p.key FROM jsonb_each(as_object(permissions)) p
              WHERE p.value = 'true' ORDER BY p.key) AS permissions,
       (coalesce(is_active, true) AND (expires_at IS NULL OR expires_at > now())) AS usable,
       last_used, expires_at, created_by, created_at,
       coalesce(is_active, true) AS is_active, version
  FROM api_keys WHERE user_id = $1 AND id = ANY ($2::bigint[]) ORDER BY id DESC;

-- name: lock_api_key
-- To be revoked. None: it is already.
SELECT version FROM api_keys
 WHERE user_id = $1 AND id = $2 AND coalesce(is_active, true) FOR NO KEY UPDATE;

-- name: hold_maker
-- Until the transaction ends, who wants to revoke it waits.
SELECT id FROM api_keys WHERE user_id = $1 AND id = $2 FOR SHARE;

-- name: revoke_api_key
-- A trigger does the same to all that it made.
UPDATE api_keys SET is_active = false WHERE user_id = $1 AND id = $2 RETURNING true;

-- name: give_permissions
UPDATE api_keys SET permissions = $3 WHERE user_id = $1 AND id = $2;

-- name: take_from_made
-- What these keys ($2) made keeps of its permissions only those in $3. A level is a statement, as
-- in end_made_keys().
UPDATE api_keys k
   SET permissions = coalesce((SELECT jsonb_object_agg(p.key, p.value)
                                 FROM jsonb_each(as_object(k.permissions)) p
                                WHERE p.key = ANY ($3::text[])), '{}')
 WHERE k.user_id = $1 AND k.created_by = ANY ($2::bigint[])
RETURNING k.id;

-- name: find_api_keys
SELECT key_hash, user_id, id FROM find_api_keys($1);

-- name: find_usable_keys
SELECT key_hash, user_id, id FROM find_usable_keys($1);

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
       coalesce(k.permissions, '{}')::text AS permissions,
       usage_day(u.timezone, u.usage_day_floor) AS usage_day,
       coalesce(s.subscription_config, '{}')::text AS plan
  FROM api_keys k
  JOIN users u ON u.id = $1
  LEFT JOIN user_subscriptions s ON s.user_id = $1 AND s.is_active
 WHERE k.user_id = $1 AND k.id = $2;

-- name: note_api_use
-- At most once a minute, whoever notes it. Of a key that is being revoked, or is making another,
-- it is noted next time.
WITH free AS (
    SELECT k.id, n.used_at
      FROM api_keys k JOIN unnest($2::bigint[], $3::timestamptz[]) AS n (id, used_at) USING (id)
     WHERE k.user_id = $1
       AND (k.last_used IS NULL OR k.last_used <= n.used_at - interval '1 min')
       FOR NO KEY UPDATE OF k SKIP LOCKED
)
UPDATE api_keys k SET last_used = f.used_at FROM free f WHERE k.user_id = $1 AND k.id = f.id;
