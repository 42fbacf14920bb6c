//! The SDK's workers are made anew now and then (see `activities::Taken`): nobody notices.

use anyhow::{Result, ensure};
use futures::future::try_join_all;

use crate::{
    harness::{World, history::End},
    runner::tests,
};

tests![documents_are_processed_while_workers_are_made_anew];

/// Each of the two activity queues' workers is made anew a dozen times and more.
const DOCUMENTS: usize = 40;

async fn documents_are_processed_while_workers_are_made_anew(world: &World) -> Result<()> {
    let worker = world
        .worker()
        .env("TEMPORAL_RENEW_AFTER_ACTIVITIES", "3")
        .env("RUST_LOG", "info,worker=debug")
        .start()
        .await?;
    let source = world.upload("a.html", "<title>T</title><p>one two").await?;
    let ids: Vec<String> = (0..DOCUMENTS).map(|n| format!("d{n}")).collect();
    let runs = try_join_all(ids.iter().map(|id| world.run_document(id, &source))).await?;
    for history in runs {
        ensure!(
            matches!(history.end()?, End::Completed(_)),
            "{:?}",
            history.end()?
        );
        for step in ["fetch_document", "extract_text", "store_document"] {
            let attempts = history.last_attempts(step);
            ensure!(attempts == vec![1], "attempts at {step}: {attempts:?}");
        }
    }
    let anew = worker.output().matches("the SDK's worker is made anew").count();
    ensure!(
        anew >= DOCUMENTS / 3,
        "only {anew} times anew: this showed nothing"
    );
    Ok(())
}
