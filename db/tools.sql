-- name: list_tools
-- Youngest first, in pages: those below $3. A chatbot has ten.
SELECT t.id, t.chatbot_id, t.name, t.description, t.parameters::text AS parameters, t.url, t.effect,
       t.needs_approval, t.timeout_ms, t.is_active,
       CASE WHEN t.prev_secret_until > now() THEN t.prev_secret_until END AS prev_secret_until,
       t.created_at, t.updated_at, count(*) OVER () > $4 AS more
  FROM (SELECT * FROM tools WHERE user_id = $1 AND chatbot_id = $2 AND id < $3
         ORDER BY id DESC LIMIT $4 + 1) t
 ORDER BY t.id DESC LIMIT $4;

-- name: read_tool
SELECT t.id, t.chatbot_id, t.name, t.description, t.parameters::text AS parameters, t.url, t.effect,
       t.needs_approval, t.timeout_ms, t.is_active,
       CASE WHEN t.prev_secret_until > now() THEN t.prev_secret_until END AS prev_secret_until,
       t.created_at, t.updated_at, t.version
  FROM tools t WHERE t.user_id = $1 AND t.id = $2;

-- name: lock_tools
-- Before counting what the chatbot has, in a statement of its own.
SELECT pg_advisory_xact_lock(hashtextextended('tools of ' || $2::bigint, $1));

-- name: lock_tools_of_tool
SELECT pg_advisory_xact_lock(hashtextextended('tools of ' || t.chatbot_id, $1))
  FROM tools t WHERE t.user_id = $1 AND t.id = $2;

-- name: lock_tool
SELECT version FROM tools WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: own_tools
SELECT t.id, t.name, t.description, t.parameters, t.url, t.effect, t.needs_approval, t.timeout_ms,
       t.is_active,
       array_remove(ARRAY[t.secret_token,
                          CASE WHEN t.prev_secret_until > now() THEN t.prev_secret_token END], NULL)
           AS secrets
  FROM tools t WHERE t.user_id = $1 AND t.chatbot_id = $2 ORDER BY t.id;

-- name: own_tool
SELECT t.id, t.name, t.description, t.parameters, t.url, t.effect, t.needs_approval, t.timeout_ms,
       t.is_active,
       array_remove(ARRAY[t.secret_token,
                          CASE WHEN t.prev_secret_until > now() THEN t.prev_secret_token END], NULL)
           AS secrets
  FROM tools t WHERE t.user_id = $1 AND t.id = $2;

-- name: create_tool
INSERT INTO tools (user_id, chatbot_id, name, description, parameters, url, effect, needs_approval,
                   timeout_ms, is_active)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (user_id, chatbot_id, name) DO NOTHING
RETURNING id;

-- name: store_tool_secret
UPDATE tools SET secret_token = $3 WHERE user_id = $1 AND id = $2;

-- name: rotate_tool_secret
-- The one before last signs no more.
UPDATE tools
   SET prev_secret_token = secret_token, prev_secret_until = now() + $4::interval,
       secret_token = $3, version = version + 1, updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: change_tool
-- The chatbot's tools are locked: no other takes the name meanwhile.
UPDATE tools t
   SET name = $3, description = $4, parameters = $5, url = $6, effect = $7, needs_approval = $8,
       timeout_ms = $9, is_active = $10, version = version + 1, updated_at = now()
 WHERE t.user_id = $1 AND t.id = $2
   AND NOT EXISTS (SELECT FROM tools o WHERE o.user_id = $1 AND o.chatbot_id = t.chatbot_id
                      AND o.name = $3 AND o.id <> $2)
RETURNING true;

-- name: delete_tool
DELETE FROM tools WHERE user_id = $1 AND id = $2;
