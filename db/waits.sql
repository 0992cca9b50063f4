-- name: waits_over
SELECT user_id, conversation_id FROM waits_over($1);

-- name: note_wait
SELECT note_wait($1, $2, $3);

-- name: end_wait
SELECT end_wait($1, $2, $3) AS inputs;

-- name: put_off_again
SELECT put_off_again($1, $2, $3) AS put_off;

-- name: forget_waits
SELECT forget_waits($1, $2) AS waits;

-- name: contacts_may_enter
SELECT user_id FROM contacts_may_enter($1);

-- name: admit_contacts
SELECT admit_contacts($1) AS entered;

-- name: contacts_entered
SELECT user_id, id AS contact_id FROM contacts_entered($1);

-- name: lock_entered
-- In front of the contact's conversations. Nothing comes back when somebody else was here.
UPDATE contacts SET entered_at = NULL
 WHERE user_id = $1 AND id = $2 AND entered_at IS NOT NULL
RETURNING id;

-- name: waiting_of
SELECT id FROM conversations
 WHERE user_id = $1 AND contact_id = $2 AND waits_for IS NOT NULL ORDER BY id;
