//! What is retried, what is counted, and when the circuit opens.

use std::{
    future::{pending, ready},
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;
use crate::metrics::Metrics;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is to blame")]
struct Blamed(Blame);

impl Fault for Blamed {
    fn blame(&self) -> Blame {
        self.0
    }
}

const LONG_TIMEOUT: Duration = Duration::from_secs(20);

/// A guard with these limits, and its metrics.
fn guard(service: Service, timeout: Duration, limits: &ExternalConfig) -> (Guard, Metrics) {
    let metrics = Metrics::new(Duration::from_secs(15)).unwrap();
    let guard = Guards::new(limits, metrics.external()).of(service, timeout);
    (guard, metrics)
}

/// The value of a series in the exposition.
fn shown(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.exposition().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    let value = line.unwrap_or_else(|| panic!("no {series} in:\n{text}"));
    value.trim().parse().unwrap()
}

fn calls(metrics: &Metrics, outcome: &str) -> u64 {
    shown(metrics, &format!("document_external_calls_total{{operation=\"get\",outcome=\"{outcome}\",service=\"s3\"}}"))
}

/// Calls with attempts of which the first `failures` fail. Returns the result and the number of attempts.
async fn failing(guard: &Guard, blame: Blame, failures: u32) -> (Result<(), CallError<Blamed>>, u32) {
    let attempts = AtomicU32::new(0);
    let result = guard
        .call("get", || {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            ready(if attempt < failures { Err(Blamed(blame)) } else { Ok(()) })
        })
        .await;
    (result, attempts.into_inner())
}

#[tokio::test]
async fn only_faults_of_the_service_are_retried() {
    let cases = [
        (Blame::Service, 0, true, 1),
        (Blame::Service, 1, true, 2),
        (Blame::Service, 2, true, 3),
        (Blame::Service, 3, false, 3),
        (Blame::Request, 1, false, 1),
        (Blame::Load, 1, false, 1),
    ];
    for (blame, failures, works, attempts) in cases {
        let (guard, _) = guard(Service::S3, LONG_TIMEOUT, &ExternalConfig::default());
        let (result, made) = failing(&guard, blame, failures).await;
        assert_eq!((result.is_ok(), made), (works, attempts), "{blame:?} {failures}");
    }
}

#[tokio::test]
async fn redis_calls_are_not_retried() {
    let (guard, _) = guard(Service::Redis, LONG_TIMEOUT, &ExternalConfig::default());
    let (result, attempts) = failing(&guard, Blame::Service, 1).await;
    assert!(result.is_err());
    assert_eq!(attempts, 1);
}

#[tokio::test]
async fn every_attempt_is_counted_by_how_it_ended() {
    let (guard, metrics) = guard(Service::S3, LONG_TIMEOUT, &ExternalConfig::default());
    assert_eq!((calls(&metrics, "ok"), calls(&metrics, "timeout")), (0, 0));
    failing(&guard, Blame::Service, 1).await.0.unwrap();
    failing(&guard, Blame::Request, 1).await.0.unwrap_err();
    let counts = ["ok", "failed", "refused"].map(|outcome| calls(&metrics, outcome));
    assert_eq!(counts, [1, 1, 1]);
    let timed = "document_external_call_duration_seconds_count{operation=\"get\",service=\"s3\"}";
    assert_eq!(shown(&metrics, timed), 3);
}

#[tokio::test]
async fn the_timeout_covers_the_call_with_its_retries() {
    let (guard, metrics) = guard(Service::S3, Duration::from_millis(30), &ExternalConfig::default());
    let started = Instant::now();
    let silent = guard.call("get", pending::<Result<(), Blamed>>).await;
    assert!(matches!(silent, Err(CallError::TimedOut { .. })), "{silent:?}");
    // The first pause takes at least 50 ms, longer than the timeout, so the result is the failure itself.
    let (faulty, attempts) = failing(&guard, Blame::Service, 1).await;
    assert!(matches!(faulty, Err(CallError::Service(_))), "{faulty:?}");
    assert_eq!(attempts, 1);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(calls(&metrics, "timeout"), 1);
}

#[tokio::test]
async fn retries_are_a_bounded_share_of_the_calls() {
    const CALLS: u32 = 200;
    let limits = ExternalConfig { circuit_failures: u32::MAX, ..ExternalConfig::default() };
    let (guard, metrics) = guard(Service::S3, LONG_TIMEOUT, &limits);
    let failed = futures::future::join_all((0..CALLS).map(|_| failing(&guard, Blame::Service, 9))).await;
    let attempts: u32 = failed.iter().map(|(_, attempts)| attempts).sum();
    // 20 % of the calls, and one per second of the budget's window of 10 s.
    let share = CALLS / 5 + 10;
    assert_eq!(attempts, CALLS + share);
    let retries =
        |budget| shown(&metrics, &format!("document_external_retries_total{{budget=\"{budget}\",service=\"s3\"}}"));
    assert_eq!(retries("granted"), u64::from(share));
    assert!(retries("exhausted") >= u64::from(CALLS - share), "{}", retries("exhausted"));
}

#[tokio::test]
async fn a_service_that_keeps_failing_is_not_called_until_a_probe_is_answered() {
    let limits =
        ExternalConfig { retries: 0, circuit_failures: 2, circuit_open_seconds: 1, ..ExternalConfig::default() };
    let (guard, metrics) = guard(Service::S3, LONG_TIMEOUT, &limits);
    let circuit = || shown(&metrics, "document_external_circuit_open{service=\"s3\"}");
    for _ in 0..2 {
        assert_eq!(circuit(), 0);
        failing(&guard, Blame::Service, 1).await.0.unwrap_err();
    }
    assert_eq!(circuit(), 1);
    let mut tries = tokio::time::interval(Duration::from_millis(50));
    let mut unsent = 0;
    loop {
        tries.tick().await;
        match failing(&guard, Blame::Service, 0).await {
            (Err(CallError::CircuitOpen { service: "s3", blocked_for }), 0) => {
                assert!(blocked_for <= Duration::from_secs(1), "{blocked_for:?}");
                unsent += 1;
            }
            (result, attempts) => {
                result.unwrap();
                assert_eq!(attempts, 1);
                break;
            }
        }
    }
    assert!(unsent > 0);
    assert!(guard.check::<Blamed>().is_ok());
    assert_eq!((circuit(), calls(&metrics, "circuit_open")), (0, unsent));
}

#[tokio::test]
async fn a_cancelled_probe_makes_room_for_the_next() {
    let limits =
        ExternalConfig { retries: 0, circuit_failures: 1, circuit_open_seconds: 0, ..ExternalConfig::default() };
    let (guard, _) = guard(Service::S3, LONG_TIMEOUT, &limits);
    failing(&guard, Blame::Service, 1).await.0.unwrap_err();
    let mut cancelled = Box::pin(guard.call("get", pending::<Result<(), Blamed>>));
    assert!(futures::poll!(&mut cancelled).is_pending());
    let (second, attempts) = failing(&guard, Blame::Service, 0).await;
    assert!(matches!(second, Err(CallError::CircuitOpen { .. })), "{second:?}");
    assert_eq!(attempts, 0);
    drop(cancelled);
    failing(&guard, Blame::Service, 0).await.0.unwrap();
}

#[tokio::test]
async fn calls_in_flight_are_given_up_when_the_circuit_opens() {
    let limits = ExternalConfig { retries: 0, circuit_failures: 2, ..ExternalConfig::default() };
    let (guard, metrics) = guard(Service::S3, LONG_TIMEOUT, &limits);
    let mut silent = Box::pin(guard.call("get", pending::<Result<(), Blamed>>));
    assert!(futures::poll!(&mut silent).is_pending());
    failing(&guard, Blame::Service, 1).await.0.unwrap_err();
    assert!(futures::poll!(&mut silent).is_pending(), "the circuit is closed");
    failing(&guard, Blame::Service, 1).await.0.unwrap_err();
    let given_up = futures::poll!(&mut silent);
    assert!(
        matches!(given_up, std::task::Poll::Ready(Err(CallError::CircuitOpen { service: "s3", .. }))),
        "{given_up:?}"
    );
    assert_eq!((calls(&metrics, "failed"), calls(&metrics, "circuit_open")), (2, 1));
}
