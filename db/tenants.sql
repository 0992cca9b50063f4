-- name: next_user_id
-- Taken before the insert, because the tenant has to be set for the insert to be allowed.
SELECT nextval(pg_get_serial_sequence('users', 'id'));

-- name: create_user
INSERT INTO users (id, email, password_hash, full_name, timezone, language)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: create_subscription
-- From the tenant's today on. Another zone later does not take it back: keep_plan_in_force().
INSERT INTO user_subscriptions (user_id, subscription_name, subscription_config,
                                daily_message_limit, monthly_message_limit, contract_start_date)
SELECT u.id, $2, $3, $4, $5, (now() AT TIME ZONE u.timezone)::date FROM users u WHERE u.id = $1;

-- name: lock_user
-- Before counting what the tenant has, in a statement of its own: one that had to wait for the lock
-- would count as of before its wait.
SELECT true FROM users WHERE id = $1 FOR NO KEY UPDATE;

-- name: read_plan
SELECT coalesce((SELECT s.subscription_config FROM user_subscriptions s
                  WHERE s.user_id = $1 AND s.is_active), '{}') AS plan;
