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
       coalesce(t.test_tokens_used, 0) AS test_tokens_used,
       coalesce(m.total_messages_sent, 0) AS total_messages_sent,
       coalesce(m.overage_messages, 0) AS overage_messages
  FROM users u
 CROSS JOIN LATERAL (SELECT t.day, date_trunc('month', t.day::timestamp) AS month
                       FROM usage_day(u.timezone, u.usage_day_floor) AS t (day)) d
  LEFT JOIN user_subscriptions s ON s.user_id = $1 AND s.is_active
  LEFT JOIN usage_tracking t ON t.user_id = $1 AND t.tracking_date = d.day
  LEFT JOIN monthly_usage_summary m ON m.user_id = $1 AND m.year = extract(year FROM d.day)
        AND m.month = extract(month FROM d.day)
 WHERE u.id = $1;

-- name: list_days
-- From $2 to $3, without gaps.
SELECT d.day::date AS tracking_date,
       coalesce(t.daily_messages_sent, 0) AS daily_messages_sent,
       coalesce(t.daily_messages_received, 0) AS daily_messages_received,
       coalesce(t.daily_overage_messages, 0) AS daily_overage_messages,
       coalesce(t.daily_campaigns_sent, 0) AS daily_campaigns_sent,
       coalesce(t.daily_campaign_messages, 0) AS daily_campaign_messages,
       coalesce(t.live_takeovers_used, 0) AS live_takeovers_used,
       coalesce(t.actions_created, 0) AS actions_created,
       coalesce(t.api_calls_made, 0) AS api_calls_made,
       coalesce(t.test_tokens_used, 0) AS test_tokens_used
  FROM generate_series($2::date::timestamp, $3::date::timestamp, interval '1 day') AS d (day)
  LEFT JOIN usage_tracking t ON t.user_id = $1 AND t.tracking_date = d.day::date
 ORDER BY d.day;

-- name: list_months
SELECT year, month, coalesce(total_messages_sent, 0) AS total_messages_sent,
       coalesce(total_campaigns_sent, 0) AS total_campaigns_sent,
       coalesce(total_orders_created, 0) AS total_orders_created,
       coalesce(total_revenue, 0) AS total_revenue,
       coalesce(overage_messages, 0) AS overage_messages,
       coalesce(overage_campaigns, 0) AS overage_campaigns,
       coalesce(overage_cost, 0) AS overage_cost, avg_daily_messages, avg_conversion_rate
  FROM monthly_usage_summary WHERE user_id = $1
 ORDER BY year DESC, month DESC LIMIT $2;
