-- As before it: see migrations/0054. What two terms have in common was found by jumping from one to
-- the other, a query a jump: 30 to 60 ms for a page of a first and a last name in half a million
-- contacts. Now each term's index is read in runs, which become longer while most of them is of use,
-- and the runs are compared: 5 ms. Where one term is rare and another everywhere it is 4 ms, not 2.
CREATE OR REPLACE FUNCTION contacts_by_terms(p_user bigint, p_terms text[], p_else text[],
                                             p_before bigint, p_limit integer, p_steps integer,
                                             p_number text)
    RETURNS TABLE (id bigint, stopped bigint)
    LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    v_places constant integer := cardinality(p_terms);
    v_shortest constant integer := 8;
    v_longest constant integer := 64;
    v_below bigint := p_before;  -- all that is from here on has been looked at
    v_top bigint;  -- below it is the run that is read
    v_low bigint;  -- down to it all runs are whole
    v_half bigint;  -- the lowest of what is in the middle of the runs
    v_run bigint[];
    v_both bigint[];
    v_length integer := CASE WHEN v_places = 1 THEN least(p_limit, v_longest) ELSE v_shortest END;
    v_steps integer := 0;
    v_left integer := p_limit;
BEGIN
    <<rounds>>
    WHILE v_steps < p_steps LOOP
        v_top := v_below;
        v_low := 0;
        v_half := v_below;
        FOR v_place IN 1 .. v_places LOOP
            v_steps := v_steps + 1 + v_length / 32;  -- as long as that
            IF p_else[v_place] IS NULL THEN
                v_run := ARRAY(SELECT t.of_contact FROM contact_terms t
                                WHERE t.user_id = p_user AND t.term = p_terms[v_place]
                                  AND t.of_contact < v_top
                                ORDER BY t.of_contact DESC LIMIT v_length);
            ELSE
                v_run := ARRAY(SELECT e.of_contact FROM (
                                   (SELECT t.of_contact FROM contact_terms t
                                     WHERE t.user_id = p_user AND t.term = p_terms[v_place]
                                       AND t.of_contact < v_top
                                     ORDER BY t.of_contact DESC LIMIT v_length)
                                   UNION
                                   (SELECT t.of_contact FROM contact_terms t
                                     WHERE t.user_id = p_user AND t.term = p_else[v_place]
                                       AND t.of_contact < v_top
                                     ORDER BY t.of_contact DESC LIMIT v_length)) e
                                ORDER BY e.of_contact DESC LIMIT v_length);
            END IF;
            IF v_run = '{}' THEN
                RETURN;
            END IF;
            v_top := v_run[1] + 1;
            IF v_top <= v_low THEN  -- what the others have above it is nobody's
                v_below := v_top;
                v_length := v_shortest;
                CONTINUE rounds;
            END IF;
            IF cardinality(v_run) = v_length THEN
                v_low := greatest(v_low, v_run[v_length]);
            END IF;
            v_half := least(v_half, v_run[(cardinality(v_run) + 1) / 2]);
            v_both := CASE WHEN v_place = 1 THEN v_run
                           ELSE ARRAY(SELECT b.one FROM unnest(v_both) b (one)
                                       WHERE b.one = ANY (v_run) ORDER BY b.one DESC) END;
        END LOOP;
        FOREACH id IN ARRAY v_both LOOP
            IF EXISTS (SELECT FROM contacts c
                        WHERE c.user_id = p_user AND c.id = contacts_by_terms.id
                          AND c.erased_at IS NULL
                          AND (p_number IS NULL
                               OR right(c.phone_number, length(p_number)) = p_number
                               OR starts_with(c.phone_number, '+' || p_number)
                               OR EXISTS (SELECT FROM contact_terms t
                                           WHERE t.user_id = p_user
                                             AND t.of_contact = contacts_by_terms.id
                                             AND t.term = 'w:' || left(p_number, 12)))) THEN
                RETURN NEXT;
                v_left := v_left - 1;
                IF v_left = 0 THEN
                    RETURN;
                END IF;
            END IF;
        END LOOP;
        IF v_low = 0 THEN
            RETURN;
        END IF;
        v_below := v_low;
        -- Longer where most of all runs was of use.
        v_length := CASE WHEN v_half >= v_low THEN least(v_length * 2, v_longest)
                         ELSE greatest(v_length / 2, v_shortest) END;
    END LOOP;
    id := NULL;
    stopped := v_below;
    RETURN NEXT;
END $$;
