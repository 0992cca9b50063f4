-- Lists of products and orders by what they can be filtered by, each in the order of its pages.
-- Writers wait while an index is built, readers do not.

CREATE INDEX products_list ON products (user_id, id);
CREATE INDEX products_active ON products (user_id, (coalesce(is_active, false)), id);
CREATE INDEX orders_of_contact ON orders (user_id, contact_id, id);
CREATE INDEX orders_status ON orders (user_id, status, id);
CREATE INDEX orders_payment ON orders (user_id, payment_status, id);
CREATE INDEX orders_states ON orders (user_id, status, payment_status, id);
CREATE INDEX orders_chatbot ON orders (user_id, chatbot_id, id);
CREATE INDEX orders_chatbot_status ON orders (user_id, chatbot_id, status, id);
CREATE INDEX orders_chatbot_payment ON orders (user_id, chatbot_id, payment_status, id);
DROP INDEX orders_contact;  -- the one of pages does for all that it did
