//! Temporal: the project's own build, with its services in one process, on SQLite in memory.
//!
//! Its `worker` service runs too, because Temporal stores Worker Deployment versions in workflows of its own.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, GrpcCompression, RegisterNamespaceOptions, Url,
    tonic::{Code, IntoRequest as _},
};
use temporalio_common::protos::temporal::api::workflowservice::v1::RegisterNamespaceRequest;

use super::{
    super::{
        ports, programs,
        reaper::Reaper,
        wait::{Probe, eventually},
    },
    Server,
};

/// Timeout for the services to find each other once the port is open.
const SETTLE: Duration = Duration::from_secs(30);

/// A Temporal server.
pub(crate) struct Temporal {
    /// The port of its frontend.
    pub(crate) port: u16,
    connection: Connection,
    _server: Server,
}

impl std::fmt::Debug for Temporal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Temporal({})", self.port)
    }
}

impl Temporal {
    pub(super) async fn start(reaper: &Reaper) -> Result<Self> {
        let port = ports::free();
        let dynamic = reaper.folder().join("temporal-dynamic.yaml");
        fs::write(&dynamic, DYNAMIC_CONFIG).context("writing Temporal's dynamic configuration")?;
        let config = reaper.folder().join("temporal.yaml");
        fs::write(&config, configuration(port, &dynamic.display().to_string()))
            .context("writing Temporal's configuration")?;
        let mut command = reaper.command(&programs::built("SLIPWAY_TEMPORAL_SERVER", "temporal-server")?);
        command.arg("--config-file").arg(&config).args(["--allow-no-auth", "start"]);
        for service in ["frontend", "history", "matching", "worker"] {
            command.args(["--service", service]);
        }
        let mut server = Server::start(reaper, "temporal-server", command)?;
        let connection = server.answers(async || connect(port).await).await?;
        Ok(Self { port, connection, _server: server })
    }

    /// Registers a namespace, and creates a client for it.
    pub(crate) async fn create(&self, namespace: &str) -> Result<Client> {
        eventually("a namespace can be registered", SETTLE, async || self.register(namespace).await).await?;
        Ok(Client::new(self.connection.clone(), ClientOptions::new(namespace).build())?)
    }

    async fn register(&self, namespace: &str) -> Probe<()> {
        let options = RegisterNamespaceOptions::builder().namespace(namespace).description("a test").build();
        let request = RegisterNamespaceRequest::from(options).into_request();
        match self.connection.workflow_service().register_namespace(request).await {
            Ok(_) => Probe::Ready(()),
            // An earlier request succeeded, but its answer was lost.
            Err(status) if status.code() == Code::AlreadyExists => Probe::Ready(()),
            Err(status) => Probe::NotYet(status.to_string()),
        }
    }
}

async fn connect(port: u16) -> Result<Connection> {
    let url = Url::parse(&format!("http://127.0.0.1:{port}"))?;
    let options = ConnectionOptions::new(url)
        .identity("tests")
        .grpc_compression(GrpcCompression::None)
        .connect_timeout(Duration::from_secs(5))
        .dns_load_balancing(None)
        .build();
    Ok(Connection::connect(options).await?)
}

/// One partition per task queue. With four, a task could wait in one while a worker polls another.
const DYNAMIC_CONFIG: &str = "\
matching.numTaskqueueReadPartitions:
  - value: 1
matching.numTaskqueueWritePartitions:
  - value: 1
frontend.enableCancelWorkerPollsOnShutdown:
  - value: true
";

fn configuration(port: u16, dynamic: &str) -> String {
    let service = |name: &str, port: u16| {
        let membership = ports::free();
        format!(
            "  {name}:\n    rpc:\n      bindOnLocalHost: true\n      grpcPort: {port}\n      membershipPort: {membership}\n"
        )
    };
    let frontend = service("frontend", port);
    let [history, matching, worker] = ["history", "matching", "worker"].map(|name| service(name, ports::free()));
    format!(
        "\
log:
  stdout: true
  level: warn
persistence:
  numHistoryShards: 4
  defaultStore: memory
  visibilityStore: memory
  datastores:
    memory:
      sql:
        pluginName: sqlite
        databaseName: tests
        connectAddr: localhost
        connectProtocol: tcp
        connectAttributes:
          mode: memory
          cache: private
        # The database lives as long as its one connection.
        maxConns: 1
        maxIdleConns: 1
global:
  membership:
    maxJoinDuration: 30s
    broadcastAddress: 127.0.0.1
services:
{frontend}{history}{matching}{worker}clusterMetadata:
  enableGlobalNamespace: false
  failoverVersionIncrement: 10
  masterClusterName: active
  currentClusterName: active
  clusterInformation:
    active:
      enabled: true
      initialFailoverVersion: 1
      rpcName: frontend
      rpcAddress: 127.0.0.1:{port}
dcRedirectionPolicy:
  policy: noop
publicClient:
  hostPort: 127.0.0.1:{port}
dynamicConfigClient:
  filepath: {dynamic}
  pollInterval: 60s
"
    )
}
