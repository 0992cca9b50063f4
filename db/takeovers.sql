-- name: lock_conversation
-- In front of everything that a person does in a conversation: a turn's last transaction takes the
-- same lock first, so either it sees what the person did, or the person comes after its reply.
SELECT v.chatbot_id, v.contact_id,
       coalesce(v.taken_over_until > now() AND v.taken_over_by = 'human', false) AS with_human,
       coalesce(v.last_inbound_at > now() - interval '24 h', false) AS window_open,
       (coalesce(b.is_active, false) AND coalesce(b.bot_status, 'active') = 'active')
           AS chatbot_active
  FROM conversations v JOIN chatbots b ON b.user_id = $1 AND b.id = v.chatbot_id
  JOIN contacts k ON k.user_id = $1 AND k.id = v.contact_id
 WHERE v.user_id = $1 AND v.id = $2 AND k.erased_at IS NULL
   FOR NO KEY UPDATE OF v;

-- name: take_over
-- $3 NULL: until it is handed back. Whoever has it already goes on since when they did.
UPDATE conversations
   SET taken_over_at = CASE WHEN taken_over_until > now() AND taken_over_by = 'human'
                            THEN taken_over_at ELSE now() END,
       taken_over_until = coalesce($3::timestamptz, 'infinity'), taken_over_reason = $4,
       taken_over_by = 'human', updated_at = now()
 WHERE user_id = $1 AND id = $2;

-- name: hand_back
-- Also what the product itself gave up. Nothing comes back when the bot had it all the time.
UPDATE conversations
   SET taken_over_at = NULL, taken_over_until = NULL, taken_over_reason = NULL,
       taken_over_by = NULL, updated_at = now()
 WHERE user_id = $1 AND id = $2 AND taken_over_until > now()
RETURNING id;

-- name: answered_by_person
-- What a person writes answers what the customer wrote before it ($3, by WhatsApp's time): no turn
-- will. Inputs that stand before one of later are answered with it, later ones wait.
WITH n AS (
    SELECT i.id, max(i.at) AS at FROM unnest($2::bigint[], $3::timestamptz[]) AS i (id, at)
     GROUP BY i.id
), v AS MATERIALIZED (
    SELECT v.id, v.answered_seq, v.input_seq, n.at
      FROM conversations v JOIN n ON n.id = v.id
     WHERE v.user_id = $1 ORDER BY v.id FOR NO KEY UPDATE OF v
), upto AS (
    SELECT v.id, v.answered_seq,
           coalesce((SELECT min(m.input_seq) - 1 FROM messages m
                      WHERE m.user_id = $1 AND m.conversation_id = v.id
                        AND m.input_seq > v.answered_seq AND m.sent_at > v.at), v.input_seq) AS seq
      FROM v
), marked AS (
    UPDATE messages m
       SET ai_processed = false,
           metadata = as_object(m.metadata) || jsonb_build_object('reason', 'answered_by_person')
      FROM upto u
     WHERE m.user_id = $1 AND m.conversation_id = u.id
       AND m.input_seq > u.answered_seq AND m.input_seq <= u.seq
)
UPDATE conversations c
   SET answered_seq = u.seq,
       ready_at = CASE WHEN c.input_seq > u.seq THEN c.ready_at END,
       pending_since = CASE WHEN c.input_seq > u.seq THEN c.pending_since END,
       updated_at = now()
  FROM upto u WHERE c.user_id = $1 AND c.id = u.id AND u.seq > c.answered_seq;

-- name: wake_held
-- Of conversations in which a person left nothing to answer, those that a turn of before still holds
-- a unit of: the next one gives it back.
UPDATE conversations c
   SET ready_at = now()
 WHERE c.user_id = $1 AND c.id = ANY ($2::bigint[]) AND c.lease_owner IS NULL
   AND c.ready_at IS NULL
   AND EXISTS (SELECT FROM usage_reservations r
                WHERE r.user_id = $1 AND r.conversation_id = c.id);

-- name: owner_of_conversation
-- Across tenants, and not granted to the runtime: only for operator commands.
SELECT owner_of_conversation($1) AS user_id;

-- name: overdue_handovers
-- Across tenants.
SELECT user_id, conversation_id FROM overdue_handovers($1);

-- name: end_handover
-- Nothing comes back when somebody took it up meanwhile, or handed it back.
UPDATE conversations
   SET taken_over_at = NULL, taken_over_until = NULL, taken_over_reason = NULL,
       taken_over_by = NULL, updated_at = now()
 WHERE user_id = $1 AND id = $2 AND taken_over_by = 'bot' AND taken_over_until <= now()
RETURNING chatbot_id, contact_id;

-- name: can_be_told
-- WhatsApp takes a word now, or the chatbot has a template for when it does not; and there is still
-- somebody to tell.
SELECT k.erased_at IS NULL
       AND (coalesce(v.last_inbound_at > now() - interval '23 h 55 min', false)
            OR b.window_template IS NOT NULL) AS told
  FROM conversations v
  JOIN chatbots b ON b.user_id = $1 AND b.id = v.chatbot_id
  JOIN contacts k ON k.user_id = $1 AND k.id = v.contact_id
 WHERE v.user_id = $1 AND v.id = $2;
