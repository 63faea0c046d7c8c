#!/bin/bash
# Runs once, in an empty cluster: the two logins of Convene. One migrates and may act as the owner of all tables, the other
# serves, owns nothing, and can neither change nor delete what is in the logs. `convene db migrate` grants the rest.
set -euo pipefail

psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 \
    --set migrate_password="$(cat /run/secrets/postgres_migrate_password)" \
    --set serve_password="$(cat /run/secrets/postgres_serve_password)" <<'SQL'
CREATE ROLE convene_owner NOLOGIN;
CREATE ROLE convene_app NOLOGIN;
CREATE ROLE convene_migrate LOGIN PASSWORD :'migrate_password' IN ROLE convene_owner, convene_app;
CREATE ROLE convene_serve LOGIN PASSWORD :'serve_password' IN ROLE convene_app;
GRANT USAGE, CREATE ON SCHEMA public TO convene_owner WITH GRANT OPTION;
SQL
