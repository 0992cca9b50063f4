-- name: template_page
-- $4 to $7: only those; NULL: all. $8 the account of a chatbot. Row by row, as list_actions.
WITH RECURSIVE page AS (
    SELECT $2::bigint AS id, 0 AS place, 0::bigint AS bytes
     UNION ALL
    SELECT t.id, page.place + 1, page.bytes + t.bytes
      FROM page CROSS JOIN LATERAL (
           SELECT t.id, octet_length(t::text) AS bytes FROM message_templates t
            WHERE t.user_id = $1 AND t.id < page.id
              AND ($4::text IS NULL OR t.status = $4)
              AND ($5::text IS NULL OR t.category = $5)
              AND ($6::text IS NULL OR t.name = $6)
              AND ($7::bigint IS NULL
                   OR t.waba_id = (SELECT b.waba_id FROM chatbots b
                                    WHERE b.user_id = $1 AND b.id = $7))
            ORDER BY t.id DESC LIMIT 1) t
     WHERE page.place <= $3 AND (page.bytes <= $8 OR page.place = 1)
)
SELECT page.id, count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page
 WHERE page.place BETWEEN 1 AND $3 AND (page.bytes <= $8 OR page.place = 1);

-- name: template_fields
SELECT id, waba_id, meta_id, name, language, status, category, correct_category, quality_score,
       parameter_format, components, rejected_reason, rejection_info, message_send_ttl_seconds,
       changed_at, synced_at, created_at, version
  FROM message_templates WHERE user_id = $1 AND id = ANY ($2::bigint[])
 ORDER BY id DESC;

-- name: named_template
SELECT id FROM message_templates
 WHERE user_id = $1 AND waba_id = $2 AND name = $3 AND language = $4;

-- name: template_of_chatbot
-- By name and language, of the chatbot's account.
SELECT t.id FROM message_templates t JOIN chatbots b ON b.user_id = $1 AND b.waba_id = t.waba_id
 WHERE t.user_id = $1 AND b.id = $2 AND t.name = $3 AND t.language = $4;

-- name: lock_template
SELECT version FROM message_templates WHERE user_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: account_of_chatbot
-- Proven, or learned from signed webhooks: what is only claimed is another column.
SELECT id AS chatbot_id, waba_id, access_token, clock_timestamp() AS asked_at FROM chatbots
 WHERE user_id = $1 AND id = $2 AND deleted_at IS NULL;

-- name: chatbots_of_account
-- With a token of its own first: that is the one that proved the account.
SELECT id AS chatbot_id, waba_id, access_token, clock_timestamp() AS asked_at FROM chatbots
 WHERE user_id = $1 AND waba_id = $2 AND deleted_at IS NULL
 ORDER BY access_token IS NULL, id LIMIT $3;

-- name: lock_account
-- In front of everybody who writes what a listing of it told.
SELECT id, synced_at FROM template_syncs WHERE user_id = $1 AND waba_id = $2 FOR NO KEY UPDATE;

-- name: lock_templates
SELECT id, meta_id, name, language, status, category, correct_category, quality_score,
       parameter_format, components, rejected_reason, rejection_info, message_send_ttl_seconds,
       status_at, category_at, quality_at, created_at, synced_at
  FROM message_templates WHERE user_id = $1 AND waba_id = $2
 ORDER BY id FOR NO KEY UPDATE;

-- name: add_templates
-- Who made one by the API meanwhile, and a webhook that came before, told what is there too.
INSERT INTO message_templates
       (user_id, waba_id, meta_id, name, language, status, category, correct_category,
        quality_score, parameter_format, components, rejected_reason, rejection_info,
        message_send_ttl_seconds)
SELECT $1, $2, n.meta_id, n.name, n.language, n.status, n.category, n.correct_category,
       n.quality_score, n.parameter_format, n.components::jsonb, n.rejected_reason,
       n.rejection_info, n.ttl
  FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
              $10::text[], $11::text[], $12::text[], $13::jsonb[], $14::int[])
       AS n (meta_id, name, language, status, category, correct_category, quality_score,
             parameter_format, components, rejected_reason, rejection_info, ttl)
ON CONFLICT (user_id, waba_id, name, language) DO UPDATE
   SET meta_id = excluded.meta_id, status = excluded.status, category = excluded.category,
       correct_category = NULL, parameter_format = excluded.parameter_format,
       components = excluded.components, rejected_reason = NULL, rejection_info = NULL
RETURNING id;

-- name: change_templates
UPDATE message_templates t
   SET meta_id = n.meta_id, status = n.status, category = n.category,
       correct_category = n.correct_category, quality_score = n.quality_score,
       parameter_format = n.parameter_format, components = n.components::jsonb,
       rejected_reason = n.rejected_reason, rejection_info = n.rejection_info,
       message_send_ttl_seconds = n.ttl
  FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
              $9::text[], $10::text[], $11::text[], $12::text[], $13::jsonb[], $14::int[])
       AS n (id, meta_id, name, language, status, category, correct_category, quality_score,
             parameter_format, components, rejected_reason, rejection_info, ttl)
 WHERE t.user_id = $1 AND t.id = n.id;

-- name: note_listed
UPDATE message_templates SET synced_at = $4
 WHERE user_id = $1 AND waba_id = $2 AND id = ANY ($3::bigint[]);

-- name: note_synced
UPDATE template_syncs SET synced_at = $3, problem = NULL, tries = 0, due_at = now() + $4::interval
 WHERE user_id = $1 AND waba_id = $2;

-- name: note_not_synced
-- Of who claimed it: whoever was named anew meanwhile is due all the same.
UPDATE template_syncs SET problem = $4, tries = tries + 1, due_at = now() + $5::interval
 WHERE user_id = $1 AND id = $2 AND epoch = $3;

-- name: read_sync
SELECT waba_id, tries FROM template_syncs WHERE user_id = $1 AND id = $2 AND epoch = $3;

-- name: sync_soon
UPDATE template_syncs SET due_at = least(due_at, now() + $3::interval)
 WHERE user_id = $1 AND waba_id = $2;

-- name: drop_account
-- Unless a chatbot has it, as it may again by now.
WITH gone AS (
    DELETE FROM template_syncs s
     WHERE s.user_id = $1 AND s.waba_id = $2
       AND NOT EXISTS (SELECT FROM chatbots b
                        WHERE b.user_id = $1 AND b.waba_id = $2 AND b.deleted_at IS NULL)
    RETURNING s.waba_id
)
DELETE FROM message_templates t USING gone
 WHERE t.user_id = $1 AND t.waba_id = gone.waba_id;

-- name: note_edited
-- It is in review again, and cannot be sent meanwhile.
UPDATE message_templates
   SET components = $3, status = $4, rejected_reason = NULL, rejection_info = NULL
 WHERE user_id = $1 AND id = $2;

-- name: delete_template
-- Meta has it no more, or only until what is on its way has arrived: then a listing brings it again.
DELETE FROM message_templates WHERE user_id = $1 AND id = $2;

-- name: lock_named
SELECT id, name, language, status, category, correct_category, quality_score, rejected_reason,
       rejection_info, status_at, category_at, quality_at, synced_at
  FROM message_templates
 WHERE user_id = $1 AND waba_id = $2 AND name = $3 AND language = $4 FOR NO KEY UPDATE;

-- name: move_template
UPDATE message_templates
   SET status = $3, category = $4, correct_category = $5, quality_score = $6, rejected_reason = $7,
       rejection_info = $8, status_at = $9, category_at = $10, quality_at = $11
 WHERE user_id = $1 AND id = $2;

-- name: claim_template_syncs
-- Across tenants.
SELECT user_id, id, epoch FROM claim_template_syncs($1, $2);

-- name: sync_problem
SELECT problem FROM template_syncs WHERE user_id = $1 AND waba_id = $2;

-- name: forget_templates
-- Across tenants.
SELECT forget_templates($1, $2);

-- name: sendable_template
-- What a message of it is made of, where it is of the chatbot's account.
SELECT t.id, t.name, t.language, t.status, t.category, t.parameter_format, t.components
  FROM message_templates t JOIN chatbots b ON b.user_id = $1 AND b.waba_id = t.waba_id
 WHERE t.user_id = $1 AND b.id = $2 AND t.id = $3;

-- name: contact_values
-- What its contact is filled in with.
SELECT name, phone_number, as_object(custom_fields) AS custom_fields,
       coalesce(marketing_choice = 'stop', false) AS opted_out
  FROM contacts WHERE user_id = $1 AND id = $2 AND erased_at IS NULL;
