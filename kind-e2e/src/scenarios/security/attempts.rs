//! The doors of the services: who comes without TLS, without a credential, or with too few rights is refused. The right
//! way is tried beside each wrong one, so that a service which answers nobody does not pass.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig};
use reqwest::{RequestBuilder, StatusCode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{Connection as _, Executor as _};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::cluster::forward::Forward;
use crate::cluster::settings::{METRICS_PORT, SCALE_PORT, TEMPORAL_SCALER};
use crate::cluster::temporal::Temporal;
use crate::cluster::{Cluster, Fixture, NAMESPACE, STORAGE, http_client};
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question, faults};

/// A service that does not answer within this time refuses.
const ANSWER: Duration = Duration::from_secs(5);

/// Every attempt: the door, how it is tried, and whether that is the right way.
const ATTEMPTS: [(&str, &str, bool); 39] = [
    ("Postgres", "TLS and the password", true),
    ("Postgres", "the password without TLS", false),
    ("Postgres", "TLS and another password", false),
    ("Postgres", "the worker counts the documents", true),
    ("Postgres", "the worker creates a table", false),
    ("Postgres", "the worker changes a table", false),
    ("Postgres", "the worker connects to Temporal's database", false),
    ("Postgres", "the reader deletes a document", false),
    ("Redis", "TLS and the password", true),
    ("Redis", "the password without TLS", false),
    ("Redis", "TLS without a password", false),
    ("Redis", "TLS and another password", false),
    ("Redis", "the worker asks for every key", false),
    ("Redis", "the worker writes a key of others", false),
    ("S3", "TLS and the keys", true),
    ("S3", "the keys without TLS", false),
    ("S3", "TLS without a key", false),
    ("S3", "TLS and another secret key", false),
    ("S3", "the worker's way with TLS", true),
    ("S3", "the worker's way without TLS", false),
    ("S3", "the worker lists the documents", true),
    ("S3", "the worker writes beside its claims", false),
    ("S3", "the worker deletes a claim", false),
    ("Prometheus", "HTTPS and a certificate", true),
    ("Prometheus", "HTTP", false),
    ("Prometheus", "HTTPS without a certificate", false),
    ("temporal-scaler", "HTTPS and a certificate", true),
    ("temporal-scaler", "HTTP", false),
    ("temporal-scaler", "HTTP at the port of its metrics", false),
    ("temporal-scaler", "HTTPS without a certificate", false),
    ("Temporal", "TLS, a certificate and a token", true),
    ("Temporal", "gRPC without TLS", false),
    ("Temporal", "gRPC without a certificate", false),
    ("Temporal", "HTTP without TLS", false),
    ("Temporal", "HTTPS without a certificate", false),
    ("Temporal", "a certificate without a token", false),
    ("Temporal", "a certificate and a token with another signature", false),
    ("Temporal", "the worker lists every namespace", false),
    ("Temporal", "temporal-scaler ends a workflow", false),
];

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    door: String,
    attempt: String,
    /// Why it was refused, if it was.
    refused: Option<String>,
}

/// Tries every door.
pub(super) async fn try_all(fixture: &Fixture) -> Result<Vec<Attempt>> {
    let mut found = Vec::new();
    postgres(fixture, &mut found).await?;
    redis(fixture, &mut found).await?;
    s3(fixture, &mut found).await?;
    prometheus(fixture, &mut found).await?;
    temporal_scaler(fixture, &mut found).await?;
    temporal(fixture, &mut found).await?;
    Ok(found)
}

/// Notes an answer. A door that is not there refuses nobody: that is an error of the harness.
fn note<T>(found: &mut Vec<Attempt>, door: &str, attempt: &str, answer: Result<T>) -> Result<()> {
    let error = answer.err();
    if let Some(error) = error.as_ref().filter(|error| is_away(error)) {
        bail!("{door} is not there, {attempt}: {error:#}");
    }
    let refused = error.map(|error| format!("{error:#}"));
    found.push(Attempt { door: door.to_owned(), attempt: attempt.to_owned(), refused });
    Ok(())
}

fn is_away(error: &anyhow::Error) -> bool {
    let mut errors = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    errors.any(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

async fn postgres(fixture: &Fixture, found: &mut Vec<Attempt>) -> Result<()> {
    let right = fixture.cluster.postgres()?;
    let attempts = [
        ("TLS and the password", right.clone()),
        ("the password without TLS", right.clone().ssl_mode(PgSslMode::Disable)),
        ("TLS and another password", right.password("another")),
    ];
    for (attempt, options) in attempts {
        note(found, "Postgres", attempt, ask_postgres(&options, "SELECT 1").await)?;
    }
    let (reader, worker) = (fixture.cluster.postgres()?, fixture.cluster.postgres_as("worker")?);
    let temporal = worker.clone().database("temporal");
    let attempts = [
        ("the worker counts the documents", &worker, "SELECT count(*) FROM documents"),
        ("the worker creates a table", &worker, "BEGIN; CREATE TABLE door (a int); ROLLBACK"),
        ("the worker changes a table", &worker, "BEGIN; ALTER TABLE documents ADD COLUMN door int; ROLLBACK"),
        ("the worker connects to Temporal's database", &temporal, "SELECT 1"),
        ("the reader deletes a document", &reader, "DELETE FROM documents WHERE document_id = 'no such document'"),
    ];
    for (attempt, options, query) in attempts {
        note(found, "Postgres", attempt, ask_postgres(options, query).await)?;
    }
    Ok(())
}

async fn ask_postgres(options: &PgConnectOptions, query: &'static str) -> Result<()> {
    let mut session = PgConnection::connect_with(options).await?;
    session.execute(query).await.context("asking")?;
    session.close().await.context("closing the session")
}

async fn redis(fixture: &Fixture, found: &mut Vec<Attempt>) -> Result<()> {
    let password = fixture.cluster.secrets.get("storage/redis", "password")?;
    let login = |password: &str| format!("AUTH worker {password}");
    let (right, another) = (login(password), login("another"));
    let tls = Some(tls(&fixture.cluster)?);
    const READ: &str = "GETRANGE slipway:door 0 1";
    let attempts = [
        ("TLS and the password", &tls, vec![&*right, READ]),
        ("the password without TLS", &None, vec![&*right, READ]),
        ("TLS without a password", &tls, vec![READ]),
        ("TLS and another password", &tls, vec![&*another]),
        ("the worker asks for every key", &tls, vec![&*right, "KEYS *"]),
        ("the worker writes a key of others", &tls, vec![&*right, "SET door 1 EX 1"]),
    ];
    for (attempt, tls, commands) in attempts {
        // kubectl ends when the server closes a connection.
        let forward = Forward::to(&fixture.cluster, STORAGE, "redis", 6379).await?;
        note(found, "Redis", attempt, ask_redis(forward.port, tls.as_ref(), &commands).await)?;
    }
    Ok(())
}

async fn s3(fixture: &Fixture, found: &mut Vec<Attempt>) -> Result<()> {
    let cluster = &fixture.cluster;
    let bucket = format!("{}/{}", cluster.endpoints.s3, cluster.s3.bucket);
    let another = cluster.bucket()?.with_secret_access_key("another").build()?;
    note(found, "S3", "TLS and the keys", list(&fixture.documents).await)?;
    let plain = without_tls(cluster.bucket()?, &cluster.endpoints.s3).build()?;
    note(found, "S3", "the keys without TLS", list(&plain).await)?;
    note(found, "S3", "TLS without a key", ask(fixture.http.get(bucket)).await)?;
    note(found, "S3", "TLS and another secret key", list(&another).await)?;
    let key = |key: &str| cluster.secrets.get("documents/temporal-worker", key);
    let worker = cluster.bucket()?.with_access_key_id(key("AWS_ACCESS_KEY_ID")?);
    let worker = worker.with_secret_access_key(key("AWS_SECRET_ACCESS_KEY")?);
    for (attempt, tls) in [("the worker's way with TLS", true), ("the worker's way without TLS", false)] {
        // kubectl ends when the server closes a connection.
        let forward = Forward::to(cluster, STORAGE, "s3", 7070).await?;
        let url = format!("https://127.0.0.1:{}", forward.port);
        let way = worker.clone().with_endpoint(&url);
        let way = if tls { way } else { without_tls(way, &url) };
        note(found, "S3", attempt, list(&way.build()?).await)?;
    }
    let worker = worker.build()?;
    note(found, "S3", "the worker lists the documents", list(&worker).await)?;
    // Who may do these leaves nothing behind: an empty object is deleted again.
    let beside = Path::from("door");
    let written = worker.put(&beside, PutPayload::new()).await;
    if written.is_ok() {
        fixture.documents.delete(&beside).await.context("deleting what the worker could write")?;
    }
    note(found, "S3", "the worker writes beside its claims", written.map_err(Into::into))?;
    let deleted = worker.delete(&Path::from("claims/door")).await;
    note(found, "S3", "the worker deletes a claim", deleted.map_err(Into::into))?;
    Ok(())
}

async fn prometheus(fixture: &Fixture, found: &mut Vec<Attempt>) -> Result<()> {
    let url = format!("{}/api/v1/query?query=1", fixture.cluster.endpoints.prometheus);
    let plain = url.replacen("https://", "http://", 1);
    note(found, "Prometheus", "HTTPS and a certificate", ask(fixture.http.get(&url)).await)?;
    note(found, "Prometheus", "HTTP", ask(fixture.http.get(plain)).await)?;
    note(found, "Prometheus", "HTTPS without a certificate", ask(fixture.https.get(&url)).await)?;
    Ok(())
}

async fn temporal_scaler(fixture: &Fixture, found: &mut Vec<Attempt>) -> Result<()> {
    let attempts = [
        ("HTTPS and a certificate", "https", SCALE_PORT, &fixture.http),
        ("HTTP", "http", SCALE_PORT, &fixture.http),
        ("HTTP at the port of its metrics", "http", METRICS_PORT, &fixture.http),
        ("HTTPS without a certificate", "https", SCALE_PORT, &fixture.https),
    ];
    for (attempt, scheme, port, client) in attempts {
        // kubectl ends when the server closes a connection.
        let forward = Forward::to(&fixture.cluster, NAMESPACE, TEMPORAL_SCALER.1, port).await?;
        let request = client.get(format!("{scheme}://127.0.0.1:{}/scale", forward.port));
        // Who is admitted is told, too, that it has no answer at the moment.
        let answer = ask_allowing(request, &[StatusCode::SERVICE_UNAVAILABLE]).await;
        note(found, "temporal-scaler", attempt, answer)?;
    }
    Ok(())
}

async fn temporal(fixture: &Fixture, found: &mut Vec<Attempt>) -> Result<()> {
    const DOOR: &str = "Temporal";
    let cluster = &fixture.cluster;
    let of = |secret: &str| cluster.secrets.get(secret, "TEMPORAL_API_KEY");
    let client = of("temporal/temporal-client")?;
    let (worker, scaler) = (of("documents/temporal-worker")?, of("documents/temporal-scaler")?);
    // The signature is the last part.
    let (signed, _) = client.rsplit_once('.').context("the token of Temporal's client has no signature")?;
    let another = format!("{signed}.{}", worker.rsplit('.').next().unwrap_or_default());
    let grpc = async |certificate: Option<bool>| {
        let tls = certificate.map(|certificate| cluster.temporal_tls(certificate)).transpose()?;
        let connected = timeout(ANSWER, Temporal::connect(&cluster.endpoints.temporal, tls, client)).await;
        connected.context("no answer")?.map(drop)
    };
    let https = http_client(cluster.authority()?, Some(cluster.identity("temporal/temporal-client")?))?;
    let namespaces = format!("{}/api/v1/namespaces", cluster.endpoints.temporal_http);
    let one = format!("{namespaces}/default");
    let plain = one.replacen("https://", "http://", 1);
    let end = format!("{one}/workflows/no-such-workflow/terminate");
    note(found, DOOR, "TLS, a certificate and a token", ask(https.get(&one).bearer_auth(client)).await)?;
    note(found, DOOR, "gRPC without TLS", grpc(None).await)?;
    note(found, DOOR, "gRPC without a certificate", grpc(Some(false)).await)?;
    note(found, DOOR, "HTTP without TLS", ask(fixture.http.get(plain).bearer_auth(client)).await)?;
    note(found, DOOR, "HTTPS without a certificate", ask(fixture.https.get(&one).bearer_auth(client)).await)?;
    note(found, DOOR, "a certificate without a token", ask(https.get(&one)).await)?;
    let forged = "a certificate and a token with another signature";
    note(found, DOOR, forged, ask(https.get(&one).bearer_auth(another)).await)?;
    let all = "the worker lists every namespace";
    note(found, DOOR, all, ask(https.get(&namespaces).bearer_auth(worker)).await)?;
    // Who may do this learns that there is no such workflow.
    let ended = ask_allowing(https.post(end).bearer_auth(scaler).body("{}"), &[StatusCode::NOT_FOUND]).await;
    note(found, DOOR, "temporal-scaler ends a workflow", ended)?;
    Ok(())
}

/// The same client at the same address without TLS. A connection that the server closes is not tried again.
fn without_tls(client: AmazonS3Builder, url: &str) -> AmazonS3Builder {
    let retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    client.with_endpoint(url.replacen("https://", "http://", 1)).with_allow_http(true).with_retry(retries)
}

/// Reads the first name in the bucket.
async fn list(bucket: &dyn ObjectStore) -> Result<()> {
    bucket.list(None).next().await.transpose().map(drop).context("listing")
}

/// Any answer but a success is a refusal.
async fn ask(request: RequestBuilder) -> Result<()> {
    ask_allowing(request, &[]).await
}

/// Any answer but a success and these is a refusal.
async fn ask_allowing(request: RequestBuilder, others: &[StatusCode]) -> Result<()> {
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let admitted = status.is_success() || others.contains(&status);
    ensure!(admitted, "{status}: {}", text.lines().next().unwrap_or_default());
    Ok(())
}

/// Sends commands one by one. An answer that is an error is the error.
async fn ask_redis(port: u16, tls: Option<&TlsConnector>, commands: &[&str]) -> Result<()> {
    let plain = TcpStream::connect(("127.0.0.1", port)).await.context("connecting")?;
    match tls {
        None => talk(plain, commands).await,
        Some(tls) => talk(tls.connect(ServerName::try_from("localhost")?, plain).await.context("TLS")?, commands).await,
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, commands: &[&str]) -> Result<()> {
    let mut stream = BufReader::new(stream);
    for command in commands {
        stream.write_all(format!("{command}\r\n").as_bytes()).await.context("sending")?;
        let mut answer = String::new();
        let read = timeout(ANSWER, stream.read_line(&mut answer)).await.context("no answer")?.context("reading")?;
        ensure!(read > 0, "the connection was closed");
        ensure!(!answer.starts_with('-'), "{}", answer.trim());
        // The value of GETRANGE is on a line of its own, and empty for a key that nobody wrote.
        if answer.starts_with('$') {
            stream.read_line(&mut answer).await.context("reading")?;
        }
    }
    Ok(())
}

/// A TLS client without a certificate, which trusts the authority of the cluster.
fn tls(cluster: &Cluster) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cluster.authority()?.as_bytes())?)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The checks.
pub(super) fn judge(found: &[Attempt]) -> [Check; 2] {
    let of =
        |right: bool| ATTEMPTS.iter().filter(move |(.., it)| *it == right).map(|(door, attempt, _)| (*door, *attempt));
    let [closed, open] = [of(false).count(), of(true).count()];
    let closed = Question::new(
        "doors-closed",
        "who comes without TLS, a credential or the right is refused",
        format!("{closed} of {closed} attempts are refused"),
        "who is in the network must not be in the services",
    );
    let open = Question::new(
        "doors-open",
        "who comes as the manifests do is admitted",
        format!("{open} of {open}"),
        "a service that answers nobody refuses everybody",
    );
    let answer = |question: Question, right: bool| {
        let seen: Vec<&Attempt> = of(right)
            .filter_map(|(door, attempt)| found.iter().find(|one| one.door == door && one.attempt == attempt))
            .collect();
        if seen.len() < of(right).count() {
            return question.unseen(format!("{} were tried", seen.len()));
        }
        let wrong = seen.iter().filter(|one| one.refused.is_some() == right).map(|one| match &one.refused {
            Some(why) => format!("{}, {}: refused: {why}", one.door, one.attempt),
            None => format!("{}, {}: admitted", one.door, one.attempt),
        });
        question.answer(format!("{} tried", seen.len()), faults(wrong))
    };
    [answer(closed, false), answer(open, true)]
}

/// The table.
pub(super) fn table(found: &[Attempt]) -> Table {
    let note = "Each service is tried as the manifests use it, and in other ways.";
    let mut table = Table::new("Doors", &["door", "attempt", "answer"], note.to_owned());
    table.rows.extend(found.iter().map(|one| {
        let answer = one.refused.as_ref().map_or_else(|| "admitted".to_owned(), |why| format!("refused: {why}"));
        vec![one.door.clone(), one.attempt.clone(), answer]
    }));
    table
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::judge::verdict::Outcome;

    /// Every attempt as it should end.
    pub(in crate::scenarios::security) fn good() -> Vec<Attempt> {
        let attempt = |(door, attempt, right): &(&str, &str, bool)| Attempt {
            door: (*door).to_owned(),
            attempt: (*attempt).to_owned(),
            refused: (!right).then(|| "no encryption".to_owned()),
        };
        ATTEMPTS.iter().map(attempt).collect()
    }

    #[test]
    fn a_door_that_is_not_there_is_no_refusal() {
        let away = anyhow::Error::from(io::Error::from(io::ErrorKind::ConnectionRefused)).context("connecting");
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::ConnectionReset)).context("reading");
        let mut found = Vec::new();
        assert!(note::<()>(&mut found, "Redis", "x", Err(away)).unwrap_err().to_string().contains("not there"));
        note::<()>(&mut found, "Redis", "x", Err(closed)).unwrap();
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_wrong_way_that_is_admitted_a_right_way_that_is_refused_and_a_gap_are_told() {
        let outcomes = |found: &[Attempt]| judge(found).map(|check| check.outcome.word());
        assert_eq!(outcomes(&good()), ["Pass", "Pass"]);
        for (index, (.., right)) in ATTEMPTS.iter().enumerate() {
            let mut altered = good();
            altered[index].refused = right.then(|| "timeout".to_owned());
            let expected = if *right { ["Pass", "Fail"] } else { ["Fail", "Pass"] };
            assert_eq!(outcomes(&altered), expected, "{:?}", altered[index]);
            let mut altered = good();
            altered.remove(index);
            assert!(judge(&altered).iter().any(|check| matches!(check.outcome, Outcome::Inconclusive(_))));
        }
    }
}
