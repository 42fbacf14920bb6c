//! Killed workers: other workers take over their tasks, and each takes effect once.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{Probe, World, eventually, history::End, when},
    runner::tests,
};

tests![killing_two_workers_in_turn_leaves_each_effect_once];

/// Timeout for the next attempt, which starts 15 s after a worker's last heartbeat.
const HEARTBEAT_MISSED: Duration = Duration::from_secs(40);

async fn killing_two_workers_in_turn_leaves_each_effect_once(world: &World) -> Result<()> {
    let source = world.upload("a.txt", "one two").await?;

    // The first worker is killed during the fetch.
    let first = world.worker().start().await?;
    world.s3.slow(Duration::from_secs(60)).await?;
    let run = world.start_document("a", &source).await?;
    world.attempted("a", "fetch_document", HEARTBEAT_MISSED).await?;
    first.kill().await?;
    world.s3.restore().await?;

    // The second worker is killed at the worst moment: the effect is in the database, and Temporal does not know
    // it. Postgres answers slowly, so that there is time to block Temporal between the record of the attempt and
    // the effect.
    let second = world.worker().start().await?;
    world.postgres.slow(Duration::from_millis(400)).await?;
    world.attempted("a", "store_document", HEARTBEAT_MISSED).await?;
    world.temporal.block().await?;
    eventually("the effect is there", HEARTBEAT_MISSED, async || match world.effects("a").await {
        Ok(effects) => when(!effects.is_empty(), || "there is none".into()),
        Err(error) => Probe::Failed(error),
    })
    .await?;
    second.kill().await?;
    let stored = world.document("a").await?;
    world.postgres.restore().await?;
    world.temporal.restore().await?;

    // The third worker finds the effect and adds none.
    let _third = world.worker().start().await?;
    let history = run.ended().await?;
    let end = history.end()?;
    ensure!(matches!(&end, End::Completed(result) if result["outcome"] == "stored"), "{end:?}");
    for (step, expected) in [("fetch_document", &[1, 2][..]), ("extract_text", &[1]), ("store_document", &[1, 2])] {
        let attempts = world.attempts("a", step).await?;
        ensure!(attempts == expected, "attempts at {step}: {attempts:?}");
        let last = history.last_attempts(step);
        ensure!(last == expected[expected.len() - 1..], "attempts at {step} by the history: {last:?}");
    }
    let (effects, row, passages) = (world.effects("a").await?, world.document("a").await?, world.passages("a").await?);
    ensure!(effects == ["store_document"], "{effects:?}");
    ensure!((row.words, row.passages, passages.len()) == (2, 1, 1), "{row:?}, {passages:?}");
    ensure!(row == stored, "the repeated attempt changed {stored:?} to {row:?}");
    Ok(())
}
