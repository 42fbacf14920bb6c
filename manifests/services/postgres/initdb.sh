#!/usr/bin/env bash
# Makes the database cluster, its roles and its databases in $PGDATA, unless it is there already.
# Runs before the server, without one (single-user mode), so that whoever reaches Postgres over the
# network finds everything in place. Made beside its final place and renamed at the end: a start
# that is killed half-way leaves nothing that the next one would take for finished.
set -euo pipefail
PATH=/usr/lib/postgresql/15/bin:$PATH

if [[ -s $PGDATA/PG_VERSION ]]; then
    echo "initdb: $PGDATA holds a database cluster of version $(< "$PGDATA/PG_VERSION"), nothing to do"
    exit 0
fi

new=$PGDATA.new
rm -rf "$new"
# pg_hba.conf comes from the ConfigMap; the methods named here are for a server started without it.
initdb --pgdata="$new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
    --auth-local=trust --auth-host=reject

# The superuser gets no password, so it cannot come in over the network.
quoted() { printf "'%s'" "${1//\'/\'\'}"; }
postgres --single -c exit_on_error=on -D "$new" postgres > /dev/null <<SQL
CREATE ROLE slipway LOGIN PASSWORD $(quoted "$SLIPWAY_PASSWORD")
CREATE ROLE temporal LOGIN PASSWORD $(quoted "$TEMPORAL_PASSWORD")
CREATE DATABASE documents OWNER slipway
CREATE DATABASE temporal OWNER temporal
CREATE DATABASE temporal_visibility OWNER temporal
SQL

sync
mv "$new" "$PGDATA"
echo "initdb: made $PGDATA with the databases documents, temporal, temporal_visibility"
