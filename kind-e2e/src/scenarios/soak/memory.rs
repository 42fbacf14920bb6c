//! What each container takes of memory over hours, and whether it grows. The verdict is pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question, faults};
use crate::load::context::Context;
use crate::observe::window::Window;
use crate::scenarios::loaded::Loaded;

/// So many documents more must fit into the memory that a container may have.
const MORE: f64 = 1e6;
/// Fewer documents than these say nothing of such a growth: a garbage collector's waves are larger.
const FEWEST: usize = 5_000;
/// The share of a window in which a container has to be there.
const PRESENT: f64 = 0.9;

/// What each container takes, by `namespace/pod/container`, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Readings, each with its time.
    readings: Vec<(f64, BTreeMap<String, u64>)>,
    /// What each may have.
    limits: BTreeMap<String, u64>,
    /// The last reading that failed.
    error: Option<String>,
}

impl Memory {
    /// Reads once, from the kubelet of each node.
    pub(super) async fn read(&mut self, context: &Context) {
        match read(&context.fixture.kube).await {
            Ok((taken, limits)) => {
                self.readings.push((context.clock.now(), taken));
                self.limits.extend(limits);
            }
            Err(error) => self.error = Some(format!("{error:#}")),
        }
    }

    /// The containers that were there for most of a window, with their readings.
    fn steady(&self, window: Window) -> BTreeMap<&str, Vec<(f64, f64)>> {
        let readings: Vec<_> = self.readings.iter().filter(|(at, _)| window.has(*at)).collect();
        let names: BTreeSet<&str> = readings.iter().flat_map(|(_, taken)| taken.keys()).map(String::as_str).collect();
        let of = |name: &str| -> Vec<(f64, f64)> {
            readings.iter().filter_map(|(at, taken)| Some((*at, *taken.get(name)? as f64))).collect()
        };
        let found = names.into_iter().map(|name| (name, of(name)));
        found.filter(|(_, seen)| seen.len() as f64 >= PRESENT * readings.len() as f64 && seen.len() > 1).collect()
    }

    /// A row for each container.
    pub(super) fn table(&self, window: Window, loaded: &Loaded) -> Table {
        let heads = ["container", "at first", "at last", "growth by a million documents", "may have"];
        let note = "Resident memory (RSS). The growth is the median slope (Theil and Sen) of the second half.";
        let mut table = Table::new("Memory", &heads, note);
        let half = second_half(window);
        let documents = due(loaded, half) as f64;
        for (name, seen) in self.steady(half) {
            let (first, last) = (seen[0].1, seen[seen.len() - 1].1);
            let growth = slope(&seen) * half.seconds() / documents.max(1.0) * MORE;
            let limit = self.limits.get(name).map_or_else(|| "no limit".to_owned(), |limit| megabytes(*limit as f64));
            table.rows.push(vec![name.to_owned(), megabytes(first), megabytes(last), megabytes(growth), limit]);
        }
        table
    }
}

/// That no container grows so that a million documents more would take all that it may have. One without a limit may
/// become twice as large.
pub(super) fn flat(memory: &Memory, window: Window, loaded: &Loaded) -> Check {
    let question = Question::new(
        "soak-memory",
        "the memory of every container is flat",
        "a million documents more fit into its limit, or into twice what it has",
        "the slope of the second half, when caches are full: a leak of 100 bytes a document is 100 MB then",
    );
    let half = second_half(window);
    let documents = due(loaded, half);
    if documents < FEWEST {
        return question
            .unseen(format!("{documents} documents in the second half are too few: {FEWEST} say something"));
    }
    let found = memory.steady(half);
    if found.is_empty() {
        return question.unseen(memory.error.clone().unwrap_or_else(|| "no memory was read".to_owned()));
    }
    let grown = |(name, seen): (&&str, &Vec<(f64, f64)>)| {
        let growth = slope(seen) * half.seconds() / documents as f64 * MORE;
        let now = seen[seen.len() - 1].1;
        let most = memory.limits.get(*name).map_or(2.0 * now, |limit| *limit as f64);
        let grows = format!("{name} has {}, and grows by {}", megabytes(now), megabytes(growth));
        (now + growth > most).then(|| format!("{grows}; it may have {}", megabytes(most)))
    };
    question.answer(format!("{} containers", found.len()), faults(found.iter().filter_map(grown)))
}

fn due(loaded: &Loaded, window: Window) -> usize {
    loaded.starts.iter().filter(|start| window.has(start.due)).count()
}

fn second_half(window: Window) -> Window {
    Window { from: window.from + window.seconds() / 2.0, ..window }
}

/// The median of the slopes between any two readings (Theil and Sen), a second. Waves of a garbage collector do not
/// move it.
fn slope(seen: &[(f64, f64)]) -> f64 {
    let pairs = seen.iter().enumerate().flat_map(|(at, one)| seen[at + 1..].iter().map(move |other| (one, other)));
    let mut slopes: Vec<f64> = pairs.map(|(one, other)| (other.1 - one.1) / (other.0 - one.0)).collect();
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or(0.0)
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

type Taken = BTreeMap<String, u64>;

async fn read(client: &kube::Client) -> Result<(Taken, Taken)> {
    let all = ListParams::default();
    let nodes = Api::<Node>::all(client.clone()).list(&all).await.context("reading the nodes")?;
    let mut taken = Taken::new();
    for node in nodes.items.iter().filter_map(|node| node.metadata.name.as_deref()) {
        let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
        let request = http::Request::get(&path).body(Vec::new())?;
        let answer: Value = client.request(request).await.with_context(|| format!("asking for {path}"))?;
        taken.extend(taken_of(&answer)?);
    }
    let pods = Api::<Pod>::all(client.clone()).list(&all).await.context("reading the pods")?;
    Ok((taken, pods.items.iter().flat_map(limits_of).collect()))
}

fn taken_of(summary: &Value) -> Result<Taken> {
    let pods = summary["pods"].as_array().context("the kubelet gave no pods")?;
    let mut taken = Taken::new();
    for pod in pods {
        for container in pod["containers"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let place = &pod["podRef"];
            let name = [&place["namespace"], &place["name"], &container["name"]].map(text).join("/");
            taken.extend(container["memory"]["rssBytes"].as_u64().map(|bytes| (name, bytes)));
        }
    }
    Ok(taken)
}

fn limits_of(pod: &Pod) -> Vec<(String, u64)> {
    let name = |part: Option<&String>| part.cloned().unwrap_or_default();
    let place = format!("{}/{}", name(pod.metadata.namespace.as_ref()), name(pod.metadata.name.as_ref()));
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let limit = |container: &k8s_openapi::api::core::v1::Container| {
        let limit = container.resources.as_ref()?.limits.as_ref()?.get("memory")?;
        Some((format!("{place}/{}", container.name), crate::cluster::kubernetes::bytes_of(&limit.0)?))
    };
    containers.filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::judge::verdict::Outcome;
    use crate::load::tests::start;

    const MB: f64 = 1e6;

    /// An hour of eight documents a second, and a container whose memory follows from the second.
    fn judged(memory: impl Fn(f64) -> f64, limit: Option<u64>) -> Check {
        let window = Window { from: 0.0, to: 3600.0 };
        let starts = (0..28_800).map(|number| f64::from(number) / 8.0).map(|due| start(due, Some(due + 1.0)));
        let loaded = Loaded { starts: starts.collect(), ..Loaded::default() };
        let name = "documents/w/worker".to_owned();
        let readings = (0..240).map(|number| f64::from(number) * 15.0);
        let readings = readings.map(|at| (at, [(name.clone(), memory(at) as u64)].into()));
        let limits = limit.map(|limit| (name.clone(), limit)).into_iter().collect();
        flat(&Memory { readings: readings.collect(), limits, error: None }, window, &loaded)
    }

    #[test]
    fn memory_that_is_flat_passes_whatever_waves_it_has_and_however_it_began() {
        let wave = |at: f64| 100.0 * MB + 20.0 * MB * (at / 47.0).sin();
        assert_eq!(judged(wave, Some(200_000_000)).outcome, Outcome::Pass);
        let full_after_a_while = |at: f64| (50.0 * MB + 0.1 * MB * at).min(150.0 * MB);
        assert_eq!(judged(full_after_a_while, Some(200_000_000)).outcome, Outcome::Pass);
    }

    #[test]
    fn a_leak_is_noticed_by_what_a_million_documents_would_take() {
        // 300 bytes a document at eight documents a second.
        let leak = |at: f64| 100.0 * MB + 300.0 * 8.0 * at;
        let check = judged(leak, Some(200_000_000));
        let Outcome::Fail(why) = &check.outcome else { panic!("{check:?}") };
        assert!(why[0].starts_with("documents/w/worker has 108.6 MB, and grows by 300.0 MB"), "{why:?}");
        assert_eq!(judged(leak, Some(800_000_000)).outcome, Outcome::Pass);
        // Without a limit: twice what it has.
        assert!(matches!(judged(leak, None).outcome, Outcome::Fail(_)));
    }

    #[test]
    fn what_was_not_read_or_too_short_is_inconclusive() {
        let window = Window { from: 0.0, to: 60.0 };
        let few = flat(&Memory::default(), window, &Loaded::default());
        assert!(matches!(few.outcome, Outcome::Inconclusive(_)));
    }

    #[test]
    fn a_kubelet_names_what_each_container_takes() {
        let summary = json!({"pods": [{
            "podRef": {"namespace": "temporal", "name": "t-0"},
            "containers": [{"name": "temporal", "memory": {"rssBytes": 5}}, {"name": "new", "memory": {}}],
        }]});
        assert_eq!(taken_of(&summary).unwrap(), [("temporal/t-0/temporal".to_owned(), 5)].into());
        assert!(taken_of(&json!({})).is_err());
    }
}
