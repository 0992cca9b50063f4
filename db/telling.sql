-- name: tell_messages
SELECT tell_messages($1, $2, $3);

-- name: tell_contacts
SELECT tell_contacts($1, $2, $3);
