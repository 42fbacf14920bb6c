//! What belongs to one test on the shared servers.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use object_store::{ObjectStore as _, ObjectStoreExt as _, aws::AmazonS3, path::Path};
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};
use temporalio_client::{
    Client, UntypedWorkflow, UntypedWorkflowHandle, WorkflowCancelOptions, WorkflowDescribeOptions,
    WorkflowExecutionStatus, WorkflowFetchHistoryOptions, WorkflowStartOptions, tonic::IntoRequest as _,
};
use temporalio_common::{
    data_converters::{PayloadConverter, RawValue},
    protos::temporal::api::{
        common::v1::WorkflowExecution,
        enums::v1::{PendingActivityState, VersioningBehavior},
        failure::v1::{Failure, failure::FailureInfo},
        history::v1::history_event::Attributes,
        workflow::v1::PendingActivityInfo,
        workflowservice::v1::{
            PauseActivityRequest, ResetActivityRequest, ResetWorkflowExecutionRequest,
            SetWorkerDeploymentCurrentVersionRequest, UnpauseActivityRequest, pause_activity_request,
            reset_activity_request, unpause_activity_request,
        },
    },
};

use super::{
    history::History,
    servers::{PgBouncer, Proxy, REGION, Redis, SECRET, Servers, WITH_PASSWORD, postgres_url, superuser_url},
    tls::Authority,
    wait::{Probe, eventually},
    worker::{self, WorkerBuilder},
};

/// The queue and the type of the workflow, as in the guide.
pub(super) const WORKFLOW_QUEUE: &str = "document-workflow-queue";
const WORKFLOW: &str = "DocumentWorkflow";

/// Timeout of a workflow. The longest test kills two workers in turn, each detected after 15 s.
const WORKFLOW_END: Duration = Duration::from_secs(60);

/// Timeout for Temporal to learn of a deployment version, which happens shortly after its first polls.
const VERSION_KNOWN: Duration = Duration::from_secs(30);

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A namespace, a database schema, a bucket, and a proxy to each server.
pub(crate) struct World {
    /// The workers' proxy to Temporal.
    pub(crate) temporal: Proxy,
    /// The workers' proxy to Postgres.
    pub(crate) postgres: Proxy,
    /// The workers' proxy to S3.
    pub(crate) s3: Proxy,
    /// The workers' proxy to Redis.
    pub(crate) redis: Proxy,
    /// A direct connection to the database as the superuser. It has no tables until a worker has been ready.
    pub(crate) database: PgPool,
    /// Name of the namespace, the schema, its user and the bucket.
    pub(crate) name: String,
    pub(super) client: Client,
    bucket: AmazonS3,
    /// A folder for files.
    pub(crate) folder: PathBuf,
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
    pub(crate) run_id: String,
    /// Times as text, which sorts like the times.
    pub(crate) requested_at: String,
    pub(crate) stored_at: String,
    pub(crate) outcome: String,
    pub(crate) charset: Option<String>,
    pub(crate) language: Option<String>,
    pub(crate) pages: Option<i32>,
    pub(crate) signature: Option<i64>,
    /// JSON, like the links.
    pub(crate) headings: String,
    pub(crate) links: String,
    pub(crate) summary: Option<String>,
}

impl World {
    /// Creates a world.
    pub(crate) async fn new(servers: Arc<Servers>) -> Result<Self> {
        let name = format!("world{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = servers.reaper.folder().join(&name);
        fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let proxy = |to: &str, port| servers.toxiproxy.to(format!("{name}-{to}"), port);
        let (temporal, postgres, s3, redis, client, ()) = futures::try_join!(
            proxy("temporal", servers.temporal.port),
            proxy("postgres", servers.postgres.port),
            proxy("s3", servers.s3.port),
            proxy("redis", servers.redis.port),
            servers.temporal.create(&name),
            servers.postgres.create(&name),
        )?;
        Ok(Self {
            database: PgPoolOptions::new()
                .max_connections(2)
                .connect_lazy(&superuser_url(servers.postgres.port, &name))?,
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

    /// A worker of this world, with the program's own defaults except for addresses and the record of first attempts.
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
            ("DB_RECORD_FIRST_ATTEMPTS", "true".to_owned()),
        ];
        let environment: BTreeMap<_, _> = environment.map(|(name, value)| (name.to_owned(), value)).into();
        WorkerBuilder { reaper: &self.servers.reaper, arguments: Vec::new(), environment, unset: Vec::new(), output }
    }

    /// The program as `temporal-worker migrate`, for the superuser in this world's schema.
    pub(crate) fn migrate(&self) -> WorkerBuilder<'_> {
        let mut migrate = self.worker().arguments(&["migrate"]);
        migrate.environment.clear();
        migrate.env("DATABASE_URL", &superuser_url(self.postgres.port, &self.name))
    }

    /// The URL of the database through the proxy, without parameters.
    pub(crate) fn database_url(&self, password: Option<&str>) -> String {
        let url = postgres_url(self.postgres.port, &self.name);
        let url = url.split('?').next().unwrap_or_default();
        match password {
            Some(password) => url.replacen('@', &format!(":{password}@"), 1),
            None => url.to_owned(),
        }
    }

    /// Runs statements on the database as the superuser.
    pub(crate) async fn sql(&self, statements: &str) -> Result<()> {
        let run = sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&self.database).await;
        run.map(drop).with_context(|| format!("running {statements}"))
    }

    /// Gives the world's user of Postgres a new password, which it needs from then on.
    pub(crate) async fn require_password(&self, password: &str) -> Result<()> {
        let name = &self.name;
        self.sql(&format!("ALTER ROLE {name} PASSWORD '{password}'; GRANT {WITH_PASSWORD} TO {name}")).await
    }

    /// Starts a PgBouncer for this world's user.
    pub(crate) async fn pgbouncer(&self) -> Result<PgBouncer> {
        PgBouncer::start(&self.servers.reaper, self.servers.postgres.port, &self.name).await
    }

    /// Starts a node of a Redis Cluster.
    pub(crate) async fn redis_cluster(&self) -> Result<Redis> {
        Redis::cluster_node(&self.servers.reaper).await
    }

    /// The server behind the proxy to Redis.
    pub(crate) fn redis_server(&self) -> &Redis {
        &self.servers.redis
    }

    /// The authority that signs the servers' certificates.
    pub(crate) fn authority(&self) -> &Authority {
        &self.servers.authority
    }

    /// Uploads a document to the bucket, and returns its source.
    pub(crate) async fn upload(&self, key: &str, content: impl Into<Vec<u8>>) -> Result<String> {
        let path = Path::parse(key)?;
        self.bucket.put(&path, content.into().into()).await.with_context(|| format!("uploading {key}"))?;
        Ok(self.source(key))
    }

    /// The source of a key, whether or not the document exists.
    pub(crate) fn source(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    /// The bucket's keys below a folder.
    pub(crate) async fn keys(&self, folder: &str) -> Result<Vec<String>> {
        let listed = self.bucket.list(Some(&Path::parse(folder)?));
        let keys = listed.map_ok(|object| object.location.to_string()).try_collect().await;
        keys.with_context(|| format!("listing {folder}"))
    }

    /// The server's address, for a worker that keeps its connection when the proxy is cut.
    pub(crate) fn temporal_address(&self) -> String {
        format!("127.0.0.1:{}", self.servers.temporal.port)
    }

    /// The URL of the database without the proxy.
    pub(super) fn direct_database_url(&self) -> String {
        postgres_url(self.servers.postgres.port, &self.name)
    }

    /// The URL of an empty database whose encoding has few characters.
    pub(crate) async fn latin1_database(&self) -> Result<String> {
        let database = self.servers.postgres.create_latin1(&self.name).await?;
        Ok(format!("postgres://{}@127.0.0.1:{}/{database}", self.name, self.servers.postgres.port))
    }

    /// Starts the workflow of a document, with the document's id.
    pub(crate) async fn start_document(&self, id: &str, source: &str) -> Result<Run> {
        self.start_workflow(id, id, source).await
    }

    /// Starts a workflow of a document, with an id of its own.
    pub(crate) async fn start_workflow(&self, workflow: &str, document: &str, source: &str) -> Result<Run> {
        self.start_with(workflow, &[document_of(document, source)]).await
    }

    /// Starts a workflow with these arguments.
    pub(crate) async fn start_with(&self, workflow: &str, arguments: &[Value]) -> Result<Run> {
        let payload = |argument| RawValue::from_value(argument, &PayloadConverter::serde_json()).payloads;
        let input = RawValue::new(arguments.iter().flat_map(payload).collect());
        let options = WorkflowStartOptions::new(WORKFLOW_QUEUE, workflow).build();
        let started = self.client.start_workflow(UntypedWorkflow::new(WORKFLOW), input, options).await;
        Ok(Run(started.with_context(|| format!("starting the workflow {workflow}"))?))
    }

    /// Starts a workflow of a document and waits for its end.
    pub(crate) async fn run_workflow(&self, workflow: &str, document: &str, source: &str) -> Result<History> {
        self.start_workflow(workflow, document, source).await?.ended().await
    }

    /// Resets a workflow to its beginning, which starts a second run of it.
    pub(crate) async fn reset(&self, workflow: &str) -> Result<Run> {
        let run = Run(self.client.get_workflow_handle(workflow));
        let events = run.events().await?.0;
        let is_first_task = |attributes: &Option<Attributes>| {
            matches!(attributes, Some(Attributes::WorkflowTaskCompletedEventAttributes(_)))
        };
        let task = events.iter().find(|event| is_first_task(&event.attributes));
        let request = ResetWorkflowExecutionRequest {
            namespace: self.name.clone(),
            workflow_execution: Some(WorkflowExecution { workflow_id: workflow.to_owned(), ..Default::default() }),
            workflow_task_finish_event_id: task.context("the workflow has completed no task")?.event_id,
            request_id: "reset".to_owned(),
            ..ResetWorkflowExecutionRequest::default()
        };
        let mut service = self.client.connection().workflow_service();
        let answer = service.reset_workflow_execution(request.into_request()).await;
        answer.with_context(|| format!("resetting {workflow}"))?;
        Ok(run)
    }

    /// Starts the workflow of a document and waits for its end.
    pub(crate) async fn run_document(&self, id: &str, source: &str) -> Result<History> {
        self.start_document(id, source).await?.ended().await
    }

    /// A document's row.
    pub(crate) async fn document(&self, id: &str) -> Result<DocumentRow> {
        let query = "SELECT source, sha256, bytes, media_type, title, words, passages, workflow_id, run_id,
                            requested_at::text, stored_at::text, outcome,
                            charset, language, pages, signature, headings::text, links::text, summary
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

    /// The attempts at a step, in the order of their start.
    pub(crate) async fn attempts(&self, workflow: &str, step: &str) -> Result<Vec<i32>> {
        let query = "SELECT attempt FROM attempts WHERE workflow_id = $1 AND step = $2 ORDER BY at";
        let attempts = sqlx::query_scalar(query).bind(workflow).bind(step).fetch_all(&self.database).await;
        attempts.with_context(|| format!("reading the attempts at {step} of {workflow}"))
    }

    /// The steps of a workflow that took effect, each as often as it did.
    pub(crate) async fn effects(&self, workflow: &str) -> Result<Vec<String>> {
        let query = "SELECT step FROM effects, generate_series(1, times) WHERE workflow_id = $1 ORDER BY at";
        let steps = sqlx::query_scalar(query).bind(workflow).fetch_all(&self.database).await;
        steps.with_context(|| format!("reading the effects of {workflow}"))
    }

    /// Waits until an attempt at a step has begun, and returns its number.
    pub(crate) async fn attempted(&self, workflow: &str, step: &str, within: Duration) -> Result<i32> {
        eventually(&format!("an attempt at {step} begins"), within, async || {
            match self.attempts(workflow, step).await {
                Ok(attempts) => {
                    attempts.last().map_or_else(|| Probe::NotYet("none has".into()), |last| Probe::Ready(*last))
                }
                Err(error) => Probe::Failed(error),
            }
        })
        .await
    }

    /// Pauses an activity of a workflow, lets it go on, or begins its attempts again.
    pub(crate) async fn intervene(&self, workflow: &str, activity: &str, act: Intervention) -> Result<()> {
        let (namespace, kind) = (self.name.clone(), activity.to_owned());
        let execution = Some(WorkflowExecution { workflow_id: workflow.to_owned(), run_id: String::new() });
        let mut service = self.client.connection().workflow_service();
        let answer = match act {
            Intervention::Pause => {
                let activity = Some(pause_activity_request::Activity::Type(kind));
                let request =
                    PauseActivityRequest { namespace, execution, activity, ..PauseActivityRequest::default() };
                service.pause_activity(request.into_request()).await.map(drop)
            }
            Intervention::Unpause => {
                let activity = Some(unpause_activity_request::Activity::Type(kind));
                let request =
                    UnpauseActivityRequest { namespace, execution, activity, ..UnpauseActivityRequest::default() };
                service.unpause_activity(request.into_request()).await.map(drop)
            }
            Intervention::Reset => {
                let activity = Some(reset_activity_request::Activity::Type(kind));
                let request =
                    ResetActivityRequest { namespace, execution, activity, ..ResetActivityRequest::default() };
                service.reset_activity(request.into_request()).await.map(drop)
            }
        };
        answer.with_context(|| format!("{act:?} of {activity}"))
    }

    /// The number of connections to the database with this application name.
    pub(crate) async fn connections(&self, application: &str) -> Result<i64> {
        let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND usename = $2";
        let count = sqlx::query_scalar(query).bind(application).bind(&self.name).fetch_one(&self.database).await;
        count.context("counting connections")
    }

    /// Makes a deployment version current, as soon as Temporal knows it.
    pub(crate) async fn make_current(&self, deployment: &str, build_id: &str) -> Result<()> {
        let request = SetWorkerDeploymentCurrentVersionRequest {
            namespace: self.name.clone(),
            deployment_name: deployment.to_owned(),
            build_id: build_id.to_owned(),
            ..SetWorkerDeploymentCurrentVersionRequest::default()
        };
        let what = format!("{build_id} becomes the current version");
        eventually(&what, VERSION_KNOWN, async || {
            let mut service = self.client.connection().workflow_service();
            let request = request.clone().into_request();
            let answer = service.set_worker_deployment_current_version(request).await;
            answer.map(drop).map_err(anyhow::Error::new).into()
        })
        .await
    }

    /// The output of the workers, for a failed test.
    pub(crate) fn outputs(&self) -> String {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = outputs.iter().map(|output| {
            let name = output.file_stem().unwrap_or_default().display();
            format!("--- {name} printed ---\n{}", worker::read(output))
        });
        shown.collect()
    }
}

/// What an operator does to a pending activity.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Intervention {
    Pause,
    Unpause,
    Reset,
}

/// The argument of the workflow.
fn document_of(id: &str, source: &str) -> Value {
    json!({"document_id": id, "source": source})
}

/// A started workflow.
pub(crate) struct Run(UntypedWorkflowHandle<Client>);

impl Run {
    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Result<History> {
        self.ended_within(WORKFLOW_END).await
    }

    /// Waits for its end, for longer than most tests do.
    pub(crate) async fn ended_within(&self, deadline: Duration) -> Result<History> {
        let id = &self.0.info().workflow_id;
        eventually(&format!("the workflow {id} ends"), deadline, async || match self.look().await {
            Ok((WorkflowExecutionStatus::Running, pending)) => Probe::NotYet(format!("it waits for {pending:?}")),
            Ok(_) => Probe::Ready(()),
            Err(error) => Probe::Failed(error),
        })
        .await?;
        self.events().await
    }

    /// Its events so far.
    pub(crate) async fn events(&self) -> Result<History> {
        let events = self.0.fetch_history(WorkflowFetchHistoryOptions::default()).into_events().await;
        let id = &self.0.info().workflow_id;
        Ok(History(events.with_context(|| format!("reading the history of {id}"))?))
    }

    /// The pending activities.
    pub(crate) async fn pending(&self) -> Result<Vec<Pending>> {
        Ok(self.look().await?.1)
    }

    /// Waits until a pending activity is as wanted, and returns it.
    pub(crate) async fn pending_is(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Pending) -> bool,
    ) -> Result<Pending> {
        eventually(what, within, async || match self.pending().await {
            Ok(pending) => match pending.iter().find(|activity| wanted(activity)) {
                Some(found) => Probe::Ready(found.clone()),
                None => Probe::NotYet(format!("{pending:?}")),
            },
            Err(error) => Probe::Failed(error),
        })
        .await
    }

    /// Whether a worker has started one of its tasks.
    pub(crate) async fn has_begun(&self) -> Result<bool> {
        Ok(self
            .events()
            .await?
            .0
            .iter()
            .any(|event| matches!(event.attributes, Some(Attributes::WorkflowTaskStartedEventAttributes(_)))))
    }

    /// Deployment and build id of the version that it is pinned to.
    pub(crate) async fn pinned_to(&self) -> Result<Option<(String, String)>> {
        let described = self.0.describe(WorkflowDescribeOptions::default()).await.context("describing the workflow")?;
        let info = described.raw().workflow_execution_info.as_ref();
        let versioning = info.and_then(|info| info.versioning_info.as_ref());
        let pinned = versioning.filter(|info| info.behavior() == VersioningBehavior::Pinned);
        let version = pinned.and_then(|info| info.deployment_version.clone());
        Ok(version.map(|version| (version.deployment_name, version.build_id)))
    }

    /// Requests its cancellation.
    pub(crate) async fn cancel(&self) -> Result<()> {
        Ok(self.0.cancel(WorkflowCancelOptions::default()).await?)
    }

    async fn look(&self) -> Result<(WorkflowExecutionStatus, Vec<Pending>)> {
        let described = self.0.describe(WorkflowDescribeOptions::default()).await.context("describing the workflow")?;
        let pending = described.raw().pending_activities.iter().map(Pending::new).collect();
        Ok((described.status(), pending))
    }
}

/// A pending activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Name of the activity.
    pub(crate) activity: String,
    /// The current or next attempt.
    pub(crate) attempt: i32,
    /// Whether an attempt is in progress.
    pub(crate) started: bool,
    /// Failure of the previous attempt; empty if there was none.
    pub(crate) last_failure: String,
    /// Type of that failure.
    pub(crate) last_failure_type: String,
    /// The delay before the next attempt.
    pub(crate) retry_in: Duration,
    /// How long ago the attempt began; zero if it has not.
    pub(crate) begun: Duration,
    /// Details of the last heartbeat.
    pub(crate) heartbeat: String,
}

/// The type of an application failure.
fn kind_of(failure: &Failure) -> String {
    match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => info.r#type.clone(),
        other => format!("{other:?}"),
    }
}

impl Pending {
    fn new(info: &PendingActivityInfo) -> Self {
        Self {
            activity: info.activity_type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default(),
            attempt: info.attempt,
            started: info.state() == PendingActivityState::Started,
            last_failure: info.last_failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default(),
            last_failure_type: info.last_failure.as_ref().map(kind_of).unwrap_or_default(),
            retry_in: info.current_retry_interval.and_then(|delay| delay.try_into().ok()).unwrap_or_default(),
            begun: info
                .last_started_time
                .and_then(|time| SystemTime::try_from(time).ok()?.elapsed().ok())
                .unwrap_or_default(),
            heartbeat: info
                .heartbeat_details
                .iter()
                .flat_map(|details| &details.payloads)
                .map(|payload| String::from_utf8_lossy(&payload.data))
                .collect(),
        }
    }
}
