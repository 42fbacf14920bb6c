//! The optional summary of each document, written by an OpenAI-compatible endpoint.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Faults, Secret, SecretUrl};

/// The `[summary]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SummaryConfig {
    /// Part of the endpoint's URL before `/chat/completions`, such as `https://llm.example.com/v1`
    /// (`LLM_BASE_URL`). Unset: no summaries.
    pub base_url: Option<SecretUrl>,
    /// Model that writes the summaries (`LLM_MODEL`).
    pub model: Option<String>,
    /// Bearer token, if the endpoint needs one (`LLM_API_KEY`).
    pub api_key: Option<Secret>,
    /// Timeout of one call in seconds, including retries (`LLM_TIMEOUT_SECONDS`).
    pub timeout_seconds: u64,
    /// Maximum number of a document's words that are sent (`LLM_MAX_INPUT_WORDS`).
    pub max_input_words: usize,
    /// Maximum number of tokens of a summary (`LLM_MAX_TOKENS`).
    pub max_tokens: u32,
}

impl Default for SummaryConfig {
    fn default() -> Self {
        Self { base_url: None, model: None, api_key: None, timeout_seconds: 30, max_input_words: 2000, max_tokens: 200 }
    }
}

impl SummaryConfig {
    /// Timeout of one call.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    pub(super) fn validate(&self, faults: &mut Faults) {
        if let Some(url) = &self.base_url {
            let parsed = url::Url::parse(url.expose());
            let web = parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if faults.require_escaped("summary.base_url", url) && !web {
                faults.add(format!(
                    "summary.base_url is {url:?}: set LLM_BASE_URL to http(s)://host/v1, or unset it for no summaries"
                ));
            }
            if self.model.as_deref().is_none_or(|model| model.trim().is_empty()) {
                faults.add("summary.base_url is set and summary.model is not: set LLM_MODEL".into());
            }
        }
        faults.require_at_least("summary.timeout_seconds", self.timeout_seconds, 1);
        faults.require_at_least("summary.max_input_words", self.max_input_words, 1);
        faults.require_at_least("summary.max_tokens", self.max_tokens, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_needs_a_model_and_an_http_url() {
        let cases = [
            (None, None, ""),
            (Some("http://llm:8000/v1"), Some("small"), ""),
            (Some("http://llm:8000/v1"), None, "set LLM_MODEL"),
            (Some("http://llm:8000/v1"), Some(" "), "set LLM_MODEL"),
            (Some("ftp://llm:8000"), Some("small"), "summary.base_url is ftp://llm:8000: set LLM_BASE_URL"),
            (Some("llm:8000"), Some("small"), "summary.base_url is ***: set LLM_BASE_URL"),
        ];
        for (base_url, model, wanted) in cases {
            let config = SummaryConfig {
                base_url: base_url.map(SecretUrl::from),
                model: model.map(str::to_owned),
                ..SummaryConfig::default()
            };
            let mut faults = Faults::default();
            config.validate(&mut faults);
            assert_eq!(faults.list().is_empty(), wanted.is_empty(), "{base_url:?} {model:?}: {faults}");
            assert!(faults.to_string().contains(wanted), "{base_url:?} {model:?}: {faults}");
        }
    }
}
