//! Traces: a document is one of them, and a collector that is away costs nothing but its spans.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::{
    harness::{
        World,
        collector::{Collector, Span},
        history::End,
        ports,
    },
    runner::tests,
};

tests![
    a_document_is_one_trace_from_its_workflow_to_its_steps,
    a_collector_that_is_away_costs_no_document,
];

/// Time for a worker without work to leave, the last spans included.
const LEAVES: Duration = Duration::from_secs(15);

async fn a_document_is_one_trace_from_its_workflow_to_its_steps(world: &World) -> Result<()> {
    let collector = Collector::start()?;
    let mut worker = world
        .worker()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)
        .env("OTEL_SERVICE_NAME", "documents")
        .start()
        .await?;
    let source = world.upload("a.txt", "one two").await?;
    let end = world.run_document("a", &source).await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    // What was not sent yet is sent when the worker leaves.
    worker.signal(Signal::TERM)?;
    let code = worker.exit_code(LEAVES).await?;
    ensure!(code == 0, "the worker ended with {code}");

    let spans = collector.spans();
    let named = |name: &str| -> Result<&Span> {
        let span = spans.iter().find(|span| span.name == name);
        span.with_context(|| format!("there is no span {name} in {spans:#?}"))
    };
    let workflow = named("RunWorkflow:DocumentWorkflow")?;
    for step in ["fetch_document", "extract_text", "store_document"] {
        let run = named(&format!("RunActivity:{step}"))?;
        ensure!(
            run.trace == workflow.trace,
            "{step} is in another trace: {spans:#?}"
        );
        let scheduled = named(&format!("StartActivity:{step}"))?;
        let own = spans
            .iter()
            .find(|span| span.name == "activity" && span.parent == run.id);
        ensure!(
            scheduled.parent == workflow.id && run.parent == scheduled.id && own.is_some(),
            "{step} does not hang below the workflow: {spans:#?}"
        );
    }
    let foreign = spans
        .iter()
        .find(|span| span.service != "documents" || span.trace != workflow.trace);
    ensure!(
        foreign.is_none(),
        "one span is not of this document: {foreign:#?}"
    );
    Ok(())
}

async fn a_collector_that_is_away_costs_no_document(world: &World) -> Result<()> {
    let nowhere = format!("http://127.0.0.1:{}", ports::free());
    let mut worker = world
        .worker()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &nowhere)
        .start()
        .await?;
    let source = world.upload("a.txt", "one two").await?;
    let end = world.run_document("a", &source).await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    worker.signal(Signal::TERM)?;
    let code = worker.exit_code(LEAVES).await?;
    ensure!(code == 0, "the worker ended with {code}");
    Ok(())
}
