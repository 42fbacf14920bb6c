//! The cluster that `cluster.json` describes: a client for each of its services, and the switches that change it.
//!
//! Names that the manifests fix are constants here. Connecting changes nothing. This room knows no load and no verdict.

pub mod autoscaling;
pub mod control_plane;
pub mod evidence;
pub mod forward;
pub mod hpa_sync;
pub mod kubernetes;
pub mod node;
pub mod prometheus;
pub mod reading;
pub mod scalers;
pub mod secrets;
pub mod settings;
pub mod survey;
pub mod switches;
pub mod temporal;
pub mod toxiproxy;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use object_store::aws::AmazonS3Builder;
use object_store::{Certificate, ClientOptions, ObjectStore};
use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};

use temporalio_client::{ClientTlsOptions, TlsOptions};

use self::secrets::Secrets;
use self::temporal::Temporal;
use self::toxiproxy::Toxiproxy;

/// The namespace of everything that a user ships.
pub const NAMESPACE: &str = "documents";
/// The namespace of Temporal.
pub const TEMPORAL: &str = "temporal";
/// The namespace of Postgres, S3 and Redis.
pub const STORAGE: &str = "storage";
/// The namespace of Prometheus.
pub const MONITORING: &str = "monitoring";
/// The namespace of KEDA.
pub const KEDA: &str = "keda";
/// The Secret with what a client of Temporal and of Prometheus needs.
const TEMPORAL_CLIENT: &str = "temporal/temporal-client";
/// The worker's Deployment.
pub const DEPLOYMENT: &str = "temporal-worker";
/// The worker pods' label, as the guide's commands have it.
pub const WORKER_SELECTOR: &str = "app=temporal-worker";
/// The ScaledObject of the guide.
pub const SCALED_OBJECT: &str = "temporal-worker-scaler";
/// The HPA that KEDA makes for it.
pub const AUTOSCALER: &str = "keda-hpa-temporal-worker-scaler";
/// The queue of the workflows.
pub const WORKFLOW_QUEUE: &str = "document-workflow-queue";
/// The queue of the IO activities.
pub const IO_QUEUE: &str = "document-io-activity-queue";
/// The queue of the CPU activities.
pub const CPU_QUEUE: &str = "document-cpu-activity-queue";

/// A service that does not answer within this time is unreachable.
const REACH: Duration = Duration::from_secs(10);

/// `cluster.json`, as far as this crate reads it.
#[derive(Debug, Clone, Deserialize)]
pub struct Cluster {
    /// The kind cluster's name.
    pub name: String,
    /// The containers of its nodes.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// `DOCKER_HOST` of the engine that runs them; none for the user's own engine.
    #[serde(default)]
    pub docker_host: Option<String>,
    /// The kubeconfig's path.
    pub kubeconfig: PathBuf,
    /// The kubectl that was built with the cluster.
    pub kubectl: PathBuf,
    /// The manifests that were applied.
    pub manifests: PathBuf,
    /// The image that carries bash and curl.
    pub toolbox_image: String,
    /// Where the services answer.
    pub endpoints: Endpoints,
    /// The bucket of the documents.
    pub s3: Bucket,
    /// The HPA's sync period that the cluster was made with, in seconds.
    pub hpa_sync: u8,
    /// What queues new connections for the network policies; none where there are none of ours.
    #[serde(default)]
    pub policies: Option<String>,
    /// The file with the values of its Secrets.
    #[serde(rename = "secrets")]
    secrets_file: PathBuf,
    /// The values of its Secrets.
    #[serde(skip)]
    pub secrets: Secrets,
}

/// Addresses on this machine.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoints {
    /// Temporal's gRPC, `host:port`.
    pub temporal: String,
    /// Temporal's HTTP.
    pub temporal_http: String,
    /// The documents database, without the password.
    pub postgres: String,
    /// Prometheus.
    pub prometheus: String,
    /// S3 itself, not the proxy that the workers talk to.
    pub s3: String,
    /// The proxy's API.
    pub toxiproxy: String,
}

/// How to reach the bucket.
#[derive(Debug, Clone, Deserialize)]
pub struct Bucket {
    /// Its name.
    pub bucket: String,
    /// Its region.
    pub region: String,
}

impl Cluster {
    /// Reads `cluster.json`.
    ///
    /// # Errors
    /// The file is missing or is no such description; the error says how to make one.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("no cluster described at {}: start one with `cargo xtask up`", path.display()))?;
        let mut cluster: Self = serde_json::from_str(&text).with_context(|| {
            format!("{} does not describe a cluster: make it again with `cargo xtask up`", path.display())
        })?;
        cluster.secrets = Secrets::read(&cluster.secrets_file)?;
        Ok(cluster)
    }

    /// How to connect to the documents database, to look.
    ///
    /// # Errors
    /// The cluster's description has no valid address or no password.
    pub fn postgres(&self) -> Result<PgConnectOptions> {
        self.postgres_as("reader")
    }

    /// How to connect to the documents database as one of its roles.
    ///
    /// # Errors
    /// The cluster's description has no valid address or no password.
    pub fn postgres_as(&self, role: &str) -> Result<PgConnectOptions> {
        let options: PgConnectOptions = self.endpoints.postgres.parse().context("the database's address")?;
        let password = self.secrets.get("storage/postgres", &format!("{role}-password"))?;
        let options = options.username(role).password(password);
        Ok(options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert_from_pem(self.authority()?.into()))
    }

    /// A client of the bucket, to be built. It trusts the authority of the cluster alone.
    ///
    /// # Errors
    /// The cluster's description has no keys of it.
    pub fn bucket(&self) -> Result<AmazonS3Builder> {
        let authority = Certificate::from_pem(self.authority()?.as_bytes()).context("the authority's certificate")?;
        let client = ClientOptions::new().with_no_system_certificates(true).with_root_certificate(authority);
        Ok(AmazonS3Builder::new()
            .with_endpoint(&self.endpoints.s3)
            .with_client_options(client)
            .with_virtual_hosted_style_request(false)
            .with_bucket_name(&self.s3.bucket)
            .with_region(&self.s3.region)
            .with_access_key_id(self.secrets.get("storage/s3", "access-key")?)
            .with_secret_access_key(self.secrets.get("storage/s3", "secret-key")?))
    }

    /// The certificate and the key of a Secret, for HTTPS.
    ///
    /// # Errors
    /// The cluster has none.
    pub fn identity(&self, secret: &str) -> Result<reqwest::Identity> {
        let both = [self.secrets.get(secret, "tls.crt")?, self.secrets.get(secret, "tls.key")?].concat();
        reqwest::Identity::from_pem(both.as_bytes()).with_context(|| format!("the certificate of Secret {secret}"))
    }

    /// How to speak TLS with Temporal, with a client's certificate or without.
    ///
    /// # Errors
    /// The cluster has none.
    pub fn temporal_tls(&self, certificate: bool) -> Result<TlsOptions> {
        let of = |key: &str| Ok::<_, anyhow::Error>(self.secrets.get(TEMPORAL_CLIENT, key)?.as_bytes().to_vec());
        let own = || -> Result<_> {
            Ok(ClientTlsOptions::builder().client_cert(of("tls.crt")?).client_private_key(of("tls.key")?).build())
        };
        let own = certificate.then(own).transpose()?;
        Ok(TlsOptions::builder().server_root_ca_cert(of("ca.crt")?).maybe_client_tls_options(own).build())
    }

    /// The certificate of the authority that signed those of the services.
    ///
    /// # Errors
    /// The cluster has none.
    pub fn authority(&self) -> Result<&str> {
        self.secrets.get("storage/postgres-tls", "ca.crt")
    }
}

/// A connection to each service of one cluster.
#[derive(Clone)]
pub struct Fixture {
    /// The description of the cluster.
    pub cluster: Cluster,
    /// The API server.
    pub kube: kube::Client,
    /// The documents database.
    pub postgres: PgPool,
    /// Temporal.
    pub temporal: Temporal,
    /// The bucket.
    pub documents: Arc<dyn ObjectStore>,
    /// The proxy on the way to S3.
    pub toxiproxy: Toxiproxy,
    /// For Prometheus and temporal-scaler, with a certificate, and for toxiproxy, which is plain HTTP.
    pub http: reqwest::Client,
    /// For HTTPS with a certificate of the cluster's authority, without one of its own.
    pub https: reqwest::Client,
}

impl Fixture {
    /// Connects to everything in `cluster`, asking each service for something small.
    ///
    /// # Errors
    /// A service that does not answer is named, with the way out.
    pub async fn connect(cluster: Cluster) -> Result<Self> {
        let up = || format!("cluster {} does not answer: start it with `cargo xtask up`", cluster.name);
        let http = http_client(cluster.authority()?, Some(cluster.identity(TEMPORAL_CLIENT)?))?;
        let https = http_client(cluster.authority()?, None)?;
        let kube = reach("the API server", connect_kube(&cluster)).await.with_context(up)?;
        let postgres = reach("postgres", connect_postgres(&cluster)).await.with_context(up)?;
        let temporal = reach("temporal", connect_temporal(&cluster)).await.with_context(up)?;
        let toxiproxy = Toxiproxy::new(http.clone(), &cluster.endpoints.toxiproxy);
        reach("toxiproxy", toxiproxy.toxics()).await.with_context(up)?;
        let documents = connect_s3(&cluster).context("setting up S3")?;
        Ok(Self { kube, postgres, temporal, documents, toxiproxy, http, https, cluster })
    }

    /// The source that a workflow gets for the object `key`.
    pub fn source(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.cluster.s3.bucket)
    }
}

async fn reach<T>(what: &str, answer: impl Future<Output = Result<T>>) -> Result<T> {
    let answer = tokio::time::timeout(REACH, answer).await;
    answer.with_context(|| format!("{what}: no answer within {REACH:.0?}"))?.with_context(|| what.to_owned())
}

async fn kube_config(cluster: &Cluster) -> Result<kube::Config> {
    let kubeconfig = Kubeconfig::read_from(&cluster.kubeconfig)
        .with_context(|| format!("reading kubeconfig {}", cluster.kubeconfig.display()))?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .context("understanding the kubeconfig")
}

async fn connect_kube(cluster: &Cluster) -> Result<kube::Client> {
    let client = kube::Client::try_from(kube_config(cluster).await?).context("making a client")?;
    client.apiserver_version().await.context("asking for its version")?;
    Ok(client)
}

async fn connect_postgres(cluster: &Cluster) -> Result<PgPool> {
    // The observer, the oracle and the scenario each read at their own time.
    PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(REACH)
        .connect_with(cluster.postgres()?)
        .await
        .context("connecting to the documents database")
}

async fn connect_temporal(cluster: &Cluster) -> Result<Temporal> {
    let token = cluster.secrets.get(TEMPORAL_CLIENT, "TEMPORAL_API_KEY")?;
    Temporal::connect(&cluster.endpoints.temporal, Some(cluster.temporal_tls(true)?), token).await
}

fn connect_s3(cluster: &Cluster) -> Result<Arc<dyn ObjectStore>> {
    Ok(Arc::new(cluster.bucket()?.build()?))
}

/// An HTTP client, which trusts this authority alone, and shows a certificate if it has one.
///
/// Each request has its own connection. A kept connection would go to the pod that was behind the Service when the
/// connection was made, and after that pod is gone to whoever has its address.
pub fn http_client(authority: &str, identity: Option<reqwest::Identity>) -> Result<reqwest::Client> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = reqwest::Certificate::from_pem(authority.as_bytes()).context("the authority's certificate")?;
    let client = reqwest::Client::builder().timeout(REACH).pool_max_idle_per_host(0).no_proxy();
    let client = client.tls_certs_only([authority]);
    let client = match identity {
        Some(identity) => client.identity(identity),
        None => client,
    };
    client.build().context("making an HTTP client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_cluster_file_names_the_way_out() {
        let error = Cluster::read(Path::new("no/such/cluster.json")).unwrap_err();
        let shown = "no cluster described at no/such/cluster.json: start one with `cargo xtask up`";
        assert_eq!(error.to_string(), shown);
    }

    #[test]
    fn the_file_that_bundle_writes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.json");
        let secrets = folder.path().join("secrets.json");
        std::fs::write(
            &secrets,
            r#"{"storage/postgres":{"reader-password":"p"},"storage/postgres-tls":{"ca.crt":"c"}}"#,
        )
        .unwrap();
        let text = r#"{"name":"slipway","nodes":["slipway-control-plane"],"kubeconfig":"/k","kubectl":"/b/kubectl",
            "docker_host":null,"toolbox_image":"slipway.local/toolbox:1","manifests":"/m",
            "endpoints":{"temporal":"127.0.0.1:1","temporal_http":"http://127.0.0.1:2",
                "postgres":"postgres://reader@127.0.0.1:3/documents","prometheus":"http://127.0.0.1:4",
                "s3":"http://127.0.0.1:5","toxiproxy":"http://127.0.0.1:6"},
            "s3":{"bucket":"documents","region":"us-east-1"},"secrets":"SECRETS","hpa_sync":1}"#;
        std::fs::write(&path, text.replace("SECRETS", secrets.to_str().unwrap())).unwrap();
        let cluster = Cluster::read(&path).unwrap();
        assert_eq!((cluster.name.as_str(), cluster.s3.bucket.as_str()), ("slipway", "documents"));
        cluster.postgres().unwrap();
        std::fs::write(&path, "{}").unwrap();
        assert!(Cluster::read(&path).unwrap_err().to_string().contains("does not describe a cluster"));
    }
}
