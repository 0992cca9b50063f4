-- name: fit_plans
-- Behind a pooler it would be set for whoever gets that connection next, and not for us.
SELECT CASE WHEN pg_backend_pid() = $1 AND min(c.reltuples) < 1000
            THEN set_config('plan_cache_mode', 'force_custom_plan', false) END AS set
  FROM pg_class c
 WHERE c.oid IN ('contacts'::regclass, 'conversations'::regclass, 'messages'::regclass);

-- name: have_grown
SELECT min(c.reltuples) >= 1000 AS grown
  FROM pg_class c
 WHERE c.oid IN ('contacts'::regclass, 'conversations'::regclass, 'messages'::regclass);
