-- The pace of the API: how far ahead of the clock a key, and all of a tenant's keys together, have
-- got with their calls.
CREATE TABLE api_pace (
    user_id    bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    api_key_id bigint NOT NULL,  -- 0: all keys of the tenant together
    ahead_to   timestamptz NOT NULL,  -- each call moves it by what one may take
    PRIMARY KEY (user_id, api_key_id)
) WITH (fillfactor = 50);
ALTER TABLE api_pace ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_pace FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON api_pace
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE, DELETE ON api_pace TO swiftreplies_app;

-- Whose conversation it is, for the operator's commands.
CREATE FUNCTION owner_of_conversation(p_id bigint) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.user_id FROM public.conversations c WHERE c.id = p_id
$$;
GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION owner_of_conversation(bigint) OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION owner_of_conversation(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION owner_of_conversation(bigint) TO CURRENT_USER;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
