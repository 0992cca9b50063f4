-- What a tenant names is a claim: it is kept beside what is proven, and nothing that binds, replays,
-- sends or syncs looks at it.

-- whatsapp_phone_number, phone_number_id and waba_id go on to be what is proven (or was put there by
-- an operator). A release before knows nothing else, and does nothing with a claim.
ALTER TABLE chatbots
    -- Raised by whatever changes what the API shows.
    ADD COLUMN version                 bigint NOT NULL DEFAULT 1,
    ADD COLUMN claimed_number          varchar(255) CHECK (claimed_number ~ '^\+[0-9]{5,20}$'),
    ADD COLUMN claimed_phone_number_id text CHECK (claimed_phone_number_id <> ''),
    ADD COLUMN claimed_waba_id         text CHECK (claimed_waba_id <> ''),
    -- Why a claim is not proven, in words for the tenant.
    ADD COLUMN number_problem          text,
    -- Raised by every naming, and by another token: what was asked of Graph before says nothing then.
    ADD COLUMN proof_seq               bigint NOT NULL DEFAULT 0,
    -- When Graph is asked next (NULL: not at all), until when, and how often it was away.
    ADD COLUMN proof_due_at            timestamptz,
    ADD COLUMN proof_until             timestamptz,
    ADD COLUMN proof_tries             integer NOT NULL DEFAULT 0;

CREATE INDEX chatbots_proof_due ON chatbots (proof_due_at) WHERE proof_due_at IS NOT NULL;
CREATE INDEX chatbots_claimed_number ON chatbots (claimed_number) WHERE claimed_number IS NOT NULL;
CREATE INDEX chatbots_claimed_phone_number_id ON chatbots (claimed_phone_number_id)
    WHERE claimed_phone_number_id IS NOT NULL;

-- Whoever writes: the API, a command, ingest that binds a number or learns an account. What nobody
-- sees there (kb_version, failing_since, when proof is due) costs no version. After the update: with a
-- trigger before it, whoever names a column that a foreign key could refer to, as the number is, waits
-- for everybody who has inserted rows of the chatbot, also when its value stays.
CREATE FUNCTION raise_chatbot_version() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE public.chatbots
       SET version = OLD.version + 1, updated_at = now(),
           -- What Graph says of another token proves nothing, whoever put or took it away.
           proof_seq = CASE WHEN NEW.access_token IS DISTINCT FROM OLD.access_token
                            THEN greatest(NEW.proof_seq, OLD.proof_seq + 1)
                            ELSE NEW.proof_seq END
     WHERE user_id = NEW.user_id AND id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER raise_chatbot_version AFTER UPDATE ON chatbots
    FOR EACH ROW WHEN (NEW.version = OLD.version AND
        (OLD.name, OLD.whatsapp_phone_number, OLD.phone_number_id, OLD.waba_id, OLD.access_token,
         OLD.general_instructions, OLD.is_active, OLD.bot_status, OLD.language, OLD.texts,
         OLD.window_template, OLD.number_confirmed_at, OLD.claimed_number,
         OLD.claimed_phone_number_id, OLD.claimed_waba_id, OLD.number_problem, OLD.updated_at)
        IS DISTINCT FROM
        (NEW.name, NEW.whatsapp_phone_number, NEW.phone_number_id, NEW.waba_id, NEW.access_token,
         NEW.general_instructions, NEW.is_active, NEW.bot_status, NEW.language, NEW.texts,
         NEW.window_template, NEW.number_confirmed_at, NEW.claimed_number,
         NEW.claimed_phone_number_id, NEW.claimed_waba_id, NEW.number_problem, NEW.updated_at))
    EXECUTE FUNCTION raise_chatbot_version();

GRANT SELECT (number_confirmed_at, claimed_number, claimed_phone_number_id, claimed_waba_id,
              proof_seq, proof_due_at),
      UPDATE (whatsapp_phone_number, number_confirmed_at, claimed_number, claimed_phone_number_id,
              number_problem, proof_seq, proof_due_at, version)
    ON chatbots TO swiftreplies_system;

-- The id comes before the row: a token is encrypted for it.
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SEQUENCE %s TO swiftreplies_app',
                   pg_get_serial_sequence('chatbots', 'id'));
END $$;

-- Which of the two another chatbot, of whatever tenant, has proven: 'number', 'phone_number_id'.
CREATE FUNCTION numbers_taken(p_chatbot bigint, p_number text, p_phone_number_id text)
    RETURNS TABLE (what text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'number' FROM public.chatbots c
     WHERE c.whatsapp_phone_number = p_number AND c.number_confirmed_at IS NOT NULL
       AND c.id IS DISTINCT FROM p_chatbot
     UNION ALL
    SELECT 'phone_number_id' FROM public.chatbots c
     WHERE c.phone_number_id = p_phone_number_id AND c.number_confirmed_at IS NOT NULL
       AND c.id IS DISTINCT FROM p_chatbot
$$;

-- Claims for which Graph is to be asked now, each held for p_lease: who dies with one lets others
-- have it then. A tenant's n-th comes after the first n-1 of every other.
CREATE FUNCTION claim_proofs(p_limit integer, p_lease interval)
    RETURNS TABLE (user_id bigint, chatbot_id bigint, epoch bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH due AS (
        SELECT c.id, row_number() OVER (PARTITION BY c.user_id ORDER BY c.proof_due_at, c.id) AS nth
          FROM public.chatbots c WHERE c.proof_due_at <= now()
    ), first AS (
        SELECT d.id FROM due d ORDER BY d.nth, d.id LIMIT p_limit
    ), free AS (
        SELECT c.id FROM public.chatbots c
         WHERE c.id IN (SELECT f.id FROM first f) AND c.proof_due_at <= now()
           FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE public.chatbots c SET proof_due_at = now() + p_lease
      FROM free WHERE c.id = free.id
    RETURNING c.user_id, c.id, c.proof_seq;
END $$;

-- The claim that has p_seq, of the transaction's own tenant, is proven; p_number is the number that Graph tells, or an operator. What
-- others only claim of the same goes. 'proven'; or 'stale' (it was changed meanwhile), 'busy' (somebody
-- holds one of the chatbots, as who imports knowledge into it), 'number' or 'phone_number_id' (another
-- has proven that), and nothing is changed.
CREATE FUNCTION prove_number(p_chatbot bigint, p_seq bigint, p_number text, OUT outcome text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user bigint := nullif(current_setting('app.user_id', true), '')::bigint;
    bot record;
    v_number text;
    v_id text;
BEGIN
    SELECT c.claimed_number, c.claimed_phone_number_id, c.whatsapp_phone_number, c.phone_number_id
      INTO bot FROM public.chatbots c
     WHERE c.user_id = v_user AND c.id = p_chatbot AND c.proof_seq = p_seq;
    IF NOT FOUND THEN
        outcome := 'stale';
        RETURN;
    END IF;
    v_number := coalesce(p_number, bot.claimed_number, bot.whatsapp_phone_number);
    v_id := coalesce(bot.claimed_phone_number_id, bot.phone_number_id);
    -- One proof of a number after the other, so that of two the later one finds the first.
    PERFORM set_config('lock_timeout', '3s', true);
    PERFORM pg_advisory_xact_lock(hashtextextended('chatbots.number ' || coalesce(v_number, ''), 0));
    PERFORM pg_advisory_xact_lock(hashtextextended('chatbots.id ' || coalesce(v_id, ''), 0));
    PERFORM FROM public.chatbots c
      WHERE c.user_id = v_user AND c.id = p_chatbot AND c.proof_seq = p_seq FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        outcome := 'stale';
        RETURN;
    END IF;
    SELECT t.what INTO outcome FROM public.numbers_taken(p_chatbot, v_number, v_id) t LIMIT 1;
    IF FOUND THEN
        RETURN;
    END IF;
    UPDATE public.chatbots c
       SET whatsapp_phone_number = NULL, phone_number_id = NULL
     WHERE c.id <> p_chatbot AND c.number_confirmed_at IS NULL
       AND (c.whatsapp_phone_number = v_number OR c.phone_number_id = v_id);
    UPDATE public.chatbots c
       SET claimed_number = NULL, claimed_phone_number_id = NULL, proof_seq = c.proof_seq + 1,
           proof_due_at = CASE WHEN c.claimed_waba_id IS NOT NULL THEN c.proof_due_at END,
           number_problem = 'another chatbot has proven that the number is its own'
     WHERE c.id <> p_chatbot
       AND (c.claimed_number = v_number OR c.claimed_phone_number_id = v_id);
    UPDATE public.chatbots c
       SET whatsapp_phone_number = v_number, phone_number_id = v_id,
           claimed_number = NULL, claimed_phone_number_id = NULL,
           number_confirmed_at = CASE
               WHEN (c.whatsapp_phone_number, c.phone_number_id) IS DISTINCT FROM (v_number, v_id)
               THEN now() ELSE coalesce(c.number_confirmed_at, now()) END,
           number_problem = NULL,
           proof_due_at = CASE WHEN c.claimed_waba_id IS NOT NULL THEN c.proof_due_at END
     WHERE c.user_id = v_user AND c.id = p_chatbot;
    -- Of an erased tenant it may have been: it is somebody's again.
    PERFORM public.forget_erased_numbers(
        ARRAY(SELECT sha256(convert_to('business:' || n, 'UTF8'))
                FROM unnest(ARRAY[v_number, v_id]) n WHERE n IS NOT NULL));
    outcome := 'proven';
EXCEPTION WHEN lock_not_available THEN
    outcome := 'busy';
END $$;

-- What came for a number before it was its chatbot's: tried again by the role `ingest`, in the order in
-- which it came. Of the transaction's own tenant, and under an id that is proven. How many.
GRANT SELECT (reason, trace_id) ON parked_items TO swiftreplies_system;
GRANT SELECT (user_id, item_key), INSERT ON stuck_items TO swiftreplies_system;
CREATE FUNCTION unpark(p_chatbot bigint, p_limit integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user bigint := nullif(current_setting('app.user_id', true), '')::bigint;
    v_id text;
    v_taken bigint;
BEGIN
    SELECT c.phone_number_id INTO v_id FROM public.chatbots c
     WHERE c.user_id = v_user AND c.id = p_chatbot AND c.number_confirmed_at IS NOT NULL;
    WITH waiting AS (
        SELECT p.id FROM public.parked_items p
         WHERE p.phone_number_id = v_id AND p.kind <> 'status'
           AND p.reason IN ('unknown_number', 'phone_number_id_of_another', 'bindable')
         ORDER BY p.id LIMIT p_limit
    ), taken AS (
        DELETE FROM public.parked_items p USING waiting w WHERE p.id = w.id
        RETURNING p.id, p.item_key, p.kind, p.phone_number_id, p.display_number, p.trace_id, p.raw
    ), put AS (
        INSERT INTO public.stuck_items (user_id, item_key, kind, phone_number_id, display_number,
                                        trace_id, raw, error, retry_at)
        SELECT v_user, t.item_key, t.kind, t.phone_number_id, t.display_number, t.trace_id, t.raw,
               'waited for its number',
               now() + interval '1 ms' * row_number() OVER (ORDER BY t.id)
          FROM taken t ORDER BY t.id
        ON CONFLICT (user_id, item_key) DO NOTHING
    )
    SELECT count(*) INTO v_taken FROM taken;
    RETURN v_taken;
END $$;

GRANT CREATE ON SCHEMA public TO swiftreplies_system;
ALTER FUNCTION unpark(bigint, integer) OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION unpark(bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION unpark(bigint, integer) TO CURRENT_USER, swiftreplies_app;
ALTER FUNCTION numbers_taken(bigint, text, text) OWNER TO swiftreplies_system;
ALTER FUNCTION claim_proofs(integer, interval) OWNER TO swiftreplies_system;
ALTER FUNCTION prove_number(bigint, bigint, text) OWNER TO swiftreplies_system;
REVOKE ALL ON FUNCTION numbers_taken(bigint, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION claim_proofs(integer, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION prove_number(bigint, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION numbers_taken(bigint, text, text) TO CURRENT_USER, swiftreplies_app;
GRANT EXECUTE ON FUNCTION claim_proofs(integer, interval) TO CURRENT_USER, swiftreplies_app;
GRANT EXECUTE ON FUNCTION prove_number(bigint, bigint, text)
    TO CURRENT_USER, swiftreplies_app;
REVOKE CREATE ON SCHEMA public FROM swiftreplies_system;
