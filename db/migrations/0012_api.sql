-- The tenant API: whose key is this, and which message did a repeated request make already.

-- The key's first characters, so that a person recognises it in a list; the rest is known to nobody.
ALTER TABLE api_keys ADD COLUMN key_prefix text;

-- What an Idempotency-Key stands for. A table of its own: an index on messages would be paid for by
-- every message, and these rows may be forgotten long before the messages are.
CREATE TABLE idempotency_keys (
    user_id         bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    -- sha256 of what was asked for: the same key with another request is a mistake.
    request_hash    bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    message_id      bigint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (user_id, idempotency_key),
    FOREIGN KEY (user_id, message_id) REFERENCES messages (user_id, id) ON DELETE CASCADE
);
-- A message that is erased takes its row along.
CREATE INDEX idempotency_keys_message ON idempotency_keys (user_id, message_id);

ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON idempotency_keys
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO swiftreplies_app;

GRANT SELECT (id, user_id, api_key_hash) ON api_keys TO swiftreplies_system;
CREATE POLICY system ON api_keys TO swiftreplies_system USING (true);

-- Which key has this hash. Whether it may be used, and for what, is read in its tenant's
-- transaction.
CREATE FUNCTION find_api_key(p_hash text) RETURNS TABLE (user_id bigint, id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.user_id, k.id FROM public.api_keys k WHERE k.api_key_hash = p_hash
$$;

-- Whose key it is, for the operator's `apikey revoke`, as chatbot_owner() is for chatbots.
CREATE FUNCTION api_key_owner(p_key bigint) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.user_id FROM public.api_keys k WHERE k.id = p_key
$$;

-- Who has chatbots, for the operator's `doctor`, which looks at each one's credentials.
CREATE FUNCTION owners_of_chatbots() RETURNS SETOF bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT DISTINCT c.user_id FROM public.chatbots c ORDER BY 1
$$;

-- Calls of the API on the tenant's days. They have no limit, so they need no lock before.
CREATE FUNCTION count_api_calls(p_user bigint, p_day date, p_calls integer) RETURNS void
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    INSERT INTO usage_tracking (user_id, tracking_date, api_calls_made)
         VALUES (p_user, p_day, p_calls)
    ON CONFLICT (user_id, tracking_date) DO UPDATE
       SET api_calls_made = coalesce(usage_tracking.api_calls_made, 0) + p_calls,
           updated_at = now();
$$;

CREATE FUNCTION count_takeover(p_user bigint) RETURNS void
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    INSERT INTO usage_tracking (user_id, tracking_date, live_takeovers_used)
    SELECT p_user, (now() AT TIME ZONE u.timezone)::date, 1 FROM users u WHERE u.id = p_user
    ON CONFLICT (user_id, tracking_date) DO UPDATE
       SET live_takeovers_used = coalesce(usage_tracking.live_takeovers_used, 0) + 1,
           updated_at = now();
$$;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION find_api_key(text) OWNER TO swiftreplies_system;
ALTER FUNCTION api_key_owner(bigint) OWNER TO swiftreplies_system;
ALTER FUNCTION owners_of_chatbots() OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION find_api_key(text), api_key_owner(bigint), owners_of_chatbots()
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_api_key(text), api_key_owner(bigint), owners_of_chatbots()
   TO CURRENT_USER;
GRANT EXECUTE ON FUNCTION find_api_key(text) TO swiftreplies_app;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
