-- name: reserve_messages
SELECT outcome, usage_day, overage, notice FROM reserve_messages($1, $2, $3);

-- name: settle_messages
SELECT settle_messages($1, $2, $3) AS settled;

-- name: release_messages
SELECT release_messages($1, $2) AS released;

-- name: give_back_messages
SELECT give_back_messages($1, $2, $3);

-- name: count_received
-- On the tenant's own day. Not the function of the same name: a function in SQL that is not inlined
-- is planned anew in every call.
INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_received)
SELECT $1, (now() AT TIME ZONE u.timezone)::date, $2 FROM users u WHERE u.id = $1
ON CONFLICT (user_id, tracking_date) DO UPDATE
   SET daily_messages_received = usage_tracking.daily_messages_received
                                 + excluded.daily_messages_received,
       updated_at = now();

-- name: reserve_actions
-- By the turn that has the lease; a turn that lost it must not add to another's hold.
SELECT CASE WHEN EXISTS (SELECT FROM conversations v WHERE v.user_id = $1 AND v.id = $2
                            AND v.lease_owner = $3 AND v.epoch = $4 FOR SHARE)
            THEN reserve_actions($1, $2, $5) ELSE 'no_reservation' END AS outcome;

-- name: settle_actions
SELECT settle_actions($1, $2, $3) AS usage_day;
