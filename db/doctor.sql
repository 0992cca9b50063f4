-- name: untaken
-- Of a tenant, by the role that should have it. Of replies, those that no pace of a number and no
-- earlier reply keeps; campaigns wait for their pace and are not counted.
SELECT w.role, count(*) AS n, min(w.since) AS since
  FROM (SELECT 'turns' AS role, c.ready_at AS since
          FROM conversations c
         WHERE c.user_id = $1 AND c.ready_at < now() - $2::interval AND c.lease_owner IS NULL
        UNION ALL
        SELECT 'sends', greatest(m.created_at, m.send_after)
          FROM messages m
          LEFT JOIN send_limits l ON l.user_id = m.user_id AND l.chatbot_id = m.chatbot_id
         WHERE m.user_id = $1 AND m.direction = 'outbound' AND m.status = 'queued'
           AND m.send_owner IS NULL AND NOT m.bulk
           AND greatest(m.created_at, m.send_after) < now() - $2
           AND NOT coalesce(l.held_until > now(), false)
           AND NOT EXISTS (SELECT FROM messages e
                            WHERE e.user_id = $1 AND e.conversation_id = m.conversation_id
                              AND e.direction = 'outbound'
                              AND e.status IN ('queued', 'sending', 'unknown') AND e.id < m.id)
        UNION ALL
        SELECT 'webhooks', d.since
          FROM webhooks h
          JOIN webhook_states s ON s.user_id = $1 AND s.webhook_id = h.id
         CROSS JOIN LATERAL (SELECT min(o.due_at) AS since FROM webhook_deliveries o
                              WHERE o.webhook_id = h.id AND o.status = 'pending'
                                AND o.due_at < now() - $2) d
         WHERE h.user_id = $1 AND d.since IS NOT NULL
           AND coalesce(s.open_until < now() - $2, true)
           AND NOT EXISTS (SELECT FROM workers w
                            WHERE w.id = s.lease_owner AND w.beat_at > now() - $2)
        UNION ALL
        SELECT 'scheduler', w.beat_at
          FROM conversations c JOIN workers w ON w.id = c.lease_owner
         WHERE c.user_id = $1 AND w.beat_at < now() - $2) w
 GROUP BY w.role;

-- name: webhook_secrets
SELECT id, secret_token,
       CASE WHEN prev_secret_until > now() THEN prev_secret_token END AS prev_secret_token
  FROM webhooks WHERE user_id = $1 AND coalesce(is_active, false) ORDER BY id;
