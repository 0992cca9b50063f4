-- name: read_apps
-- All of them, with what holds of the secrets before the last rotation: a few rows, whole.
SELECT id, name, app_secret, verify_token,
       CASE WHEN old_until > now() THEN old_app_secret END AS old_app_secret,
       CASE WHEN old_until > now() THEN old_verify_token END AS old_verify_token
  FROM apps ORDER BY id;

-- name: lock_apps
-- Before counting them, in a statement of its own. Who only reads goes on.
LOCK TABLE apps IN SHARE ROW EXCLUSIVE MODE;

-- name: count_apps
SELECT count(*) AS apps FROM apps;

-- name: next_app_id
-- Taken before the insert, because the id is part of what the encryption authenticates.
SELECT nextval(pg_get_serial_sequence('apps', 'id'));

-- name: create_app
INSERT INTO apps (id, name, app_secret, verify_token) VALUES ($1, $2, $3, $4);

-- name: find_app
SELECT id FROM apps WHERE name = $1;

-- name: list_apps
SELECT id, name, created_at, CASE WHEN old_until > now() THEN old_until END AS old_until
  FROM apps ORDER BY name;

-- name: lock_app
-- With the secrets that are in force, to be compared with the new ones.
SELECT id, name, app_secret, verify_token, NULL::text AS old_app_secret,
       NULL::text AS old_verify_token
  FROM apps WHERE name = $1 FOR UPDATE;

-- name: rotate_app
-- What was in force is taken for another $4; after that nobody reads it, and it is not kept.
UPDATE apps
   SET old_app_secret = CASE WHEN $4 > interval '0' THEN app_secret END,
       old_verify_token = CASE WHEN $4 > interval '0' THEN verify_token END,
       old_until = CASE WHEN $4 > interval '0' THEN now() + $4 END,
       app_secret = $2, verify_token = $3, updated_at = now()
 WHERE id = $1
RETURNING old_until;

-- name: end_rotation
UPDATE apps SET old_app_secret = NULL, old_verify_token = NULL, old_until = NULL, updated_at = now()
 WHERE id = $1;

-- name: delete_app
DELETE FROM apps WHERE id = $1;

-- name: chatbots_of_app
-- Across tenants, and not granted to the runtime: only for operator commands.
SELECT chatbot_id FROM chatbots_of_app($1) AS c;

-- name: app_of_user
SELECT app_id FROM users WHERE id = $1;

-- name: put_user_on_app
UPDATE users SET app_id = $2 WHERE id = $1;

-- name: put_chatbot_on_app
UPDATE chatbots SET app_id = $3 WHERE user_id = $1 AND id = $2;
