-- name: add_tenant_event
INSERT INTO analytics_events (user_id, event_type, event_data, chatbot_id, contact_id)
VALUES ($1, $2, $3, $4, $5);

-- name: newest_events
-- Newest first, in pages: those below $3. $2 NULL: of every type. At most $4, with $5 bytes, row by
-- row as list_actions. What an event says is read from its row as that is now.
WITH RECURSIVE page AS (
    SELECT $3::bigint AS id, 0 AS place, 0::bigint AS bytes, NULL::text AS event_type,
           NULL::timestamptz AS created_at, NULL::text AS data
     UNION ALL
    SELECT e.id, page.place + 1, page.bytes + octet_length(d.data), e.event_type, e.created_at,
           d.data
      FROM page CROSS JOIN LATERAL (
           SELECT i.* FROM (
                (SELECT a.* FROM analytics_events a
                  WHERE $2::text IS NULL AND a.user_id = $1 AND a.id < page.id
                    AND NOT EXISTS (SELECT FROM contacts k WHERE k.user_id = $1
                                       AND k.id = a.contact_id AND k.erased_at IS NOT NULL)
                  ORDER BY a.user_id DESC, a.id DESC LIMIT 1)
                UNION ALL
                (SELECT a.* FROM analytics_events a
                  WHERE a.user_id = $1 AND a.event_type = $2 AND a.id < page.id
                    AND NOT EXISTS (SELECT FROM contacts k WHERE k.user_id = $1
                                       AND k.id = a.contact_id AND k.erased_at IS NOT NULL)
                  ORDER BY a.user_id DESC, a.event_type DESC, a.id DESC LIMIT 1)) i) e
     CROSS JOIN LATERAL (
           SELECT (told_data($1, e.event_type, e.chatbot_id, e.contact_id, e.event_data))::text
                  AS data OFFSET 0) d
     WHERE page.place <= $4 AND (page.bytes <= $5 OR page.place = 1)
)
SELECT id, event_type AS type, created_at AS "timestamp", data,
       count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page WHERE place BETWEEN 1 AND $4 AND (bytes <= $5 OR place = 1)
 ORDER BY id DESC;

-- name: events_since
-- Oldest first: those above $3, of $6 and later.
WITH RECURSIVE page AS (
    SELECT greatest($3::bigint, events_before($1, $6)) AS id, 0 AS place, 0::bigint AS bytes,
           NULL::text AS event_type, NULL::timestamptz AS created_at, NULL::text AS data
     UNION ALL
    SELECT e.id, page.place + 1, page.bytes + octet_length(d.data), e.event_type, e.created_at,
           d.data
      FROM page CROSS JOIN LATERAL (
           SELECT i.* FROM (
                (SELECT a.* FROM analytics_events a
                  WHERE $2::text IS NULL AND a.user_id = $1 AND a.id > page.id
                    AND a.created_at >= $6
                    AND NOT EXISTS (SELECT FROM contacts k WHERE k.user_id = $1
                                       AND k.id = a.contact_id AND k.erased_at IS NOT NULL)
                  ORDER BY a.user_id, a.id LIMIT 1)
                UNION ALL
                (SELECT a.* FROM analytics_events a
                  WHERE a.user_id = $1 AND a.event_type = $2 AND a.id > page.id
                    AND a.created_at >= $6
                    AND NOT EXISTS (SELECT FROM contacts k WHERE k.user_id = $1
                                       AND k.id = a.contact_id AND k.erased_at IS NOT NULL)
                  ORDER BY a.user_id, a.event_type, a.id LIMIT 1)) i) e
     CROSS JOIN LATERAL (
           SELECT (told_data($1, e.event_type, e.chatbot_id, e.contact_id, e.event_data))::text
                  AS data OFFSET 0) d
     WHERE page.place <= $4 AND (page.bytes <= $5 OR page.place = 1)
)
SELECT id, event_type AS type, created_at AS "timestamp", data,
       count(*) OVER () < (SELECT max(place) FROM page) AS more
  FROM page WHERE place BETWEEN 1 AND $4 AND (bytes <= $5 OR place = 1)
 ORDER BY id;
