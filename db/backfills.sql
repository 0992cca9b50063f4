-- name: terms_due
SELECT tenant_id, after_id, upto_id FROM contact_terms_due ORDER BY tenant_id LIMIT 1;

-- name: add_terms
-- Locked, since whoever changes a contact takes away what it is found by no more. Whatever is there
-- is there.
WITH page AS MATERIALIZED (
    SELECT id, name, phone_number, tags, chatbot_id FROM contacts
     WHERE user_id = $1 AND id > $2 AND id <= $3 ORDER BY id LIMIT $4 FOR SHARE
), added AS (
    INSERT INTO contact_terms (user_id, term, of_contact)
    SELECT $1, t, p.id
      FROM page p, unnest(contact_terms_of(p.name, p.phone_number, p.tags, p.chatbot_id)) t
    ON CONFLICT (user_id, term, of_contact) DO NOTHING
)
SELECT id FROM page;

-- name: terms_added
UPDATE contact_terms_due SET after_id = $2 WHERE tenant_id = $1;

-- name: terms_complete
DELETE FROM contact_terms_due WHERE tenant_id = $1;

-- name: terms_left
-- As the owner: tenants whose contacts are not all found yet.
SELECT count(*) FROM contact_terms_due;
