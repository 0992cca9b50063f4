-- Requests have amounts, equal ones of a contact are one, and what is approved without asking has
-- bounds.

-- ---- requests -----------------------------------------------------------------------------------

-- request_key: equal requests have equal ones (handlers/rules/requests.py); NULL of rows of before,
-- and of the release before. What an approving decision allows: max_amount for one, max_per_day for
-- the sum of a day (auto_approved_sum on auto_approved_day), until auto_approve_until (NULL: a
-- decision of before, good for 30 days), unless it is withdrawn.
ALTER TABLE actions
    ADD COLUMN amount numeric(18,2),
    ADD COLUMN currency varchar(3),
    ADD COLUMN request_key text,
    ADD COLUMN max_amount numeric(18,2),
    ADD COLUMN max_per_day numeric(18,2),
    ADD COLUMN any_contact boolean NOT NULL DEFAULT false,
    ADD COLUMN auto_approve_until timestamptz,
    ADD COLUMN withdrawn_at timestamptz,
    ADD COLUMN auto_approved_sum numeric(18,2) NOT NULL DEFAULT 0,
    ADD COLUMN auto_approved_day date,
    ADD CONSTRAINT actions_amount_check
        CHECK ((amount IS NULL) = (currency IS NULL) AND amount > 0) NOT VALID,
    ADD CONSTRAINT actions_currency_check CHECK (currency ~ '^[A-Z]{3}$') NOT VALID,
    ADD CONSTRAINT actions_bound_check
        CHECK ((max_amount IS NULL) = (max_per_day IS NULL)
               AND (max_amount IS NULL OR amount IS NOT NULL)
               AND max_amount > 0 AND max_per_day >= max_amount) NOT VALID,
    -- Of any day: whatever the code does, the sum stays within the bound.
    ADD CONSTRAINT actions_sum_check
        CHECK (auto_approved_sum >= 0
               AND (auto_approved_sum = 0 OR auto_approved_sum <= max_per_day)) NOT VALID;
CREATE UNIQUE INDEX actions_equal ON actions (user_id, chatbot_id, contact_id, request_key)
    WHERE status = 'pending';

-- ---- what tenants are told of an action has its new fields --------------------------------------

CREATE OR REPLACE FUNCTION event_fields(p_user bigint, p_type text, p_contact bigint, p_data jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    RETURN coalesce(CASE
        WHEN p_type LIKE 'message.%' THEN (
            SELECT message_fields(m) FROM messages m
             WHERE m.user_id = p_user AND m.id = (p_data ->> 'message_id')::bigint)
        WHEN p_type LIKE 'action.%' THEN (
            SELECT jsonb_build_object(
                       'conversation_id', v.id, 'request_type', a.request_type,
                       'request_details', a.request_details, 'context_data', a.context_data,
                       'amount', a.amount::text, 'currency', a.currency,
                       'status', a.status, 'user_response', a.user_response,
                       'auto_approve_similar', a.auto_approve_similar,
                       'max_amount', a.max_amount::text, 'max_per_day', a.max_per_day::text,
                       'any_contact', a.any_contact, 'auto_approve_until', a.auto_approve_until,
                       'withdrawn_at', a.withdrawn_at,
                       'auto_approved_by', a.auto_approved_by, 'created_at', a.created_at,
                       'expires_at', a.expires_at, 'resolved_at', a.resolved_at,
                       'resolved_by', a.resolved_by)
              FROM actions a
              LEFT JOIN conversations v ON v.user_id = p_user AND v.chatbot_id = a.chatbot_id
                                       AND v.contact_id = a.contact_id
             WHERE a.user_id = p_user AND a.id = (p_data ->> 'action_id')::bigint)
        WHEN p_type LIKE 'conversation.%' THEN (
            SELECT jsonb_build_object(
                       'phone_number', c.phone_number, 'bsuid', c.bsuid, 'name', c.name,
                       'last_inbound_at', v.last_inbound_at, 'created_at', v.created_at)
              FROM conversations v JOIN contacts c ON c.user_id = p_user AND c.id = v.contact_id
             WHERE v.user_id = p_user AND v.id = (p_data ->> 'conversation_id')::bigint)
        WHEN p_type LIKE 'contact.%' AND p_type <> 'contact.erased' THEN (
            SELECT contact_fields(c) FROM contacts c WHERE c.user_id = p_user AND c.id = p_contact)
    END, '{}');
END $$;
