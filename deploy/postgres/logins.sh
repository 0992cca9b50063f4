#!/bin/sh
# Run once by the image, on an empty volume: the three logins of docs/operations.md, Database roles.
set -eu

psql --set ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname postgres \
    --set owner="$POSTGRES_OWNER_PASSWORD" --set runtime="$POSTGRES_RUNTIME_PASSWORD" \
    --set ingest="$POSTGRES_INGEST_PASSWORD" <<'SQL'
CREATE ROLE swiftreplies_owner LOGIN CREATEROLE PASSWORD :'owner';
CREATE ROLE swiftreplies_runtime LOGIN PASSWORD :'runtime';
CREATE ROLE swiftreplies_ingest LOGIN PASSWORD :'ingest';
CREATE DATABASE swiftreplies OWNER swiftreplies_owner;
SQL
