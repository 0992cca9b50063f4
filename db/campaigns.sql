-- name: due_campaigns
-- Across tenants.
SELECT user_id, id FROM due_campaigns($1);

-- name: lock_campaign
-- Nothing comes back while somebody else has it in hand ($3: then it is waited for).
SELECT id FROM campaigns WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE SKIP LOCKED;

-- name: wait_campaign
SELECT id FROM campaigns WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: campaign_fields
SELECT id, name, chatbot_id, status, target_criteria, variants, scheduled_at, timezone, send_window,
       rate, ends_at, started_at, finished_at, held_reason, resume_at, usage_day, overage,
       created_at, updated_at, version, fixed_upto, full_at
  FROM campaigns WHERE user_id = $1 AND id = ANY ($2::bigint[]) ORDER BY id DESC;

-- name: campaign_page
SELECT id FROM campaigns
 WHERE user_id = $1 AND id < $2 AND ($4::text IS NULL OR status = $4)
   AND ($5::bigint IS NULL OR chatbot_id = $5)
 ORDER BY id DESC LIMIT $3::int;

-- name: create_campaign
INSERT INTO campaigns (user_id, name, chatbot_id, status, target_criteria, variants, scheduled_at,
                       timezone, send_window, rate, ends_at)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $8, $9::jsonb, $10, $11)
RETURNING id;

-- name: change_campaign
UPDATE campaigns
   SET name = $3, chatbot_id = $4, status = $5, target_criteria = $6::jsonb, variants = $7::jsonb,
       scheduled_at = $8, timezone = $9, send_window = $10::jsonb, rate = $11, ends_at = $12
 WHERE user_id = $1 AND id = $2;

-- name: delete_campaign
DELETE FROM campaigns WHERE user_id = $1 AND id = $2;

-- name: start_campaign
-- With what its templates are at this moment ($3). The caller has it locked.
UPDATE campaigns
   SET status = 'preparing', held_reason = NULL, resume_at = NULL, started_at = now(),
       variants = $3::jsonb, fixed_upto = 0
 WHERE user_id = $1 AND id = $2;

-- name: move_campaign
UPDATE campaigns
   SET status = $3::text, held_reason = $4, resume_at = $5,
       finished_at = CASE WHEN $3::text IN ('completed', 'cancelled') THEN now() END
 WHERE user_id = $1 AND id = $2;

-- name: could_start
SELECT outcome, allowed, used FROM campaign_limit($1, false);

-- name: room
SELECT outcome, day, room FROM campaign_room($1, $2);

-- name: fix_recipients
-- Rows that are there already stay as they are: a piece that is fixed again changes nothing.
INSERT INTO campaign_recipients (user_id, campaign_id, contact_id, state, reason, variant, params)
SELECT $1, $2, i.contact_id, CASE WHEN i.reason IS NULL THEN 'pending' ELSE 'skipped' END,
       i.reason, i.variant, i.params
  FROM unnest($3::bigint[], $4::text[], $5::int[], $6::jsonb[])
       AS i (contact_id, reason, variant, params)
  JOIN contacts c ON c.user_id = $1 AND c.id = i.contact_id
 ORDER BY i.contact_id
ON CONFLICT (user_id, campaign_id, contact_id) DO NOTHING;

-- name: fixed_upto
UPDATE campaigns SET fixed_upto = $3 WHERE user_id = $1 AND id = $2;

-- name: count_states
SELECT state, count(*) AS count FROM campaign_recipients
 WHERE user_id = $1 AND campaign_id = $2 GROUP BY state;

-- name: outstanding
-- Of the number's bulk.
SELECT count(*) FROM messages
 WHERE user_id = $1 AND chatbot_id = $2 AND direction = 'outbound' AND bulk
   AND status IN ('queued', 'sending', 'unknown');

-- name: standing
-- What may hold it up, as it is now.
SELECT coalesce(u.is_active AND b.is_active AND coalesce(b.bot_status, 'active') = 'active', false)
           AS active,
       coalesce(l.max_rate, 56)::float8 AS number_rate,
       coalesce(l.held_until > now(), false) AS number_held,
       (SELECT s.subscription_config FROM user_subscriptions s
         WHERE s.user_id = $1 AND s.is_active) AS plan,
       u.timezone,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('id', t.id, 'status', t.status,
                                                     'category', t.category)), '[]')
          FROM message_templates t WHERE t.user_id = $1 AND t.id = ANY ($3::bigint[])) AS templates
  FROM users u
  LEFT JOIN chatbots b ON b.user_id = $1 AND b.id = $2 AND b.deleted_at IS NULL
  LEFT JOIN send_limits l ON l.user_id = $1 AND l.chatbot_id = $2
 WHERE u.id = $1;

-- name: take_pending
-- The next, and what they are to get. Whoever wrote within the last hour and waits for an answer
-- gets it later. Rows whose person is gone are for nobody.
SELECT r.id, r.contact_id, r.variant, r.params
  FROM campaign_recipients r
 WHERE r.user_id = $1 AND r.campaign_id = $2 AND r.state = 'pending'
   AND NOT EXISTS (
       SELECT FROM conversations v
        WHERE v.user_id = $1 AND v.chatbot_id = $3 AND v.contact_id = r.contact_id
          AND v.input_seq > v.answered_seq AND v.last_inbound_at > now() - interval '1 h')
 ORDER BY r.id LIMIT $4::int FOR NO KEY UPDATE OF r;

-- name: lock_people
SELECT id FROM contacts WHERE user_id = $1 AND id = ANY ($2::bigint[]) ORDER BY id FOR SHARE;

-- name: talks_of
SELECT id, contact_id FROM conversations
 WHERE user_id = $1 AND chatbot_id = $2 AND contact_id = ANY ($3::bigint[]) ORDER BY id
   FOR NO KEY UPDATE;

-- name: suppressed
-- Who may not get it any more since it was fixed. The people are locked.
SELECT c.id,
       CASE WHEN c.erased_at IS NOT NULL THEN 'unreachable'
            WHEN c.contact_status = 'blocked' THEN 'blocked'
            WHEN $3 AND c.marketing_choice = 'stop' THEN 'opted_out'
            WHEN coalesce(c.conversation_paused, false) OR EXISTS (
                 SELECT FROM conversations v
                  WHERE v.user_id = $1 AND v.chatbot_id = $4 AND v.contact_id = c.id
                    AND v.taken_over_until > now()) THEN 'taken_over' END AS reason
  FROM contacts c WHERE c.user_id = $1 AND c.id = ANY ($2::bigint[]);

-- name: skip
UPDATE campaign_recipients r SET state = i.state, reason = i.reason, moved_at = now()
  FROM unnest($2::bigint[], $3::text[], $4::text[]) AS i (id, state, reason)
 WHERE r.user_id = $1 AND r.id = i.id AND r.state = 'pending';

-- name: queue
-- The messages, and each recipient's. A conversation whose bot did not say it hears of it.
WITH item AS (
    SELECT * FROM unnest($3::bigint[], $4::bigint[], $5::jsonb[], $6::text[])
           WITH ORDINALITY AS i (recipient_id, conversation_id, metadata, content_text, place)
), made AS (
    INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,
                          message_type, content_text, status, sent_at, metadata, usage_day, bulk)
    SELECT $1, v.chatbot_id, v.contact_id, v.id, 'outbound', 'template', i.content_text, 'queued',
           now(), i.metadata, $7, true
      FROM item i JOIN conversations v ON v.user_id = $1 AND v.id = i.conversation_id
     ORDER BY i.place
    RETURNING id, conversation_id
), told AS (
    UPDATE conversations v SET rebuild_thread = true
      FROM made WHERE v.user_id = $1 AND v.id = made.conversation_id
)
UPDATE campaign_recipients r
   SET state = 'queued', reason = NULL, message_id = made.id, tries = r.tries + 1,
       queued_at = now(), moved_at = now()
  FROM item i JOIN made ON made.conversation_id = i.conversation_id
 WHERE r.user_id = $1 AND r.id = i.recipient_id AND r.campaign_id = $2;

-- name: spend_pace
UPDATE campaigns SET full_at = $3 WHERE user_id = $1 AND id = $2;

-- name: end_pending
-- In pieces.
WITH few AS (
    SELECT id FROM campaign_recipients
     WHERE user_id = $1 AND campaign_id = $2 AND state = 'pending' ORDER BY id LIMIT $5::int
       FOR NO KEY UPDATE
)
UPDATE campaign_recipients r SET state = $3, reason = $4, moved_at = now()
  FROM few WHERE r.user_id = $1 AND r.id = few.id;

-- name: put_up_again
-- Those whose message failed for a reason that passes, and who are capped for 24 hours or more; three
-- tries at most. Never who opted out, cannot be reached, or may have got it.
WITH again AS (
    SELECT id FROM campaign_recipients
     WHERE user_id = $1 AND campaign_id = $2 AND tries < 3 AND contact_id IS NOT NULL
       AND (state = 'failed' AND reason IN ('transient', 'number', 'app', 'too_old', '131000',
                                            '131016', '130429', '131053', '2', '1')
            OR state = 'capped' AND moved_at < now() - interval '24 h')
     ORDER BY id FOR NO KEY UPDATE
)
UPDATE campaign_recipients r
   SET state = 'pending', reason = NULL, message_id = NULL, moved_at = now()
  FROM again WHERE r.user_id = $1 AND r.id = again.id;

-- name: figures
-- Rows and what came of them: certain replies quote the message; likely ones are the first within 72 h
-- after it was delivered.
WITH r AS (
    SELECT r.id, r.contact_id, r.state, r.message_id, r.moved_at FROM campaign_recipients r
     WHERE r.user_id = $1 AND r.campaign_id = $2
), reached AS (
    SELECT r.id, r.contact_id, m.message_id AS wamid, m.conversation_id, m.sent_at
      FROM r JOIN messages m ON m.user_id = $1 AND m.id = r.message_id
     WHERE r.state IN ('accepted', 'sent', 'delivered', 'read')
), answered AS (
    SELECT h.id, bool_or(i.in_reply_to = h.wamid) AS certain
      FROM reached h
      JOIN messages i ON i.user_id = $1 AND i.conversation_id = h.conversation_id
       AND i.direction = 'inbound' AND i.sent_at > h.sent_at
       AND i.sent_at < h.sent_at + interval '72 h'
     GROUP BY h.id
), bought AS (
    SELECT DISTINCT o.id, o.currency, h.id AS recipient,
           CASE WHEN o.payment_status = 'paid' THEN o.total_amount END AS paid
      FROM reached h JOIN orders o ON o.user_id = $1 AND o.contact_id = h.contact_id
       AND o.created_at > h.sent_at AND o.created_at < h.sent_at + interval '7 d'
     WHERE o.status IS DISTINCT FROM 'cancelled'
), left_us AS (
    SELECT count(*) AS n FROM reached h JOIN contacts c ON c.user_id = $1 AND c.id = h.contact_id
     WHERE c.marketing_choice = 'stop' AND c.marketing_choice_at > h.sent_at
       AND c.marketing_choice_at < h.sent_at + interval '72 h'
)
SELECT (SELECT coalesce(jsonb_object_agg(s.state, s.n), '{}')
          FROM (SELECT state, count(*) AS n FROM r GROUP BY state) s) AS states,
       (SELECT count(*) FROM answered WHERE certain) AS replied,
       (SELECT count(*) FROM answered WHERE NOT coalesce(certain, false)) AS replied_likely,
       (SELECT count(DISTINCT recipient) FROM bought) AS ordered,
       (SELECT coalesce(jsonb_object_agg(b.currency, b.sum::text), '{}')
          FROM (SELECT currency, sum(paid) AS sum FROM bought WHERE paid IS NOT NULL
                 GROUP BY currency) b) AS revenue,
       (SELECT n FROM left_us) AS opted_out;

-- name: recipient_page
SELECT id, contact_id, state, reason, variant, message_id, tries, queued_at, moved_at
  FROM campaign_recipients
 WHERE user_id = $1 AND campaign_id = $2 AND id > $3
   AND ($5::text IS NULL OR state = $5) AND ($6::text IS NULL OR reason = $6)
 ORDER BY id LIMIT $4::int;
