-- name: keep_facts
-- The later one about the same counts. Nothing is learnt from what was revoked meanwhile, of all that
-- the turn read ($5); the conversation is locked, as by who revokes. In the order of what they are about, since
-- another conversation of the contact may keep some at the same moment.
INSERT INTO facts (user_id, contact_id, message_id, first_message_id, about, text)
SELECT $1, m.contact_id, m.id, (SELECT min(i.id) FROM unnest($5::bigint[]) AS i (id)), n.about, n.text
  FROM unnest($3::text[], $4::text[]) AS n (about, text)
  JOIN messages m ON m.user_id = $1 AND m.id = $2
 WHERE NOT EXISTS (SELECT FROM messages r WHERE r.user_id = $1 AND r.id = ANY ($5::bigint[])
                      AND r.metadata ? 'revoked')
 ORDER BY n.about
ON CONFLICT (user_id, contact_id, about) DO UPDATE
   SET text = EXCLUDED.text, message_id = EXCLUDED.message_id,
       first_message_id = EXCLUDED.first_message_id, updated_at = now()
RETURNING contact_id;

-- name: drop_oldest_facts
-- Of who has more than $3. One that another turn writes at this moment is not the oldest.
DELETE FROM facts f
 USING (SELECT o.id FROM facts o
         WHERE o.user_id = $1 AND o.contact_id = $2
           AND o.id NOT IN (SELECT k.id FROM facts k
                             WHERE k.user_id = $1 AND k.contact_id = $2
                             ORDER BY k.updated_at DESC, k.id DESC LIMIT $3)
         ORDER BY o.id FOR UPDATE SKIP LOCKED) old
 WHERE f.user_id = $1 AND f.id = old.id;

-- name: forget_facts_of
-- Of a revoked message: what was learnt in the turn that read it, whichever message that was noted by.
-- Of a fact of the release before, which does not say from which on its turn read: no answer between.
DELETE FROM facts f
 USING messages r, messages s
 WHERE r.user_id = $1 AND r.chatbot_id = $2 AND r.message_id = $3
   AND f.user_id = $1 AND f.contact_id = r.contact_id
   AND s.user_id = $1 AND s.id = f.message_id AND s.conversation_id = r.conversation_id
   AND s.id >= r.id
   AND CASE WHEN f.first_message_id IS NOT NULL THEN f.first_message_id <= r.id
            ELSE NOT EXISTS (SELECT FROM messages b
                              WHERE b.user_id = $1 AND b.conversation_id = r.conversation_id
                                AND b.id > r.id AND b.id < s.id AND b.direction = 'outbound') END;

-- name: list_facts
-- Youngest first.
SELECT f.id, f.contact_id, f.about, f.text, f.message_id, f.created_at, f.updated_at,
       count(*) OVER () > $4 AS more
  FROM (SELECT * FROM facts
         WHERE user_id = $1 AND contact_id = $2 AND id < $3
         ORDER BY id DESC LIMIT $4 + 1) f
 ORDER BY f.id DESC LIMIT $4;

-- name: read_fact
SELECT f.id, f.contact_id, f.about, f.text, f.message_id, f.created_at, f.updated_at
  FROM facts f JOIN contacts k ON k.user_id = $1 AND k.id = f.contact_id
 WHERE f.user_id = $1 AND f.id = $2 AND k.erased_at IS NULL;

-- name: contact_is_there
SELECT EXISTS (SELECT FROM contacts WHERE user_id = $1 AND id = $2 AND erased_at IS NULL);

-- name: conversations_of
SELECT id FROM conversations WHERE user_id = $1 AND contact_id = $2 ORDER BY id;

-- name: delete_fact
DELETE FROM facts WHERE user_id = $1 AND id = $2 RETURNING true;
