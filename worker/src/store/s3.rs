//! The S3 client: made from the configuration and the AWS settings of the environment, with answers that can be
//! told apart.
//!
//! `object_store` turns most answers of S3 into one kind of error that hides the status, the code and the headers.
//! [`Answers`] sits below it, and turns each answer that is not a success into a [`Refusal`], which the error then
//! carries. It also sends keys that a [`Path`] cannot hold, such as `a//b.pdf`.

use std::{
    error::Error as StdError,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use object_store::{
    ClientOptions, Extensions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider},
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
    },
    path::Path,
};
use reqwest::header::AUTHORIZATION;

use super::refusal::Refusal;
use crate::{config::DocumentsConfig, external::retry_after};

/// Timeout of a connection to S3. It detects a network that drops packets earlier than the timeout of the call
/// does.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The region of a store that has none.
const DEFAULT_REGION: &str = "us-east-1";

/// Stands for a key that a [`Path`] cannot hold, until [`Answers`] puts the key in its place.
const PLACEHOLDER: &str = "key";

/// Header with the region of a bucket, in the answer of another region.
const BUCKET_REGION: &str = "x-amz-bucket-region";

/// Most bytes of an error's body that are read for its code.
const MAX_ERROR_BYTES: usize = 16 << 10;

/// Settings that the configuration has read. What is left of the environment is the client's own: a role, a session
/// token, encryption.
const READ_BY_CONFIGURATION: [AmazonS3ConfigKey; 7] = [
    AmazonS3ConfigKey::AccessKeyId,
    AmazonS3ConfigKey::SecretAccessKey,
    AmazonS3ConfigKey::Region,
    AmazonS3ConfigKey::DefaultRegion,
    AmazonS3ConfigKey::Endpoint,
    AmazonS3ConfigKey::S3Endpoint,
    AmazonS3ConfigKey::Bucket,
];

/// Bucket and prefix of `s3://bucket[/prefix]`. The prefix is taken as it is written, like the sources of documents.
pub(crate) fn bucket_and_prefix(store_url: &str) -> Option<(&str, &str)> {
    let rest = store_url.strip_prefix("s3://")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    (!bucket.is_empty()).then_some((bucket, prefix.trim_end_matches('/')))
}

/// Whether keys can begin with this prefix. Those that a [`Path`] cannot hold are only read below one that it can.
pub(crate) fn is_prefix(prefix: &str) -> bool {
    Path::parse(prefix).is_ok_and(|path| path.as_ref() == prefix)
}

/// Opens the bucket. Nothing is sent yet.
///
/// # Errors
/// A setting of the configuration or of the environment is invalid.
pub(super) fn open(config: &DocumentsConfig, bucket: &str) -> anyhow::Result<AmazonS3> {
    let client = ClientOptions::new()
        .with_allow_http(config.s3_allow_http)
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIMEOUT);
    let retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let region = config.s3_region.as_deref().unwrap_or(DEFAULT_REGION);
    let signer = Arc::new(Signer { credentials: OnceLock::new(), region: region.to_owned() });
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_client_options(client)
        .with_retry(retries)
        // Only claims are written. Their keys are their hashes, which every read checks. For a signature, the client
        // would hash them again, on a thread of the async runtime.
        .with_unsigned_payload(true)
        .with_http_connector(Connector(signer.clone()));
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    for (key, value) in client_settings(environment)? {
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = &config.s3_endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let (Some(id), Some(key)) = (&config.s3_access_key_id, &config.s3_secret_access_key) {
        builder = builder.with_access_key_id(id).with_secret_access_key(key.expose());
    }
    let store = builder.build()?;
    // The store is new, so nobody else has set them.
    let _ = signer.credentials.set(store.credentials().clone());
    Ok(store)
}

/// The client's own settings: the variables `AWS_…` that no key of the configuration stands for. An empty one counts
/// as unset.
fn client_settings(
    environment: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<Vec<(AmazonS3ConfigKey, String)>> {
    let mut settings = Vec::new();
    for (name, value) in environment {
        let key = name.strip_prefix("AWS_").and_then(|_| name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>().ok());
        let (Some(key), value) = (key, value.trim()) else { continue };
        if value.is_empty() || READ_BY_CONFIGURATION.contains(&key) || matches!(key, AmazonS3ConfigKey::Client(_)) {
            continue;
        }
        // The client panics on a value that cannot be a header.
        anyhow::ensure!(
            !value.contains(char::is_control),
            "{name} has a line break or another control character: set it again without"
        );
        settings.push((key, value.to_owned()));
    }
    Ok(settings)
}

/// The extensions of a request whose answers are told apart.
pub(super) fn extensions(raw_key: Option<String>) -> Extensions {
    let mut extensions = Extensions::new();
    extensions.insert(Marked { raw_key });
    extensions
}

/// The path to ask for if the key goes into the extensions.
pub(super) fn placeholder() -> Path {
    Path::from(PLACEHOLDER)
}

/// Marks a request for a document or a claim. The client also asks for credentials, in ways of its own.
#[derive(Debug, Clone)]
struct Marked {
    /// The key in place of [`PLACEHOLDER`].
    raw_key: Option<String>,
}

/// Makes the HTTP clients of the store.
#[derive(Debug)]
struct Connector(Arc<Signer>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Answers { client, signer: self.0.clone() }))
    }
}

/// An HTTP client that turns the answers of marked requests into [`Refusal`]s.
#[derive(Debug)]
struct Answers {
    client: HttpClient,
    signer: Arc<Signer>,
}

#[async_trait::async_trait]
impl HttpService for Answers {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Some(marked) = request.extensions().get::<Marked>().cloned() else {
            return self.client.execute(request).await;
        };
        if let Some(key) = marked.raw_key {
            self.signer.replace_key(&mut request, &key).await.map_err(failed)?;
        }
        let response = self.client.execute(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(failed(refusal(response).await))
    }
}

/// An error that the client does not retry.
fn failed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> HttpError {
    HttpError::new_boxed(HttpErrorKind::Unknown, error.into())
}

async fn refusal(response: HttpResponse) -> Refusal {
    let (parts, body) = response.into_parts();
    let header = |name: &str| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
    Refusal {
        status: parts.status.as_u16(),
        code: code(body.bytes().await.unwrap_or_default().as_ref()),
        region: header(BUCKET_REGION),
        retry_after: retry_after(&parts.headers),
    }
}

/// The code of an error's XML; empty if there is none, as in the answer of a proxy.
fn code(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_ERROR_BYTES)]);
    let code = text.split_once("<Code>").and_then(|(_, rest)| Some(rest.split_once("</Code>")?.0.trim()));
    let is_code = |code: &&str| code.len() <= 64 && code.chars().all(|character| character.is_ascii_alphanumeric());
    code.filter(is_code).unwrap_or_default().to_owned()
}

/// Signs requests again after their key was replaced.
struct Signer {
    credentials: OnceLock<AwsCredentialProvider>,
    region: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Signer {
    async fn replace_key(&self, request: &mut HttpRequest, key: &str) -> anyhow::Result<()> {
        let uri = request.uri().to_string();
        let base = uri.strip_suffix(PLACEHOLDER).with_context(|| format!("{uri} does not end with {PLACEHOLDER}"))?;
        *request.uri_mut() = format!("{base}{}", percent_encoded(key)).parse()?;
        // A store without signatures has neither.
        if request.headers_mut().remove(AUTHORIZATION).is_some()
            && let Some(provider) = self.credentials.get()
        {
            let credential = provider.get_credential().await?;
            AwsAuthorizer::new(&credential, "s3", &self.region).try_authorize(request, None)?;
        }
        Ok(())
    }
}

/// A key in a URL. S3 signs the same text.
fn percent_encoded(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_taken_as_it_is_written() {
        for (url, expected) in [
            ("s3://documents", Some(("documents", ""))),
            ("s3://documents/", Some(("documents", ""))),
            ("s3://documents/Eingang 2024/ü/", Some(("documents", "Eingang 2024/ü"))),
            ("s3://documents/a%20b#c", Some(("documents", "a%20b#c"))),
            ("s3://", None),
            ("s3:///prefix", None),
        ] {
            assert_eq!(bucket_and_prefix(url), expected, "{url}");
        }
    }

    #[test]
    fn an_empty_variable_is_unset_and_the_rest_is_the_clients() {
        let environment = [
            ("AWS_SESSION_TOKEN", "token\n"),
            ("AWS_ROLE_ARN", ""),
            ("AWS_REGION", "elsewhere"),
            ("AWS_ENDPOINT_URL_S3", "http://elsewhere"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_PROFILE", "work"),
            ("PATH", "/bin"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = client_settings(environment).unwrap();
        assert_eq!(settings, [(AmazonS3ConfigKey::Token, "token".to_owned())]);
        let broken = [("AWS_SESSION_TOKEN".to_owned(), "to\nken".to_owned())];
        assert!(client_settings(broken).unwrap_err().to_string().contains("AWS_SESSION_TOKEN"));
    }

    #[test]
    fn the_code_of_an_error_is_found_in_its_xml() {
        let xml = b"<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>no <Code></Message></Error>";
        assert_eq!(code(xml), "SlowDown");
        for other in [b"".as_slice(), b"<html>503</html>", b"<Code>not a code</Code>", b"<Code>"] {
            assert_eq!(code(other), "", "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_key_is_encoded_as_it_is_signed() {
        assert_eq!(percent_encoded("a//b c/ü+.pdf"), "a//b%20c/%C3%BC%2B.pdf");
    }
}
