//! The cache of extraction results in Redis: it avoids repeated work, and an outage loses nothing.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{
        Probe, Worker, World, eventually,
        history::{End, History},
        ports, when,
    },
    runner::tests,
};

tests![
    a_node_of_a_redis_cluster_is_said_to_be_unsupported_at_the_start,
    equal_documents_are_extracted_once,
    an_outage_of_redis_fails_no_attempt_and_the_cache_is_used_afterwards,
    a_redis_that_never_ran_fails_no_attempt,
];

/// Timeout for the cache to be used again. Its circuit lets a probe through one second after it opened.
const RECOVERY: Duration = Duration::from_secs(20);

async fn equal_documents_are_extracted_once(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    for id in ["a", "b"] {
        let source = world.upload(&format!("{id}.html"), "<title>T</title><p>One two.").await?;
        done_at_once(world, id, &world.run_document(id, &source).await?).await?;
    }
    let looked_up = (looked_up(&worker, "miss").await?, looked_up(&worker, "hit").await?);
    ensure!(looked_up == (1.0, 1.0), "misses and hits: {looked_up:?}");
    let (first, second) = (world.document("a").await?, world.document("b").await?);
    let content =
        |row: &crate::harness::world::DocumentRow| (row.title.clone(), row.words, row.signature, row.charset.clone());
    ensure!(content(&first) == content(&second), "{first:?}, {second:?}");
    let passages = (world.passages("a").await?, world.passages("b").await?);
    ensure!(passages.0 == passages.1, "{passages:?}");
    Ok(())
}

async fn an_outage_of_redis_fails_no_attempt_and_the_cache_is_used_afterwards(world: &World) -> Result<()> {
    let worker = world.worker().env("EXTERNAL_CIRCUIT_OPEN_SECONDS", "1").start().await?;
    let source = world.upload("a.txt", "one two").await?;
    done_at_once(world, "before", &world.run_document("before", &source).await?).await?;
    world.redis.cut().await?;
    // More documents than open the circuit, so that both the timeout and the open circuit occur.
    for id in ["a", "b", "c", "d", "e", "f", "g"] {
        done_at_once(world, id, &world.run_document(id, &source).await?).await?;
    }
    let away = looked_up(&worker, "away").await?;
    ensure!(away == 7.0, "the cache did not answer {away} times");
    world.redis.restore().await?;
    let mut count = 0;
    eventually("the cache is used again", RECOVERY, async || {
        count += 1;
        match hits_with_another(world, &worker, &format!("after{count}"), &source).await {
            Ok(hits) => when(hits > 0.0, || "no hit yet".into()),
            Err(error) => Probe::Failed(error),
        }
    })
    .await
}

async fn a_redis_that_never_ran_fails_no_attempt(world: &World) -> Result<()> {
    let unused = format!("redis://127.0.0.1:{}", ports::free());
    let worker = world.worker().env("REDIS_URL", &unused).start().await?;
    let source = world.upload("a.txt", "one two").await?;
    done_at_once(world, "a", &world.run_document("a", &source).await?).await?;
    let away = looked_up(&worker, "away").await?;
    ensure!(away == 1.0, "the cache did not answer {away} times");
    Ok(())
}

/// Processes one more document, and returns the number of hits so far.
async fn hits_with_another(world: &World, worker: &Worker, id: &str, source: &str) -> Result<f64> {
    done_at_once(world, id, &world.run_document(id, source).await?).await?;
    looked_up(worker, "hit").await
}

async fn looked_up(worker: &Worker, outcome: &str) -> Result<f64> {
    let count = worker.metrics().await?.value("document_cache_total", &[("outcome", outcome)]);
    Ok(count.unwrap_or(0.0))
}

/// Checks that the document was extracted at the first attempt, and stored.
async fn done_at_once(world: &World, id: &str, history: &History) -> Result<()> {
    let end = history.end()?;
    ensure!(matches!(end, End::Completed(_)), "{id}: {end:?}");
    let attempts = world.attempts(id, "extract_text").await?;
    ensure!(attempts == [1], "{id}: attempts {attempts:?}");
    let effects = world.effects(id).await?;
    ensure!(effects == ["store_document"], "{id}: {effects:?}");
    Ok(())
}

async fn a_node_of_a_redis_cluster_is_said_to_be_unsupported_at_the_start(world: &World) -> Result<()> {
    let cluster = world.redis_cluster().await?;
    let worker = world.worker().env("REDIS_URL", &format!("redis://127.0.0.1:{}", cluster.port)).start().await?;
    eventually("the log says so", Duration::from_secs(30), async || {
        let output = worker.output();
        when(output.contains("a Redis Cluster, which is not supported"), || output.clone())
    })
    .await?;
    // The cache is never needed.
    let source = world.upload("a.txt", "one two").await?;
    let end = world.run_document("a", &source).await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    Ok(())
}
