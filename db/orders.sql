-- name: hold_currency
-- Until the transaction ends it stays as it is.
SELECT hold_currency($1) AS currency;

-- name: hold_contact
-- Whoever erases it waits, or was before.
SELECT true AS there FROM contacts WHERE user_id = $1 AND id = $2 AND erased_at IS NULL FOR SHARE;

-- name: hold_conversation
-- Before the order, as the order of locks wants it: where it is told in the conversation's order.
SELECT order_events($1, ARRAY[$2::text], ARRAY (
    SELECT c.id FROM conversations c
     WHERE c.user_id = $1 AND c.chatbot_id = $3 AND c.contact_id = $4));

-- name: create_order
-- No row: the number is taken.
INSERT INTO orders (user_id, chatbot_id, contact_id, order_number, total_amount, order_notes,
                    shipping_address, message_id, quote_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (order_number) DO NOTHING RETURNING id;

-- name: add_items
INSERT INTO order_items (user_id, order_id, product_name, product_sku, quantity, unit_price,
                         total_price)
SELECT $1, $2, i.* FROM unnest($3::text[], $4::text[], $5::integer[], $6::numeric[], $7::numeric[])
       AS i;

-- name: read_order
-- With its items, a list for each of their columns: in one statement, so that the total is theirs.
SELECT o.id, o.order_number, o.chatbot_id, o.contact_id, o.message_id, o.status, o.payment_status,
       o.total_amount, o.currency, o.order_notes,
       CASE WHEN o.shipping_address IS NOT NULL THEN as_object(o.shipping_address)::text END
           AS shipping_address,
       as_object(o.order_details)::text AS order_details, o.paid_at, o.created_at, o.updated_at,
       o.version, i.*
  FROM orders o
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(t.id ORDER BY t.id), '{}') AS ids,
              array_agg(t.product_name ORDER BY t.id) AS names,
              array_agg(t.product_sku ORDER BY t.id) AS skus,
              array_agg(t.quantity ORDER BY t.id) AS quantities,
              array_agg(t.unit_price ORDER BY t.id) AS unit_prices,
              array_agg(t.total_price ORDER BY t.id) AS total_prices
         FROM order_items t WHERE t.user_id = $1 AND t.order_id = $2) i
 WHERE o.user_id = $1 AND o.id = $2
   AND NOT EXISTS (SELECT FROM contacts k WHERE k.user_id = $1 AND k.id = o.contact_id
                      AND k.erased_at IS NOT NULL);

-- name: whose_order
SELECT chatbot_id, contact_id FROM orders WHERE user_id = $1 AND id = $2;

-- name: told_states
SELECT unnest(order_messages) AS status FROM chatbots WHERE user_id = $1 AND id = $2;

-- name: hold_talk
-- Before the order: what is queued in it is queued in its order.
SELECT id FROM conversations WHERE user_id = $1 AND chatbot_id = $2 AND contact_id = $3
   FOR NO KEY UPDATE;

-- name: told_outside
-- What the chatbot has where the customer cannot be told in free words, and whether a template asked
-- them to write since they last did. The conversation is locked by the caller.
SELECT v.chatbot_id, v.contact_id, b.window_template, b.order_template,
       EXISTS (SELECT FROM messages t
                WHERE t.user_id = $1 AND t.conversation_id = v.id
                  AND t.message_type = 'template' AND t.direction = 'outbound'
                  AND t.status NOT IN ('failed', 'cancelled')
                  AND coalesce(t.metadata ->> 'kind', '') <> 'campaign'
                  AND t.created_at > coalesce(v.last_inbound_at, '-infinity')) AS asked,
       (SELECT to_char(o.total_amount, 'FM9999999999999990.00') || coalesce(' ' || o.currency, '')
          FROM orders o WHERE o.user_id = $1 AND o.order_number = $3) AS total_amount
  FROM conversations v JOIN chatbots b ON b.user_id = $1 AND b.id = v.chatbot_id
 WHERE v.user_id = $1 AND v.id = $2;

-- name: lock_order
SELECT version, order_number, status, payment_status, order_notes,
       CASE WHEN shipping_address IS NOT NULL THEN as_object(shipping_address) END
           AS shipping_address
  FROM orders WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: change_order
UPDATE orders SET status = $3, payment_status = $4, order_notes = $5, shipping_address = $6
 WHERE user_id = $1 AND id = $2;
