//! What stands between a worker and its database: a failover, limits, rights, a PgBouncer.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;

use crate::{
    credentials::{completes, failed_with},
    harness::World,
    runner::tests,
};

tests![
    twenty_workers_start_at_once_through_a_pgbouncer_in_transaction_mode,
    a_pool_on_a_demoted_primary_connects_again,
    a_connection_that_cannot_be_opened_names_the_cause,
    a_worker_without_the_right_to_change_the_schema_waits_for_its_migration,
];

/// Number of workers that start at once.
const WORKERS: usize = 20;

/// Timeout for all of them to be ready, on two cores.
const ALL_READY: Duration = Duration::from_secs(120);

/// Timeout for a worker to wait, or to be ready again.
const SOON: Duration = Duration::from_secs(30);

async fn twenty_workers_start_at_once_through_a_pgbouncer_in_transaction_mode(world: &World) -> Result<()> {
    let pooler = world.pgbouncer().await?;
    let url = format!("postgres://{}@127.0.0.1:{}/postgres", world.name, pooler.port);
    let start = || world.worker().env("DATABASE_URL", &url).spawn();
    let mut workers = (0..WORKERS).map(|_| start()).collect::<Result<Vec<_>>>()?;
    try_join_all(workers.iter_mut().map(|worker| worker.readiness("ready", ALL_READY))).await?;
    let migrated = workers.iter().filter(|worker| worker.output().contains("the schema is migrated")).count();
    ensure!(migrated >= 1, "no worker has migrated the schema");

    let source = world.upload("a.html", "<title>T</title><p>one two").await?;
    let starts = (0..WORKERS).map(async |number| world.start_document(&format!("d{number}"), &source).await);
    for run in try_join_all(starts).await? {
        completes(&run).await?;
    }
    let left =
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND usename = $1";
    let locks: i64 = sqlx::query_scalar(left).bind(&world.name).fetch_one(&world.database).await?;
    ensure!(locks == 0, "{locks} advisory locks are left");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1";
    let open: i64 = sqlx::query_scalar(left).bind(&world.name).fetch_one(&world.database).await?;
    ensure!((1..=pooler.pool_size).contains(&open), "PgBouncer has {open} connections: the workers did not share them");
    for worker in &workers {
        let output = worker.output();
        ensure!(!output.contains("prepared statement"), "a statement has a name:\n{output}");
    }
    Ok(())
}

async fn a_pool_on_a_demoted_primary_connects_again(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one two").await?;
    let setting = |change: &str| format!("ALTER ROLE {} {change}", world.name);
    // New connections are read-only, and stay so: like those to a primary that became a replica.
    world.sql(&setting("SET default_transaction_read_only = on")).await?;
    world.postgres.cut().await?;
    world.postgres.restore().await?;
    let run = world.start_document("a", &source).await?;
    failed_with(&run, "read-only transaction").await?;
    world.sql(&setting("RESET default_transaction_read_only")).await?;
    completes(&run).await
}

async fn a_connection_that_cannot_be_opened_names_the_cause(world: &World) -> Result<()> {
    let _worker = world.worker().env("DB_ACQUIRE_TIMEOUT_SECONDS", "1").start().await?;
    let source = world.upload("a.txt", "one two").await?;
    world.postgres.cut().await?;
    let refused = world.start_document("refused", &source).await?;
    failed_with(&refused, "Connection refused").await?;
    world.sql(&format!("ALTER ROLE {} CONNECTION LIMIT 0", world.name)).await?;
    world.postgres.restore().await?;
    failed_with(&refused, "too many connections for role").await?;
    world.sql(&format!("ALTER ROLE {} CONNECTION LIMIT -1", world.name)).await?;
    completes(&refused).await
}

async fn a_worker_without_the_right_to_change_the_schema_waits_for_its_migration(world: &World) -> Result<()> {
    let name = &world.name;
    world.sql(&format!("ALTER SCHEMA {name} OWNER TO CURRENT_USER; GRANT USAGE ON SCHEMA {name} TO {name}")).await?;
    let mut worker = world.worker().env("DB_MIGRATE_AT_START", "false").spawn()?;
    let waits = "not ready: waiting for Postgres: the schema lacks migration 1, ";
    worker.readiness(waits, SOON).await?;
    let (_, text) = worker.get("/readyz").await?;
    ensure!(text.contains("run `temporal-worker migrate`"), "{text}");

    for _again in 0..2 {
        let mut migration = world.migrate().spawn()?;
        let code = migration.exit_code(SOON).await?;
        ensure!(code == 0, "the migration ended with {code}:\n{}", migration.output());
    }
    world.sql(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {name} TO {name}")).await?;
    worker.readiness("ready", SOON).await?;
    completes(&world.start_document("a", &world.upload("a.txt", "one two").await?).await?).await?;
    // By default a worker migrates an old schema. This one is current.
    let _default = world.worker().start().await?;
    Ok(())
}
