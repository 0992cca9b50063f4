-- name: read_session
-- As which role, where, and with which settings statements run here. Qualified: which search_path
-- holds is part of the question.
SELECT current_user::text AS role, session_user::text AS login,
       pg_catalog.current_database()::text AS database,
       pg_catalog.pg_backend_pid() AS pid, pg_catalog.pg_is_in_recovery() AS standby,
       r.rolsuper AS superuser, r.rolbypassrls AS bypasses,
       ARRAY(SELECT pg_catalog.current_setting(t.name, true)
               FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS t (name, place)
              ORDER BY t.place) AS settings
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user;

-- name: set_session
SELECT pg_catalog.set_config(t.name, t.value, false)
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
    AS t (name, value);
