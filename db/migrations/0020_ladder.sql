-- A model that fails is waited for; what a turn reads may be odd without keeping its customer in
-- silence.

-- What the product writes is an object; what somebody else wrote into the column may be none.
CREATE FUNCTION as_object(p jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(p) = 'object' THEN p ELSE '{}' END
$$;

-- Since when the model has been failing for what is unanswered here, how many questions that cost,
-- and when the customer was told that it takes longer. All end with an answer.
ALTER TABLE conversations
    ADD COLUMN failing_since timestamptz,
    ADD COLUMN model_tries integer NOT NULL DEFAULT 0,
    ADD COLUMN told_slow_at timestamptz;

-- Since when a chatbot hands conversations over because it cannot answer; until it answers one.
ALTER TABLE chatbots ADD COLUMN failing_since timestamptz;

-- The lease is let go of, and somebody tries again after p_wait: the model gave no answer. Whether
-- the customer may be told so (p_tells) is looked at when the lock is there. NULL: the lease is
-- somebody else's.
CREATE FUNCTION put_off_turn(p_user bigint, p_conversation bigint, p_worker bigint, p_epoch bigint,
                             p_wait interval, p_failing interval, p_tried boolean, p_tells boolean)
    RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v record;
    v_tells boolean;
BEGIN
    SELECT c.contact_id, coalesce(c.taken_over_until > now(), false) AS taken_over
      INTO v FROM conversations c
     WHERE c.user_id = p_user AND c.id = p_conversation
       AND c.lease_owner = p_worker AND c.epoch = p_epoch
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_tells := p_tells AND NOT v.taken_over
           AND NOT EXISTS (SELECT FROM contacts c WHERE c.user_id = p_user AND c.id = v.contact_id
                              AND c.conversation_paused);
    UPDATE conversations c
       SET lease_owner = NULL,
           -- What came meanwhile comes along, when it is due.
           ready_at = least(c.ready_at, now() + p_wait * (0.75 + random() / 2)),
           failing_since = coalesce(c.failing_since, now() - p_failing),
           model_tries = c.model_tries + p_tried::int,
           told_slow_at = CASE WHEN v_tells THEN now() ELSE c.told_slow_at END,
           updated_at = now()
     WHERE c.user_id = p_user AND c.id = p_conversation;
    RETURN v_tells;
END $$;

-- What has been settled is nothing that fails any more.
CREATE OR REPLACE FUNCTION fence_turn(p_user bigint, p_conversation bigint, p_worker bigint, p_epoch bigint,
                           p_read_seq bigint) RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v record;
BEGIN
    SELECT c.contact_id, c.answered_seq, coalesce(c.taken_over_until > now(), false) AS taken_over
      INTO v FROM conversations c
     WHERE c.user_id = p_user AND c.id = p_conversation
       AND c.lease_owner = p_worker AND c.epoch = p_epoch
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE conversations c
       SET lease_owner = NULL,
           answered_seq = greatest(c.answered_seq, p_read_seq),
           ready_at = CASE WHEN c.input_seq > p_read_seq THEN coalesce(c.ready_at, now()) END,
           -- What came meanwhile and was read is no burst's first message any more.
           pending_since = CASE WHEN c.input_seq > p_read_seq THEN c.pending_since END,
           attempts = 0, failing_since = NULL, model_tries = 0, told_slow_at = NULL,
           updated_at = now()
     WHERE c.user_id = p_user AND c.id = p_conversation;
    RETURN v.taken_over OR v.answered_seq >= p_read_seq
        OR EXISTS (SELECT FROM contacts c WHERE c.user_id = p_user AND c.id = v.contact_id
                      AND c.conversation_paused);
END $$;
