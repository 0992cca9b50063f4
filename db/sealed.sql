-- name: every_user
SELECT user_id FROM every_user();
