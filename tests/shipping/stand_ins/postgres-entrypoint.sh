#!/bin/bash
# The first start makes the database that POSTGRES_USER, _DB, _PASSWORD_FILE and _INITDB_ARGS ask for; then the
# server runs with the arguments given.
set -eu
if [ "${1:-}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    read -r -a options <<< "${POSTGRES_INITDB_ARGS:-}"
    initdb --pgdata "$PGDATA" --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" "${options[@]}"
    # Nobody but this script reaches the server while it is made; then it is healthy only when it is whole.
    pg_ctl --pgdata "$PGDATA" --wait start -o "$(printf '%q ' "${@:2}" -c listen_addresses= -k /tmp)"
    PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")" createdb -h /tmp -U "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --pgdata "$PGDATA" --wait --mode fast stop
fi
exec "$@"
