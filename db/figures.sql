-- name: claim_figures
SELECT user_id, id FROM claim_figures($1);

-- name: make_figures
SELECT make_figures($1, $2);

-- name: forget_model_calls
SELECT forget_model_calls($1, $2) AS forgotten;
