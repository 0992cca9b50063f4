-- Each statement tells only what differs, and what cannot be counted again (`why`). A counter that is
-- missing is 0.

-- name: recount_days
WITH t AS (
    SELECT t.*, t.tracking_date AS day FROM usage_tracking t WHERE t.user_id = $1
), sent AS (
    SELECT m.usage_day AS day, count(*) FILTER (WHERE NOT m.overage) AS within,
           count(*) FILTER (WHERE m.overage) AS beyond
      FROM messages m WHERE m.user_id = $1 AND m.usage_day IS NOT NULL GROUP BY 1
), received AS (
    SELECT m.received_day AS day, count(*) AS n
      FROM messages m WHERE m.user_id = $1 AND m.received_day IS NOT NULL GROUP BY 1
), taken AS (
    SELECT k.usage_day AS day, count(*) AS n FROM takeovers k WHERE k.user_id = $1 GROUP BY 1
), requested AS (
    SELECT a.usage_day AS day, count(*) AS n
      FROM actions a WHERE a.user_id = $1 AND a.usage_day IS NOT NULL GROUP BY 1
), started AS (
    SELECT c.usage_day AS day, count(*) AS n
      FROM campaigns c WHERE c.user_id = $1 AND c.usage_day IS NOT NULL GROUP BY 1
), promoted AS (
    SELECT m.usage_day AS day, count(*) AS n
      FROM messages m WHERE m.user_id = $1 AND m.usage_day IS NOT NULL AND m.bulk GROUP BY 1
), tested AS (
    SELECT c.usage_day AS day, sum(c.input_tokens + c.output_tokens) AS n
      FROM model_calls c WHERE c.user_id = $1 AND c.kind IN ('ask', 'eval') GROUP BY 1
), held AS (
    SELECT r.usage_day AS day, coalesce(sum(r.messages) FILTER (WHERE NOT r.overage), 0) AS messages,
           sum(r.actions) AS actions
      FROM usage_reservations r WHERE r.user_id = $1 GROUP BY 1
), days AS (
    SELECT day FROM t UNION SELECT day FROM sent UNION SELECT day FROM received
    UNION SELECT day FROM taken UNION SELECT day FROM requested UNION SELECT day FROM held
    UNION SELECT day FROM tested UNION SELECT day FROM started UNION SELECT day FROM promoted
)
SELECT d.day::text AS period, c.counter, coalesce(c.counted, 0)::text AS counted,
       coalesce(c.recounted, 0)::text AS recounted, g.why
  FROM days d
  LEFT JOIN t ON t.day = d.day
  LEFT JOIN sent ON sent.day = d.day
  LEFT JOIN received ON received.day = d.day
  LEFT JOIN taken ON taken.day = d.day
  LEFT JOIN requested ON requested.day = d.day
  LEFT JOIN held ON held.day = d.day
  LEFT JOIN tested ON tested.day = d.day
  LEFT JOIN started ON started.day = d.day
  LEFT JOIN promoted ON promoted.day = d.day
 CROSS JOIN LATERAL (VALUES
       ('daily_messages_sent', 'messages', t.daily_messages_sent, sent.within),
       ('daily_overage_messages', 'messages', t.daily_overage_messages, sent.beyond),
       ('daily_messages_received', 'received', t.daily_messages_received, received.n),
       ('live_takeovers_used', 'takeovers', t.live_takeovers_used, taken.n),
       ('actions_created', 'actions', t.actions_created, requested.n),
       ('messages_reserved', NULL, t.messages_reserved, held.messages),
       ('test_tokens_used', CASE WHEN t.test_tokens_used > 0 THEN 'model_calls' END,
        t.test_tokens_used, tested.n),
       ('actions_reserved', NULL, t.actions_reserved, held.actions),
       ('daily_campaigns_sent', NULL, t.daily_campaigns_sent, started.n),
       ('daily_campaign_messages', 'messages', t.daily_campaign_messages, promoted.n)
       ) AS c (counter, source, counted, recounted)
  LEFT JOIN usage_gaps g ON g.user_id = $1 AND g.source = c.source AND g.usage_day = d.day
 WHERE g.why IS NOT NULL OR coalesce(c.counted, 0) <> coalesce(c.recounted, 0)
 ORDER BY d.day, c.counter;

-- name: recount_months
-- Of a day whose rows are gone, what its own counters say.
WITH s AS (
    SELECT s.*, make_date(s.year, s.month, 1) AS first
      FROM monthly_usage_summary s WHERE s.user_id = $1
), gone AS (
    SELECT g.usage_day AS day FROM usage_gaps g WHERE g.user_id = $1 AND g.source = 'messages'
), units AS (
    SELECT m.usage_day AS day, (NOT m.overage)::int AS within, m.overage::int AS beyond, 0 AS held
      FROM messages m
     WHERE m.user_id = $1 AND m.usage_day IS NOT NULL AND m.usage_day NOT IN (SELECT day FROM gone)
    UNION ALL
    SELECT t.tracking_date, coalesce(t.daily_messages_sent, 0), t.daily_overage_messages, 0
      FROM usage_tracking t
     WHERE t.user_id = $1 AND t.tracking_date IN (SELECT day FROM gone)
    UNION ALL
    SELECT r.usage_day, 0, 0, r.messages FROM usage_reservations r
     WHERE r.user_id = $1 AND NOT r.overage
), r AS (
    SELECT date_trunc('month', day)::date AS first, sum(within) AS within, sum(beyond) AS beyond,
           sum(held) AS held
      FROM units GROUP BY 1
), made AS (
    SELECT date_trunc('month', o.usage_day)::date AS first, count(*) AS orders
      FROM orders o WHERE o.user_id = $1 AND o.usage_day IS NOT NULL GROUP BY 1
), earned AS (
    SELECT date_trunc('month', o.revenue_day)::date AS first, sum(o.revenue) AS revenue
      FROM orders o WHERE o.user_id = $1 AND o.revenue_day IS NOT NULL GROUP BY 1
), begun AS (
    SELECT date_trunc('month', c.usage_day)::date AS first, count(*) AS n,
           count(*) FILTER (WHERE c.overage) AS beyond
      FROM campaigns c WHERE c.user_id = $1 AND c.usage_day IS NOT NULL GROUP BY 1
), gap AS (
    SELECT g.source, date_trunc('month', g.usage_day)::date AS first, max(g.why) AS why
      FROM usage_gaps g WHERE g.user_id = $1 AND g.source IN ('orders', 'revenue') GROUP BY 1, 2
)
SELECT to_char(first, 'YYYY-MM') AS period, c.counter, coalesce(c.counted, 0)::text AS counted,
       coalesce(c.recounted, 0)::text AS recounted, gap.why
  FROM s FULL JOIN r USING (first) FULL JOIN made USING (first) FULL JOIN earned USING (first)
  FULL JOIN begun USING (first)
 CROSS JOIN LATERAL (VALUES
       ('total_messages_sent', NULL, s.total_messages_sent::numeric, r.within),
       ('overage_messages', NULL, s.overage_messages, r.beyond),
       ('messages_reserved', NULL, s.messages_reserved, r.held),
       ('total_campaigns_sent', NULL, s.total_campaigns_sent, begun.n),
       ('overage_campaigns', NULL, s.overage_campaigns, begun.beyond),
       ('total_orders_created', 'orders', s.total_orders_created, made.orders),
       ('total_revenue', 'revenue', s.total_revenue, earned.revenue)
       ) AS c (counter, source, counted, recounted)
  LEFT JOIN gap USING (source, first)
 WHERE gap.why IS NOT NULL OR coalesce(c.counted, 0) <> coalesce(c.recounted, 0)
 ORDER BY first, c.counter;

-- name: recount_figures
-- Those that wait to be made again are as old as they are.
SELECT to_char(make_date(s.year, s.month, 1), 'YYYY-MM') AS period, c.counter,
       coalesce(c.counted::text, 'nothing') AS counted,
       coalesce(c.recounted::text, 'nothing') AS recounted,
       CASE WHEN s.figures_due <= now() + interval '60 s' THEN 'about to be made'
            WHEN c.counter = 'avg_conversion_rate' THEN gap.why END AS why
  FROM monthly_usage_summary s
 CROSS JOIN LATERAL month_figures($1, s.year, s.month) f
 CROSS JOIN LATERAL (VALUES
       ('avg_daily_messages', s.avg_daily_messages, f.avg_daily_messages),
       ('overage_cost', s.overage_cost, f.overage_cost),
       ('avg_conversion_rate', s.avg_conversion_rate, f.avg_conversion_rate)
       ) AS c (counter, counted, recounted)
  LEFT JOIN LATERAL (
       SELECT max(g.why) AS why FROM usage_gaps g
        WHERE g.user_id = $1 AND g.source = 'received'
          AND date_trunc('month', g.usage_day) = make_date(s.year, s.month, 1)) gap ON true
 WHERE s.user_id = $1 AND c.counted IS DISTINCT FROM c.recounted
 ORDER BY 1, 2;

-- name: recount_contacts
-- Of a tenant that has or had a limit.
SELECT 'now' AS period, 'contacts' AS counter, n.contacts::text AS counted,
       r.contacts::text AS recounted, NULL AS why
  FROM contact_counts n
 CROSS JOIN LATERAL (SELECT count(*) AS contacts FROM contacts c
                      WHERE c.user_id = $1 AND NOT c.over_limit) r
 WHERE n.user_id = $1 AND n.contacts <> r.contacts;

-- name: recount_model_usage
WITH r AS (
    SELECT c.chatbot_id, c.usage_day, c.kind, c.model, sum(c.calls) AS calls,
           sum(c.unpriced_calls) AS unpriced_calls, sum(c.input_tokens) AS input_tokens,
           sum(c.cached_tokens) AS cached_tokens, sum(c.output_tokens) AS output_tokens,
           sum(c.cost) AS cost
      FROM model_calls c WHERE c.user_id = $1 GROUP BY 1, 2, 3, 4
), u AS (
    SELECT * FROM model_usage WHERE user_id = $1
)
SELECT format('%s, chatbot %s, %s by %s', usage_day, chatbot_id, kind, model) AS period, c.counter,
       coalesce(c.counted, 0)::text AS counted, coalesce(c.recounted, 0)::text AS recounted, why
  FROM u FULL JOIN r USING (chatbot_id, usage_day, kind, model)
  LEFT JOIN (SELECT g.usage_day, g.why FROM usage_gaps g
              WHERE g.user_id = $1 AND g.source = 'model_calls') gap USING (usage_day)
 CROSS JOIN LATERAL (VALUES
       ('calls', u.calls::numeric, r.calls),
       ('unpriced_calls', u.unpriced_calls, r.unpriced_calls),
       ('input_tokens', u.input_tokens, r.input_tokens),
       ('cached_tokens', u.cached_tokens, r.cached_tokens),
       ('output_tokens', u.output_tokens, r.output_tokens),
       ('cost', u.cost, r.cost)
       ) AS c (counter, counted, recounted)
 WHERE why IS NOT NULL OR coalesce(c.counted, 0) <> coalesce(c.recounted, 0)
 ORDER BY usage_day, chatbot_id, kind, model, c.counter;

-- name: every_tenant
-- Across tenants, and not granted to the runtime: only for operator commands.
SELECT every_tenant() AS user_id;
