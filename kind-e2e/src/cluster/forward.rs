//! A port of a Service that has none on this host, by `kubectl port-forward`, for as long as it is held.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::Cluster;

/// kubectl forwards within this time.
const BEGINS: Duration = Duration::from_secs(20);

/// A forwarded port. It ends when this is dropped.
pub struct Forward {
    /// The port on the loopback address.
    pub port: u16,
    _kubectl: Child,
    /// kubectl writes a line for each connection, and would end if nobody held the other end.
    _output: BufReader<ChildStdout>,
}

impl Forward {
    /// Forwards to a port of a Service.
    ///
    /// # Errors
    /// kubectl does not, or there is no such Service.
    pub async fn to(cluster: &Cluster, namespace: &str, service: &str, port: u16) -> Result<Self> {
        let begun = async {
            let mut kubectl = Command::new(&cluster.kubectl)
                .args(["port-forward", "--namespace", namespace, &format!("service/{service}"), &format!(":{port}")])
                .env("KUBECONFIG", &cluster.kubeconfig)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .context("starting kubectl")?;
            let stdout = kubectl.stdout.take().context("kubectl's output")?;
            let mut output = BufReader::new(stdout);
            let mut line = String::new();
            output.read_line(&mut line).await.context("reading kubectl's output")?;
            let port = port_of(line.trim()).with_context(|| format!("kubectl said {line:?}"))?;
            anyhow::Ok(Self { port, _kubectl: kubectl, _output: output })
        };
        let begun = tokio::time::timeout(BEGINS, begun).await.context("it takes too long").flatten();
        begun.with_context(|| format!("forwarding to {namespace}/{service}:{port}"))
    }
}

/// The port in `Forwarding from 127.0.0.1:34567 -> 6379`.
fn port_of(line: &str) -> Option<u16> {
    line.split(" -> ").next()?.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_what_kubectl_says() {
        assert_eq!(port_of("Forwarding from 127.0.0.1:34567 -> 6379"), Some(34567));
        assert_eq!(port_of("Forwarding from [::1]:34567 -> 6379"), Some(34567));
        assert_eq!(port_of("error"), None);
    }
}
