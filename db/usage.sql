-- name: reserve_messages
SELECT outcome, usage_day FROM reserve_messages($1, $2, $3);

-- name: settle_messages
SELECT settle_messages($1, $2, $3) AS settled;

-- name: release_messages
SELECT release_messages($1, $2) AS released;

-- name: give_back_messages
SELECT give_back_messages($1, $2);

-- name: count_received
SELECT count_received($1, $2);
