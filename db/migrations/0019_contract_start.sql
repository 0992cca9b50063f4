-- A contract begins on a day of the tenant, and days depend on the zone. A tenant who was created in
-- UTC and put into a zone west of it, where it was still the day before, was silent until midnight
-- there: the plan that was in force was so no more. Another zone does not end what is in force: the
-- contract began on the day that it was in the new zone.

-- A contract's first day after a change of zone at p_at.
CREATE FUNCTION start_in_zone(p_start date, p_from text, p_to text, p_at timestamptz) RETURNS date
    LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN p_start <= (p_at AT TIME ZONE p_from)::date
                THEN least(p_start, (p_at AT TIME ZONE p_to)::date) ELSE p_start END
$$;

-- The runtime, which changes zones, may not write plans: this much is done for it.
GRANT SELECT (id, user_id, contract_start_date, is_active), UPDATE (contract_start_date, updated_at)
    ON user_subscriptions TO swiftreplies_system;
CREATE POLICY system ON user_subscriptions TO swiftreplies_system USING (true);
CREATE FUNCTION keep_plan_in_force() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE public.user_subscriptions s SET contract_start_date = n.start, updated_at = now()
      FROM (SELECT k.id, public.start_in_zone(k.contract_start_date, OLD.timezone, NEW.timezone,
                                              now()) AS start
              FROM public.user_subscriptions k WHERE k.user_id = NEW.id AND k.is_active) n
     WHERE s.id = n.id AND s.contract_start_date <> n.start;
    RETURN NULL;
END $$;
GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION keep_plan_in_force() OWNER TO swiftreplies_system;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
REVOKE ALL ON FUNCTION keep_plan_in_force() FROM PUBLIC;
CREATE TRIGGER keep_plan_in_force AFTER UPDATE OF timezone ON users
    FOR EACH ROW WHEN (OLD.timezone IS DISTINCT FROM NEW.timezone)
    EXECUTE FUNCTION keep_plan_in_force();
