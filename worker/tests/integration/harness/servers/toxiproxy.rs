//! Toxiproxy: a proxy from a worker to a server, one per test and server, which can be cut, slowed and blocked.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    super::{ports, programs, reaper::Reaper},
    Server,
};

/// The Toxiproxy server.
#[derive(Debug)]
pub(crate) struct Toxiproxy {
    api: Api,
    _server: Server,
}

impl Toxiproxy {
    pub(super) async fn start(reaper: &Reaper, http: &reqwest::Client) -> Result<Self> {
        let port = ports::free();
        let mut command = reaper.command(&programs::built("SLIPWAY_TOXIPROXY", "toxiproxy-server")?);
        command.args(["-host", "127.0.0.1", "-port", &port.to_string()]);
        let mut server = Server::start(reaper, "toxiproxy-server", command)?;
        let api = Api { http: http.clone(), base: format!("http://127.0.0.1:{port}") };
        server.answers(async || api.call(Method::GET, "/version", None).await).await?;
        Ok(Self { api, _server: server })
    }

    /// Creates a proxy to a port. Its name must be new.
    pub(crate) async fn to(&self, name: String, upstream: u16) -> Result<Proxy> {
        let port = ports::free();
        let proxy = json!({
            "name": name, "listen": format!("127.0.0.1:{port}"), "upstream": format!("127.0.0.1:{upstream}"),
            "enabled": true,
        });
        self.api.call(Method::POST, "/proxies", Some(proxy)).await?;
        Ok(Proxy { api: self.api.clone(), name, port })
    }
}

/// A proxy to a server.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    api: Api,
    name: String,
    /// The port of the proxy.
    pub(crate) port: u16,
}

impl Proxy {
    /// Closes every connection, and refuses new ones until [`Proxy::restore`].
    pub(crate) async fn cut(&self) -> Result<()> {
        self.enable(false).await
    }

    /// Removes all faults.
    pub(crate) async fn restore(&self) -> Result<()> {
        let toxics = self.api.call(Method::GET, &self.path("/toxics"), None).await?;
        let toxics: Value = serde_json::from_str(&toxics).context("reading toxics")?;
        for name in toxics.as_array().into_iter().flatten().filter_map(|toxic| toxic["name"].as_str()) {
            self.api.call(Method::DELETE, &self.path(&format!("/toxics/{name}")), None).await?;
        }
        self.enable(true).await
    }

    /// Delays every answer.
    pub(crate) async fn slow(&self, delay: Duration) -> Result<()> {
        let attributes = json!({"latency": u64::try_from(delay.as_millis())?, "jitter": 0});
        self.add("latency", "downstream", attributes).await
    }

    /// Drops all requests. Connections stay open, as with packet loss.
    pub(crate) async fn block(&self) -> Result<()> {
        self.add("timeout", "upstream", json!({"timeout": 0})).await
    }

    async fn add(&self, kind: &str, stream: &str, attributes: Value) -> Result<()> {
        let toxic = json!({
            "name": kind, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes,
        });
        self.api.call(Method::POST, &self.path("/toxics"), Some(toxic)).await.map(drop)
    }

    async fn enable(&self, enabled: bool) -> Result<()> {
        self.api.call(Method::POST, &self.path(""), Some(json!({"enabled": enabled}))).await.map(drop)
    }

    fn path(&self, rest: &str) -> String {
        format!("/proxies/{}{rest}", self.name)
    }
}

/// Toxiproxy's HTTP API.
#[derive(Debug, Clone)]
struct Api {
    http: reqwest::Client,
    base: String,
}

impl Api {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<String> {
        let what = format!("{method} {path} of toxiproxy");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| what.clone())?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| what.clone())?;
        if !status.is_success() {
            bail!("{what}: {status}: {}", text.trim());
        }
        Ok(text)
    }
}
