//! The document store, and the limits on a document.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Environment, Faults, Secret, with_variable};
use crate::{
    activities::READING_TIMEOUT,
    store::{bucket_and_prefix, is_prefix},
};

/// Variables that name credentials in a way that the S3 client knows: the roles of a pod.
pub(super) const OTHER_CREDENTIALS: [&str; 3] =
    ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

/// The `[documents]` section. Without access keys, the role of the pod or of the machine is used. AWS profiles are not
/// read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DocumentsConfig {
    /// Root of documents and claims: `s3://bucket[/prefix]` or `file:///folder` (`DOCUMENT_STORE_URL`).
    pub store_url: String,
    /// Endpoint of an S3 server other than AWS (`AWS_ENDPOINT_URL`; `AWS_ENDPOINT_URL_S3` takes precedence).
    pub s3_endpoint: Option<String>,
    /// Region (`AWS_REGION`, else `AWS_DEFAULT_REGION`).
    pub s3_region: Option<String>,
    /// Access key id (`AWS_ACCESS_KEY_ID`).
    pub s3_access_key_id: Option<String>,
    /// Secret access key (`AWS_SECRET_ACCESS_KEY`).
    pub s3_secret_access_key: Option<Secret>,
    /// Whether the endpoint may use plain HTTP (`AWS_ALLOW_HTTP`).
    pub s3_allow_http: bool,
    /// Timeout of one call to the store in seconds, including the body and retries.
    pub request_timeout_seconds: u64,
    /// Maximum size of a document in bytes. A larger one is refused and not retried.
    pub max_bytes: u64,
    /// CPU time in seconds that reading a document may take. One that takes more is refused and not retried.
    pub max_cpu_seconds: u64,
    /// Maximum size in bytes of a body in the workflow's history. A larger body goes through the store.
    pub inline_bytes: usize,
    /// Target number of words of a passage.
    pub passage_words: usize,
}

impl Default for DocumentsConfig {
    fn default() -> Self {
        Self {
            store_url: "s3://documents".into(),
            s3_endpoint: None,
            s3_region: None,
            s3_access_key_id: None,
            s3_secret_access_key: None,
            s3_allow_http: false,
            request_timeout_seconds: 30,
            max_bytes: 32 << 20,
            max_cpu_seconds: 60,
            inline_bytes: 64 << 10,
            passage_words: 200,
        }
    }
}

impl DocumentsConfig {
    /// Timeout of one call to the store.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }

    /// CPU time that reading a document may take.
    pub fn max_cpu(&self) -> Duration {
        Duration::from_secs(self.max_cpu_seconds)
    }

    pub(super) fn validate(&self, faults: &mut Faults) {
        let is_folder = || url::Url::parse(&self.store_url).is_ok_and(|url| url.scheme() == "file");
        let is_bucket = bucket_and_prefix(&self.store_url).is_some_and(|(_, prefix)| is_prefix(prefix));
        if !is_bucket && !is_folder() {
            faults.add(format!(
                "documents.store_url is {:?}: set DOCUMENT_STORE_URL to s3://bucket[/prefix] or file:///folder",
                self.store_url
            ));
        }
        // The S3 client panics on a key that cannot be in a header.
        let keys = [
            ("documents.s3_access_key_id", self.s3_access_key_id.as_deref()),
            ("documents.s3_secret_access_key", self.s3_secret_access_key.as_ref().map(Secret::expose)),
        ];
        for (name, key) in keys {
            if key.is_some_and(|key| !key.chars().all(|character| character.is_ascii_graphic())) {
                faults.add(format!(
                    "{} has white space, a line break or a character that is not ASCII: set it again without",
                    with_variable(name)
                ));
            }
        }
        if self.s3_access_key_id.is_some() != self.s3_secret_access_key.is_some() {
            faults.add(
                "documents.s3_access_key_id and documents.s3_secret_access_key belong together: set both of \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or none"
                    .into(),
            );
        }
        if let Some(endpoint) = &self.s3_endpoint
            && endpoint.starts_with("http://")
            && !self.s3_allow_http
        {
            faults.add(format!(
                "documents.s3_endpoint is {endpoint:?}, plain HTTP: set AWS_ALLOW_HTTP=true if that is meant"
            ));
        }
        faults.require_at_least("documents.request_timeout_seconds", self.request_timeout_seconds, 1);
        faults.require_at_least("documents.max_bytes", self.max_bytes, 1);
        faults.require_at_least("documents.passage_words", self.passage_words, 1);
        self.validate_cpu(faults);
        self.validate_inline(faults);
    }

    /// A profile is a way to name credentials that the worker does not know. Without other credentials, one that is
    /// named must not be passed over.
    pub(super) fn validate_profile(&self, environment: &Environment, faults: &mut Faults) {
        let given = |name: &&str| environment.has(name);
        let has_credentials = self.s3_access_key_id.is_some() || OTHER_CREDENTIALS.iter().any(given);
        if environment.has("AWS_PROFILE") && !has_credentials && bucket_and_prefix(&self.store_url).is_some() {
            faults.add(
                "AWS_PROFILE is set, but AWS profiles are not read: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
                 or unset AWS_PROFILE to use the role of the pod or of the machine"
                    .into(),
            );
        }
    }

    /// An attempt has to last until its reader has had this much CPU time, also on a busy host.
    fn validate_cpu(&self, faults: &mut Faults) {
        const KEY: &str = "documents.max_cpu_seconds";
        let most = READING_TIMEOUT.as_secs() / 2;
        faults.require_at_least(KEY, self.max_cpu_seconds, 1);
        if self.max_cpu_seconds > most {
            faults.add(format!(
                "{} is {}: it must be at most {most}, half of the time that an attempt has for reading",
                with_variable(KEY),
                self.max_cpu_seconds
            ));
        }
    }

    /// Temporal rejects payloads of 2 MiB, and base64 makes a body a third larger.
    fn validate_inline(&self, faults: &mut Faults) {
        const MAX_INLINE: usize = 1 << 20;
        if self.inline_bytes > MAX_INLINE {
            faults.add(format!(
                "documents.inline_bytes is {}, more than {MAX_INLINE}: Temporal rejects payloads that large",
                self.inline_bytes
            ));
        }
    }
}
