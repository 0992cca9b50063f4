-- Shops: stock that is exact, what a search of products is current by, and quotes.

-- ---- stock --------------------------------------------------------------------------------------

-- NULL: it is not counted. Whoever writes an order's items takes them, and `cancelled` brings them
-- back, once, to the product that they were taken from.
ALTER TABLE products ADD COLUMN stock integer CHECK (stock >= 0);
ALTER TABLE order_items ADD COLUMN taken_from bigint;

DROP TRIGGER raise_product_version ON products;
CREATE TRIGGER raise_product_version BEFORE UPDATE ON products FOR EACH ROW
    WHEN ((OLD.name, OLD.sku, OLD.price, OLD.description, OLD.image_url, OLD.is_active, OLD.stock)
          IS DISTINCT FROM
          (NEW.name, NEW.sku, NEW.price, NEW.description, NEW.image_url, NEW.is_active, NEW.stock))
    EXECUTE FUNCTION raise_product_version();

-- As change_product() of migrations/0056, with the stock.
CREATE FUNCTION change_product(p_user bigint, p_id bigint, p_name text, p_sku text,
                               p_price numeric, p_description text, p_image_url text,
                               p_active boolean, p_stock integer) RETURNS bigint
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_other bigint;
BEGIN
    LOOP
        BEGIN
            UPDATE products SET name = p_name, sku = p_sku, price = p_price,
                                description = p_description, image_url = p_image_url,
                                is_active = p_active, stock = p_stock
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

-- More than there is breaks products_stock_check: nobody sells it.
CREATE FUNCTION take_stock() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.taken_from := NULL;
    UPDATE products p SET stock = p.stock - NEW.quantity
     WHERE p.user_id = NEW.user_id AND p.sku = NEW.product_sku AND p.stock IS NOT NULL
    RETURNING p.id INTO NEW.taken_from;
    RETURN NEW;
END $$;
CREATE TRIGGER take_stock BEFORE INSERT ON order_items FOR EACH ROW
    WHEN (NEW.product_sku IS NOT NULL AND NEW.quantity > 0) EXECUTE FUNCTION take_stock();

-- In the order of the products' ids, as who orders locks them.
CREATE FUNCTION return_stock() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM products p
      WHERE p.user_id = NEW.user_id AND p.stock IS NOT NULL
        AND p.id IN (SELECT i.taken_from FROM order_items i
                      WHERE i.user_id = NEW.user_id AND i.order_id = NEW.id)
      ORDER BY p.id FOR NO KEY UPDATE;
    UPDATE products p SET stock = least(p.stock::bigint + t.quantity, 2147483647)
      FROM (SELECT i.taken_from AS id, sum(i.quantity) AS quantity FROM order_items i
             WHERE i.user_id = NEW.user_id AND i.order_id = NEW.id AND i.taken_from IS NOT NULL
             GROUP BY 1) t
     WHERE p.user_id = NEW.user_id AND p.id = t.id AND p.stock IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER return_stock AFTER UPDATE OF status ON orders FOR EACH ROW
    WHEN (NEW.status = 'cancelled' AND OLD.status IS DISTINCT FROM 'cancelled'
          AND NEW.order_number IS NOT NULL)
    EXECUTE FUNCTION return_stock();

-- ---- what a search of products is current by ----------------------------------------------------

-- Moves with every change of what is searched: not with prices and stock, which are read anew.
CREATE TABLE catalogues (
    user_id bigint PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    version bigint NOT NULL
) WITH (fillfactor = 50);

-- With the COMMIT, and once a transaction: a version is locked by nobody for long.
CREATE FUNCTION bump_catalogue() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_user bigint := CASE WHEN TG_OP = 'DELETE' THEN OLD.user_id ELSE NEW.user_id END;
    v_done text := coalesce(current_setting('app.catalogues', true), '');
BEGIN
    IF position(',' || v_user || ',' IN v_done) = 0 THEN
        PERFORM set_config('app.catalogues', v_done || ',' || v_user || ',', true);
        INSERT INTO catalogues AS c (user_id, version)
        SELECT u.id, 1 FROM users u WHERE u.id = v_user
        ON CONFLICT (user_id) DO UPDATE SET version = c.version + 1;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER catalogue_grew AFTER INSERT OR DELETE ON products
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bump_catalogue();
CREATE CONSTRAINT TRIGGER catalogue_changed AFTER UPDATE ON products
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.name, OLD.sku, OLD.description, OLD.is_active)
          IS DISTINCT FROM (NEW.name, NEW.sku, NEW.description, NEW.is_active))
    EXECUTE FUNCTION bump_catalogue();

-- ---- quotes -------------------------------------------------------------------------------------

-- What was added up for a customer, and becomes an order when they press its button. `token` is what
-- the button brings back; `input_seq` the input that began the turn which made it: a turn that is
-- repeated makes no second one. Of a conversation's quotes one at most is open.
CREATE TABLE quotes (
    id              bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    user_id         bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chatbot_id      bigint NOT NULL,
    contact_id      bigint NOT NULL,
    conversation_id bigint NOT NULL,
    input_seq       bigint NOT NULL,
    token           text NOT NULL,
    items           jsonb NOT NULL,
    total_amount    numeric(18,2) NOT NULL,
    currency        varchar(3) NOT NULL,
    status          text NOT NULL DEFAULT 'open'
                    CHECK (status IN ('open', 'ordered', 'replaced', 'void')),
    created_at      timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    expires_at      timestamptz NOT NULL,
    UNIQUE (user_id, id),
    UNIQUE (user_id, token),
    UNIQUE (user_id, conversation_id, input_seq),
    FOREIGN KEY (user_id, chatbot_id) REFERENCES chatbots (user_id, id) ON DELETE CASCADE,
    FOREIGN KEY (user_id, contact_id) REFERENCES contacts (user_id, id) ON DELETE CASCADE,
    FOREIGN KEY (user_id, conversation_id) REFERENCES conversations (user_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX quotes_open ON quotes (user_id, conversation_id) WHERE status = 'open';
CREATE INDEX quotes_chatbot ON quotes (user_id, chatbot_id);
CREATE INDEX quotes_contact ON quotes (user_id, contact_id);
CREATE INDEX quotes_age ON quotes (created_at);

-- A quote becomes one order.
ALTER TABLE orders ADD COLUMN quote_id bigint;
ALTER TABLE orders ADD CONSTRAINT orders_quote_fkey FOREIGN KEY (user_id, quote_id)
    REFERENCES quotes (user_id, id) ON DELETE SET NULL (quote_id) NOT VALID;
CREATE UNIQUE INDEX orders_quote ON orders (user_id, quote_id) WHERE quote_id IS NOT NULL;

DO $$
DECLARE
    t regclass;
BEGIN
    FOREACH t IN ARRAY ARRAY['catalogues', 'quotes']::regclass[] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($p$
            CREATE POLICY tenant ON %s
                USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
                WITH CHECK
                    (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
            $p$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO swiftreplies_app', t);
    END LOOP;
END $$;

-- ---- retention ----------------------------------------------------------------------------------

CREATE POLICY system ON quotes TO swiftreplies_system USING (true);
GRANT SELECT (id, created_at), UPDATE (status), DELETE ON quotes TO swiftreplies_system;

CREATE FUNCTION forget_quotes(p_after interval, p_limit integer) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM public.quotes q
         USING (SELECT i.id FROM public.quotes i WHERE i.created_at < now() - p_after
                 ORDER BY i.created_at LIMIT p_limit FOR UPDATE SKIP LOCKED) old
         WHERE q.id = old.id RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION forget_quotes(interval, integer) OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION forget_quotes(interval, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_quotes(interval, integer) TO CURRENT_USER, swiftreplies_app;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
