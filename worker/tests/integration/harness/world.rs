//! What one test has for itself on the servers that all share.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use object_store::{ObjectStore as _, ObjectStoreExt as _, aws::AmazonS3, path::Path};
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};
use temporalio_client::{
    Client, UntypedWorkflow, UntypedWorkflowHandle, WorkflowCancelOptions, WorkflowDescribeOptions,
    WorkflowExecutionStatus, WorkflowFetchHistoryOptions, WorkflowStartOptions,
};
use temporalio_common::{
    data_converters::{PayloadConverter, RawValue},
    protos::temporal::api::workflow::v1::PendingActivityInfo,
};

use super::{
    history::History,
    servers::{Proxy, REGION, SECRET, Servers, postgres_url},
    wait::{Probe, eventually},
    worker::{self, WorkerBuilder},
};

/// The queue and the type of the workflow, as the guide and the wire have them.
const WORKFLOW_QUEUE: &str = "document-workflow-queue";
const WORKFLOW: &str = "DocumentWorkflow";

/// Time for a workflow to end. The longest way is that of two workers killed in turn, each missed only after 15 s.
const END: Duration = Duration::from_secs(60);

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A namespace, a schema of the database, a bucket, and a way to each server.
pub(crate) struct World {
    /// The way from the workers to Temporal.
    pub(crate) temporal: Proxy,
    /// The way from the workers to Postgres.
    pub(crate) postgres: Proxy,
    /// The way from the workers to S3.
    pub(crate) s3: Proxy,
    /// The way from the workers to Redis.
    pub(crate) redis: Proxy,
    /// The database itself, past the way of the workers. It is empty until a worker was ready.
    pub(crate) database: PgPool,
    name: String,
    client: Client,
    bucket: AmazonS3,
    folder: PathBuf,
    outputs: Mutex<Vec<PathBuf>>,
    servers: Arc<Servers>,
}

/// A document's row in Postgres.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct DocumentRow {
    pub(crate) source: String,
    pub(crate) sha256: String,
    pub(crate) bytes: i64,
    pub(crate) media_type: String,
    pub(crate) title: Option<String>,
    pub(crate) words: i64,
    pub(crate) passages: i32,
    pub(crate) workflow_id: String,
}

impl World {
    /// A new one.
    pub(crate) async fn new(servers: Arc<Servers>) -> Result<Self> {
        let name = format!("world{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = servers.keeper.folder().join(&name);
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        let way = |to: &str, port| servers.toxiproxy.to(format!("{name}-{to}"), port);
        let (temporal, postgres, s3, redis, client, ()) = futures::try_join!(
            way("temporal", servers.temporal.port),
            way("postgres", servers.postgres.port),
            way("s3", servers.s3.port),
            way("redis", servers.redis.port),
            servers.temporal.create(&name),
            servers.postgres.create(&name),
        )?;
        Ok(Self {
            database: PgPoolOptions::new()
                .max_connections(2)
                .connect_lazy(&postgres_url(servers.postgres.port, &name))?,
            bucket: servers.s3.create(&name)?,
            outputs: Mutex::default(),
            temporal,
            postgres,
            s3,
            redis,
            name,
            client,
            folder,
            servers,
        })
    }

    /// A worker of this world, with the program's own defaults but for addresses and for depths read every second.
    pub(crate) fn worker(&self) -> WorkerBuilder<'_> {
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let output = self.folder.join(format!("worker{}.log", outputs.len() + 1));
        outputs.push(output.clone());
        let address = |proxy: &Proxy| format!("127.0.0.1:{}", proxy.port);
        let environment = [
            ("TEMPORAL_ADDRESS", address(&self.temporal)),
            ("TEMPORAL_NAMESPACE", self.name.clone()),
            ("DATABASE_URL", postgres_url(self.postgres.port, &self.name)),
            ("DOCUMENT_STORE_URL", format!("s3://{}", self.name)),
            ("AWS_ENDPOINT_URL", format!("http://{}", address(&self.s3))),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", SECRET.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("REDIS_URL", format!("redis://{}", address(&self.redis))),
            ("DEPTH_INTERVAL_SECONDS", "1".to_owned()),
        ];
        let environment: BTreeMap<_, _> = environment.map(|(name, value)| (name.to_owned(), value)).into();
        WorkerBuilder {
            keeper: &self.servers.keeper,
            environment,
            output,
        }
    }

    /// Puts a document into the bucket; the answer is its source.
    pub(crate) async fn upload(&self, key: &str, content: impl Into<Vec<u8>>) -> Result<String> {
        let path = Path::parse(key)?;
        self.bucket
            .put(&path, content.into().into())
            .await
            .with_context(|| format!("uploading {key}"))?;
        Ok(self.source(key))
    }

    /// The source of a key, whether there is a document or not.
    pub(crate) fn source(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    /// The keys of the bucket below a folder.
    pub(crate) async fn keys(&self, folder: &str) -> Result<Vec<String>> {
        let listed = self.bucket.list(Some(&Path::parse(folder)?));
        let keys = listed
            .map_ok(|object| object.location.to_string())
            .try_collect()
            .await;
        keys.with_context(|| format!("listing {folder}"))
    }

    /// Starts the workflow of a document. Its id is the document's.
    pub(crate) async fn start_document(&self, id: &str, source: &str) -> Result<Run> {
        let input = RawValue::from_value(&document_of(id, source), &PayloadConverter::serde_json());
        let options = WorkflowStartOptions::new(WORKFLOW_QUEUE, id).build();
        let started = self
            .client
            .start_workflow(UntypedWorkflow::new(WORKFLOW), input, options)
            .await;
        Ok(Run(
            started.with_context(|| format!("starting the workflow of {id}"))?
        ))
    }

    /// Starts the workflow of a document and waits for its end.
    pub(crate) async fn run_document(&self, id: &str, source: &str) -> Result<History> {
        self.start_document(id, source).await?.ended().await
    }

    /// A document's row.
    pub(crate) async fn document(&self, id: &str) -> Result<DocumentRow> {
        let query = "SELECT source, sha256, bytes, media_type, title, words, passages, workflow_id
                     FROM documents WHERE document_id = $1";
        let row = sqlx::query_as(query).bind(id).fetch_one(&self.database).await;
        row.with_context(|| format!("reading the row of {id}"))
    }

    /// The texts of a document's passages, in order.
    pub(crate) async fn passages(&self, id: &str) -> Result<Vec<String>> {
        let query = "SELECT text FROM passages WHERE document_id = $1 ORDER BY ordinal";
        let texts = sqlx::query_scalar(query).bind(id).fetch_all(&self.database).await;
        texts.with_context(|| format!("reading the passages of {id}"))
    }

    /// The attempts at a step that began, in the order in which they did.
    pub(crate) async fn attempts(&self, workflow: &str, step: &str) -> Result<Vec<i32>> {
        let query = "SELECT attempt FROM attempts WHERE workflow_id = $1 AND step = $2 ORDER BY at";
        let attempts = sqlx::query_scalar(query)
            .bind(workflow)
            .bind(step)
            .fetch_all(&self.database)
            .await;
        attempts.with_context(|| format!("reading the attempts at {step} of {workflow}"))
    }

    /// The steps of a workflow that took effect.
    pub(crate) async fn effects(&self, workflow: &str) -> Result<Vec<String>> {
        let query = "SELECT step FROM effects WHERE workflow_id = $1 ORDER BY at";
        let steps = sqlx::query_scalar(query)
            .bind(workflow)
            .fetch_all(&self.database)
            .await;
        steps.with_context(|| format!("reading the effects of {workflow}"))
    }

    /// Waits until an attempt at a step has begun; the answer is its number.
    pub(crate) async fn attempted(&self, workflow: &str, step: &str, within: Duration) -> Result<i32> {
        eventually(
            &format!("an attempt at {step} begins"),
            within,
            async || match self.attempts(workflow, step).await {
                Ok(attempts) => attempts
                    .last()
                    .map_or_else(|| Probe::NotYet("none has".into()), |last| Probe::Ready(*last)),
                Err(error) => Probe::Failed(error),
            },
        )
        .await
    }

    /// What the workers printed, for a test that failed.
    pub(crate) fn outputs(&self) -> String {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = outputs.iter().map(|output| {
            let name = output.file_stem().unwrap_or_default().display();
            format!("--- {name} printed ---\n{}", worker::read(output))
        });
        shown.collect()
    }
}

/// The workflow's one argument.
fn document_of(id: &str, source: &str) -> Value {
    json!({"document_id": id, "source": source})
}

/// A workflow that was started.
pub(crate) struct Run(UntypedWorkflowHandle<Client>);

impl Run {
    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Result<History> {
        let id = &self.0.info().workflow_id;
        eventually(&format!("the workflow {id} ends"), END, async || {
            match self.look().await {
                Ok((WorkflowExecutionStatus::Running, pending)) => {
                    Probe::NotYet(format!("it waits for {pending:?}"))
                }
                Ok(_) => Probe::Ready(()),
                Err(error) => Probe::Failed(error),
            }
        })
        .await?;
        let events = self
            .0
            .fetch_history(WorkflowFetchHistoryOptions::default())
            .into_events()
            .await;
        Ok(History(
            events.with_context(|| format!("reading the history of {id}"))?,
        ))
    }

    /// The activities that it waits for.
    pub(crate) async fn pending(&self) -> Result<Vec<Pending>> {
        Ok(self.look().await?.1)
    }

    /// Asks it to cancel.
    pub(crate) async fn cancel(&self) -> Result<()> {
        Ok(self.0.cancel(WorkflowCancelOptions::default()).await?)
    }

    async fn look(&self) -> Result<(WorkflowExecutionStatus, Vec<Pending>)> {
        let described = self
            .0
            .describe(WorkflowDescribeOptions::default())
            .await
            .context("describing the workflow")?;
        let pending = described
            .raw()
            .pending_activities
            .iter()
            .map(Pending::new)
            .collect();
        Ok((described.status(), pending))
    }
}

/// An activity that a workflow waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Its name.
    pub(crate) activity: String,
    /// The attempt that runs, or comes next.
    pub(crate) attempt: i32,
    /// What the attempt before ended with; empty where there was none.
    pub(crate) last_failure: String,
}

impl Pending {
    fn new(info: &PendingActivityInfo) -> Self {
        Self {
            activity: info
                .activity_type
                .as_ref()
                .map(|kind| kind.name.clone())
                .unwrap_or_default(),
            attempt: info.attempt,
            last_failure: info
                .last_failure
                .as_ref()
                .map(|failure| failure.message.clone())
                .unwrap_or_default(),
        }
    }
}
