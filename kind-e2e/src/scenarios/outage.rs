//! The signal goes away under load: first Prometheus, then KEDA with the metrics API. The fleet stays as it is, the state can
//! be seen, and no document is lost.
//!
//! Each outage lasts longer than the cool-down: what would scale in on a signal that is missing would do it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep_until;

use super::loads::{Loaded, Stretch};
use super::{Context, fleet, prepare};
use crate::fixture::NAMESPACE;
use crate::observe::kubernetes::hpa;
use crate::observe::sample::Sample;
use crate::scalers;
use crate::scaling::{Window, fleets, timed};
use crate::sizing::Sizing;
use crate::verdict::{Check, Outcome};
use crate::wait::{Probe, eventually};

/// Seconds of a document's IO: latency on the way to S3.
const SERVICE: f64 = 2.0;
/// Workers' worth of load, all the time.
const WORKERS: f64 = 5.7;
/// Seconds of load before the first outage: the fleet has found its size.
const BEFORE: f64 = 30.0;
/// Seconds of an outage: the cool-down of 60 s, and a bit.
const OUTAGE: f64 = 65.0;
/// Seconds between and after outages, in which the signal comes back.
const AFTER: f64 = 15.0;
/// For what was taken away to run again.
const BACK: Duration = Duration::from_secs(90);
/// For what still waits at the end.
const PATIENCE: f64 = 60.0;

/// What is taken away: a name, and the Deployments by namespace.
const OUTAGES: [(&str, &[(&str, &str)]); 2] = [
    ("prometheus", &[(NAMESPACE, "prometheus")]),
    (
        "keda",
        &[("keda", "keda-operator"), ("keda", "keda-metrics-apiserver")],
    ),
];

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What the load was sized by.
    pub sizing: Option<Sizing>,
    /// The load.
    pub loaded: Loaded,
    /// What was taken away.
    pub outages: Vec<Outage>,
}

/// Something that was away for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// What.
    pub name: String,
    /// When.
    pub window: Window,
    /// What Kubernetes said of the scaling at its end: `scaledobject Fallback=True (reason)` and the like.
    pub conditions: Vec<String>,
    /// What it said [`AFTER`] seconds later.
    #[serde(default)]
    pub conditions_after: Vec<String>,
}

/// Loads all the time, and takes away what the signal needs.
pub async fn run(context: &Context, facts: &mut Facts) -> Result<()> {
    let sizing = prepare(context, "outage/prepare", SERVICE, WORKERS).await?;
    facts.sizing = Some(sizing);
    fleet::let_go(context, sizing.min).await?;
    let (loaded, load) = Loaded::begin(context, "outage");
    facts.loaded = loaded;
    let seconds = BEFORE + OUTAGES.len() as f64 * (OUTAGE + AFTER);
    let steady = Stretch::new("steady", sizing.rate_of(WORKERS), seconds);
    let from = context.clock.now();
    let Facts { loaded, outages, .. } = facts;
    let stretches = [steady];
    let loading = loaded.play(context, &load, "outage", &stretches);
    let ((), ended) = futures::join!(loading, take_away(context, from, outages));
    ended?;
    facts.loaded.end(context, PATIENCE).await
}

async fn take_away(context: &Context, from: f64, outages: &mut Vec<Outage>) -> Result<()> {
    let mut at = from + BEFORE;
    sleep_until(context.clock.instant(at)).await;
    for (name, deployments) in OUTAGES {
        context.enter(
            &format!("outage/{name}"),
            &format!("{name} is away for {OUTAGE:.0} s"),
        );
        set(context, deployments, 0).await?;
        let began = context.clock.now();
        sleep_until(context.clock.instant(at + OUTAGE)).await;
        let window = Window {
            from: began,
            to: context.clock.now(),
        };
        outages.push(Outage {
            name: name.to_owned(),
            window,
            conditions: conditions(context).await,
            conditions_after: Vec::new(),
        });
        context.enter(&format!("outage/after-{name}"), &format!("{name} comes back"));
        set(context, deployments, 1).await?;
        for (namespace, deployment) in deployments {
            runs(context, namespace, deployment).await?;
        }
        at += OUTAGE + AFTER;
        sleep_until(context.clock.instant(at)).await;
        if let Some(outage) = outages.last_mut() {
            outage.conditions_after = conditions(context).await;
        }
    }
    Ok(())
}

async fn set(context: &Context, deployments: &[(&str, &str)], replicas: i32) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    for (namespace, name) in deployments {
        let api: Api<Deployment> = Api::namespaced(context.fixture.kube.clone(), namespace);
        api.patch(name, &PatchParams::default(), &patch)
            .await
            .with_context(|| format!("setting {namespace}/{name} to {replicas}"))?;
    }
    Ok(())
}

async fn runs(context: &Context, namespace: &str, name: &str) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(context.fixture.kube.clone(), namespace);
    eventually(&format!("{name} runs again"), BACK, async || {
        match api.get(name).await {
            Ok(found) => match found.status.and_then(|status| status.available_replicas) {
                Some(available) if available > 0 => Probe::Ready(()),
                _ => Probe::NotYet("not available".to_owned()),
            },
            Err(error) => Probe::NotYet(error.to_string()),
        }
    })
    .await?;
    Ok(())
}

/// What the ScaledObject and the HPA say of themselves: `Fallback=True (reason)` and the like.
async fn conditions(context: &Context) -> Vec<String> {
    let mut told = Vec::new();
    if let Ok(found) = scalers::scaled_object(&context.fixture).await {
        told.extend(conditions_of("scaledobject", &found.data["status"]["conditions"]));
    }
    if let Ok(found) = hpa(&context.fixture.kube).await {
        let status = serde_json::to_value(&found.status).unwrap_or_default();
        told.extend(conditions_of("hpa", &status["conditions"]));
    }
    told
}

fn conditions_of(of: &str, conditions: &Value) -> Vec<String> {
    let all = conditions.as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    all.map(|one| {
        format!(
            "{of} {}={} ({})",
            text(&one["type"]),
            text(&one["status"]),
            text(&one["reason"])
        )
    })
    .collect()
}

/// Brings back what an outage took away, whatever the scenario left.
///
/// # Errors
/// A Deployment cannot be changed.
pub async fn clear(context: &Context) -> Result<()> {
    for (_, deployments) in OUTAGES {
        set(context, deployments, 1).await?;
    }
    Ok(())
}

/// What the facts and the samples show.
pub(super) fn judge(facts: &Facts, samples: &[Sample]) -> Vec<Check> {
    let mut checks = Vec::new();
    for outage in &facts.outages {
        checks.push(never_fewer(&outage.name, samples, outage.window));
        checks.push(visible(&outage.name, &outage.conditions));
        checks.push(works_again(&outage.name, &outage.conditions_after));
        checks.push(read_again(&outage.name, samples, outage.window.to));
    }
    if facts.outages.len() < OUTAGES.len() {
        checks.push(Check::new(
            "every outage was carried out",
            OUTAGES.len().to_string(),
            facts.outages.len().to_string(),
            "what was not carried out shows nothing",
            Outcome::inconclusive("not every outage was carried out"),
        ));
    }
    checks.extend(facts.loaded.checks());
    checks
}

/// No reading of the outage has fewer workers wanted than its first.
fn never_fewer(name: &str, samples: &[Sample], window: Window) -> Check {
    let told = format!("no worker is let go while {name} is away");
    let bound = "never fewer wanted than at the outage's begin";
    let why = "a signal that is missing says nothing of the load; the outage is longer than the cool-down";
    match fleets(samples, window) {
        Err(gap) => Check::new(told, bound, "not seen", why, Outcome::inconclusive(gap)),
        Ok(readings) => {
            let wanted: Vec<i32> = readings.iter().map(|(_, fleet)| fleet.wanted).collect();
            let (first, least) = (wanted.first().copied(), wanted.iter().min().copied());
            let (first, least) = (first.unwrap_or(0), least.unwrap_or(0));
            let outcome = Outcome::require(least >= first, || format!("{first} wanted, then {least}"));
            Check::new(
                told,
                bound,
                format!("{first} wanted, {least} at the least"),
                why,
                outcome,
            )
        }
    }
}

/// Conditions by which Kubernetes says that the scaling does not work as it should.
const SIGNS: [&str; 3] = [
    "scaledobject Fallback=True",
    "scaledobject Ready=False",
    "hpa ScalingActive=False",
];

fn signs(conditions: &[String]) -> Vec<String> {
    let is_sign = |told: &&String| SIGNS.iter().any(|sign| told.starts_with(sign));
    conditions.iter().filter(is_sign).cloned().collect()
}

/// Kubernetes says that the scaling does not work as it should.
fn visible(name: &str, conditions: &[String]) -> Check {
    let seen = signs(conditions);
    let outcome = Outcome::require(!seen.is_empty(), || format!("only {}", conditions.join(", ")));
    Check::new(
        format!("it can be seen that {name} is away"),
        "a condition of the ScaledObject or the HPA says so",
        seen.join(", "),
        "kubectl get scaledobject, kubectl describe hpa",
        outcome,
    )
}

/// Kubernetes says that the scaling works, [`AFTER`] seconds after what was away was asked to come back.
fn works_again(name: &str, conditions: &[String]) -> Check {
    let seen = signs(conditions);
    let outcome = match conditions {
        [] => Outcome::inconclusive("no condition was read"),
        _ => Outcome::require(seen.is_empty(), || seen.join(", ")),
    };
    Check::new(
        format!("the scaling works again after {name} was away"),
        format!("no such condition {AFTER:.0} s after it was asked to come back"),
        conditions.join(", "),
        "an outage must not leave a fleet without scaling",
        outcome,
    )
}

/// The queues' depth is read from Prometheus within [`AFTER`] seconds of an outage's end, at second `ended`.
fn read_again(name: &str, samples: &[Sample], ended: f64) -> Check {
    let mut after = samples.iter().filter(|sample| sample.at >= ended);
    let first = after.find(|sample| sample.depth.seen().is_some());
    let seconds = first.map(|sample| sample.at - ended);
    let outcome = timed(seconds, AFTER, None, || {
        "the queues' depth was not read again".to_owned()
    });
    Check::new(
        format!("the queues' depth is read again after {name} was away"),
        format!("≤ {AFTER:.0} s after it was asked to come back"),
        seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1} s")),
        "what is not read again is not scaled by, and the rest of the run could not be judged",
        outcome,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::sample::Reading;
    use crate::scaling::tests::sample;

    const OUTAGE_SEEN: Window = Window { from: 0.0, to: 3.0 };

    #[test]
    fn a_fleet_that_shrinks_in_an_outage_fails() {
        let steady = [6, 6, 7, 7].map(|wanted| (wanted, wanted, wanted));
        let shrinks = [6, 6, 5, 6].map(|wanted| (wanted, wanted, wanted));
        for (fleets, word) in [(steady, "Pass"), (shrinks, "Fail")] {
            let samples = fleets.iter().enumerate();
            let samples: Vec<Sample> = samples
                .map(|(at, fleet)| sample(at as f64, Some(*fleet)))
                .collect();
            assert_eq!(never_fewer("x", &samples, OUTAGE_SEEN).outcome.word(), word);
        }
        assert_eq!(
            never_fewer("x", &[], Window { from: 0.0, to: 60.0 })
                .outcome
                .word(),
            "Inconclusive"
        );
    }

    #[test]
    fn depth_that_is_not_read_again_in_time_fails() {
        let steady = Some((6, 6, 6));
        let mut samples: Vec<Sample> = (0..40).map(|at| sample(f64::from(at), steady)).collect();
        for (first, word) in [(12, "Pass"), (25, "Pass"), (26, "Fail"), (40, "Fail")] {
            for sample in samples.iter_mut().take(first) {
                sample.depth = Reading::Gap("away".to_owned());
            }
            let check = read_again("x", &samples, 10.0);
            assert_eq!(check.outcome.word(), word, "read again at {first} s");
        }
    }

    #[test]
    fn an_outage_that_nobody_can_see_fails() {
        let told = |text: &str| vec![text.to_owned()];
        assert_eq!(
            visible("x", &told("scaledobject Fallback=True (FallbackExists)")).outcome,
            Outcome::Pass
        );
        assert_eq!(
            visible("x", &told("scaledobject Fallback=False (x)"))
                .outcome
                .word(),
            "Fail"
        );
        assert_eq!(visible("x", &[]).outcome.word(), "Fail");
    }

    #[test]
    fn scaling_that_does_not_come_back_fails() {
        let word = |told: &[&str]| {
            let told: Vec<String> = told.iter().map(|text| (*text).to_owned()).collect();
            works_again("x", &told).outcome.word()
        };
        let works = "hpa ScalingActive=True (ValidMetricFound)";
        assert_eq!(word(&[works, "scaledobject Fallback=False (x)"]), "Pass");
        assert_eq!(word(&[works, "scaledobject Fallback=True (x)"]), "Fail");
        assert_eq!(
            word(&["hpa ScalingActive=False (FailedGetExternalMetric)"]),
            "Fail"
        );
        assert_eq!(word(&[]), "Inconclusive");
    }

    #[test]
    fn conditions_are_told_with_their_reason() {
        let conditions =
            json!([{"type": "Fallback", "status": "True", "reason": "FallbackExists", "message": "m"}]);
        assert_eq!(
            conditions_of("scaledobject", &conditions),
            ["scaledobject Fallback=True (FallbackExists)"]
        );
    }
}
