-- Of the keys with these hashes those that may be used. A key that was revoked because others know
-- it, and was known to a process, took its tenant's pace and places: every call of it was let in
-- before it was refused. Once refused it is a stranger's, and is found no more.
CREATE FUNCTION find_usable_keys(p_hashes text[])
    RETURNS TABLE (key_hash text, user_id bigint, id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.api_key_hash, k.user_id, k.id
      FROM public.api_keys k JOIN public.users u ON u.id = k.user_id
     WHERE k.api_key_hash = ANY (p_hashes) AND coalesce(k.is_active, true)
       AND (k.expires_at IS NULL OR k.expires_at > now()) AND coalesce(u.is_active, true)
$$;

GRANT SELECT (expires_at) ON api_keys TO swiftreplies_system;
GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION find_usable_keys(text[]) OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION find_usable_keys(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_usable_keys(text[]) TO CURRENT_USER, swiftreplies_app;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
