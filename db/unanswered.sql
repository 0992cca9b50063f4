-- name: asked_before
-- Of each question that is open, its newest wording; those that were asked last.
SELECT DISTINCT ON (r.key) r.key, r.question
  FROM (SELECT q.key, q.question, q.id FROM unanswered_questions q
         WHERE q.user_id = $1 AND q.chatbot_id = $2 ORDER BY q.id DESC LIMIT $3) r
 ORDER BY r.key, r.id DESC;

-- name: note_unanswered
-- By the last message of those that the turn read ($3), once, and not when one of them was revoked
-- meanwhile: the conversation is locked, as by who revokes.
INSERT INTO unanswered_questions (user_id, chatbot_id, contact_id, message_id, first_message_id,
                                  question, key)
SELECT $1, m.chatbot_id, m.contact_id, m.id, e.first, $4, $5
  FROM (SELECT min(i.id) AS first, max(i.id) AS last FROM unnest($3::bigint[]) AS i (id)) e
  JOIN messages m ON m.user_id = $1 AND m.chatbot_id = $2 AND m.id = e.last
 WHERE NOT EXISTS (SELECT FROM messages r WHERE r.user_id = $1 AND r.id = ANY ($3)
                      AND r.metadata ? 'revoked')
   AND NOT EXISTS (SELECT FROM unanswered_questions q
                    WHERE q.user_id = $1 AND q.message_id = m.id);

-- name: drop_oldest
-- Beyond $3 of a chatbot, a few at a time, and none that somebody else drops.
DELETE FROM unanswered_questions q USING (
    SELECT o.id FROM unanswered_questions o
     WHERE o.user_id = $1 AND o.chatbot_id = $2
       AND o.id <= (SELECT e.id FROM unanswered_questions e
                     WHERE e.user_id = $1 AND e.chatbot_id = $2
                     ORDER BY e.id DESC OFFSET $3 LIMIT 1)
     ORDER BY o.id LIMIT 10 FOR UPDATE SKIP LOCKED) old
 WHERE q.user_id = $1 AND q.id = old.id;

-- name: forget_revoked
-- Also of what was asked together with it: of a burst the last message is noted, with the words of all.
-- Of one of the release before, which does not say from which on its turn read: of the next hour.
DELETE FROM unanswered_questions q USING messages r, messages m
 WHERE r.user_id = $1 AND r.chatbot_id = $2 AND r.message_id = $3
   AND m.user_id = $1 AND m.conversation_id = r.conversation_id AND m.id >= r.id
   AND q.user_id = $1 AND q.message_id = m.id
   AND CASE WHEN q.first_message_id IS NOT NULL THEN q.first_message_id <= r.id
            ELSE m.id = r.id OR q.created_at < r.created_at + interval '1 hour' END;

-- name: list_unanswered
-- Newest first: by when a question was asked first, which is also its id.
SELECT g.id, $2::bigint AS chatbot_id, l.question, g.count, g.people, g.first_asked_at,
       g.last_asked_at, l.message_id, m.conversation_id, count(*) OVER () > $4 AS more
  FROM (SELECT q.key, min(q.id) AS id, max(q.id) AS last_id, count(*) AS count,
               count(DISTINCT q.contact_id) AS people, min(q.created_at) AS first_asked_at,
               max(q.created_at) AS last_asked_at
          FROM unanswered_questions q WHERE q.user_id = $1 AND q.chatbot_id = $2
         GROUP BY q.key HAVING min(q.id) < $3
         ORDER BY min(q.id) DESC LIMIT $4 + 1) g
  JOIN unanswered_questions l ON l.user_id = $1 AND l.id = g.last_id
  JOIN messages m ON m.user_id = $1 AND m.id = l.message_id
 ORDER BY g.id DESC LIMIT $4;

-- name: read_unanswered
-- One question of the list, as it was worded last.
SELECT q.question, q.created_at AS asked_at, b.name AS chatbot_name, u.timezone
  FROM unanswered_questions o
  JOIN unanswered_questions q ON q.user_id = $1 AND q.chatbot_id = $2 AND q.key = o.key
  JOIN messages m ON m.user_id = $1 AND m.id = q.message_id
  JOIN chatbots b ON b.user_id = $1 AND b.id = $2
  JOIN users u ON u.id = $1
 WHERE o.user_id = $1 AND o.chatbot_id = $2 AND o.id = $3
 ORDER BY q.id DESC LIMIT 1;

-- name: clear_unanswered
-- All that asked the same as this one; nothing comes back when it is not there.
WITH gone AS (
    DELETE FROM unanswered_questions q
     WHERE q.user_id = $1 AND q.chatbot_id = $2
       AND q.key = (SELECT o.key FROM unanswered_questions o
                     WHERE o.user_id = $1 AND o.chatbot_id = $2 AND o.id = $3)
    RETURNING 1)
SELECT count(*) FROM gone;

-- name: forget_unanswered
SELECT forget_unanswered($1, $2);
