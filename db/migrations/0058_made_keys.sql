-- Keys of the API that keys have made, and which of them are there.

ALTER TABLE api_keys
    ADD COLUMN created_by bigint,  -- the key that made it; NULL: the operator did
    ADD COLUMN version    bigint NOT NULL DEFAULT 1,
    ADD CONSTRAINT api_keys_user_id_id_key UNIQUE (user_id, id);
-- No key outlives its maker: a row that goes takes what it made with it.
ALTER TABLE api_keys ADD CONSTRAINT api_keys_user_id_created_by_fkey
    FOREIGN KEY (user_id, created_by) REFERENCES api_keys (user_id, id) ON DELETE CASCADE;
-- Revoked ones stay as rows and are in no list of the API.
CREATE INDEX api_keys_there ON api_keys (user_id, id) WHERE coalesce(is_active, true);
CREATE INDEX api_keys_made ON api_keys (user_id, created_by) WHERE created_by IS NOT NULL;

-- A key is made by one that may be used, and ends with it at the latest. The maker stays as it is
-- until the transaction ends: who revokes it meanwhile waits, and then finds what it made.
CREATE FUNCTION be_made_by_a_usable_key() RETURNS trigger LANGUAGE plpgsql
    SET search_path = public, pg_temp AS $$
DECLARE
    m record;
BEGIN
    SELECT coalesce(k.is_active, true) AS is_active, k.expires_at INTO m FROM api_keys k
     WHERE k.user_id = NEW.user_id AND k.id = NEW.created_by FOR SHARE;
    IF FOUND AND (NOT m.is_active OR m.expires_at <= now()
                  OR coalesce(NEW.expires_at, 'infinity') > coalesce(m.expires_at, 'infinity')) THEN
        RAISE EXCEPTION 'a key would outlive key %, which makes it', NEW.created_by
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER be_made_by_a_usable_key BEFORE INSERT ON api_keys
    FOR EACH ROW WHEN (NEW.created_by IS NOT NULL) EXECUTE FUNCTION be_made_by_a_usable_key();

-- What ends a key ends all that it made, and what those made. A level is a statement, which sees
-- what was committed while the one before waited for a key that was just making another.
CREATE FUNCTION end_made_keys() RETURNS trigger LANGUAGE plpgsql
    SET search_path = public, pg_temp AS $$
DECLARE
    v_makers bigint[] := ARRAY[NEW.id];
BEGIN
    LOOP
        WITH ended AS (
            UPDATE api_keys k
               SET is_active = coalesce(k.is_active, true) AND coalesce(NEW.is_active, true),
                   expires_at = least(k.expires_at, NEW.expires_at)
             WHERE k.user_id = NEW.user_id AND k.created_by = ANY (v_makers)
            RETURNING k.id
        )
        SELECT array_agg(id) INTO v_makers FROM ended;
        EXIT WHEN v_makers IS NULL;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER end_made_keys AFTER UPDATE OF is_active, expires_at ON api_keys
    FOR EACH ROW
    WHEN (pg_trigger_depth() = 0
          AND (OLD.is_active IS DISTINCT FROM NEW.is_active AND NOT coalesce(NEW.is_active, true)
               OR OLD.expires_at IS DISTINCT FROM NEW.expires_at AND NEW.expires_at IS NOT NULL))
    EXECUTE FUNCTION end_made_keys();

-- `last_used` moves by itself, and is no version of the key.
CREATE FUNCTION raise_key_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER raise_key_version BEFORE UPDATE ON api_keys
    FOR EACH ROW
    WHEN (OLD.key_name IS DISTINCT FROM NEW.key_name
          OR OLD.permissions IS DISTINCT FROM NEW.permissions
          OR OLD.expires_at IS DISTINCT FROM NEW.expires_at
          OR coalesce(OLD.is_active, true) IS DISTINCT FROM coalesce(NEW.is_active, true))
    EXECUTE FUNCTION raise_key_version();
