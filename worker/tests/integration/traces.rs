//! Traces: a document is one trace, and an unreachable collector costs only spans.

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

tests![a_document_is_one_trace_from_its_workflow_to_its_steps, an_unreachable_collector_fails_no_document,];

/// Timeout of the shutdown of an idle worker, including the last export.
const SHUTDOWN: Duration = Duration::from_secs(15);

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
    // The worker exports the remaining spans at shutdown.
    worker.signal(Signal::TERM)?;
    let code = worker.exit_code(SHUTDOWN).await?;
    ensure!(code == 0, "the worker ended with {code}");

    let spans = collector.spans();
    let named = |name: &str| -> Result<&Span> {
        let span = spans.iter().find(|span| span.name == name);
        span.with_context(|| format!("there is no span {name} in {spans:#?}"))
    };
    let workflow = named("RunWorkflow:DocumentWorkflow")?;
    for step in ["fetch_document", "extract_text", "store_document"] {
        let run = named(&format!("RunActivity:{step}"))?;
        ensure!(run.trace == workflow.trace, "{step} is in another trace: {spans:#?}");
        let scheduled = named(&format!("StartActivity:{step}"))?;
        let own = spans.iter().find(|span| span.name == "activity" && span.parent == run.id);
        ensure!(
            scheduled.parent == workflow.id && run.parent == scheduled.id && own.is_some(),
            "the spans of {step} are not below the workflow's: {spans:#?}"
        );
    }
    let foreign = spans.iter().find(|span| span.service != "documents" || span.trace != workflow.trace);
    ensure!(foreign.is_none(), "a span does not belong to this document: {foreign:#?}");
    Ok(())
}

async fn an_unreachable_collector_fails_no_document(world: &World) -> Result<()> {
    let unused = format!("http://127.0.0.1:{}", ports::free());
    let mut worker = world.worker().env("OTEL_EXPORTER_OTLP_ENDPOINT", &unused).start().await?;
    let source = world.upload("a.txt", "one two").await?;
    let end = world.run_document("a", &source).await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    worker.signal(Signal::TERM)?;
    let code = worker.exit_code(SHUTDOWN).await?;
    ensure!(code == 0, "the worker ended with {code}");
    Ok(())
}
