-- name: read_subscription
-- The row in force or, where its days are over or yet to come, that would be; and the tenant's today.
SELECT s.id, s.subscription_name, s.subscription_config, s.daily_message_limit,
       s.monthly_message_limit, s.daily_campaign_limit, s.monthly_campaign_limit,
       s.billing_amount, s.billing_currency, s.billing_cycle, s.contract_start_date,
       s.contract_end_date, coalesce(s.auto_renew, false) AS auto_renew,
       (s.contract_start_date <= d.today
        AND (s.contract_end_date IS NULL OR s.contract_end_date >= d.today
             OR coalesce(s.auto_renew, false))) AS in_force
  FROM user_subscriptions s
  JOIN users u ON u.id = $1
 CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE u.timezone)::date AS today) d
 WHERE s.user_id = $1 AND s.is_active;

-- name: past_subscriptions
-- History, the last one first.
SELECT id, subscription_name, contract_start_date, contract_end_date
  FROM user_subscriptions WHERE user_id = $1 AND is_active IS NOT TRUE
 ORDER BY contract_start_date DESC, id DESC;

-- name: close_subscription
-- Its last day is that before the next one's first; of a row that began no sooner, its first.
UPDATE user_subscriptions s
   SET is_active = false, auto_renew = false, updated_at = now(),
       contract_end_date = least(s.contract_end_date,
                                 greatest(s.contract_start_date, least($3::date - 1, d.today)))
  FROM users u
 CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE u.timezone)::date AS today) d
 WHERE u.id = $1 AND s.user_id = $1 AND s.id = $2;

-- name: open_subscription
INSERT INTO user_subscriptions (user_id, subscription_name, subscription_config,
                                daily_message_limit, monthly_message_limit, daily_campaign_limit,
                                monthly_campaign_limit, billing_amount, billing_currency,
                                billing_cycle, contract_start_date, contract_end_date, auto_renew)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id;

-- name: read_uses
-- What there is of everything that a plan bounds by number; of contacts those that have room, where
-- a plan bounded them: else they are not counted, and counting a million of them took 3 s.
SELECT (SELECT count(*) FROM chatbots c WHERE c.user_id = $1 AND c.deleted_at IS NULL) AS max_chatbots,
       (SELECT n.contacts FROM contact_counts n WHERE n.user_id = $1) AS max_contacts,
       (SELECT count(*) FROM webhooks w WHERE w.user_id = $1) AS max_webhooks,
       (SELECT count(*) FROM api_keys k WHERE k.user_id = $1 AND coalesce(k.is_active, true)
           AND (k.expires_at IS NULL OR k.expires_at > now())) AS max_api_keys,
       (SELECT count(*) FROM conversations v WHERE v.user_id = $1 AND v.lease_owner IS NOT NULL)
           AS max_concurrent_conversations,
       coalesce((SELECT t.actions_created + t.actions_reserved FROM usage_tracking t
                  WHERE t.user_id = $1 AND t.tracking_date = d.today), 0) AS max_actions_per_day,
       coalesce((SELECT t.test_tokens_used FROM usage_tracking t
                  WHERE t.user_id = $1 AND t.tracking_date = d.today), 0) AS max_test_tokens_per_day,
       coalesce((SELECT t.daily_messages_sent + t.messages_reserved FROM usage_tracking t
                  WHERE t.user_id = $1 AND t.tracking_date = d.today), 0) AS daily_messages,
       coalesce((SELECT t.daily_campaigns_sent FROM usage_tracking t
                  WHERE t.user_id = $1 AND t.tracking_date = d.today), 0) AS daily_campaigns,
       coalesce((SELECT m.total_messages_sent + m.messages_reserved FROM monthly_usage_summary m
                  WHERE m.user_id = $1 AND m.year = extract(year FROM d.today)
                    AND m.month = extract(month FROM d.today)), 0) AS monthly_messages,
       coalesce((SELECT m.total_campaigns_sent FROM monthly_usage_summary m
                  WHERE m.user_id = $1 AND m.year = extract(year FROM d.today)
                    AND m.month = extract(month FROM d.today)), 0) AS monthly_campaigns
  FROM users u
 CROSS JOIN LATERAL (SELECT usage_day(u.timezone, u.usage_day_floor) AS today) d
 WHERE u.id = $1;

-- name: tell_limit
SELECT tell_limit($1, $2, $3, $4, $5);
