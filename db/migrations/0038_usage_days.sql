-- Every counter can be counted again: what it counts keeps its day on a row. And what is made of
-- counters (averages, the cost of overage) is made again soon after one of them moved.

-- ---- the usage day ------------------------------------------------------------------------------

-- A tenant who moved to a zone further west was back in the day before, or the month before, whose
-- limits and bill were done with. The usage day never goes back: it stays until the new zone's
-- calendar has caught up.
ALTER TABLE users ADD COLUMN usage_day_floor date;

CREATE FUNCTION usage_day(p_timezone text, p_floor date) RETURNS date
    LANGUAGE sql STABLE AS $$
    SELECT greatest((now() AT TIME ZONE p_timezone)::date, p_floor)
$$;

CREATE FUNCTION keep_usage_day() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.usage_day_floor := greatest(OLD.usage_day_floor,
                                    (clock_timestamp() AT TIME ZONE OLD.timezone)::date);
    RETURN NEW;
END $$;
CREATE TRIGGER keep_usage_day BEFORE UPDATE OF timezone ON users
    FOR EACH ROW WHEN (OLD.timezone IS DISTINCT FROM NEW.timezone)
    EXECUTE FUNCTION keep_usage_day();

-- In the text of today's reserve_messages(), so that whatever else it does stays as it is. The first
-- day in it is the usage day; the second is the contract's, which the calendar says: where one look
-- went by the calendar and another by the usage day, a conversation was woken and put off each second.
DO $$
DECLARE
    v_is text := pg_get_functiondef('reserve_messages(bigint,bigint,integer)'::regprocedure);
    v_has_to_be text := regexp_replace(v_is, '\(now\(\)\s+AT\s+TIME\s+ZONE\s+u\.timezone\)::date',
                                       'usage_day(u.timezone, u.usage_day_floor)');
BEGIN
    IF v_has_to_be NOT LIKE '%usage_day(u.timezone, u.usage_day_floor)%' THEN
        RAISE 'reserve_messages() does not say on which day it reserves';
    END IF;
    EXECUTE v_has_to_be;
END $$;

-- ---- what cannot be counted again ---------------------------------------------------------------

-- Days of which rows are gone, or that are older than the rows: `usage reconcile` names them.
CREATE TABLE usage_gaps (
    user_id   bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    source    text NOT NULL
              CHECK (source IN ('messages', 'received', 'takeovers', 'actions', 'model_calls')),
    usage_day date NOT NULL,
    why       text NOT NULL,
    PRIMARY KEY (user_id, source, usage_day)
);
ALTER TABLE usage_gaps ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_gaps FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON usage_gaps
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint));
CREATE POLICY system ON usage_gaps TO swiftreplies_system USING (true);
GRANT SELECT, INSERT ON usage_gaps TO swiftreplies_app;
GRANT SELECT (user_id, source, usage_day), INSERT ON usage_gaps TO swiftreplies_system;
GRANT SELECT (id) ON users TO swiftreplies_system;
DROP POLICY IF EXISTS system ON users;  -- others need the same
CREATE POLICY system ON users TO swiftreplies_system USING (true);

-- Whoever deletes rows, and for whatever reason; but not while the tenant itself is deleted.
CREATE FUNCTION note_messages_gone() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.usage_gaps (user_id, source, usage_day, why)
    SELECT DISTINCT g.user_id, d.source, d.day, 'rows were removed'
      FROM gone g
      JOIN public.users u ON u.id = g.user_id
     CROSS JOIN LATERAL (VALUES ('messages', g.usage_day), ('received', g.received_day))
           AS d (source, day)
     WHERE d.day IS NOT NULL
     ORDER BY 1, 2, 3
    ON CONFLICT (user_id, source, usage_day) DO NOTHING;
    RETURN NULL;
END $$;

CREATE FUNCTION note_actions_gone() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.usage_gaps (user_id, source, usage_day, why)
    SELECT DISTINCT g.user_id, 'actions', g.usage_day, 'rows were removed'
      FROM gone g JOIN public.users u ON u.id = g.user_id
     WHERE g.usage_day IS NOT NULL
     ORDER BY 1, 3
    ON CONFLICT (user_id, source, usage_day) DO NOTHING;
    RETURN NULL;
END $$;

-- ---- what customers wrote -----------------------------------------------------------------------

-- The day that an inbound message is counted on, as usage_day is of one that we send.
ALTER TABLE messages ADD COLUMN received_day date;

CREATE TRIGGER note_gone AFTER DELETE ON messages REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION note_messages_gone();
CREATE TRIGGER note_gone AFTER DELETE ON actions REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION note_actions_gone();

-- ---- takeovers ----------------------------------------------------------------------------------

-- Each time that a person took a conversation over through the API. A conversation that is erased
-- leaves the row, which says nothing of anybody.
CREATE TABLE takeovers (
    id              bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    user_id         bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    conversation_id bigint,  -- NULL: gone, or counted by the release before
    usage_day       date NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (user_id, conversation_id) REFERENCES conversations (user_id, id)
        ON DELETE SET NULL (conversation_id)
);
CREATE INDEX takeovers_day ON takeovers (user_id, usage_day);
CREATE INDEX takeovers_conversation ON takeovers (user_id, conversation_id)
    WHERE conversation_id IS NOT NULL;
ALTER TABLE takeovers ENABLE ROW LEVEL SECURITY;
ALTER TABLE takeovers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON takeovers
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE, DELETE ON takeovers TO swiftreplies_app;

CREATE FUNCTION count_takeover(p_user bigint, p_conversation bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_day date;
BEGIN
    INSERT INTO takeovers (user_id, conversation_id, usage_day)
    SELECT p_user, p_conversation, usage_day(u.timezone, u.usage_day_floor)
      FROM users u WHERE u.id = p_user
    RETURNING usage_day INTO v_day;
    INSERT INTO usage_tracking (user_id, tracking_date, live_takeovers_used)
         VALUES (p_user, v_day, 1)
    ON CONFLICT (user_id, tracking_date) DO UPDATE
       SET live_takeovers_used = coalesce(usage_tracking.live_takeovers_used, 0) + 1,
           updated_at = now();
END $$;

-- For processes of the release before.
CREATE OR REPLACE FUNCTION count_takeover(p_user bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM count_takeover(p_user, NULL);
END $$;

-- ---- figures: when they are made ----------------------------------------------------------------

-- When averages and costs of the month are to be made again; 'infinity': it is over, and they are
-- final unless a counter of it moves.
ALTER TABLE monthly_usage_summary ADD COLUMN figures_due timestamptz NOT NULL DEFAULT now();
CREATE INDEX monthly_usage_summary_due ON monthly_usage_summary (figures_due)
    WHERE figures_due < 'infinity';

-- So long after a counter moved its month's figures are due; those that move meanwhile share one
-- making. With the scheduler's look (every 10 s) it stays below a minute.
CREATE FUNCTION figures_soon() RETURNS timestamptz
    LANGUAGE sql STABLE AS $$ SELECT now() + interval '40 s' $$;

CREATE FUNCTION call_for_figures() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.figures_due := figures_soon();
    RETURN NEW;
END $$;
CREATE TRIGGER call_for_figures BEFORE UPDATE ON monthly_usage_summary
    FOR EACH ROW WHEN (NEW.figures_due > now() + interval '40 s'
                       AND (NEW.total_messages_sent, NEW.overage_messages, NEW.overage_campaigns,
                            NEW.total_orders_created, NEW.total_revenue)
                           IS DISTINCT FROM
                           (OLD.total_messages_sent, OLD.overage_messages, OLD.overage_campaigns,
                            OLD.total_orders_created, OLD.total_revenue))
    EXECUTE FUNCTION call_for_figures();

-- The zone says when the next day begins.
CREATE FUNCTION figures_in_zone() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE monthly_usage_summary SET figures_due = figures_soon()
     WHERE user_id = NEW.id AND figures_due > figures_soon() AND figures_due < 'infinity';
    RETURN NULL;
END $$;
CREATE TRIGGER figures_in_zone AFTER UPDATE OF timezone ON users
    FOR EACH ROW WHEN (OLD.timezone IS DISTINCT FROM NEW.timezone)
    EXECUTE FUNCTION figures_in_zone();

-- A plan says what the overage of its days costs, and it may begin on one that has been.
GRANT SELECT (year, month, overage_messages) ON monthly_usage_summary TO swiftreplies_system;
CREATE FUNCTION figures_by_plan() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE public.monthly_usage_summary s SET figures_due = public.figures_soon()
     WHERE s.user_id = NEW.user_id AND s.overage_messages > 0
       AND s.figures_due > public.figures_soon()
       AND make_date(s.year, s.month, 1) + interval '1 month'
           > CASE TG_OP WHEN 'UPDATE' THEN least(OLD.contract_start_date, NEW.contract_start_date)
                        ELSE NEW.contract_start_date END;
    RETURN NULL;
END $$;
CREATE TRIGGER figures_by_plan AFTER INSERT OR UPDATE OF subscription_config, contract_start_date
    ON user_subscriptions FOR EACH ROW EXECUTE FUNCTION figures_by_plan();

-- Orders are in the share of conversations with one, whoever makes or removes them.
GRANT SELECT (id, timezone) ON users TO swiftreplies_system;
CREATE FUNCTION figures_by_order() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user bigint := CASE TG_OP WHEN 'DELETE' THEN OLD.user_id ELSE NEW.user_id END;
    v_at timestamptz := CASE TG_OP WHEN 'DELETE' THEN OLD.created_at ELSE NEW.created_at END;
BEGIN
    UPDATE public.monthly_usage_summary s SET figures_due = public.figures_soon()
      FROM public.users u
     WHERE u.id = v_user AND s.user_id = v_user
       AND s.year = extract(year FROM v_at AT TIME ZONE u.timezone)
       AND s.month = extract(month FROM v_at AT TIME ZONE u.timezone)
       AND s.figures_due > public.figures_soon();
    RETURN NULL;
END $$;
CREATE TRIGGER figures_by_order AFTER INSERT OR DELETE ON orders
    FOR EACH ROW EXECUTE FUNCTION figures_by_order();

-- Counted on the day that is on the rows. The month has a row from its first message on, whether or
-- not it was answered, and its figures are due.
CREATE FUNCTION count_received(p_user bigint, p_day date, p_messages integer) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_due timestamptz;
BEGIN
    INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_received)
         VALUES (p_user, p_day, p_messages)
    ON CONFLICT (user_id, tracking_date) DO UPDATE
       SET daily_messages_received = usage_tracking.daily_messages_received + p_messages,
           updated_at = now();
    SELECT m.figures_due INTO v_due FROM monthly_usage_summary m
     WHERE m.user_id = p_user AND m.year = extract(year FROM p_day)
       AND m.month = extract(month FROM p_day);
    IF NOT FOUND THEN
        INSERT INTO monthly_usage_summary (user_id, year, month)
             VALUES (p_user, extract(year FROM p_day)::int, extract(month FROM p_day)::int)
        ON CONFLICT (user_id, year, month) DO NOTHING;
    ELSIF v_due > figures_soon() THEN
        UPDATE monthly_usage_summary SET figures_due = figures_soon()
         WHERE user_id = p_user AND year = extract(year FROM p_day)
           AND month = extract(month FROM p_day) AND figures_due > figures_soon();
    END IF;
END $$;

-- For processes of the release before, whose rows have no day.
CREATE OR REPLACE FUNCTION count_received(p_user bigint, p_messages integer) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_day date;
BEGIN
    SELECT usage_day(u.timezone, u.usage_day_floor) INTO v_day FROM users u WHERE u.id = p_user;
    INSERT INTO usage_gaps (user_id, source, usage_day, why)
         VALUES (p_user, 'received', v_day, 'older than its rows')
    ON CONFLICT (user_id, source, usage_day) DO NOTHING;
    PERFORM count_received(p_user, v_day, p_messages);
END $$;

-- What was counted until now has no rows. The owner, whom forced row-level security would keep from
-- it, may look meanwhile.
ALTER TABLE usage_tracking NO FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_gaps NO FORCE ROW LEVEL SECURITY;
INSERT INTO usage_gaps (user_id, source, usage_day, why)
SELECT t.user_id, s.source, t.tracking_date, 'older than its rows'
  FROM usage_tracking t
 CROSS JOIN LATERAL (VALUES ('received', t.daily_messages_received),
                            ('takeovers', t.live_takeovers_used)) AS s (source, n)
 WHERE s.n > 0;
ALTER TABLE usage_tracking FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_gaps FORCE ROW LEVEL SECURITY;

-- ---- figures: what they are ---------------------------------------------------------------------

-- An amount among the limits of a plan, as handlers/plans.py reads it; NULL: there is none.
CREATE FUNCTION plan_price(p_config jsonb, p_key text) RETURNS numeric
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(p_config -> 'limits' -> p_key) IN ('string', 'number')
                 AND p_config -> 'limits' ->> p_key ~ '^[0-9]{1,12}(\.[0-9]{1,6})?$'
                THEN (p_config -> 'limits' ->> p_key)::numeric END
$$;

-- Of a month, of which the days until today have been. A unit of overage costs what the plan says
-- that was in force on its day: of several that had begun, the one that was made last, which closed
-- those before it, also one that was yet to begin.
CREATE FUNCTION month_figures(p_user bigint, p_year integer, p_month integer)
    RETURNS TABLE (avg_daily_messages numeric, overage_cost numeric, avg_conversion_rate numeric,
                   next_due timestamptz)
    LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    WITH m AS (
        SELECT d.first, (d.first + interval '1 month')::date AS next, u.timezone,
               usage_day(u.timezone, u.usage_day_floor) AS today
          FROM users u, LATERAL (SELECT make_date(p_year, p_month, 1) AS first) d
         WHERE u.id = p_user
    ), sent AS (
        SELECT s.total_messages_sent AS n FROM monthly_usage_summary s
         WHERE s.user_id = p_user AND s.year = p_year AND s.month = p_month
    ), cost AS (
        SELECT coalesce(sum(t.daily_overage_messages * plan.price), 0) AS amount
          FROM m
          JOIN usage_tracking t ON t.user_id = p_user AND t.tracking_date >= m.first
           AND t.tracking_date < m.next AND t.daily_overage_messages > 0
         CROSS JOIN LATERAL (
               SELECT plan_price(s.subscription_config, 'overage_message_price') AS price
                 FROM user_subscriptions s
                WHERE s.user_id = p_user AND s.contract_start_date <= t.tracking_date
                ORDER BY s.id DESC LIMIT 1) plan
    ), talks AS (
        SELECT EXISTS (
                   SELECT FROM orders o
                    WHERE o.user_id = p_user AND o.chatbot_id = v.chatbot_id
                      AND o.contact_id = v.contact_id
                      AND o.created_at >= m.first::timestamp AT TIME ZONE m.timezone
                      AND o.created_at < m.next::timestamp AT TIME ZONE m.timezone) AS ordered
          FROM m
          -- A conversation's row is changed with each of its messages; the usage day is at most two
          -- days from UTC's.
          JOIN conversations v ON v.user_id = p_user
           AND v.updated_at >= (m.first - 2)::timestamp AT TIME ZONE 'UTC'
         WHERE EXISTS (SELECT FROM messages i
                        WHERE i.user_id = p_user AND i.conversation_id = v.id
                          AND i.input_seq IS NOT NULL
                          AND i.received_day >= m.first AND i.received_day < m.next)
    )
    SELECT least(round((SELECT n FROM sent)::numeric
                       / greatest(1, least(m.next, m.today + 1) - m.first), 2), 999999.99),
           least(round((SELECT amount FROM cost), 2), 99999999.99),
           (SELECT round((count(*) FILTER (WHERE ordered))::numeric / nullif(count(*), 0), 4)
              FROM talks),
           CASE WHEN m.today >= m.next THEN 'infinity'
                ELSE greatest(m.today + 1, m.first)::timestamp AT TIME ZONE m.timezone END
      FROM m
$$;

-- Months whose figures are due, each for one who asks: who dies before they are made leaves them to
-- another after a minute.
CREATE FUNCTION claim_figures(p_limit integer) RETURNS TABLE (user_id bigint, id bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.monthly_usage_summary s SET figures_due = now() + interval '60 s'
      FROM (SELECT d.id FROM public.monthly_usage_summary d
             WHERE d.figures_due <= now() AND d.figures_due < 'infinity'
             ORDER BY d.figures_due LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) due
     WHERE s.id = due.id
    RETURNING s.user_id, s.id
$$;

-- What they are is found with nothing locked. When they are due again is decided under the row's
-- lock: a counter that moved in the last two minutes may have been moving while they were made, and
-- who called for them meanwhile (a plan, an order, a zone) may not be in them.
CREATE FUNCTION make_figures(p_user bigint, p_id bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_month date;
    v_due timestamptz;
    v record;
    v_moved boolean;
BEGIN
    SELECT make_date(s.year, s.month, 1), s.figures_due INTO v_month, v_due
      FROM monthly_usage_summary s WHERE s.user_id = p_user AND s.id = p_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT * INTO v FROM month_figures(p_user, extract(year FROM v_month)::int,
                                       extract(month FROM v_month)::int);
    PERFORM FROM monthly_usage_summary s WHERE s.user_id = p_user AND s.id = p_id
        FOR NO KEY UPDATE;
    SELECT EXISTS (SELECT FROM usage_tracking t
                    WHERE t.user_id = p_user AND t.tracking_date >= v_month
                      AND t.tracking_date < (v_month + interval '1 month')::date
                      AND t.updated_at > now() - interval '2 min') INTO v_moved;
    UPDATE monthly_usage_summary s
       SET avg_daily_messages = v.avg_daily_messages, overage_cost = v.overage_cost,
           avg_conversion_rate = v.avg_conversion_rate,
           figures_due = CASE WHEN v_moved OR s.figures_due <> v_due
                              THEN least(s.figures_due, figures_soon()) ELSE v.next_due END
     WHERE s.user_id = p_user AND s.id = p_id;
END $$;

GRANT SELECT (id, user_id, figures_due), UPDATE (figures_due) ON monthly_usage_summary
    TO swiftreplies_system;
DROP POLICY IF EXISTS system ON monthly_usage_summary;
CREATE POLICY system ON monthly_usage_summary TO swiftreplies_system USING (true);

-- ---- across tenants -----------------------------------------------------------------------------

-- For the operator's `usage reconcile`, which looks at each tenant by itself.
CREATE FUNCTION every_tenant() RETURNS SETOF bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.id FROM public.users u ORDER BY 1
$$;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOREACH f IN ARRAY ARRAY['note_messages_gone()', 'note_actions_gone()', 'figures_by_plan()',
                             'figures_by_order()', 'claim_figures(integer)', 'every_tenant()']::regprocedure[]
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO swiftreplies_system', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION claim_figures(integer) TO CURRENT_USER, swiftreplies_app;
GRANT EXECUTE ON FUNCTION every_tenant() TO CURRENT_USER;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
