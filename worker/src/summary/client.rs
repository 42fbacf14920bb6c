//! The client of an OpenAI-compatible endpoint: one request and one answer, both bounded.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect::Policy,
};
use serde::Deserialize;
use serde_json::json;

use super::prompt;
use crate::{
    config::SummaryConfig,
    external::{Blame, CallError, Fault, Guard, Guards, Service, retry_after},
    text::Passage,
};

/// Maximum bytes that are read of an answer: many times what a summary needs.
const MAX_ANSWER_BYTES: usize = 256 << 10;

/// Maximum characters of a refusal that the error quotes.
const MAX_QUOTED_CHARACTERS: usize = 200;

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// The endpoint refused, and would refuse again.
    #[error("the LLM refused with {status}: {said}")]
    Refused {
        /// Status of the refusal.
        status: StatusCode,
        /// Start of the refusal's body.
        said: String,
    },
    /// The answer has no text.
    #[error("the LLM answered without any text")]
    NoText,
    /// The endpoint asks for a pause.
    #[error("the LLM is busy: {status}")]
    Busy {
        /// Status of the answer.
        status: StatusCode,
        /// The pause, if the answer gives one.
        pause: Option<Duration>,
    },
    /// The endpoint failed.
    #[error("the LLM failed with {0}")]
    Failed(StatusCode),
    /// The endpoint or a proxy answered with something else.
    #[error("the LLM's answer is not a chat completion: {0}")]
    Garbage(String),
    /// The endpoint did not answer.
    #[error("the LLM cannot be reached: {0}")]
    Unreachable(#[source] reqwest::Error),
}

impl LlmError {
    /// The pause that the endpoint asks for.
    pub fn pause(&self) -> Option<Duration> {
        match self {
            Self::Busy { pause, .. } => *pause,
            _ => None,
        }
    }
}

impl Fault for LlmError {
    fn blame(&self) -> Blame {
        match self {
            Self::Refused { .. } | Self::NoText => Blame::Request,
            Self::Busy { .. } => Blame::Load,
            Self::Failed(_) | Self::Garbage(_) | Self::Unreachable(_) => Blame::Service,
        }
    }
}

/// Asks the LLM for summaries.
#[derive(Debug, Clone)]
pub struct Summarizer {
    http: Client,
    url: String,
    model: String,
    max_input_words: usize,
    max_tokens: u32,
    guard: Guard,
}

impl Summarizer {
    /// The configured endpoint, if any. Nothing is sent yet.
    ///
    /// # Errors
    /// The key cannot be sent in a header, or TLS cannot be set up.
    pub fn open(config: &SummaryConfig, guards: &Guards) -> anyhow::Result<Option<Self>> {
        let (Some(base), Some(model)) = (&config.base_url, &config.model) else {
            return Ok(None);
        };
        let mut headers = HeaderMap::new();
        if let Some(key) = &config.api_key {
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.expose()))
                .context("reading summary.api_key: set LLM_API_KEY to one line of ASCII")?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        // A redirect would turn the POST into a GET, or send the document to another host.
        let http = Client::builder().default_headers(headers).redirect(Policy::none()).build();
        Ok(Some(Self {
            http: http.context("preparing calls to summary.base_url")?,
            url: format!("{}/chat/completions", base.expose().trim_end_matches('/')),
            model: model.clone(),
            max_input_words: config.max_input_words,
            max_tokens: config.max_tokens,
            guard: guards.of(Service::Llm, config.timeout()),
        }))
    }

    /// A summary of a document.
    ///
    /// # Errors
    /// There is no summary, now or at all: see [`LlmError`].
    pub async fn summarize(&self, title: Option<&str>, passages: &[Passage]) -> Result<String, CallError<LlmError>> {
        let body = json!({
            "model": self.model,
            "max_tokens": self.max_tokens,
            "messages": [
                {"role": "system", "content": prompt::INSTRUCTION},
                {"role": "user", "content": prompt::document(title, passages, self.max_input_words)},
            ],
        });
        self.guard.call("complete", || ask(self.http.post(&self.url).json(&body))).await
    }
}

async fn ask(request: RequestBuilder) -> Result<String, LlmError> {
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let pause = retry_after(response.headers());
    let body = head(response).await?;
    if status.is_success() {
        return summary(&body);
    }
    Err(match status {
        StatusCode::TOO_MANY_REQUESTS => LlmError::Busy { status, pause },
        _ if status.is_server_error() && pause.is_some() => LlmError::Busy { status, pause },
        _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => LlmError::Failed(status),
        _ => LlmError::Refused { status, said: quote(&body) },
    })
}

/// The error without its URL, which may hold credentials.
fn unreachable(error: reqwest::Error) -> LlmError {
    LlmError::Unreachable(error.without_url())
}

/// The body, up to a limit.
async fn head(mut response: Response) -> Result<Vec<u8>, LlmError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_ANSWER_BYTES {
            body.truncate(MAX_ANSWER_BYTES);
            break;
        }
    }
    Ok(body)
}

/// The part of an answer that is read; the rest is ignored.
#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

fn summary(body: &[u8]) -> Result<String, LlmError> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| LlmError::Garbage(format!("{error}, in {:?}", quote(body))))?;
    let first = answer.choices.into_iter().next();
    let content = first.and_then(|choice| choice.message.content);
    content.and_then(|content| prompt::tidy(&content)).ok_or(LlmError::NoText)
}

fn quote(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(MAX_QUOTED_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex},
    };

    use axum::{Router, extract::State, http::Request, response::IntoResponse as _, routing::post};
    use reqwest::header::RETRY_AFTER;
    use serde_json::Value;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        config::Secret,
        text::{Cancel, MediaType, extract},
    };

    const ANSWER: &str = r#"{"choices":[{"message":{"role":"assistant","content":" A page.\n"}}],"usage":{}}"#;

    /// One answer of the fake endpoint.
    #[derive(Debug, Clone, Copy)]
    enum Reply {
        Status(u16, &'static str),
        After(u16, &'static str),
        Silence,
    }

    use Reply::{After, Silence, Status};

    /// A fake endpoint: gives its replies in turn, and records the requests.
    #[derive(Debug, Clone, Default)]
    struct FakeEndpoint {
        replies: Arc<Mutex<VecDeque<Reply>>>,
        asked: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    }

    async fn complete(
        State(fake): State<FakeEndpoint>,
        request: Request<axum::body::Body>,
    ) -> axum::response::Response {
        let headers = request.headers().clone();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap();
        fake.asked.lock().unwrap().push((headers, body));
        let reply = fake.replies.lock().unwrap().pop_front();
        let status = |code| StatusCode::from_u16(code).unwrap();
        match reply.expect("one call more than there are replies") {
            Status(code, body) => (status(code), body).into_response(),
            After(code, seconds) => (status(code), [(RETRY_AFTER, seconds)], "").into_response(),
            Silence => std::future::pending().await,
        }
    }

    /// Asks a fake endpoint with these replies and a timeout. Returns the result and the requests.
    async fn summarize(
        replies: &[Reply],
        timeout: Duration,
    ) -> (Result<String, CallError<LlmError>>, Vec<(HeaderMap, Value)>) {
        crate::tls::install_provider();
        let fake = FakeEndpoint::default();
        fake.replies.lock().unwrap().extend(replies);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = SummaryConfig {
            base_url: Some(format!("http://{}/v1/", listener.local_addr().unwrap()).into()),
            model: Some("small".into()),
            api_key: Some(Secret::from("hunter2".to_owned())),
            max_input_words: 3,
            ..SummaryConfig::default()
        };
        let router = Router::new().route("/v1/chat/completions", post(complete)).with_state(fake.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let guards = Guards::for_tests();
        let mut summarizer = Summarizer::open(&config, &guards).unwrap().unwrap();
        summarizer.guard = guards.of(Service::Llm, timeout);
        let passages = extract(MediaType::Plain, b"one two three", 200, &Cancel::default()).unwrap().passages;
        let result = summarizer.summarize(Some("Title"), &passages).await;
        server.abort();
        let asked = std::mem::take(&mut *fake.asked.lock().unwrap());
        (result, asked)
    }

    const LONG_TIMEOUT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_request_has_the_key_the_model_and_the_limits() {
        let (result, asked) = summarize(&[Status(200, ANSWER)], LONG_TIMEOUT).await;
        assert_eq!(result.unwrap(), "A page.");
        let [(headers, body)] = &asked[..] else {
            panic!("asked {} times", asked.len());
        };
        assert_eq!(headers[AUTHORIZATION], "Bearer hunter2");
        assert_eq!((&body["model"], &body["max_tokens"]), (&json!("small"), &json!(200)));
        assert_eq!(body["messages"][0]["content"], prompt::INSTRUCTION);
        assert_eq!(body["messages"][1], json!({"role": "user", "content": "Title\n\none two"}));
    }

    #[tokio::test]
    async fn only_failures_of_the_service_are_retried() {
        let cases: [(&[Reply], Result<&str, Blame>, usize); 10] = [
            (&[Status(500, ""), Status(200, ANSWER)], Ok("A page."), 2),
            (&[Status(408, ""), Status(200, ANSWER)], Ok("A page."), 2),
            (&[Status(200, "<html>"), Status(200, ANSWER)], Ok("A page."), 2),
            (&[Status(503, ""); 3], Err(Blame::Service), 3),
            (&[Status(429, "")], Err(Blame::Load), 1),
            (&[After(503, "3")], Err(Blame::Load), 1),
            (&[Status(400, "no such model")], Err(Blame::Request), 1),
            (&[Status(401, "")], Err(Blame::Request), 1),
            (&[Status(307, "")], Err(Blame::Request), 1),
            (&[Status(200, r#"{"choices":[]}"#)], Err(Blame::Request), 1),
        ];
        for (replies, wanted, calls) in cases {
            let (result, asked) = summarize(replies, LONG_TIMEOUT).await;
            let found = result.as_deref().map_err(|error| match error {
                CallError::Service(error) => error.blame(),
                other => panic!("{replies:?}: {other}"),
            });
            assert_eq!((found, asked.len()), (wanted, calls), "{replies:?}");
        }
    }

    #[tokio::test]
    async fn the_pause_that_the_endpoint_asks_for_is_returned() {
        for (after, wanted) in [("7", Some(7)), ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0)), ("-1", None)] {
            let (result, _) = summarize(&[After(429, after)], LONG_TIMEOUT).await;
            let Err(CallError::Service(error)) = result else {
                panic!("{after:?}: {result:?}");
            };
            assert_eq!(error.pause(), wanted.map(Duration::from_secs), "{after:?}");
        }
    }

    #[tokio::test]
    async fn a_missing_answer_ends_in_a_timeout() {
        let (result, asked) = summarize(&[Silence], Duration::from_millis(100)).await;
        assert!(matches!(result, Err(CallError::TimedOut { .. })), "{result:?}");
        assert_eq!(asked.len(), 1);
    }

    #[tokio::test]
    async fn a_refusal_is_quoted_and_the_key_is_not_shown() {
        let (result, _) = summarize(&[Status(404, "no model \"small\"")], LONG_TIMEOUT).await;
        let error = result.unwrap_err().to_string();
        assert_eq!(error, "the LLM refused with 404 Not Found: no model \"small\"");
        let config = SummaryConfig { api_key: Some(Secret::from("hunter2".to_owned())), ..SummaryConfig::default() };
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn without_an_endpoint_there_are_no_summaries() {
        let summarizer = Summarizer::open(&SummaryConfig::default(), &Guards::for_tests()).unwrap();
        assert!(summarizer.is_none());
    }
}
