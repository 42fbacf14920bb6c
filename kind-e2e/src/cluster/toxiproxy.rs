//! Toxiproxy's API: the latency that users have on their way to S3, put there and taken away.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;

/// The proxy between the workers and S3.
const PROXY: &str = "s3";
/// The toxic that holds every answer back.
const HANG: &str = "hang";

/// A client of the proxy's API.
#[derive(Debug, Clone)]
pub struct Toxiproxy {
    http: reqwest::Client,
    base: String,
}

#[derive(Deserialize)]
struct Toxic {
    name: String,
}

impl Toxiproxy {
    /// A client for the API at `base`, e.g. `http://127.0.0.1:8474`.
    pub fn new(http: reqwest::Client, base: &str) -> Self {
        Self { http, base: base.trim_end_matches('/').to_owned() }
    }

    /// The names of the toxics that are in force on the way to S3.
    pub async fn toxics(&self) -> Result<Vec<String>> {
        let response = self.http.get(self.url("")).send().await.context("listing toxics")?;
        let toxics: Vec<Toxic> = succeeded(response).await?.json().await.context("reading toxics")?;
        Ok(toxics.into_iter().map(|toxic| toxic.name).collect())
    }

    /// Delays every answer of S3 by `latency`: once a request, however long the answer is, because the
    /// proxy delays each piece from the time at which it came.
    pub async fn delay_answers(&self, latency: Duration) -> Result<()> {
        let toxic = json!({
            "name": "latency", "type": "latency", "stream": "downstream", "toxicity": 1.0,
            "attributes": {"latency": u64::try_from(latency.as_millis())?, "jitter": 0},
        });
        let response = self.http.post(self.url("")).json(&toxic).send().await.context("adding latency")?;
        succeeded(response).await?;
        Ok(())
    }

    /// Lets no byte of an answer of S3 through: a request gets no answer, and no connection is closed.
    pub async fn hang(&self) -> Result<()> {
        let toxic = json!({
            "name": HANG, "type": "timeout", "stream": "downstream", "toxicity": 1.0, "attributes": {"timeout": 0},
        });
        let response = self.http.post(self.url("")).json(&toxic).send().await.context("cutting S3 off")?;
        succeeded(response).await.map(drop)
    }

    /// Ends what [`Self::hang`] began.
    pub async fn answer(&self) -> Result<()> {
        match self.toxics().await?.iter().any(|name| name == HANG) {
            true => self.remove(HANG).await,
            false => Ok(()),
        }
    }

    /// Takes away every toxic, ours and those that a killed run left behind.
    pub async fn clear(&self) -> Result<()> {
        for name in self.toxics().await? {
            self.remove(&name).await?;
        }
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let url = self.url(&format!("/{name}"));
        let response = self.http.delete(url).send().await.with_context(|| format!("removing toxic {name}"))?;
        succeeded(response).await.map(drop)
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/proxies/{PROXY}/toxics{rest}", self.base)
    }
}

async fn succeeded(response: reqwest::Response) -> Result<reqwest::Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let url = response.url().clone();
    let body = response.text().await.unwrap_or_default();
    bail!("toxiproxy answered {status} to {url}: {}", body.trim())
}
