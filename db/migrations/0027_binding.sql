-- A chatbot whose row somebody has locked for long is not bound for now: what came for it is recorded,
-- and the next webhook of its number binds it. It kept every batch of the worker, so everybody's.
CREATE OR REPLACE FUNCTION resolve_number(p_phone_number_id text, p_number text, p_bind boolean)
    RETURNS TABLE (outcome text, user_id bigint, chatbot_id bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    bot record;
    holder bigint;
BEGIN
    SELECT c.user_id, c.id INTO bot FROM public.chatbots c
     WHERE c.phone_number_id = p_phone_number_id;
    IF FOUND THEN
        RETURN QUERY SELECT 'known', bot.user_id, bot.id;
        RETURN;
    END IF;
    SELECT c.user_id, c.id, c.phone_number_id INTO bot FROM public.chatbots c
     WHERE c.whatsapp_phone_number = p_number;
    IF NOT FOUND OR coalesce(p_phone_number_id, '') = '' THEN
        RETURN QUERY SELECT 'unknown_number', NULL::bigint, NULL::bigint;
        RETURN;
    END IF;
    SELECT n.chatbot_id INTO holder FROM public.chatbot_phone_numbers n
     WHERE n.phone_number_id = p_phone_number_id;
    IF bot.phone_number_id IS NOT NULL OR (holder IS NOT NULL AND holder <> bot.id) THEN
        RETURN QUERY SELECT 'phone_number_id_of_another', NULL::bigint, NULL::bigint;
        RETURN;
    END IF;
    IF NOT p_bind THEN
        RETURN QUERY SELECT 'bindable', bot.user_id, bot.id;
        RETURN;
    END IF;
    PERFORM set_config('lock_timeout', '3s', true);
    BEGIN
        UPDATE public.chatbots c SET phone_number_id = p_phone_number_id, updated_at = now()
         WHERE c.id = bot.id AND c.phone_number_id IS NULL;
        IF NOT FOUND THEN  -- bound by another worker between our look and our write
            RETURN QUERY SELECT r.outcome, r.user_id, r.chatbot_id
                           FROM public.resolve_number(p_phone_number_id, p_number, false) r;
            RETURN;
        END IF;
    EXCEPTION WHEN lock_not_available THEN
        RETURN QUERY SELECT 'bindable', bot.user_id, bot.id;
        RETURN;
    END;
    RETURN QUERY SELECT 'bound', bot.user_id, bot.id;
END $$;
