-- What the tenant API makes and changes: the first answer of each Idempotency-Key, what was told
-- page by page, and deliveries of long ago that become due again.

-- PostgreSQL hands a function only to who may create in its schema; taken back below.
GRANT CREATE ON SCHEMA public TO swiftreplies_system;

-- ---- once -----------------------------------------------------------------------------------------

-- The first answer to an Idempotency-Key, whatever it made. The release before writes the message
-- alone. Where there is one, the row goes with it, since the answer has its text.
ALTER TABLE idempotency_keys
    ALTER COLUMN message_id DROP NOT NULL,
    ADD COLUMN status smallint CHECK (status BETWEEN 200 AND 299),
    ADD COLUMN headers jsonb,
    ADD COLUMN body text,
    ADD CONSTRAINT idempotency_keys_answered
        CHECK (message_id IS NOT NULL OR num_nulls(status, headers, body) = 0);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

-- ---- events page by page --------------------------------------------------------------------------

CREATE INDEX analytics_events_listed ON analytics_events (user_id, id);
CREATE INDEX analytics_events_listed_by_type ON analytics_events (user_id, event_type, id);
CREATE INDEX analytics_events_created ON analytics_events (user_id, created_at);

-- What an event says, as the body of a webhook has it.
CREATE FUNCTION told_data(p_user bigint, p_type text, p_chatbot bigint, p_contact bigint,
                          p_data jsonb) RETURNS jsonb
    LANGUAGE sql STABLE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
               'user_id', p_user, 'chatbot_id', p_chatbot, 'contact_id', p_contact))
           || event_fields(p_user, p_type, p_contact, p_data) || coalesce(p_data, '{}')
$$;

-- A number below which all that the tenant was told is from before p_at. Numbers are drawn in the
-- order of time but for what transactions take, of which none lasts for ten minutes. Of what is
-- only told, by halves: 40 looks into the primary key, whatever there is.
CREATE FUNCTION events_before(p_user bigint, p_at timestamptz) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    v_at timestamptz := p_at - interval '10 min';
    v_kept bigint := coalesce((SELECT a.id FROM analytics_events a
                                WHERE a.user_id = p_user AND a.created_at < v_at
                                ORDER BY a.created_at DESC LIMIT 1), 0);
    v_low bigint := 0;
    v_high bigint := coalesce((SELECT max(e.id) FROM webhook_events e
                                WHERE e.user_id = p_user), 0);
    v_middle record;
BEGIN
    WHILE v_low < v_high LOOP
        SELECT e.id, e.created_at INTO v_middle FROM webhook_events e
         WHERE e.user_id = p_user AND e.id > v_low + (v_high - v_low) / 2
         ORDER BY e.user_id, e.id LIMIT 1;
        IF FOUND AND v_middle.id <= v_high AND v_middle.created_at < v_at THEN
            v_low := v_middle.id;
        ELSE
            v_high := v_low + (v_high - v_low) / 2;
        END IF;
    END LOOP;
    RETURN greatest(v_kept, v_low);
END $$;

-- ---- recovery -------------------------------------------------------------------------------------

-- What is left of a recovery: events after `after_event` up to `until_event`. It goes on in batches
-- until the row is gone.
CREATE TABLE webhook_recoveries (
    webhook_id  bigint      NOT NULL,
    user_id     bigint      NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    since       timestamptz NOT NULL,
    after_event bigint      NOT NULL,
    until_event bigint      NOT NULL,
    PRIMARY KEY (webhook_id, user_id),
    FOREIGN KEY (user_id, webhook_id) REFERENCES webhooks (user_id, id) ON DELETE CASCADE
);
ALTER TABLE webhook_recoveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_recoveries FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON webhook_recoveries
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint));
CREATE POLICY system ON webhook_recoveries TO swiftreplies_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_recoveries TO swiftreplies_app;
GRANT SELECT (webhook_id, user_id) ON webhook_recoveries TO swiftreplies_system;

-- Asked for again while one is under way, both are done.
CREATE FUNCTION begin_recovery(p_user bigint, p_webhook bigint, p_since timestamptz) RETURNS void
    LANGUAGE sql SET search_path = public, pg_temp AS $$
    INSERT INTO webhook_recoveries AS r (webhook_id, user_id, since, after_event, until_event)
    SELECT p_webhook, p_user, p_since, events_before(p_user, p_since),
           greatest((SELECT max(e.id) FROM webhook_events e WHERE e.user_id = p_user),
                    (SELECT max(a.id) FROM analytics_events a WHERE a.user_id = p_user), 0)
    ON CONFLICT (webhook_id, user_id) DO UPDATE
       SET since = least(r.since, excluded.since),
           after_event = least(r.after_event, excluded.after_event),
           until_event = greatest(r.until_event, excluded.until_event)
$$;

-- The next p_limit events of a recovery: what was not delivered of them, or never was to be and is
-- wanted now, becomes due, in order. How many deliveries; what nobody wanted when it happened gets
-- its body now.
CREATE FUNCTION recover_deliveries(p_user bigint, p_webhook bigint, p_limit integer)
    RETURNS integer
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    r webhook_recoveries;
    w webhooks;
    v_last bigint;
    v_due integer := 0;
BEGIN
    SELECT * INTO r FROM webhook_recoveries o
     WHERE o.user_id = p_user AND o.webhook_id = p_webhook FOR UPDATE;
    SELECT * INTO w FROM webhooks o WHERE o.user_id = p_user AND o.id = p_webhook;
    IF r.webhook_id IS NULL OR w.id IS NULL THEN
        RETURN 0;
    END IF;
    SELECT max(n.id) INTO v_last FROM (
        SELECT i.id FROM (
            (SELECT e.id FROM webhook_events e
              WHERE e.user_id = p_user AND e.id > r.after_event AND e.id <= r.until_event
              ORDER BY e.id LIMIT p_limit)
            UNION
            (SELECT a.id FROM analytics_events a
              WHERE a.user_id = p_user AND a.id > r.after_event AND a.id <= r.until_event
              ORDER BY a.id LIMIT p_limit)) i
         ORDER BY i.id LIMIT p_limit) n;
    IF v_last IS NOT NULL THEN
        INSERT INTO webhook_events (id, user_id, type, chatbot_id, contact_id, conversation_id,
                                    body, created_at)
        SELECT a.id, p_user, a.event_type, a.chatbot_id, a.contact_id,
               (d.data ->> 'conversation_id')::bigint,
               event_body(p_user, a.event_type, a.created_at, a.chatbot_id, a.contact_id, d.data),
               a.created_at
          FROM analytics_events a
         CROSS JOIN LATERAL (
               SELECT event_fields(p_user, a.event_type, a.contact_id, a.event_data)
                      || coalesce(a.event_data, '{}') AS data OFFSET 0) d
         WHERE a.user_id = p_user AND a.id > r.after_event AND a.id <= v_last
           AND a.created_at >= r.since AND wants(w.events, a.event_type)
           AND (w.chatbot_id IS NULL OR w.chatbot_id = a.chatbot_id)
           AND NOT EXISTS (SELECT FROM webhook_events e WHERE e.user_id = p_user AND e.id = a.id)
        ON CONFLICT (user_id, id) DO NOTHING;
        -- As old as its event, with which it is forgotten.
        INSERT INTO webhook_deliveries (user_id, webhook_id, event_id, order_key, due_at,
                                        created_at)
        SELECT p_user, p_webhook, e.id, coalesce(e.conversation_id, -e.id), NULL, e.created_at
          FROM webhook_events e
         WHERE e.user_id = p_user AND e.id > r.after_event AND e.id <= v_last
           AND e.created_at >= r.since AND e.type <> 'ping' AND wants(w.events, e.type)
           AND (w.chatbot_id IS NULL OR w.chatbot_id = e.chatbot_id)
        ON CONFLICT (webhook_id, event_id) DO NOTHING;
        UPDATE webhook_deliveries d
           SET status = 'pending', tries = 0, ended_at = NULL,
               due_at = clock_timestamp() + o.place * interval '1 microsecond'
          FROM (SELECT l.id, row_number() OVER (ORDER BY l.event_id) AS place
                  FROM (SELECT k.id, k.event_id FROM webhook_deliveries k
                         WHERE k.user_id = p_user AND k.webhook_id = p_webhook
                           AND k.event_id > r.after_event AND k.event_id <= v_last
                           AND k.created_at >= r.since
                           AND (k.status = 'failed'
                                OR k.status = 'pending' AND k.due_at IS NULL)
                         ORDER BY k.event_id FOR NO KEY UPDATE) l) o
         WHERE d.user_id = p_user AND d.id = o.id;
        GET DIAGNOSTICS v_due = ROW_COUNT;
        UPDATE webhook_recoveries o SET after_event = v_last
         WHERE o.user_id = p_user AND o.webhook_id = p_webhook;
    END IF;
    DELETE FROM webhook_recoveries o
     WHERE o.user_id = p_user AND o.webhook_id = p_webhook
       AND (v_last IS NULL OR o.after_event >= o.until_event);
    RETURN v_due;
END $$;

CREATE FUNCTION recoveries_under_way(p_limit integer) RETURNS TABLE (user_id bigint, id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.user_id, r.webhook_id FROM public.webhook_recoveries r LIMIT p_limit
$$;
-- Whose webhook it is, and who has some, for the operator's commands.
CREATE FUNCTION webhook_owner(p_webhook bigint) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT w.user_id FROM public.webhooks w WHERE w.id = p_webhook
$$;
CREATE FUNCTION owners_of_webhooks() RETURNS SETOF bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT DISTINCT w.user_id FROM public.webhooks w ORDER BY 1
$$;
ALTER FUNCTION recoveries_under_way(integer) OWNER TO swiftreplies_system;
ALTER FUNCTION webhook_owner(bigint) OWNER TO swiftreplies_system;
ALTER FUNCTION owners_of_webhooks() OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION recoveries_under_way(integer), webhook_owner(bigint), owners_of_webhooks()
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION recoveries_under_way(integer), webhook_owner(bigint),
                          owners_of_webhooks() TO CURRENT_USER;
GRANT EXECUTE ON FUNCTION recoveries_under_way(integer) TO swiftreplies_app;

-- ---- deliveries are looked at ---------------------------------------------------------------------

-- The last attempts of a delivery, oldest first.
CREATE FUNCTION delivery_attempts(p_user bigint, p_delivery bigint, p_last integer, p_age interval)
    RETURNS jsonb
    LANGUAGE sql STABLE SET timezone = 'UTC' AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object(
                        'at', t.at, 'status_code', t.status_code, 'duration_ms', t.duration_ms,
                        'error', t.error, 'response', t.response) ORDER BY t.at), '[]')
      FROM (SELECT a.* FROM webhook_attempts a
             WHERE a.user_id = p_user AND a.delivery_id = p_delivery AND a.at > now() - p_age
             ORDER BY a.at DESC LIMIT p_last) t
$$;

REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
