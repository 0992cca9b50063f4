-- Products and orders, whoever writes them: amounts that fit, versions, totals, states, events,
-- counters.

-- ---- amounts ------------------------------------------------------------------------------------

-- A wider numeric of the same scale is no rewrite. The sum of a month's is wider than each of them,
-- so that no order is too much to be paid.
DROP TRIGGER call_for_figures ON monthly_usage_summary;
ALTER TABLE monthly_usage_summary ALTER COLUMN total_revenue TYPE numeric(30,2);
CREATE TRIGGER call_for_figures BEFORE UPDATE ON monthly_usage_summary
    FOR EACH ROW WHEN (NEW.figures_due > now() + interval '40 s'
                       AND (NEW.total_messages_sent, NEW.overage_messages, NEW.overage_campaigns,
                            NEW.total_orders_created, NEW.total_revenue)
                           IS DISTINCT FROM
                           (OLD.total_messages_sent, OLD.overage_messages, OLD.overage_campaigns,
                            OLD.total_orders_created, OLD.total_revenue))
    EXECUTE FUNCTION call_for_figures();
ALTER TABLE products
    ALTER COLUMN price TYPE numeric(18,2),
    ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE order_items
    ALTER COLUMN unit_price TYPE numeric(18,2),
    ALTER COLUMN total_price TYPE numeric(18,2);
ALTER TABLE orders
    ALTER COLUMN total_amount TYPE numeric(18,2),
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN usage_day date,        -- the month it is counted in; NULL: older than the counter
    ADD COLUMN paid_at timestamptz,   -- when it became paid; NULL: not yet, or older than this
    ADD COLUMN revenue_day date,      -- the month its `revenue` is counted in
    ADD COLUMN revenue numeric(18,2); -- its total when it became paid, in the tenant's currency

-- ---- the tenant's currency ----------------------------------------------------------------------

ALTER TABLE users ADD COLUMN currency varchar(3) NOT NULL DEFAULT 'USD'
    CHECK (currency ~ '^[A-Z]{3}$');

-- Who gives a price or orders holds the currency as it is, side by side with others who do; who
-- changes it waits for them, and then looks.
CREATE FUNCTION hold_currency(p_user bigint) RETURNS varchar
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('currency', p_user));
    RETURN (SELECT u.currency FROM users u WHERE u.id = p_user);
END $$;

-- By the owner, who sees the tenant whose row it is: row-level security shows no other's.
CREATE FUNCTION fix_currency() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('currency', NEW.id));
    IF EXISTS (SELECT FROM public.products p WHERE p.user_id = NEW.id AND p.price IS NOT NULL)
       OR EXISTS (SELECT FROM public.orders o WHERE o.user_id = NEW.id
                     AND o.status IN ('pending', 'confirmed', 'preparing', 'shipped')) THEN
        RAISE 'the currency is fixed while a product has a price or an order is open'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'users_currency_fixed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fix_currency BEFORE UPDATE OF currency ON users
    FOR EACH ROW WHEN (OLD.currency IS DISTINCT FROM NEW.currency)
    EXECUTE FUNCTION fix_currency();

-- ---- products -----------------------------------------------------------------------------------

CREATE FUNCTION price_product() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM hold_currency(NEW.user_id);
    RETURN NEW;
END $$;
CREATE TRIGGER price_product BEFORE INSERT OR UPDATE OF price ON products
    FOR EACH ROW WHEN (NEW.price IS NOT NULL) EXECUTE FUNCTION price_product();

CREATE FUNCTION raise_product_version() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER raise_product_version BEFORE UPDATE ON products FOR EACH ROW
    WHEN ((OLD.name, OLD.sku, OLD.price, OLD.description, OLD.image_url, OLD.is_active)
          IS DISTINCT FROM
          (NEW.name, NEW.sku, NEW.price, NEW.description, NEW.image_url, NEW.is_active))
    EXECUTE FUNCTION raise_product_version();

-- NULL: it is so now. Else the product that has the sku already.
CREATE FUNCTION change_product(p_user bigint, p_id bigint, p_name text, p_sku text,
                               p_price numeric, p_description text, p_image_url text,
                               p_active boolean) RETURNS bigint
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_other bigint;
BEGIN
    LOOP
        BEGIN
            UPDATE products SET name = p_name, sku = p_sku, price = p_price,
                                description = p_description, image_url = p_image_url,
                                is_active = p_active
             WHERE user_id = p_user AND id = p_id;
            RETURN NULL;
        EXCEPTION WHEN unique_violation THEN
            SELECT p.id INTO v_other FROM products p WHERE p.user_id = p_user AND p.sku = p_sku;
            IF FOUND THEN
                RETURN v_other;
            END IF;  -- it went meanwhile
        END;
    END LOOP;
END $$;

-- ---- orders: what they begin with, and how they move --------------------------------------------

-- From a state that is none of ours, of an order of before, to any.
CREATE FUNCTION order_moves(p_column text, p_from text, p_to text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(p_from = p_to, p_from IS NULL AND p_to IS NULL)
        OR CASE p_column WHEN 'status' THEN
               coalesce(p_from NOT IN ('pending', 'confirmed', 'preparing', 'shipped', 'delivered',
                                       'cancelled'), true)
               OR coalesce((p_from, p_to) IN (('pending', 'confirmed'), ('confirmed', 'preparing'),
                                     ('preparing', 'shipped'), ('shipped', 'delivered'),
                                     ('pending', 'cancelled'), ('confirmed', 'cancelled'),
                                     ('preparing', 'cancelled')), false)
           ELSE
               coalesce(p_from NOT IN ('pending', 'paid', 'refunded', 'failed'), true)
               OR coalesce((p_from, p_to) IN (('pending', 'paid'), ('paid', 'refunded'),
                                     ('pending', 'failed'), ('failed', 'pending')), false)
           END
$$;

-- Of ours, which have a number. Others are of a program of before tenants, whose words are its own.
CREATE FUNCTION begin_order() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_currency varchar := hold_currency(NEW.user_id);
BEGIN
    IF NEW.order_number IS NOT NULL THEN
        NEW.currency := v_currency;
    END IF;
    SELECT usage_day(u.timezone, u.usage_day_floor) INTO NEW.usage_day
      FROM users u WHERE u.id = NEW.user_id;
    IF NEW.payment_status = 'paid' THEN
        NEW.paid_at := coalesce(NEW.paid_at, now());
        IF NEW.currency = v_currency THEN
            NEW.revenue_day := NEW.usage_day;
            NEW.revenue := coalesce(NEW.total_amount, 0);
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER begin_order BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION begin_order();

CREATE FUNCTION change_order() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_items bigint;
    v_total numeric;
BEGIN
    IF OLD.order_number IS NOT NULL THEN
        IF NEW.order_number IS DISTINCT FROM OLD.order_number
           OR NEW.currency IS DISTINCT FROM OLD.currency THEN
            RAISE 'an order keeps its number and its currency' USING ERRCODE = 'check_violation';
        ELSIF NOT order_moves('status', OLD.status, NEW.status) THEN
            RAISE 'the order does not move from status % to %', OLD.status, NEW.status
                USING ERRCODE = 'check_violation';
        ELSIF NOT order_moves('payment_status', OLD.payment_status, NEW.payment_status) THEN
            RAISE 'the order does not move from payment_status % to %', OLD.payment_status,
                NEW.payment_status USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    IF NEW.total_amount IS DISTINCT FROM OLD.total_amount THEN
        SELECT count(*), sum(i.total_price) INTO v_items, v_total
          FROM order_items i WHERE i.user_id = NEW.user_id AND i.order_id = NEW.id;
        IF v_items > 0 AND v_total IS DISTINCT FROM NEW.total_amount THEN
            RAISE 'an order''s total is the sum of its items' USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    -- Once: it may have failed and been tried again before, and what is refunded is done with.
    IF NEW.payment_status = 'paid' AND OLD.payment_status IS DISTINCT FROM 'paid'
       AND OLD.paid_at IS NULL THEN
        NEW.paid_at := now();
        SELECT usage_day(u.timezone, u.usage_day_floor), coalesce(NEW.total_amount, 0)
          INTO NEW.revenue_day, NEW.revenue
          FROM users u WHERE u.id = NEW.user_id AND u.currency = NEW.currency;
    END IF;
    IF NEW.version = OLD.version THEN
        NEW.version := OLD.version + 1;
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER change_order BEFORE UPDATE ON orders FOR EACH ROW
    WHEN ((OLD.contact_id, OLD.chatbot_id, OLD.message_id, OLD.order_number, OLD.status,
           OLD.payment_status, OLD.total_amount, OLD.currency, OLD.order_details, OLD.order_notes,
           OLD.shipping_address)
          IS DISTINCT FROM
          (NEW.contact_id, NEW.chatbot_id, NEW.message_id, NEW.order_number, NEW.status,
           NEW.payment_status, NEW.total_amount, NEW.currency, NEW.order_details, NEW.order_notes,
           NEW.shipping_address))
    EXECUTE FUNCTION change_order();

-- ---- the total is the sum of the items ----------------------------------------------------------

-- Of several who write items of one order each waits for the one before, and then sums up. What the
-- order's own transaction adds to it is no change that anybody could have missed.
CREATE FUNCTION sum_items() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_orders bigint[];
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        v_orders := ARRAY (SELECT n.order_id FROM new_items n);
    WHEN 'DELETE' THEN
        v_orders := ARRAY (SELECT o.order_id FROM old_items o);
    ELSE
        v_orders := ARRAY (SELECT n.order_id FROM new_items n
                           UNION SELECT o.order_id FROM old_items o);
    END CASE;
    PERFORM FROM orders o WHERE o.id = ANY (v_orders) ORDER BY o.id FOR NO KEY UPDATE;
    UPDATE orders o SET total_amount = s.total, version = o.version + 1, updated_at = now()
      FROM (SELECT t.id, t.xmin = pg_current_xact_id()::xid AS own,
                   (SELECT CASE WHEN count(*) = 0 THEN 0 ELSE sum(i.total_price) END
                      FROM order_items i
                     WHERE i.user_id = t.user_id AND i.order_id = t.id) AS total
              FROM orders t WHERE t.id = ANY (v_orders)) s
     WHERE o.id = s.id AND (o.total_amount IS DISTINCT FROM s.total OR NOT s.own);
    RETURN NULL;
END $$;
CREATE TRIGGER sum_new_items AFTER INSERT ON order_items REFERENCING NEW TABLE AS new_items
    FOR EACH STATEMENT EXECUTE FUNCTION sum_items();
CREATE TRIGGER sum_changed_items AFTER UPDATE ON order_items
    REFERENCING NEW TABLE AS new_items OLD TABLE AS old_items
    FOR EACH STATEMENT EXECUTE FUNCTION sum_items();
CREATE TRIGGER sum_gone_items AFTER DELETE ON order_items REFERENCING OLD TABLE AS old_items
    FOR EACH STATEMENT EXECUTE FUNCTION sum_items();

-- ---- what is told, and what is counted ----------------------------------------------------------

-- What this transaction is to add to counters waits in a setting of it, by tenant and day, until it
-- commits: a counter is locked last, and once, however many orders there are.
CREATE FUNCTION note_orders(p_user bigint, p_day date, p_orders bigint, p_revenue numeric)
    RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_all jsonb := coalesce(nullif(current_setting('app.order_counts', true), ''), '{}');
    v_key text := p_user || '/' || p_day;
BEGIN
    PERFORM set_config('app.order_counts', jsonb_set(v_all, ARRAY[v_key], jsonb_build_array(
        p_orders + coalesce((v_all -> v_key ->> 0)::bigint, 0),
        p_revenue + coalesce((v_all -> v_key ->> 1)::numeric, 0)))::text, true);
END $$;

CREATE FUNCTION count_orders() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_all jsonb := nullif(current_setting('app.order_counts', true), '');
BEGIN
    IF v_all IS NULL THEN
        RETURN NULL;  -- the first of the transaction's orders had all of them
    END IF;
    PERFORM set_config('app.order_counts', '', true);
    INSERT INTO monthly_usage_summary AS m (user_id, year, month, total_orders_created,
                                            total_revenue)
    SELECT split_part(c.key, '/', 1)::bigint AS user_id,
           extract(year FROM split_part(c.key, '/', 2)::date)::int AS year,
           extract(month FROM split_part(c.key, '/', 2)::date)::int AS month,
           sum((c.value ->> 0)::bigint), sum((c.value ->> 1)::numeric)
      FROM jsonb_each(v_all) c
     GROUP BY 1, 2, 3
     ORDER BY 1, 2, 3
    ON CONFLICT (user_id, year, month) DO UPDATE
       SET total_orders_created = coalesce(m.total_orders_created, 0)
                                  + excluded.total_orders_created,
           total_revenue = coalesce(m.total_revenue, 0) + excluded.total_revenue;
    RETURN NULL;
END $$;

-- Of an order with a conversation, in the order of that.
CREATE FUNCTION tell_orders(p_type text, p_orders bigint[]) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v record;
BEGIN
    FOR v IN SELECT o.user_id, array_agg(c.id) AS conversations
               FROM orders o
               JOIN conversations c ON c.user_id = o.user_id AND c.chatbot_id = o.chatbot_id
                                   AND c.contact_id = o.contact_id
              WHERE o.id = ANY (p_orders) GROUP BY 1 ORDER BY 1 LOOP
        PERFORM order_events(v.user_id, ARRAY[p_type], v.conversations);
    END LOOP;
    INSERT INTO analytics_events (user_id, event_type, event_data, chatbot_id, contact_id)
    SELECT o.user_id, p_type,
           jsonb_build_object('order_id', o.id, 'order_number', o.order_number,
                              'status', o.status, 'payment_status', o.payment_status,
                              'total_amount', o.total_amount::text, 'currency', o.currency,
                              'conversation_id', c.id),
           o.chatbot_id, o.contact_id
      FROM orders o
      LEFT JOIN conversations c ON c.user_id = o.user_id AND c.chatbot_id = o.chatbot_id
                               AND c.contact_id = o.contact_id
     WHERE o.id = ANY (p_orders)
     ORDER BY o.id;
END $$;

CREATE FUNCTION orders_made() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM tell_orders('order.created', ARRAY (SELECT n.id FROM made n));
    PERFORM note_orders(c.user_id, c.day, c.orders, c.revenue)
       FROM (SELECT n.user_id, n.usage_day AS day, count(*) AS orders,
                    coalesce(sum(n.revenue), 0) AS revenue
               FROM made n GROUP BY 1, 2) c;
    RETURN NULL;
END $$;
CREATE TRIGGER orders_made AFTER INSERT ON orders REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION orders_made();

CREATE FUNCTION orders_moved() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_moved bigint[] := ARRAY (
        SELECT n.id FROM now_so n JOIN was_so o ON o.id = n.id
         WHERE (n.status, n.payment_status) IS DISTINCT FROM (o.status, o.payment_status));
BEGIN
    IF cardinality(v_moved) > 0 THEN
        PERFORM tell_orders('order.updated', v_moved);
        PERFORM note_orders(c.user_id, c.day, 0, c.revenue)
           FROM (SELECT n.user_id, n.revenue_day AS day, sum(n.revenue) AS revenue
                   FROM now_so n JOIN was_so o ON o.id = n.id
                  WHERE o.revenue_day IS NULL AND n.revenue_day IS NOT NULL GROUP BY 1, 2) c;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER orders_moved AFTER UPDATE ON orders
    REFERENCING NEW TABLE AS now_so OLD TABLE AS was_so
    FOR EACH STATEMENT EXECUTE FUNCTION orders_moved();

CREATE CONSTRAINT TRIGGER count_orders AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION count_orders();
CREATE CONSTRAINT TRIGGER count_revenue AFTER UPDATE ON orders DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.revenue_day IS NULL AND NEW.revenue_day IS NOT NULL)
    EXECUTE FUNCTION count_orders();
-- It locks the month too.
DROP TRIGGER figures_by_order ON orders;
CREATE CONSTRAINT TRIGGER figures_by_order AFTER INSERT OR DELETE ON orders
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION figures_by_order();

-- ---- what cannot be counted again ---------------------------------------------------------------

ALTER TABLE usage_gaps DROP CONSTRAINT usage_gaps_source_check;
ALTER TABLE usage_gaps ADD CONSTRAINT usage_gaps_source_check
    CHECK (source IN ('messages', 'received', 'takeovers', 'actions', 'model_calls', 'orders',
                      'revenue')) NOT VALID;

CREATE FUNCTION note_orders_gone() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.usage_gaps (user_id, source, usage_day, why)
    SELECT DISTINCT g.user_id, d.source, d.day, 'rows were removed'
      FROM gone g
      JOIN public.users u ON u.id = g.user_id
     CROSS JOIN LATERAL (VALUES ('orders', g.usage_day), ('revenue', g.revenue_day))
           AS d (source, day)
     WHERE d.day IS NOT NULL
     ORDER BY 1, 2, 3
    ON CONFLICT (user_id, source, usage_day) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER note_gone AFTER DELETE ON orders REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION note_orders_gone();

-- ---- first answers that tell of a contact -------------------------------------------------------

ALTER TABLE idempotency_keys ADD COLUMN IF NOT EXISTS contact_id bigint;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'idempotency_keys'::regclass
                      AND confrelid = 'contacts'::regclass) THEN
        ALTER TABLE idempotency_keys ADD FOREIGN KEY (user_id, contact_id)
            REFERENCES contacts (user_id, id) ON DELETE CASCADE;
    END IF;
END $$;
CREATE INDEX IF NOT EXISTS idempotency_keys_contact ON idempotency_keys (user_id, contact_id)
    WHERE contact_id IS NOT NULL;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION note_orders_gone() OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION note_orders_gone() FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
