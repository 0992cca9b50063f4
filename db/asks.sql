-- name: lock_asking
-- Of a tenant one at a time counts what is open, and makes one more.
SELECT pg_advisory_xact_lock(730580994, ($1::bigint % 2147483647)::integer) IS NULL AS held;

-- name: end_expired
-- Of a process that died while it waited: nobody else ends them, and their keys are free again.
UPDATE asks SET settled_at = now(), problem = 'timeout', question = ''
 WHERE user_id = $1 AND settled_at IS NULL AND expires_at <= clock_timestamp();

-- name: asking
-- What decides whether one more may be asked.
SELECT EXISTS (SELECT FROM chatbots b WHERE b.user_id = $1 AND b.id = $2) AS chatbot,
       EXISTS (SELECT FROM user_subscriptions s
                WHERE s.user_id = $1 AND s.is_active AND s.contract_start_date <= d.today
                  AND (s.contract_end_date IS NULL OR s.contract_end_date >= d.today
                       OR s.auto_renew)) AS in_force,
       (SELECT count(*) FROM asks a WHERE a.user_id = $1 AND a.settled_at IS NULL) AS open,
       coalesce((SELECT t.test_tokens_used FROM usage_tracking t
                  WHERE t.user_id = $1
                    AND t.tracking_date = usage_day(u.timezone, u.usage_day_floor)), 0) AS used
  FROM users u
 CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE u.timezone)::date AS today) d
 WHERE u.id = $1;

-- name: create_ask
INSERT INTO asks (user_id, chatbot_id, question, idempotency_key, request_hash, expires_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6::interval)
RETURNING id;

-- name: asks_over
SELECT asks_over($1::bigint[]) AS id;

-- name: read_outcome
-- With what a limit's problem says.
SELECT a.answer, a.problem,
       (SELECT plan_limit(s.subscription_config, 'max_test_tokens_per_day')
          FROM user_subscriptions s WHERE s.user_id = $1 AND s.is_active) AS allowed,
       coalesce((SELECT t.test_tokens_used FROM usage_tracking t
                  WHERE t.user_id = $1
                    AND t.tracking_date = coalesce(a.usage_day,
                                                   usage_day(u.timezone, u.usage_day_floor))), 0)
           AS used
  FROM asks a JOIN users u ON u.id = $1
 WHERE a.user_id = $1 AND a.id = $2;

-- name: end_waiting
-- Its time is over. Nothing happens to one that is answered. What it holds stays held while a worker
-- is at it.
UPDATE asks
   SET settled_at = now(), problem = 'timeout', question = '',
       reserved_tokens = CASE WHEN lease_owner IS NULL THEN 0 ELSE reserved_tokens END
 WHERE user_id = $1 AND id = $2 AND settled_at IS NULL;

-- name: withdraw_ask
-- Unless it is begun.
DELETE FROM asks WHERE user_id = $1 AND id = $2 AND lease_owner IS NULL AND settled_at IS NULL;

-- name: claim_asks
SELECT user_id, id, epoch FROM claim_asks($1, $2, $3, $4, $5);

-- name: read_ask
-- Nothing comes back when it is somebody else's, or nobody waits any more.
SELECT question, chatbot_id FROM asks
 WHERE user_id = $1 AND id = $2 AND epoch = $3 AND settled_at IS NULL;

-- name: read_bot
-- What a turn would know, with nobody as its customer.
SELECT b.id AS chatbot_id, 0::bigint AS contact_id, 'nobody' AS thread_id,
       EXISTS (SELECT FROM tools t WHERE t.user_id = $1 AND t.chatbot_id = b.id) AS has_tools,
       0::bigint AS answered_seq, 0 AS attempts, false AS rebuild_thread,
       NULL::timestamptz AS failing_since, 0 AS model_tries, false AS told_slow,
       false AS chatbot_failing, true AS mine, now() AS now, now() AS last_inbound_at,
       false AS taken_over, false AS by_human, false AS paused,
       false AS blocked, false AS over_limit,
       NULL AS contact_name, NULL AS contact_language,
       b.name AS chatbot_name, b.language AS chatbot_language, b.texts, true AS chatbot_active,
       b.business_hours, b.answer_checks,
       NULL AS phone_number_id, NULL AS access_token, b.general_instructions,
       u.timezone, u.language AS tenant_language, u.currency,
       '{}'::text[] AS instructions, b.kb_version,
       coalesce((SELECT as_object(s.subscription_config) FROM user_subscriptions s
                  WHERE s.user_id = $1 AND s.is_active), '{}') AS plan,
       '[]'::jsonb AS open_actions, '[]'::jsonb AS facts, b.budgets,
       b.model, b.model_keys, b.topic, b.opt_out_words
  FROM chatbots b
  JOIN users u ON u.id = $1
 WHERE b.user_id = $1 AND b.id = $2;

-- name: reserve_test_tokens
SELECT outcome, granted FROM reserve_test_tokens($1, $2, $3, $4, $5);

-- name: bill_ask
-- Once for each time that it was begun, also when the lease is lost: its calls were made. Nothing
-- comes back when that is done, or the ask is gone.
UPDATE asks a SET billed = a.billed || $3::bigint
  FROM users u
 WHERE u.id = $1 AND a.user_id = $1 AND a.id = $2 AND NOT a.billed @> ARRAY[$3::bigint]
RETURNING a.chatbot_id, coalesce(a.usage_day, usage_day(u.timezone, u.usage_day_floor)) AS usage_day;

-- name: let_go
-- What is held is spent by now, or given back.
UPDATE asks SET reserved_tokens = 0 WHERE user_id = $1 AND id = $2 AND epoch = $3;

-- name: put_back
UPDATE asks SET lease_owner = NULL
 WHERE user_id = $1 AND id = $2 AND epoch = $3 AND settled_at IS NULL;

-- name: settle_ask
-- Nothing happens when it is somebody else's, or nobody waits any more.
UPDATE asks SET settled_at = now(), answer = $4, problem = $5, question = ''
 WHERE user_id = $1 AND id = $2 AND epoch = $3 AND settled_at IS NULL
RETURNING idempotency_key, request_hash;

-- name: keep_answer
-- For whoever repeats the request. A key that was taken meanwhile stays what it is.
INSERT INTO idempotency_keys (user_id, idempotency_key, request_hash, status, headers, body)
VALUES ($1, $2, $3, 200, '{}', $4)
ON CONFLICT (user_id, idempotency_key) DO NOTHING;

-- name: forget_asks
SELECT forget_asks($1, $2);
