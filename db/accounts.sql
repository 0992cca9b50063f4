-- name: learn_accounts
-- Of which account (WABA) a number is. Who changes the chatbot at this moment is not waited for:
-- a batch of many tenants would wait with us. Comes back what is known now.
WITH news AS (
    SELECT * FROM unnest($2::bigint[], $3::text[]) AS n (chatbot_id, waba_id)
), free AS (
    SELECT c.id FROM chatbots c JOIN news n ON n.chatbot_id = c.id
     WHERE c.user_id = $1 AND c.waba_id IS DISTINCT FROM n.waba_id
     ORDER BY c.id FOR NO KEY UPDATE OF c SKIP LOCKED
), written AS (
    UPDATE chatbots c SET waba_id = n.waba_id, updated_at = now()
      FROM news n JOIN free ON free.id = n.chatbot_id
     WHERE c.user_id = $1 AND c.id = n.chatbot_id
    RETURNING c.id
)
SELECT n.chatbot_id FROM news n LEFT JOIN chatbots c ON c.user_id = $1 AND c.id = n.chatbot_id
 WHERE c.waba_id IS NOT DISTINCT FROM n.waba_id OR n.chatbot_id IN (SELECT id FROM written);

-- name: resolve_accounts
SELECT n.place::int, r.outcome, r.user_id, r.chatbot_id
  FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY
       AS n (waba_id, number, app_id, place)
 CROSS JOIN LATERAL resolve_account(n.waba_id, n.number, n.app_id) r
 ORDER BY n.place, r.user_id;

-- name: keep_event
-- Comes back when it was not there before.
INSERT INTO account_events (user_id, chatbot_id, item_key, field, event, trace_id, raw)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (user_id, item_key) DO NOTHING
RETURNING id;

-- name: raise_rate
-- Meta lets the number send faster. Below the default somebody chose the rate: it stays.
UPDATE send_limits SET max_rate = greatest(max_rate, $3::int)
 WHERE user_id = $1 AND chatbot_id = $2 AND max_rate >= $4::int;
