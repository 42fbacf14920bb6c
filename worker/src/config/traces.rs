//! The collector of traces, if any.

use serde::{Deserialize, Serialize};

use super::{Faults, SecretUrl};

/// The `[traces]` section. `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` set the sampling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TracesConfig {
    /// Endpoint of OTLP over gRPC, such as `http://collector:4317` (`OTEL_EXPORTER_OTLP_ENDPOINT`), or `https://` for
    /// TLS. Unset: no traces.
    pub endpoint: Option<SecretUrl>,
    /// Service name of the spans (`OTEL_SERVICE_NAME`).
    pub service_name: String,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self { endpoint: None, service_name: "temporal-worker".into() }
    }
}

impl TracesConfig {
    pub(super) fn validate(&self, faults: &mut Faults) {
        faults.require_text("traces.service_name", &self.service_name);
        let Some(endpoint) = &self.endpoint else { return };
        let usable = url::Url::parse(endpoint.expose())
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
        if faults.require_escaped("traces.endpoint", endpoint) && !usable {
            faults.add(format!(
                "traces.endpoint is {endpoint:?}: set OTEL_EXPORTER_OTLP_ENDPOINT to http://host:4317, or \
                 unset it"
            ));
        }
    }
}
