#!/usr/bin/env bash
# Brings Temporal's two databases to its newest schema, side by side. Each makes the version table (setup-schema) and
# then applies every version up to the newest (update-schema). Both are idempotent, so a restarted pod runs them again,
# and a newer image updates the schema. services/postgres creates the databases: the role temporal has no right to.
set -euo pipefail

bring() {
    export SQL_DATABASE=$1
    temporal-sql-tool setup-schema --version 0.0
    temporal-sql-tool update-schema --schema-name="postgresql/v12/$2"
}

bring temporal temporal &
bring temporal_visibility visibility &
wait -n
wait -n
