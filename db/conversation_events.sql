-- name: add_event
-- The next input of the conversation, without a debounce. It takes the conversation's lock.
WITH moved AS (
    UPDATE conversations
       SET input_seq = input_seq + 1, ready_at = now(), updated_at = now()
     WHERE user_id = $1 AND id = $2
    RETURNING id, input_seq
)
INSERT INTO conversation_events (user_id, conversation_id, input_seq, kind, data)
SELECT $1, moved.id, moved.input_seq, $3, $4 FROM moved
RETURNING id;

-- name: read_events
-- What no turn has dealt with, also if turns went past it.
SELECT id, input_seq, kind, data, created_at FROM conversation_events
 WHERE user_id = $1 AND conversation_id = $2 AND settled_at IS NULL
 ORDER BY input_seq LIMIT $3;

-- name: settle_events
UPDATE conversation_events SET settled_at = now(), reason = $3
 WHERE user_id = $1 AND id = ANY ($2::bigint[]);

-- name: abandon_events
UPDATE conversation_events SET settled_at = now(), reason = $3
 WHERE user_id = $1 AND conversation_id = $2 AND settled_at IS NULL;

-- name: defer_events
-- The customer could not be told: it comes up again after $3, or with their next message.
UPDATE conversation_events SET due_at = now() + $3::interval
 WHERE user_id = $1 AND id = ANY ($2::bigint[]);

-- name: passed_events
SELECT user_id, conversation_id FROM passed_events($1);

-- name: lock_passed
-- In a statement of its own: what waited for the lock has to see what was done before it.
SELECT answered_seq FROM conversations
 WHERE user_id = $1 AND id = $2 AND lease_owner IS NULL FOR NO KEY UPDATE;

-- name: raise_events
-- Inputs again, with new places after all others.
WITH late AS (
    SELECT id, row_number() OVER (ORDER BY input_seq) AS place FROM conversation_events
     WHERE user_id = $1 AND conversation_id = $2 AND settled_at IS NULL AND due_at <= now()
       AND input_seq <= $3
), raised AS (
    UPDATE conversation_events e SET input_seq = v.input_seq + late.place
      FROM late, conversations v
     WHERE e.user_id = $1 AND e.id = late.id AND v.user_id = $1 AND v.id = $2
    RETURNING e.id
)
UPDATE conversations
   SET input_seq = input_seq + (SELECT count(*) FROM raised), ready_at = now(), updated_at = now()
 WHERE user_id = $1 AND id = $2 AND EXISTS (SELECT FROM raised);
