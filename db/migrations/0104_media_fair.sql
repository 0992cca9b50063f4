-- A medium that a worker lost sight of while the database was away is no death: only one that another
-- worker held, which is dead, counts. In the text of today's function.
DO $$
DECLARE
    v_is text := pg_get_functiondef(
        'claim_media(bigint, text, bigint[], integer, integer, interval)'::regprocedure);
    v_has_to_be text := replace(v_is, '(m.lease_owner IS NOT NULL)::int',
                                      '(m.lease_owner <> p_worker AND m.lease_owner IS NOT NULL)::int');
BEGIN
    IF v_has_to_be = v_is THEN
        RAISE 'claim_media() counts no deaths';
    END IF;
    EXECUTE v_has_to_be;
END $$;
