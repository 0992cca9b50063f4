-- limits.max_contacts: a customer beyond it is kept and not answered, and enters in order of arrival
-- when there is room. How many there are is known without counting them.

-- ---- what claims and sweeps know of a plan ------------------------------------------------------

-- A feature, by its group and name, as handlers/plans.py reads it: missing is allowed.
CREATE FUNCTION plan_allows(p_config jsonb, p_group text, p_key text) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
           WHEN jsonb_typeof(p_config) <> 'object' THEN false
           WHEN p_config -> 'features' IS NULL THEN true
           WHEN jsonb_typeof(p_config -> 'features') <> 'object' THEN false
           WHEN p_config -> 'features' -> p_group IS NULL THEN true
           WHEN jsonb_typeof(p_config -> 'features' -> p_group) <> 'object' THEN false
           WHEN p_config -> 'features' -> p_group -> p_key IS NULL THEN true
           ELSE p_config -> 'features' -> p_group -> p_key = 'true' END
$$;

-- Beside the plan, so that who looks across tenants reads these and not the plan.
ALTER TABLE user_subscriptions
    ADD COLUMN max_contacts integer,
    ADD COLUMN max_concurrent integer,
    ADD COLUMN has_priority boolean NOT NULL DEFAULT true;
CREATE FUNCTION note_plan() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.max_contacts := public.plan_limit(NEW.subscription_config, 'max_contacts');
    NEW.max_concurrent := public.plan_limit(NEW.subscription_config, 'max_concurrent_conversations');
    NEW.has_priority := public.plan_allows(NEW.subscription_config, 'enterprise_features',
                                           'priority_queue');
    RETURN NEW;
END $$;
-- The owner, whom forced row-level security would keep from them, may look meanwhile.
ALTER TABLE user_subscriptions NO FORCE ROW LEVEL SECURITY;
UPDATE user_subscriptions
   SET max_contacts = plan_limit(subscription_config, 'max_contacts'),
       max_concurrent = plan_limit(subscription_config, 'max_concurrent_conversations'),
       has_priority = plan_allows(subscription_config, 'enterprise_features', 'priority_queue');
ALTER TABLE user_subscriptions FORCE ROW LEVEL SECURITY;
CREATE TRIGGER note_plan BEFORE INSERT OR UPDATE OF subscription_config ON user_subscriptions
    FOR EACH ROW EXECUTE FUNCTION note_plan();
GRANT SELECT (max_contacts, max_concurrent, has_priority) ON user_subscriptions
   TO swiftreplies_system;

-- ---- contacts -----------------------------------------------------------------------------------

ALTER TABLE contacts
    ADD COLUMN over_limit boolean NOT NULL DEFAULT false,
    ADD COLUMN entered_at timestamptz;  -- since when they have room and their messages wait no more
-- By an expression, as the looks ask, so that no other index can be taken for them: by one with all
-- contacts in it a look read each of the biggest tenant's, every second.
CREATE INDEX contacts_over_limit ON contacts ((user_id + 0), id) WHERE over_limit;
CREATE INDEX contacts_entered ON contacts ((user_id + 0), id) WHERE entered_at IS NOT NULL;

-- One row a tenant that has or had a limit: a counter that all of a tenant's new contacts meet at is
-- kept for nobody else.
CREATE TABLE contact_counts (
    user_id  bigint PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    contacts bigint NOT NULL CHECK (contacts >= 0)  -- that are not over the limit
) WITH (fillfactor = 50);
ALTER TABLE contact_counts ENABLE ROW LEVEL SECURITY;
ALTER TABLE contact_counts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON contact_counts
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE, DELETE ON contact_counts TO swiftreplies_app;

CREATE FUNCTION count_contact() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE public.contact_counts SET contacts = contacts + 1 WHERE user_id = NEW.user_id;
    ELSIF TG_OP = 'DELETE' THEN
        UPDATE public.contact_counts SET contacts = contacts - 1 WHERE user_id = OLD.user_id;
    ELSE
        UPDATE public.contact_counts SET contacts = contacts + CASE WHEN NEW.over_limit THEN -1
                                                                    ELSE 1 END
         WHERE user_id = NEW.user_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_contact_made AFTER INSERT ON contacts
    FOR EACH ROW WHEN (NOT NEW.over_limit) EXECUTE FUNCTION count_contact();
CREATE TRIGGER count_contact_gone AFTER DELETE ON contacts
    FOR EACH ROW WHEN (NOT OLD.over_limit) EXECUTE FUNCTION count_contact();
CREATE TRIGGER count_contact_moved AFTER UPDATE OF over_limit ON contacts
    FOR EACH ROW WHEN (OLD.over_limit IS DISTINCT FROM NEW.over_limit)
    EXECUTE FUNCTION count_contact();

-- With a tenant's first plan that limits its contacts they are counted once. The lock waits for
-- everybody who is adding one at this moment, since each holds the tenant's row for its key.
CREATE FUNCTION begin_contact_count() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM public.contact_counts c WHERE c.user_id = NEW.user_id) THEN
        PERFORM FROM public.users u WHERE u.id = NEW.user_id FOR UPDATE;
        INSERT INTO public.contact_counts (user_id, contacts)
        SELECT NEW.user_id, count(*) FROM public.contacts c
         WHERE c.user_id = NEW.user_id AND NOT c.over_limit
        ON CONFLICT (user_id) DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
GRANT SELECT (id, user_id, over_limit, entered_at) ON contacts TO swiftreplies_system;
CREATE POLICY system ON contacts TO swiftreplies_system USING (true);
GRANT SELECT (user_id, contacts), INSERT (user_id, contacts) ON contact_counts TO swiftreplies_system;
CREATE POLICY system ON contact_counts TO swiftreplies_system USING (true) WITH CHECK (true);
GRANT UPDATE (updated_at) ON users TO swiftreplies_system;  -- for the lock
CREATE TRIGGER begin_contact_count AFTER INSERT OR UPDATE OF subscription_config, is_active
    ON user_subscriptions
    FOR EACH ROW WHEN (NEW.is_active AND plan_limit(NEW.subscription_config, 'max_contacts') IS NOT NULL)
    EXECUTE FUNCTION begin_contact_count();

-- Nobody adds a contact meanwhile: the columns above have the table to themselves.
ALTER TABLE user_subscriptions NO FORCE ROW LEVEL SECURITY;
ALTER TABLE contacts NO FORCE ROW LEVEL SECURITY;
ALTER TABLE contact_counts NO FORCE ROW LEVEL SECURITY;
INSERT INTO contact_counts (user_id, contacts)
SELECT s.user_id, (SELECT count(*) FROM contacts c WHERE c.user_id = s.user_id)
  FROM user_subscriptions s
 WHERE s.is_active AND s.max_contacts IS NOT NULL;
ALTER TABLE user_subscriptions FORCE ROW LEVEL SECURITY;
ALTER TABLE contacts FORCE ROW LEVEL SECURITY;
ALTER TABLE contact_counts FORCE ROW LEVEL SECURITY;

-- Lets in whom there is room for, the first that came first. In one message with the COMMIT that adds
-- contacts, and whenever there may be room. Who is locked by somebody else holds up those behind
-- them until the next look: they would be overtaken.
CREATE FUNCTION admit_contacts(p_user bigint) RETURNS integer
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_count bigint;
    v_limit integer;
    v_room bigint;
    v_wanted bigint[];
    v_locked bigint[];
    v_until bigint;
    v_entered integer;
BEGIN
    SELECT c.contacts INTO v_count FROM contact_counts c WHERE c.user_id = p_user
       FOR NO KEY UPDATE;
    IF NOT FOUND OR NOT EXISTS (SELECT FROM contacts c
                                 WHERE c.user_id + 0 = p_user AND c.over_limit) THEN
        RETURN 0;
    END IF;
    SELECT plan_limit(s.subscription_config, 'max_contacts') INTO v_limit
      FROM user_subscriptions s WHERE s.user_id = p_user AND s.is_active;
    v_room := least(1000, greatest(0, coalesce(v_limit - v_count, 1000)));
    SELECT coalesce(array_agg(w.id ORDER BY w.id), '{}') INTO v_wanted
      FROM (SELECT c.id FROM contacts c WHERE c.user_id + 0 = p_user AND c.over_limit
             ORDER BY c.user_id + 0, c.id LIMIT v_room) w;
    SELECT coalesce(array_agg(l.id), '{}') INTO v_locked
      FROM (SELECT c.id FROM contacts c WHERE c.user_id = p_user AND c.id = ANY (v_wanted)
             ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED) l;
    SELECT min(w) INTO v_until FROM unnest(v_wanted) w WHERE w <> ALL (v_locked);
    UPDATE contacts c
       SET over_limit = false,
           -- Of who came with this transaction nothing waits yet; who came with a later one may.
           entered_at = CASE WHEN c.created_at IS DISTINCT FROM now() THEN now() END
     WHERE c.user_id = p_user AND c.id = ANY (v_locked) AND c.id < coalesce(v_until, c.id + 1);
    GET DIAGNOSTICS v_entered = ROW_COUNT;
    IF v_limit IS NOT NULL THEN
        PERFORM tell_limit(p_user, 'max_contacts', v_count + v_entered, v_limit, false)
          WHERE v_entered > 0;
        PERFORM tell_limit(p_user, 'max_contacts', v_count, v_limit, true)
          WHERE v_count + v_entered >= v_limit
            AND EXISTS (SELECT FROM contacts c WHERE c.user_id + 0 = p_user AND c.over_limit);
    END IF;
    RETURN v_entered;
END $$;

-- Tenants with contacts that wait and may have room.
CREATE FUNCTION contacts_may_enter(p_limit integer) RETURNS TABLE (user_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE tenant AS (
        (SELECT c.user_id FROM public.contacts c WHERE c.over_limit ORDER BY c.user_id + 0 LIMIT 1)
        UNION ALL
        SELECT (SELECT c.user_id FROM public.contacts c
                 WHERE c.over_limit AND c.user_id + 0 > t.user_id ORDER BY c.user_id + 0 LIMIT 1)
          FROM tenant t WHERE t.user_id IS NOT NULL
    )
    SELECT t.user_id FROM tenant t
      JOIN public.contact_counts n ON n.user_id = t.user_id
      LEFT JOIN public.user_subscriptions s ON s.user_id = t.user_id AND s.is_active
     WHERE s.max_contacts IS NULL OR n.contacts < s.max_contacts
     LIMIT p_limit
$$;

-- Contacts that entered and whose conversations still wait; of each tenant the first before any
-- tenant's second.
CREATE FUNCTION contacts_entered(p_limit integer) RETURNS TABLE (user_id bigint, id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE tenant AS (
        (SELECT c.user_id FROM public.contacts c WHERE c.entered_at IS NOT NULL
          ORDER BY c.user_id + 0 LIMIT 1)
        UNION ALL
        SELECT (SELECT c.user_id FROM public.contacts c
                 WHERE c.entered_at IS NOT NULL AND c.user_id + 0 > t.user_id
                 ORDER BY c.user_id + 0 LIMIT 1)
          FROM tenant t WHERE t.user_id IS NOT NULL
    )
    SELECT k.user_id, k.id
      FROM tenant t
     CROSS JOIN LATERAL (
           SELECT c.user_id, c.id, row_number() OVER (ORDER BY c.user_id + 0, c.id) AS place
             FROM public.contacts c
            WHERE c.user_id + 0 = t.user_id AND c.entered_at IS NOT NULL
            ORDER BY c.user_id + 0, c.id LIMIT p_limit) k
     ORDER BY k.place, k.user_id LIMIT p_limit
$$;

-- As in 0035_contract.sql, but who has entered since the turn read waits for nothing.
CREATE OR REPLACE FUNCTION note_wait(p_user bigint, p_conversation bigint, p_reason text) RETURNS void
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    UPDATE conversations v
       SET waits_for = CASE WHEN p_reason = 'contact_limit' AND NOT k.over_limit THEN 'nothing'
                            ELSE p_reason END
      FROM contacts k
     WHERE v.user_id = p_user AND v.id = p_conversation
       AND k.user_id = p_user AND k.id = v.contact_id AND v.waits_for IS DISTINCT FROM p_reason
$$;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION begin_contact_count() OWNER TO swiftreplies_system;
ALTER FUNCTION contacts_may_enter(integer) OWNER TO swiftreplies_system;
ALTER FUNCTION contacts_entered(integer) OWNER TO swiftreplies_system;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
REVOKE ALL ON FUNCTION begin_contact_count(), contacts_may_enter(integer), contacts_entered(integer)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION contacts_may_enter(integer), contacts_entered(integer)
   TO CURRENT_USER, swiftreplies_app;
