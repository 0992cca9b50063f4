-- name: next_user_id
-- Taken before the insert, because the tenant has to be set for the insert to be allowed.
SELECT nextval(pg_get_serial_sequence('users', 'id'));

-- name: create_user
INSERT INTO users (id, email, password_hash, full_name, timezone, language, currency)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: today_of
SELECT (now() AT TIME ZONE timezone)::date AS today FROM users WHERE id = $1;

-- name: all_tenants
-- Across tenants, and not granted to the runtime: only for operator commands.
SELECT all_tenants() AS user_id;

-- name: read_user
SELECT id, email, full_name, company_name, phone, timezone, language, currency,
       coalesce(is_active, true) AS is_active, created_at
  FROM users WHERE id = $1;

-- name: update_user
-- What is NULL stays as it is. Without the email, which is a key: beside a trigger before updates,
-- who names it waits until nobody at all writes of the tenant, also when it stays.
UPDATE users
   SET full_name = coalesce($2, full_name), company_name = coalesce($3, company_name),
       phone = coalesce($4, phone), timezone = coalesce($5, timezone),
       language = coalesce($6, language), currency = coalesce($7, currency), updated_at = now()
 WHERE id = $1 RETURNING true;

-- name: update_email
UPDATE users SET email = $2, updated_at = now() WHERE id = $1;

-- name: set_active
UPDATE users SET is_active = $2, updated_at = now()
 WHERE id = $1 AND is_active IS DISTINCT FROM $2 RETURNING true;

-- name: lock_user
-- Before counting what the tenant has, in a statement of its own: one that had to wait for the lock
-- would count as of before its wait. Of an erased tenant nothing comes: it gets nothing any more.
SELECT true FROM users WHERE id = $1 AND email <> 'erased-' || id || '@invalid' FOR NO KEY UPDATE;

-- name: user_exists
-- As lock_user, without its lock.
SELECT EXISTS (SELECT FROM users WHERE id = $1 AND email <> 'erased-' || id || '@invalid') AS there;

-- name: user_is_on
SELECT coalesce((SELECT u.is_active FROM users u WHERE u.id = $1), false) AS is_on;

-- name: read_plan
SELECT coalesce((SELECT s.subscription_config FROM user_subscriptions s
                  WHERE s.user_id = $1 AND s.is_active), '{}') AS plan;
