#!/usr/bin/env bash
# Creates the database cluster, its roles and its databases in $PGDATA, unless they exist. It runs before the server,
# in single-user mode, so that every client finds them complete. It creates them in another folder and renames that
# folder at the end: a start that is killed half-way leaves nothing that the next start takes for complete.
set -euo pipefail
PATH=/usr/lib/postgresql/15/bin:$PATH

if [[ -s $PGDATA/PG_VERSION ]]; then
    echo "initdb: $PGDATA holds a database cluster of version $(< "$PGDATA/PG_VERSION"), nothing to do"
    exit 0
fi

new=$PGDATA.new
rm -rf "$new"
# pg_hba.conf comes from the ConfigMap. These methods apply only to a server that is started without it.
initdb --pgdata="$new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
    --auth-local=peer --auth-host=reject

# The superuser has no password, so it cannot log in over the network.
quoted() { printf "'%s'" "${1//\'/\'\'}"; }

# Each role has a limit of its own, so that a client that opens too many sessions takes none of Temporal's. The limits add
# up to max_connections without the superuser's three (postgresql.conf).
postgres --single -c exit_on_error=on -D "$new" postgres > /dev/null <<SQL
CREATE ROLE documents LOGIN CONNECTION LIMIT 3 PASSWORD $(quoted "$DOCUMENTS_PASSWORD")
CREATE ROLE worker LOGIN CONNECTION LIMIT 160 PASSWORD $(quoted "$WORKER_PASSWORD")
CREATE ROLE reader LOGIN CONNECTION LIMIT 14 IN ROLE pg_monitor PASSWORD $(quoted "$READER_PASSWORD")
CREATE ROLE temporal LOGIN CONNECTION LIMIT 120 PASSWORD $(quoted "$TEMPORAL_PASSWORD")
CREATE DATABASE documents OWNER documents
CREATE DATABASE temporal OWNER temporal
CREATE DATABASE temporal_visibility OWNER temporal
REVOKE ALL ON DATABASE postgres, documents, temporal, temporal_visibility FROM PUBLIC
GRANT CONNECT ON DATABASE documents TO worker, reader
SQL

# The role documents owns the tables that the migrations make. The worker may use them, and the reader may look.
postgres --single -c exit_on_error=on -D "$new" documents > /dev/null <<SQL
ALTER DEFAULT PRIVILEGES FOR ROLE documents GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO worker
ALTER DEFAULT PRIVILEGES FOR ROLE documents GRANT SELECT ON TABLES TO reader
SQL

sync
mv "$new" "$PGDATA"
echo "initdb: made $PGDATA with the databases documents, temporal, temporal_visibility"
