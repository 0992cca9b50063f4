-- name: known_calls
-- The newest $4 of them, the oldest first. What only looked something up, or was not done, leaves
-- nothing to be told.
SELECT * FROM (
    SELECT c.id, c.tool_id, c.tool_name, c.effect, c.input_seq, c.arguments_hash, c.arguments,
           c.status, c.error, c.result, c.told
      FROM tool_calls c
     WHERE c.user_id = $1 AND c.conversation_id = $2 AND c.action_id IS NULL
       AND c.effect <> 'none' AND c.status IN ('calling', 'done', 'unknown')
       AND (NOT c.told OR c.input_seq = $3)
     ORDER BY c.id DESC LIMIT $4) k
 ORDER BY k.id;

-- name: done_tools
SELECT DISTINCT k.tool_name
  FROM (SELECT c.tool_name FROM tool_calls c
         WHERE c.user_id = $1 AND c.conversation_id = $2 AND c.status = 'done'
           AND c.effect <> 'none'
         ORDER BY c.id DESC LIMIT $3) k;

-- name: hold_lease
SELECT true FROM conversations
 WHERE user_id = $1 AND id = $2 AND lease_owner = $3 AND epoch = $4 FOR NO KEY UPDATE;

-- name: begin_call
-- Committed before anything leaves. Nothing comes back where it was begun before.
WITH made AS (
    INSERT INTO tool_calls (user_id, chatbot_id, contact_id, conversation_id, input_seq, tool_id,
                            tool_name, effect, arguments_hash, arguments, status, tries, called_at)
    SELECT $1, v.chatbot_id, v.contact_id, v.id, $3, $4, $5, $6, $7, $8, 'calling', 1, now()
      FROM conversations v WHERE v.user_id = $1 AND v.id = $2
    ON CONFLICT (user_id, conversation_id, input_seq, tool_name, arguments_hash)
       WHERE input_seq IS NOT NULL DO NOTHING
    RETURNING *
)
SELECT m.id, m.tool_id, m.tool_name, m.arguments, m.chatbot_id, m.contact_id, m.conversation_id,
       m.action_id, m.tries, k.phone_number, m.created_at
  FROM made m JOIN contacts k ON k.user_id = $1 AND k.id = m.contact_id;

-- name: known_call
SELECT c.id, c.tool_id, c.tool_name, c.effect, c.input_seq, c.arguments_hash, c.arguments,
       c.status, c.error, c.result, c.told
  FROM tool_calls c
 WHERE c.user_id = $1 AND c.conversation_id = $2 AND c.input_seq = $3 AND c.tool_name = $4
   AND c.arguments_hash = $5;

-- name: call_again
-- What has no effect, or knows the Idempotency-Key.
WITH again AS (
    UPDATE tool_calls SET status = 'calling', tries = tries + 1, called_at = now(), ended_at = NULL
     WHERE user_id = $1 AND id = $2 AND effect <> 'once' AND tries < $3
       AND (status IN ('calling', 'unknown') OR (status = 'failed' AND effect = 'none'))
    RETURNING *
)
SELECT m.id, m.tool_id, m.tool_name, m.arguments, m.chatbot_id, m.contact_id, m.conversation_id,
       m.action_id, m.tries, k.phone_number, m.created_at
  FROM again m JOIN contacts k ON k.user_id = $1 AND k.id = m.contact_id;

-- name: settle_call
-- What came late is known after all. $3: which try; one that is over says only that it was done.
UPDATE tool_calls SET status = $4, status_code = $5, error = $6, result = $7, ended_at = now()
 WHERE user_id = $1 AND id = $2 AND (tries = $3 OR $4 = 'done')
   AND (status = 'calling' OR (status = 'unknown' AND $4 <> 'unknown'))
RETURNING true;

-- name: call_end
-- As others have settled it.
SELECT CASE status WHEN 'calling' THEN 'unknown' ELSE status END AS status, status_code, error, result
  FROM tool_calls WHERE user_id = $1 AND id = $2;

-- name: lock_call_conversation
-- Before the call itself, as the order of locks wants it.
SELECT v.id FROM tool_calls c
  JOIN conversations v ON v.user_id = $1 AND v.id = c.conversation_id
 WHERE c.user_id = $1 AND c.id = $2
   FOR NO KEY UPDATE OF v;

-- name: note_told
-- Of those that the turn knew of before, and those that it made. The turn holds the conversation.
UPDATE tool_calls SET told = true, told_by = $5
 WHERE user_id = $1 AND conversation_id = $2 AND action_id IS NULL AND NOT told
   AND (id = ANY ($3::bigint[]) OR input_seq = $4);

-- name: tell_again
-- The conversations are held. $3 reached nobody, $4 somebody after all.
UPDATE tool_calls SET told = told_by = ANY ($4::bigint[])
 WHERE user_id = $1 AND conversation_id = ANY ($2::bigint[])
   AND (told_by = ANY ($3::bigint[]) OR told_by = ANY ($4::bigint[]));

-- name: propose_call
INSERT INTO tool_calls (user_id, chatbot_id, contact_id, conversation_id, action_id, tool_id,
                        tool_name, effect, arguments_hash, arguments, status, told, due_at)
SELECT $1, v.chatbot_id, v.contact_id, v.id, $3, t.id, $5, $6, $7, $8, $9, true, now()
  FROM conversations v LEFT JOIN tools t ON t.user_id = $1 AND t.id = $4
 WHERE v.user_id = $1 AND v.id = $2;

-- name: decide_call
-- In the transaction that takes the action out of 'pending', so once.
UPDATE tool_calls
   SET status = CASE WHEN $3 THEN 'due' ELSE 'dropped' END, due_at = now(),
       ended_at = CASE WHEN NOT $3 THEN now() END
 WHERE user_id = $1 AND action_id = $2 AND status = 'proposed'
RETURNING status;

-- name: take_call
-- Committed before anything leaves.
WITH taken AS (
    UPDATE tool_calls SET status = 'calling', tries = tries + 1, called_at = now()
     WHERE user_id = $1 AND id = $2 AND status = 'due'
    RETURNING *
)
SELECT m.id, m.tool_id, m.tool_name, m.arguments, m.chatbot_id, m.contact_id, m.conversation_id,
       m.action_id, m.tries, k.phone_number, m.created_at
  FROM taken m JOIN contacts k ON k.user_id = $1 AND k.id = m.contact_id;

-- name: put_off_call
-- An action's that may be repeated, and of which nobody knows what came.
UPDATE tool_calls SET status = 'due', due_at = now() + $3::interval * tries, error = $4
 WHERE user_id = $1 AND id = $2 AND status = 'calling' AND action_id IS NOT NULL
   AND effect <> 'once' AND tries < $5 AND tries = $6
RETURNING true;

-- name: lose_call
UPDATE tool_calls
   SET status = CASE WHEN action_id IS NOT NULL AND effect <> 'once' AND tries < $4 THEN 'due'
                     WHEN effect = 'none' THEN 'failed' ELSE 'unknown' END,
       due_at = now(), error = 'worker_died', ended_at = now()
 WHERE user_id = $1 AND id = $2 AND status = 'calling' AND called_at < now() - $3::interval
RETURNING id, status, action_id, tool_name, chatbot_id, contact_id, conversation_id;

-- name: due_tool_calls
SELECT user_id, id FROM due_tool_calls($1, $2);

-- name: lost_tool_calls
SELECT user_id, id FROM lost_tool_calls($1, $2);

-- name: forget_tool_calls
SELECT forget_tool_calls($1, $2);

-- name: forget_calls_of
DELETE FROM tool_calls c
 USING (SELECT o.id FROM tool_calls o
         WHERE o.user_id = $1 AND o.created_at < now() - make_interval(days => $2)
           AND o.status NOT IN ('proposed', 'due', 'calling')
         ORDER BY o.created_at LIMIT $3 FOR UPDATE SKIP LOCKED) old
 WHERE c.user_id = $1 AND c.id = old.id
RETURNING c.id;

-- name: list_calls
-- Youngest first, in pages: those below $4, $5 at most, and so many that they have $6 bytes.
WITH found AS (
    SELECT c.id, 'call_' || c.id AS idempotency_key, c.tool_id, c.tool_name, c.effect, c.chatbot_id,
           c.contact_id, c.conversation_id, c.action_id, c.arguments::text AS arguments, c.status,
           c.tries, c.status_code, c.error, c.result, c.created_at, c.called_at, c.ended_at
      FROM tool_calls c
     WHERE c.user_id = $1 AND c.chatbot_id = $2 AND ($3::text IS NULL OR c.status = $3)
       AND c.id < $4
     ORDER BY c.id DESC LIMIT $5 + 1
), measured AS (
    SELECT f.*, row_number() OVER newest AS place,
           sum(octet_length(f::text)) OVER newest AS bytes
      FROM found f WINDOW newest AS (ORDER BY f.id DESC)
)
SELECT id, idempotency_key, tool_id, tool_name, effect, chatbot_id, contact_id, conversation_id,
       action_id, arguments, status, tries, status_code, error, result, created_at, called_at,
       ended_at, count(*) OVER () < (SELECT count(*) FROM found) AS more
  FROM measured
 WHERE place <= $5 AND (bytes <= $6 OR place = 1)
 ORDER BY id DESC;
