-- Statements that were written for one tenant go on working beside ours: what they leave out is the
-- tenant that their session names (ALTER ROLE ... SET app.user_id = '1'), as of order_items. Unset, it
-- stays refused.

ALTER TABLE contacts  ALTER COLUMN user_id
    SET DEFAULT nullif(current_setting('app.user_id', true), '')::bigint;
ALTER TABLE messages  ALTER COLUMN user_id
    SET DEFAULT nullif(current_setting('app.user_id', true), '')::bigint;
ALTER TABLE orders    ALTER COLUMN user_id
    SET DEFAULT nullif(current_setting('app.user_id', true), '')::bigint;
ALTER TABLE campaigns ALTER COLUMN user_id
    SET DEFAULT nullif(current_setting('app.user_id', true), '')::bigint;

-- The tenant's chatbot, for a contact that names none: its oldest, which existing rows were given to.
CREATE FUNCTION chatbot_of_contact(p_user bigint, p_contact bigint) RETURNS bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (SELECT c.chatbot_id FROM public.contacts c WHERE c.user_id = p_user AND c.id = p_contact),
        (SELECT min(b.id) FROM public.chatbots b WHERE b.user_id = p_user))
$$;

-- A number in any spelling becomes the stored one. Ours come with what Meta calls them.
CREATE FUNCTION complete_contact() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.wa_id := regexp_replace(NEW.phone_number, '\D', '', 'g');
    NEW.phone_number := '+' || NEW.wa_id;
    RETURN NEW;
END $$;
CREATE TRIGGER complete_contact BEFORE INSERT ON contacts FOR EACH ROW
    WHEN (NEW.wa_id IS NULL AND NEW.bsuid IS NULL AND NEW.phone_number IS NOT NULL)
    EXECUTE FUNCTION complete_contact();

-- A message without a conversation is one that somebody else sent or answered: it is history. It is put
-- into its contact's conversation with the words of today, is never an input and never sent by us, and
-- the bot's memory is made anew from the record.
CREATE FUNCTION complete_message() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was text := NEW.status;
BEGIN
    IF NEW.user_id IS NULL THEN  -- refused as it was, before any look
        RETURN NEW;
    END IF;
    NEW.chatbot_id := coalesce(NEW.chatbot_id,
                               public.chatbot_of_contact(NEW.user_id, NEW.contact_id));
    NEW.direction := CASE WHEN NEW.direction IN ('outbound', 'outgoing', 'out')
                          THEN 'outbound' ELSE 'inbound' END;
    NEW.status := CASE
        WHEN NEW.direction = 'inbound' THEN 'received'
        WHEN was IN ('accepted', 'sent', 'delivered', 'read', 'played', 'failed') THEN was
        ELSE 'sent' END;
    IF NEW.status IS DISTINCT FROM was THEN
        NEW.metadata := coalesce(NEW.metadata, '{}') || jsonb_build_object('legacy_status', was);
    END IF;
    NEW.ai_processed := true;
    INSERT INTO public.conversations AS v (user_id, chatbot_id, contact_id, thread_id, rebuild_thread)
    SELECT c.user_id, NEW.chatbot_id, c.id,
           CASE WHEN c.thread_id IS NOT NULL AND NOT EXISTS (
                         SELECT FROM public.conversations o
                          WHERE o.user_id = c.user_id AND o.contact_id = c.id)
                THEN c.thread_id ELSE c.user_id || ':' || gen_random_uuid() END,
           true
      FROM public.contacts c WHERE c.user_id = NEW.user_id AND c.id = NEW.contact_id
    ON CONFLICT (user_id, chatbot_id, contact_id) DO UPDATE SET rebuild_thread = true
    RETURNING v.id INTO NEW.conversation_id;
    IF NEW.direction = 'inbound' THEN
        UPDATE public.conversations v
           SET last_inbound_at = greatest(v.last_inbound_at, NEW.sent_at)
         WHERE v.user_id = NEW.user_id AND v.id = NEW.conversation_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER complete_message BEFORE INSERT ON messages FOR EACH ROW
    WHEN (NEW.conversation_id IS NULL)
    EXECUTE FUNCTION complete_message();

CREATE FUNCTION complete_order() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.chatbot_id := public.chatbot_of_contact(NEW.user_id, NEW.contact_id);
    RETURN NEW;
END $$;
CREATE TRIGGER complete_order BEFORE INSERT ON orders FOR EACH ROW
    WHEN (NEW.chatbot_id IS NULL)
    EXECUTE FUNCTION complete_order();

REVOKE ALL ON FUNCTION chatbot_of_contact(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chatbot_of_contact(bigint, bigint) TO CURRENT_USER, swiftreplies_app;
