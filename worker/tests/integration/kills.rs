//! Killed workers: other workers take over their tasks, and each takes effect once.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::{
    harness::{
        Probe, World, eventually,
        history::End,
        when,
        world::{Pending, Run},
    },
    runner::tests,
};

tests![
    a_document_that_kills_its_reader_three_times_fails_and_the_others_complete,
    killing_two_workers_in_turn_leaves_each_effect_once,
];

/// Timeout for the next attempt, which starts 15 s after a worker's last heartbeat.
const HEARTBEAT_MISSED: Duration = Duration::from_secs(40);

/// Time for each answer of S3, in which a worker is killed.
const READING: Duration = Duration::from_secs(5);

/// Time for three attempts, each of which is detected as dead after 15 s.
const THREE_DEATHS: Duration = Duration::from_secs(120);

async fn a_document_that_kills_its_reader_three_times_fails_and_the_others_complete(world: &World) -> Result<()> {
    // Large enough that their bodies are claims, which the steps read from S3.
    let page = |word: &str| format!("<!doctype html><title>{word}</title><p>{}", format!("{word} ").repeat(50_000));
    let (killer, other) = (world.upload("killer.html", page("x")).await?, world.upload("o.html", page("y")).await?);
    world.s3.slow(READING).await?;
    let worker = async || world.worker().env("SHUTDOWN_GRACE_SECONDS", "3").start().await;

    // The first worker dies while it reads both documents.
    let first = worker().await?;
    let (killer, other) =
        (world.start_document("killer", &killer).await?, world.start_document("other", &other).await?);
    for run in [&killer, &other] {
        let reads = |activity: &_| is_extraction(activity, 1);
        run.pending_is("the first extraction begins", HEARTBEAT_MISSED, reads).await?;
    }
    first.kill().await?;

    // Both are suspected now, and read one after the other. A graceful shutdown is no death.
    let mut second = worker().await?;
    reads_alone(&killer, 1).await?;
    second.signal(Signal::TERM)?;
    second.exit_code(HEARTBEAT_MISSED).await?;

    // Of the two, only the one that is being read counts another death.
    for deaths in [1, 2] {
        let next = worker().await?;
        reads_alone(&killer, deaths).await?;
        next.kill().await?;
    }
    let _last = worker().await?;
    let End::Failed { kind, message, permanent } = killer.ended_within(THREE_DEATHS).await?.end()? else {
        anyhow::bail!("the workflow did not fail");
    };
    ensure!((kind.as_str(), permanent) == ("ReaderKilled", true), "{kind}: {message} (permanent: {permanent})");
    for said in ["3 workers died", "extract_text", "\"killer\"", "start the workflow again"] {
        ensure!(message.contains(said), "{said:?} is not in {message:?}");
    }
    let end = other.ended_within(THREE_DEATHS).await?.end()?;
    ensure!(matches!(&end, End::Completed(result) if result["outcome"] == "stored"), "{end:?}");
    Ok(())
}

fn is_extraction(activity: &Pending, attempt: i32) -> bool {
    activity.activity == "extract_text" && activity.started && activity.attempt >= attempt
}

/// Waits until a document is read by a worker that reads no other one, after so many deaths.
async fn reads_alone(run: &Run, deaths: u32) -> Result<()> {
    let record = format!(r#"{{"deaths":{deaths},"reading":true}}"#);
    let what = format!("the document is read alone after {deaths} deaths");
    run.pending_is(&what, THREE_DEATHS, |activity| activity.started && activity.heartbeat == record).await.map(drop)
}

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
