-- Keys of the API are looked up many at a time: anybody may send ones that there are not, and each
-- used to cost a statement that a tenant's own waited behind.

-- Which of these hashes are whose. Whether a key may be used, and for what, is read in its tenant's
-- transaction.
CREATE FUNCTION find_api_keys(p_hashes text[]) RETURNS TABLE (key_hash text, user_id bigint, id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.api_key_hash, k.user_id, k.id FROM public.api_keys k
     WHERE k.api_key_hash = ANY (p_hashes)
$$;

-- Those that are in use, or new; a process knows them before its door opens. From a hash of 256
-- random bits no key follows.
CREATE FUNCTION recent_api_keys(p_within interval, p_limit integer)
    RETURNS TABLE (key_hash text, user_id bigint, id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.api_key_hash, k.user_id, k.id FROM public.api_keys k
     WHERE coalesce(k.is_active, true) AND greatest(k.last_used, k.created_at) > now() - p_within
     ORDER BY greatest(k.last_used, k.created_at) DESC LIMIT p_limit
$$;

-- find_api_key() stays: processes of the release before go on while this is applied.

GRANT SELECT (last_used, created_at, is_active) ON api_keys TO swiftreplies_system;
GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION find_api_keys(text[]) OWNER TO swiftreplies_system;
ALTER FUNCTION recent_api_keys(interval, integer) OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION find_api_keys(text[]), recent_api_keys(interval, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_api_keys(text[]), recent_api_keys(interval, integer)
   TO CURRENT_USER, swiftreplies_app;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
