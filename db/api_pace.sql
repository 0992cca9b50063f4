-- name: charge_calls
-- What was called already is charged whole, also beyond what was free: who let too much through
-- gives it back later. In the order of their numbers, as everybody locks them.
INSERT INTO api_pace AS p (user_id, api_key_id, ahead_to)
SELECT $1, c.id, now() + c.takes
  FROM unnest($2::bigint[], $3::interval[]) AS c (id, takes) ORDER BY c.id
    ON CONFLICT (user_id, api_key_id) DO UPDATE
   SET ahead_to = greatest(p.ahead_to, now()) + (EXCLUDED.ahead_to - now())
RETURNING p.api_key_id, extract(epoch FROM p.ahead_to - clock_timestamp())::float8 AS ahead_s;
