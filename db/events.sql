-- name: add_tenant_event
INSERT INTO analytics_events (user_id, event_type, event_data, chatbot_id, contact_id)
VALUES ($1, $2, $3, $4, $5);
