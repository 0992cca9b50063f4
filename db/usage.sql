-- name: could_reserve
SELECT could_reserve($1, $2, 1) AS outcome;

-- name: reserve_for_turn
SELECT outcome, usage_day, overage, notice FROM reserve_for_turn($1, $2, $3, $4, $5);

-- name: reserve_actions_for_turn
SELECT reserve_actions_for_turn($1, $2, $3, $4, $5) AS outcome;

-- name: take_actions
SELECT take_actions($1, $2, $3) AS usage_day;

-- name: read_usage
-- The tenant's own day and month, and when they end.
SELECT u.timezone, d.day AS tracking_date,
       (d.day + 1)::timestamp AT TIME ZONE u.timezone AS day_ends_at,
       (d.month + interval '1 month')::timestamp AT TIME ZONE u.timezone AS month_ends_at,
       extract(year FROM d.day)::int AS year, extract(month FROM d.day)::int AS month,
       s.subscription_name, s.daily_message_limit, s.monthly_message_limit,
       coalesce(t.daily_messages_sent, 0) AS daily_messages_sent,
       coalesce(t.daily_messages_received, 0) AS daily_messages_received,
       coalesce(t.daily_overage_messages, 0) AS daily_overage_messages,
       coalesce(t.messages_reserved, 0) AS messages_reserved,
       coalesce(t.live_takeovers_used, 0) AS live_takeovers_used,
       coalesce(t.actions_created, 0) AS actions_created,
       coalesce(t.api_calls_made, 0) AS api_calls_made,
       coalesce(m.total_messages_sent, 0) AS total_messages_sent,
       coalesce(m.overage_messages, 0) AS overage_messages
  FROM users u
 CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE u.timezone)::date AS day,
                            date_trunc('month', now() AT TIME ZONE u.timezone) AS month) d
  LEFT JOIN user_subscriptions s ON s.user_id = $1 AND s.is_active
  LEFT JOIN usage_tracking t ON t.user_id = $1 AND t.tracking_date = d.day
  LEFT JOIN monthly_usage_summary m ON m.user_id = $1 AND m.year = extract(year FROM d.day)
        AND m.month = extract(month FROM d.day)
 WHERE u.id = $1;
