-- name: pressed_quotes
-- Of these tokens those that are of a quote of this conversation.
SELECT token FROM quotes WHERE user_id = $1 AND conversation_id = $2 AND token = ANY ($3::text[]);

-- name: lock_quote
SELECT id FROM quotes WHERE user_id = $1 AND conversation_id = $2 AND token = $3 FOR UPDATE;

-- name: read_quote
-- With the order that was made of it, if one was.
SELECT q.id, q.items, q.currency, q.status, q.expires_at < now() AS is_over,
       o.order_number, o.total_amount AS ordered_amount, o.currency AS ordered_currency,
       coalesce(o.status = 'cancelled', false) AS is_cancelled
  FROM quotes q LEFT JOIN orders o ON o.user_id = $1 AND o.quote_id = q.id
 WHERE q.user_id = $1 AND q.id = $2;

-- name: end_quote
UPDATE quotes SET status = $3 WHERE user_id = $1 AND id = $2 AND status = 'open'
RETURNING true AS ended;

-- name: replace_quotes
UPDATE quotes SET status = 'replaced'
 WHERE user_id = $1 AND conversation_id = $2 AND status = 'open';

-- name: keep_quote
INSERT INTO quotes (user_id, chatbot_id, contact_id, conversation_id, input_seq, token, items,
                    total_amount, currency, expires_at)
SELECT $1, v.chatbot_id, v.contact_id, v.id, $3, $4, $5, $6, $7, now() + $8::interval
  FROM conversations v WHERE v.user_id = $1 AND v.id = $2;

-- name: orders_of_contact
-- The newest $4, or the one with this number.
SELECT o.order_number, o.status, o.payment_status, o.total_amount, o.currency, o.created_at,
       coalesce((SELECT jsonb_agg(jsonb_build_array(i.quantity, i.product_name) ORDER BY i.id)
                   FROM (SELECT * FROM order_items t
                          WHERE t.user_id = $1 AND t.order_id = o.id ORDER BY t.id LIMIT 20) i),
                '[]') AS items
  FROM orders o
 WHERE o.user_id = $1 AND o.contact_id = $2 AND o.order_number IS NOT NULL
   AND ($3::text IS NULL OR o.order_number = $3)
 ORDER BY o.id DESC LIMIT $4;

-- name: forget_quotes
SELECT forget_quotes($1, $2);
