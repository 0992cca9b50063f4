-- The thread of a contact's first conversation stays taken while that one is hidden with its deleted
-- chatbot. Whoever looked as the tenant did not see it, and took the thread again: what the customer
-- wrote to another chatbot was refused until the rows had gone. It looks as who deletes does, and is
-- still the tenant.

CREATE FUNCTION thread_is_taken(p_user bigint, p_thread text) RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_was text := coalesce(current_setting('app.deletes', true), '');
    v_taken boolean;
BEGIN
    PERFORM set_config('app.deletes', '1', true);
    v_taken := EXISTS (SELECT FROM conversations c
                        WHERE c.user_id = p_user AND c.thread_id = p_thread);
    PERFORM set_config('app.deletes', v_was, true);
    RETURN v_taken;
END $$;
