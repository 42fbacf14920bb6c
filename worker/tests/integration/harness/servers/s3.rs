//! S3: versitygw on a folder, where each subfolder is a bucket.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use object_store::aws::{AmazonS3, AmazonS3Builder};

use super::{
    super::{ports, programs, reaper::Reaper},
    Server,
};

/// The region.
pub(crate) const REGION: &str = "us-east-1";

/// Both the key id and the secret key.
pub(crate) const SECRET: &str = "slipway-tests";

/// An S3 server.
#[derive(Debug)]
pub(crate) struct S3 {
    /// Its port.
    pub(crate) port: u16,
    buckets: PathBuf,
    _server: Server,
}

impl S3 {
    pub(super) async fn start(reaper: &Reaper, http: &reqwest::Client) -> Result<Self> {
        let port = ports::free();
        let buckets = reaper.folder().join("buckets");
        fs::create_dir(&buckets).context("creating the folder of the buckets")?;
        let mut command = reaper.command(&programs::built("SLIPWAY_VERSITYGW", "versitygw")?);
        command
            .args([&format!("--port=127.0.0.1:{port}"), &format!("--region={REGION}")])
            .args(["--health=/health", "--keep-alive", "--quiet", "posix"])
            .arg(&buckets)
            .env("ROOT_ACCESS_KEY_ID", SECRET)
            .env("ROOT_SECRET_ACCESS_KEY", SECRET);
        let mut server = Server::start(reaper, "versitygw", command)?;
        let health = format!("http://127.0.0.1:{port}/health");
        server.answers(async || Ok(http.get(&health).send().await?.error_for_status()?)).await?;
        Ok(Self { port, buckets, _server: server })
    }

    /// Creates a bucket and a client for it.
    pub(crate) fn create(&self, bucket: &str) -> Result<AmazonS3> {
        fs::create_dir(self.buckets.join(bucket)).with_context(|| format!("creating the bucket {bucket}"))?;
        let client = AmazonS3Builder::new()
            .with_endpoint(format!("http://127.0.0.1:{}", self.port))
            .with_region(REGION)
            .with_access_key_id(SECRET)
            .with_secret_access_key(SECRET)
            .with_bucket_name(bucket)
            .with_allow_http(true)
            .build();
        client.with_context(|| format!("creating a client for the bucket {bucket}"))
    }
}
