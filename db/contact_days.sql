-- name: hold_tokens
SELECT outcome, granted FROM hold_contact_tokens($1, $2, $3, $4, $5, $6);

-- name: forget_contact_days
SELECT forget_contact_days($1, $2);
