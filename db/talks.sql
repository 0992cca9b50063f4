-- name: list_conversations
-- Newest first, in pages: $3 at most, and so many that they have $4 bytes. `ids` stands for the
-- way that the module takes to those below $2, `only` for what is asked for and no more: a condition
-- that may be void makes the plan expect few rows, and read all to find them.
WITH RECURSIVE ids AS (
/* ids */
), found AS (
    SELECT c.id, c.chatbot_id, c.contact_id, k.phone_number, k.name, k.bsuid,
           CASE WHEN c.taken_over_until > now() THEN 'taken_over'
                WHEN k.conversation_paused THEN 'paused' ELSE 'bot' END AS status,
           c.input_seq > c.answered_seq AS unanswered, c.last_inbound_at,
           CASE WHEN c.taken_over_until > now() THEN c.taken_over_at END AS taken_over_at,
           -- 'infinity' is NULL to the outside: until it is handed back.
           CASE WHEN c.taken_over_until > now() AND isfinite(c.taken_over_until)
                THEN c.taken_over_until END AS taken_over_until,
           CASE WHEN c.taken_over_until > now() THEN c.taken_over_by END AS taken_over_by,
           CASE WHEN c.taken_over_until > now() THEN c.taken_over_reason END AS taken_over_reason,
           c.created_at, c.updated_at
      FROM ids
      JOIN conversations c ON c.user_id = $1 AND c.id = ids.id
      JOIN contacts k ON k.user_id = $1 AND k.id = c.contact_id
     WHERE ids.place > 0
     ORDER BY ids.id DESC LIMIT $3 + 1
), measured AS (
    SELECT f.*, row_number() OVER newest AS place,
           sum(octet_length(f::text)) OVER newest AS bytes
      FROM found f WINDOW newest AS (ORDER BY f.id DESC)
)
SELECT id, chatbot_id, contact_id, status, phone_number, name, bsuid, unanswered, last_inbound_at,
       taken_over_at, taken_over_until, taken_over_by, taken_over_reason, created_at, updated_at,
       count(*) OVER () < (SELECT count(*) FROM found) AS more
  FROM measured
 WHERE place <= $3 AND (bytes <= $4 OR place = 1)
 ORDER BY id DESC;

-- name: step
-- From one to the next in the order of an index: how many a page has is no matter of the plan, which
-- is made for any number.
SELECT $2::bigint AS id, 0 AS place
 UNION ALL
SELECT n.id, ids.place + 1
  FROM ids CROSS JOIN LATERAL (
       SELECT c.id FROM conversations c
         JOIN contacts k ON k.user_id = $1 AND k.id = c.contact_id
        WHERE /* key */ < ids.id AND c.user_id = $1 AND k.erased_at IS NULL AND /* only */
        ORDER BY /* key */ DESC LIMIT 1) n
 WHERE ids.place <= $3

-- name: all_of
-- In whatever order they are found.
(SELECT c.id, 1 AS place
   FROM conversations c JOIN contacts k ON k.user_id = $1 AND k.id = c.contact_id
  WHERE c.id + 0 < $2 AND c.user_id = $1 AND k.erased_at IS NULL AND /* only */
  ORDER BY c.id + 0 DESC LIMIT $3 + 1)

-- name: read_conversation
SELECT c.id, c.chatbot_id, c.contact_id, k.phone_number, k.name, k.bsuid,
       CASE WHEN c.taken_over_until > now() THEN 'taken_over'
            WHEN k.conversation_paused THEN 'paused' ELSE 'bot' END AS status,
       c.input_seq > c.answered_seq AS unanswered, c.last_inbound_at,
       CASE WHEN c.taken_over_until > now() THEN c.taken_over_at END AS taken_over_at,
       CASE WHEN c.taken_over_until > now() AND isfinite(c.taken_over_until)
            THEN c.taken_over_until END AS taken_over_until,
       CASE WHEN c.taken_over_until > now() THEN c.taken_over_by END AS taken_over_by,
       CASE WHEN c.taken_over_until > now() THEN c.taken_over_reason END AS taken_over_reason,
       c.created_at, c.updated_at
  FROM conversations c JOIN contacts k ON k.user_id = $1 AND k.id = c.contact_id
 WHERE c.user_id = $1 AND c.id = $2 AND k.erased_at IS NULL;

-- name: conversation_between
SELECT id FROM conversations WHERE user_id = $1 AND chatbot_id = $2 AND contact_id = $3;
