-- What a chatbot sends when the 24 hours after the customer's last message are over and free text is
-- not taken any more: a template that Meta approved for its number, {"name": ..., "language": ...}.
-- NULL: nothing; the reply is on the dead list.

ALTER TABLE chatbots ADD COLUMN window_template jsonb,
    ADD CONSTRAINT chatbots_window_template_form CHECK (
        window_template IS NULL
        OR coalesce(jsonb_typeof(window_template) = 'object'
                    AND window_template ->> 'name' ~ '^[a-z0-9_]+$'
                    AND length(window_template ->> 'name') <= 512
                    AND window_template ->> 'language' ~ '^[a-z]{2,3}([_-][A-Za-z]{2,4})?$', false));

-- Templates that went out since the customer's last message: a window gets one.
CREATE INDEX messages_templates ON messages (user_id, conversation_id, created_at)
    WHERE message_type = 'template';

-- A person who takes a conversation over writes at once: what the bot still had to say there, and
-- waits to try again, would hold the person's words back. So it is looked at now, and cancelled.
-- Whatever is being sent or settled at this moment is left alone, and nobody is waited for.
CREATE FUNCTION wake_silenced_sends() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE public.messages m SET send_after = NULL
     WHERE m.user_id = NEW.user_id AND m.id IN (
         SELECT w.id FROM public.messages w
          WHERE w.user_id = NEW.user_id AND w.conversation_id = NEW.id
            AND w.direction = 'outbound' AND w.status = 'queued' AND w.send_after IS NOT NULL
            AND NOT coalesce(w.is_from_human, false)
            FOR NO KEY UPDATE SKIP LOCKED);
    RETURN NULL;
END $$;
CREATE TRIGGER wake_silenced_sends AFTER UPDATE OF taken_over_by ON conversations
    FOR EACH ROW WHEN (NEW.taken_over_by = 'human'
                       AND OLD.taken_over_by IS DISTINCT FROM NEW.taken_over_by)
    EXECUTE FUNCTION wake_silenced_sends();
