-- Numbers that are proven, and operator commands that look at every tenant's credentials.

-- When it was proven that the number is the tenant's: by an operator (`chatbot create`, `chatbot
-- confirm`), or by the tenant's own token. NULL: a claim.
ALTER TABLE chatbots ADD COLUMN number_confirmed_at timestamptz;
-- Until now chatbots were made by operators alone. The owner, whom forced row-level security would
-- keep from them, may look meanwhile.
ALTER TABLE chatbots NO FORCE ROW LEVEL SECURITY;
UPDATE chatbots SET number_confirmed_at = coalesce(created_at, now())
 WHERE whatsapp_phone_number IS NOT NULL OR phone_number_id IS NOT NULL;
ALTER TABLE chatbots FORCE ROW LEVEL SECURITY;

-- Every tenant, for operator commands that go through all of them one by one.
GRANT SELECT (id) ON users TO swiftreplies_system;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_policies WHERE schemaname = 'public' AND tablename = 'users'
                      AND policyname = 'system') THEN
        CREATE POLICY system ON users TO swiftreplies_system USING (true);
    END IF;
END $$;
CREATE FUNCTION every_user() RETURNS TABLE (user_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.id FROM public.users u ORDER BY u.id
$$;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION every_user() OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION every_user() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION every_user() TO CURRENT_USER;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
