-- name: are_named_as_sent
SELECT EXISTS (SELECT FROM pg_catalog.pg_prepared_statements s
                WHERE pg_catalog.starts_with(s.name, $1));

-- name: lent_pid
SELECT pg_catalog.pg_backend_pid();
