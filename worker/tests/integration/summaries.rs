//! Summaries by an LLM: a document is stored with its summary, or without if the LLM fails.

use anyhow::{Result, ensure};
use reqwest::StatusCode;

use crate::{
    harness::{
        Worker, World,
        history::End,
        llm::{Llm, SUMMARY},
        ports,
    },
    runner::tests,
};

tests![
    a_document_is_stored_without_its_summary_if_the_llm_is_unreachable,
    a_busy_llm_is_retried_until_the_summary_is_written,
    a_summary_is_requested_once_and_stored_with_its_document,
    a_refusal_is_final_and_the_document_is_stored_without_a_summary,
];

/// Maximum attempts at a summary, as in the workflow.
const ATTEMPTS: i32 = 5;

async fn a_summary_is_requested_once_and_stored_with_its_document(world: &World) -> Result<()> {
    let llm = Llm::start(&[]).await?;
    let (_worker, summary) = summarized(world, &llm.url, "written").await?;
    ensure!(summary.as_deref() == Some(SUMMARY), "{summary:?}");
    let asked = llm.asked();
    let [question] = &asked[..] else {
        anyhow::bail!("asked {} times: {asked:?}", asked.len());
    };
    let prompt = question["messages"][1]["content"].as_str().unwrap_or_default();
    ensure!(question["model"] == "small" && prompt.contains("one two three"), "{question}");
    Ok(())
}

async fn a_busy_llm_is_retried_until_the_summary_is_written(world: &World) -> Result<()> {
    // Three calls are one attempt of the activity with its two retries.
    let llm = Llm::start(&[StatusCode::SERVICE_UNAVAILABLE; 3]).await?;
    let (worker, summary) = summarized(world, &llm.url, "written").await?;
    ensure!(summary.as_deref() == Some(SUMMARY), "{summary:?}");
    let attempts = world.attempts("a", "summarize_document").await?;
    ensure!(
        (attempts.as_slice(), llm.asked().len()) == (&[1, 2], 4),
        "attempts {attempts:?}, asked {} times",
        llm.asked().len()
    );
    let labels = [("step", "summarize_document")];
    let retried = worker.metrics().await?.value("document_step_retries_total", &labels);
    ensure!(retried == Some(1.0), "retried {retried:?} times");
    Ok(())
}

async fn a_refusal_is_final_and_the_document_is_stored_without_a_summary(world: &World) -> Result<()> {
    let llm = Llm::start(&[StatusCode::BAD_REQUEST]).await?;
    let (_worker, summary) = summarized(world, &llm.url, "refused").await?;
    ensure!(summary.is_none(), "{summary:?}");
    let attempts = world.attempts("a", "summarize_document").await?;
    ensure!(
        (attempts.as_slice(), llm.asked().len()) == (&[1], 1),
        "attempts {attempts:?}, asked {} times",
        llm.asked().len()
    );
    Ok(())
}

async fn a_document_is_stored_without_its_summary_if_the_llm_is_unreachable(world: &World) -> Result<()> {
    let unused = format!("http://127.0.0.1:{}/v1", ports::free());
    let (_worker, summary) = summarized(world, &unused, "unavailable").await?;
    ensure!(summary.is_none(), "{summary:?}");
    let attempts = world.attempts("a", "summarize_document").await?;
    ensure!(attempts == (1..=ATTEMPTS).collect::<Vec<_>>(), "attempts {attempts:?}");
    Ok(())
}

/// Processes document `a` with an LLM at this address. Checks that it is stored once and counted with this outcome.
/// Returns the worker and the summary.
async fn summarized(world: &World, url: &str, outcome: &str) -> Result<(Worker, Option<String>)> {
    let worker = world.worker().env("LLM_BASE_URL", url).env("LLM_MODEL", "small").start().await?;
    let source = world.upload("a.txt", "one two three").await?;
    let end = world.run_document("a", &source).await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    let effects = world.effects("a").await?;
    ensure!(effects == ["store_document"], "{effects:?}");
    let labels = [("outcome", outcome)];
    let counted = worker.metrics().await?.value("document_summaries_total", &labels);
    ensure!(counted == Some(1.0), "{outcome}: counted {counted:?} times");
    let summary = world.document("a").await?.summary;
    Ok((worker, summary))
}
