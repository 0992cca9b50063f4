-- name: due_contracts
SELECT user_id, id FROM due_contracts($1);

-- name: advance_contract
SELECT what FROM advance_contract($1, $2);

-- name: read_contract
-- As it is now, with the days that are left on the tenant's own.
SELECT s.id AS subscription_id, s.subscription_name, s.contract_end_date,
       s.contract_end_date - (now() AT TIME ZONE u.timezone)::date AS days_left
  FROM user_subscriptions s JOIN users u ON u.id = $1
 WHERE s.user_id = $1 AND s.id = $2;
