-- What a person does while a turn runs, a worker dies or a replay waits.

-- As before, but what counts is how far the conversation is answered, by the turn or by a person
-- meanwhile. A turn that a person had overtaken left it ready for nothing.
CREATE OR REPLACE FUNCTION fence_turn(p_user bigint, p_conversation bigint, p_worker bigint, p_epoch bigint,
                           p_read_seq bigint) RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v record;
BEGIN
    SELECT c.contact_id, c.answered_seq, greatest(c.answered_seq, p_read_seq) AS done,
           coalesce(c.taken_over_until > now(), false) AS taken_over
      INTO v FROM conversations c
     WHERE c.user_id = p_user AND c.id = p_conversation
       AND c.lease_owner = p_worker AND c.epoch = p_epoch
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE conversations c
       SET lease_owner = NULL, answered_seq = v.done,
           ready_at = CASE WHEN c.input_seq > v.done THEN coalesce(c.ready_at, now()) END,
           -- What came meanwhile and was read is no burst's first message any more.
           pending_since = CASE WHEN c.input_seq > v.done THEN c.pending_since END,
           attempts = 0, failing_since = NULL, model_tries = 0, told_slow_at = NULL,
           updated_at = now()
     WHERE c.user_id = p_user AND c.id = p_conversation;
    RETURN v.taken_over OR v.answered_seq >= p_read_seq
        OR EXISTS (SELECT FROM contacts c WHERE c.user_id = p_user AND c.id = v.contact_id
                      AND c.conversation_paused);
END $$;

-- As before, but what a person has answered meanwhile is put off for nobody, and nobody is told
-- that it takes longer.
CREATE OR REPLACE FUNCTION put_off_turn(p_user bigint, p_conversation bigint, p_worker bigint, p_epoch bigint,
                             p_wait interval, p_failing interval, p_tried boolean, p_tells boolean)
    RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v record;
    v_tells boolean;
BEGIN
    SELECT c.contact_id, coalesce(c.taken_over_until > now(), false) AS taken_over,
           c.input_seq > c.answered_seq AS waits
      INTO v FROM conversations c
     WHERE c.user_id = p_user AND c.id = p_conversation
       AND c.lease_owner = p_worker AND c.epoch = p_epoch
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_tells := p_tells AND v.waits AND NOT v.taken_over
           AND NOT EXISTS (SELECT FROM contacts c WHERE c.user_id = p_user AND c.id = v.contact_id
                              AND c.conversation_paused);
    UPDATE conversations c
       SET lease_owner = NULL,
           -- What came meanwhile comes along, when it is due.
           ready_at = CASE WHEN v.waits
                           THEN least(c.ready_at, now() + p_wait * (0.75 + random() / 2)) END,
           failing_since = CASE WHEN v.waits
                                THEN coalesce(c.failing_since, now() - p_failing) END,
           model_tries = CASE WHEN v.waits THEN c.model_tries + p_tried::int ELSE 0 END,
           told_slow_at = CASE WHEN v_tells THEN now() WHEN v.waits THEN c.told_slow_at END,
           updated_at = now()
     WHERE c.user_id = p_user AND c.id = p_conversation;
    RETURN v_tells;
END $$;

-- As before, but a replay goes on waiting for the statuses that were accepted before it: woken, and
-- the conversation handed back at once, it went to a customer who had it.
CREATE OR REPLACE FUNCTION wake_silenced_sends() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE public.messages m SET send_after = NULL
     WHERE m.user_id = NEW.user_id AND m.id IN (
         SELECT w.id FROM public.messages w
          WHERE w.user_id = NEW.user_id AND w.conversation_id = NEW.id
            AND w.direction = 'outbound' AND w.status = 'queued' AND w.send_after < 'infinity'
            AND NOT coalesce(w.is_from_human, false)
            FOR NO KEY UPDATE SKIP LOCKED);
    RETURN NULL;
END $$;

-- The two below as before, but a conversation that a person has answered meanwhile is ready once
-- more if a unit is held for it: its turn finds nothing to say and gives the unit back. Nobody else
-- would, until the customer writes again.
GRANT SELECT (user_id, conversation_id) ON usage_reservations TO swiftreplies_system;
CREATE POLICY system ON usage_reservations TO swiftreplies_system USING (true);

CREATE OR REPLACE FUNCTION sweep_dead_workers(p_term interval)
    RETURNS TABLE (what text, user_id bigint, id bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    alive bigint[];
BEGIN
    SELECT coalesce(array_agg(w.id), '{}') INTO alive FROM public.workers w
     WHERE w.beat_at > clock_timestamp() - p_term;
    RETURN QUERY
    WITH dead AS (
        SELECT c.id FROM public.conversations c
         WHERE c.lease_owner IS NOT NULL AND c.lease_owner <> ALL (alive)
         ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED)
    -- It counts as a failed attempt: a turn that takes its process down must not take them all.
    UPDATE public.conversations c
       SET lease_owner = NULL, attempts = c.attempts + 1,
           ready_at = CASE WHEN c.input_seq > c.answered_seq OR EXISTS (
                                    SELECT FROM public.usage_reservations r
                                     WHERE r.user_id = c.user_id AND r.conversation_id = c.id)
                           THEN now() END
      FROM dead WHERE c.id = dead.id
    RETURNING 'conversation', c.user_id, c.id;
    RETURN QUERY
    WITH dead AS (
        SELECT m.id FROM public.messages m
         WHERE m.direction = 'outbound' AND m.status IN ('queued', 'sending', 'unknown')
           AND m.send_owner IS NOT NULL AND m.send_owner <> ALL (alive)
         ORDER BY m.id FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE public.messages m
       SET send_owner = NULL,
           status = CASE WHEN m.status = 'sending' THEN 'unknown' ELSE m.status END,
           unknown_at = CASE WHEN m.status = 'sending' THEN now() ELSE m.unknown_at END,
           unknown_count = m.unknown_count + (m.status = 'sending')::int
      FROM dead WHERE m.id = dead.id
    RETURNING 'message', m.user_id, m.id;
    DELETE FROM public.workers w WHERE w.id <> ALL (alive)
       AND w.beat_at < clock_timestamp() - 10 * p_term;
END $$;

CREATE OR REPLACE FUNCTION sweep_unheld(p_worker bigint, p_conversations bigint[], p_messages bigint[])
    RETURNS TABLE (what text, user_id bigint, id bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    -- What somebody has locked can wait for the next look; who waits here holds up every claim.
    RETURN QUERY
    WITH lost AS (
        SELECT c.id FROM public.conversations c
         WHERE c.lease_owner = p_worker AND c.id <> ALL (p_conversations)
           FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE public.conversations c
       SET lease_owner = NULL,
           ready_at = CASE WHEN c.input_seq > c.answered_seq OR EXISTS (
                                    SELECT FROM public.usage_reservations r
                                     WHERE r.user_id = c.user_id AND r.conversation_id = c.id)
                           THEN now() END
      FROM lost WHERE c.id = lost.id
    RETURNING 'conversation', c.user_id, c.id;
    RETURN QUERY
    WITH lost AS (
        SELECT m.id FROM public.messages m
         WHERE m.direction = 'outbound' AND m.status IN ('queued', 'sending', 'unknown')
           AND m.send_owner = p_worker AND m.id <> ALL (p_messages)
           FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE public.messages m
       SET send_owner = NULL,
           status = CASE WHEN m.status = 'sending' THEN 'unknown' ELSE m.status END,
           unknown_at = CASE WHEN m.status = 'sending' THEN now() ELSE m.unknown_at END,
           unknown_count = m.unknown_count + (m.status = 'sending')::int
      FROM lost WHERE m.id = lost.id
    RETURNING 'message', m.user_id, m.id;
END $$;
