//! The tables `attempts` and `effects`: what is recorded, and for how long.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{Probe, World, eventually, history::End, when},
    runner::tests,
};

tests![only_retries_are_recorded_by_default, rows_older_than_the_retention_are_deleted_without_waiting_for_locks,];

/// Old rows of each table: more than a worker deletes at once.
const OLD: i32 = 1_700;

/// Timeout of the deletion, which takes some seconds.
const DELETED: Duration = Duration::from_secs(60);

async fn only_retries_are_recorded_by_default(world: &World) -> Result<()> {
    let _worker = world.worker().env("DB_RECORD_FIRST_ATTEMPTS", "").start().await?;
    let source = world.upload("a.txt", "one two").await?;
    let end = world.run_document("a", &source).await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM attempts").fetch_one(&world.database).await?;
    ensure!(all == 0, "{all} attempts are recorded of a document that needed no retry");

    world.s3.cut().await?;
    let run = world.start_document("b", &source).await?;
    let first = world.attempted("b", "fetch_document", DELETED).await?;
    world.s3.restore().await?;
    let end = run.ended().await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    let (retries, others) =
        (world.attempts("b", "fetch_document").await?, world.attempts("b", "store_document").await?);
    ensure!((first, retries.first(), others.len()) == (2, Some(&2), 0), "{first}, {retries:?}, {others:?}");
    Ok(())
}

async fn rows_older_than_the_retention_are_deleted_without_waiting_for_locks(world: &World) -> Result<()> {
    // The first worker makes the tables.
    drop(world.worker().start().await?);
    let aged =
        "INSERT INTO attempts SELECT 'old' || n, 's', 1, 'w', now() - interval '31 days' FROM generate_series(1, $1) n";
    sqlx::query(aged).bind(OLD).execute(&world.database).await?;
    let aged = "INSERT INTO effects SELECT 'old' || n, 's', now() - interval '31 days' FROM generate_series(1, $1) n";
    sqlx::query(aged).bind(OLD).execute(&world.database).await?;
    for young in [
        "INSERT INTO attempts VALUES ('young', 's', 1, 'w', now() - interval '29 days')",
        "INSERT INTO effects VALUES ('young', 's', now() - interval '29 days')",
    ] {
        sqlx::query(young).execute(&world.database).await?;
    }
    // As another worker that deletes it, or that stores the same workflow's document again.
    let mut other = world.database.begin().await?;
    for locked in [
        "SELECT 1 FROM attempts WHERE workflow_id = 'old7' FOR UPDATE",
        "SELECT 1 FROM effects WHERE workflow_id = 'old7' FOR UPDATE",
    ] {
        sqlx::query(locked).execute(&mut *other).await?;
    }
    let _workers = (world.worker().start().await?, world.worker().start().await?);
    for table in ["attempts", "effects"] {
        eventually(&format!("the old rows of {table} are deleted"), DELETED, async || match left(world, table).await {
            Ok(left) => when(left == ["old7", "young"], || format!("{} are left", left.len())),
            Err(error) => Probe::Failed(error),
        })
        .await?;
    }
    other.rollback().await?;
    // The next worker finds the row that was locked. This one keeps what is younger than a day.
    let _next = world.worker().env("DB_RETENTION_DAYS", "1").start().await?;
    for table in ["attempts", "effects"] {
        eventually(&format!("{table} is empty"), DELETED, async || match left(world, table).await {
            Ok(left) => when(left.is_empty(), || format!("{left:?} are left")),
            Err(error) => Probe::Failed(error),
        })
        .await?;
    }
    Ok(())
}

/// The workflows in a table, in order.
async fn left(world: &World, table: &str) -> Result<Vec<String>> {
    let query = format!("SELECT workflow_id FROM {table} ORDER BY workflow_id");
    Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(&world.database).await?)
}
