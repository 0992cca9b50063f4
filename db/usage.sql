-- name: could_reserve
SELECT could_reserve($1, $2, 1) AS outcome;

-- name: reserve_for_turn
SELECT outcome, usage_day, overage, notice FROM reserve_for_turn($1, $2, $3, $4, $5);

-- name: reserve_actions_for_turn
SELECT reserve_actions_for_turn($1, $2, $3, $4, $5) AS outcome;

-- name: take_actions
SELECT take_actions($1, $2, $3) AS usage_day;
