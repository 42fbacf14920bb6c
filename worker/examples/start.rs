//! Starts a workflow for each source given, waits for all, and prints their results. For developers.
//!
//! `cargo run -p worker --example start -- s3://documents/a.html s3://documents/b.md`

use temporalio_client::{
    Client, ClientOptions, Connection, WorkflowGetResultOptions, WorkflowStartOptions,
    envconfig::LoadClientConfigProfileOptions,
};
use worker::{
    config::TemporalConfig,
    wire::{DocumentRequest, DocumentResult},
    workflows::DocumentWorkflow,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (connection, options) = ClientOptions::load_from_config(LoadClientConfigProfileOptions::default())
        .map_err(|error| anyhow::anyhow!("reading the SDK's settings: {error}"))?;
    let client = Client::new(Connection::connect(connection).await?, options)?;
    let sources: Vec<String> = std::env::args().skip(1).collect();
    anyhow::ensure!(!sources.is_empty(), "name at least one source, such as s3://documents/a.html");
    let ends = futures::future::join_all(sources.iter().map(|source| process(&client, source))).await;
    for (source, end) in sources.iter().zip(ends) {
        match end {
            Ok(result) => println!("{source}: {result:?}"),
            Err(error) => println!("{source}: failed: {}", error.root_cause()),
        }
    }
    Ok(())
}

async fn process(client: &Client, source: &str) -> anyhow::Result<DocumentResult> {
    let document_id = source.replace(['/', ':'], "-");
    let request = DocumentRequest { document_id: document_id.clone(), source: source.to_owned() };
    let options = WorkflowStartOptions::new(TemporalConfig::default().workflow_queue, document_id).build();
    let handle = client.start_workflow(DocumentWorkflow::run, request.into(), options).await?;
    Ok(handle.get_result(WorkflowGetResultOptions::default()).await?)
}
