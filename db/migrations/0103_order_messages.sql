-- Which states of an order a chatbot tells its customer of: none, unless somebody says so.
ALTER TABLE chatbots
    ADD COLUMN order_messages text[] NOT NULL DEFAULT '{}'
    CHECK (order_messages <@ ARRAY['confirmed', 'preparing', 'shipped', 'delivered', 'cancelled']);
CREATE TRIGGER raise_chatbot_version_with_orders AFTER UPDATE ON chatbots
    FOR EACH ROW WHEN (new.version = old.version
                       AND old.order_messages IS DISTINCT FROM new.order_messages)
    EXECUTE FUNCTION raise_chatbot_version();
