//! Who reaches whom: from each pod of the manifests to each port of another, what the network policies allow and nothing
//! else. An engine of policies that is away lets everything through and says nothing, so blocks have to be shown.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use crate::cluster::node::{self, Answer, Knock};
use crate::cluster::{Fixture, KEDA, MONITORING, NAMESPACE, STORAGE, TEMPORAL};
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question, faults};

/// A process of the node that is not root's. It has an address of the pod network that is no pod's, so it may do nothing.
const NODE: &str = "the node";
/// A pod in a namespace of others, which no policy keeps from sending.
const STRANGER: &str = "coredns";
/// The API server. Its address is the node's.
const API_SERVER: &str = "kube-apiserver";

/// Pods by name, namespace and label: one of each is tried.
const PODS: [(&str, &str, &str); 13] = [
    ("worker", NAMESPACE, crate::cluster::WORKER_SELECTOR),
    ("temporal-scaler", NAMESPACE, "app=temporal-scaler"),
    ("temporal", TEMPORAL, "app=temporal"),
    ("postgres", STORAGE, "app=postgres"),
    ("redis", STORAGE, "app=redis"),
    ("toxiproxy", STORAGE, "app=toxiproxy"),
    ("versitygw", STORAGE, "app=versitygw"),
    ("prometheus", MONITORING, "app=prometheus"),
    ("keda-operator", KEDA, "app=keda-operator"),
    ("keda-metrics-apiserver", KEDA, "app=keda-metrics-apiserver"),
    ("keda-admission-webhooks", KEDA, "app=keda-admission-webhooks"),
    (STRANGER, "kube-system", "k8s-app=kube-dns"),
    (API_SERVER, "kube-system", "component=kube-apiserver"),
];

/// The ports of the pods, and which pods may reach each of them. The driver reaches some from outside the pods, by their
/// NodePorts, and could not begin without.
const DOORS: [(&str, u16, &[&str]); 19] = [
    ("worker", 9464, &["temporal-scaler", "prometheus"]),
    ("temporal-scaler", 9464, &["prometheus"]),
    ("temporal-scaler", 9465, &["keda-operator"]),
    ("temporal", 7233, &["worker", "temporal-scaler", "keda-operator"]),
    ("temporal", 7243, &[]),
    ("temporal", 8000, &["prometheus"]),
    ("postgres", 5432, &["worker", "temporal"]),
    ("redis", 6379, &["worker"]),
    ("toxiproxy", 7070, &["worker"]),
    ("toxiproxy", 8474, &[]),
    ("versitygw", 7070, &["toxiproxy"]),
    ("prometheus", 9090, &["keda-operator"]),
    ("keda-operator", 8080, &["prometheus"]),
    ("keda-operator", 9666, &["keda-metrics-apiserver"]),
    ("keda-metrics-apiserver", 6443, &[]),
    ("keda-admission-webhooks", 9443, &[]),
    (
        STRANGER,
        53,
        &[
            "worker",
            "temporal-scaler",
            "temporal",
            "toxiproxy",
            "prometheus",
            "keda-operator",
            "keda-metrics-apiserver",
            "keda-admission-webhooks",
        ],
    ),
    (
        API_SERVER,
        6443,
        &["temporal-scaler", "prometheus", "keda-operator", "keda-metrics-apiserver", "keda-admission-webhooks"],
    ),
    // The kubelet's.
    (API_SERVER, 10250, &[]),
];

/// What was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Doors {
    /// What puts packets into the queue of the engine; none in a cluster without network policies of ours.
    queue: Option<String>,
    tried: Vec<Tried>,
}

/// A connection that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tried {
    from: String,
    to: String,
    port: u16,
    answer: Answer,
}

/// A connection, and whether a policy allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    from: &'static str,
    to: &'static str,
    port: u16,
    allowed: bool,
}

/// Every pair that a policy decides about.
fn pairs() -> Vec<Pair> {
    let sources = PODS.iter().map(|(name, ..)| *name).filter(|name| *name != API_SERVER).chain([NODE]);
    let pairs = sources.flat_map(|from| {
        let doors = DOORS.iter().filter(move |(to, ..)| *to != from && decides(from, to));
        doors.map(move |(to, port, from_them)| Pair { from, to, port: *port, allowed: from_them.contains(&from) })
    });
    pairs.collect()
}

/// No policy is about what only others have to do with.
fn decides(from: &str, to: &str) -> bool {
    let ours = |name: &str| ![NODE, STRANGER, API_SERVER].contains(&name);
    ours(from) || ours(to)
}

impl Doors {
    /// Tries every pair.
    ///
    /// # Errors
    /// A pod is missing, or a node does not answer.
    pub(super) async fn try_all(fixture: &Fixture) -> Result<Self> {
        let Some(queue) = fixture.cluster.policies.clone() else { return Ok(Self::default()) };
        let mut found = BTreeMap::new();
        for (name, namespace, selector) in PODS {
            found.insert(name, pod(fixture, namespace, selector).await?);
        }
        let pairs = pairs();
        let knocks = pairs.iter().map(|pair| {
            let to = found.get(pair.to).with_context(|| format!("no pod {}", pair.to))?;
            let from = found.get(pair.from);
            let node = from.map_or_else(|| to.node.clone(), |from| from.node.clone());
            let address = format!("{}:{}", to.address, pair.port);
            Ok(Knock { node, pod: from.map(|from| from.uid.clone()), address })
        });
        let answers = node::knock(fixture, &knocks.collect::<Result<Vec<_>>>()?).await?;
        ensure!(answers.len() == pairs.len(), "{} answers to {} connections", answers.len(), pairs.len());
        let tried = pairs.iter().zip(answers).map(|(pair, answer)| Tried {
            from: pair.from.to_owned(),
            to: pair.to.to_owned(),
            port: pair.port,
            answer,
        });
        Ok(Self { queue: Some(queue), tried: tried.collect() })
    }

    /// Both checks; none in a cluster without network policies of ours.
    pub(super) fn judge(&self) -> Vec<Check> {
        if self.queue.is_none() { Vec::new() } else { vec![self.blocks(), self.lets_through()] }
    }

    fn blocks(&self) -> Check {
        let due = pairs().iter().filter(|pair| !pair.allowed).count();
        let question = Question::new(
            "policies-refuse",
            "what no network policy allows is blocked",
            format!("{due} of {due} connections get no answer"),
            "an engine of policies that is away lets everything through and says nothing",
        );
        self.ask(question, false)
    }

    /// Without it, policies that block everything would pass.
    fn lets_through(&self) -> Check {
        let due = pairs().iter().filter(|pair| pair.allowed).count();
        let question = Question::new(
            "policies-allow",
            "what a network policy allows goes through",
            format!("{due} of {due} connections open"),
            "only what nobody needs may be blocked",
        );
        self.ask(question, true)
    }

    fn ask(&self, question: Question, allowed: bool) -> Check {
        let (right, wrong) = if allowed { (Answer::Open, "does not reach") } else { (Answer::Silent, "reaches") };
        let due: Vec<Pair> = pairs().into_iter().filter(|pair| pair.allowed == allowed).collect();
        let answers: Vec<(&Pair, Answer)> = due.iter().filter_map(|pair| Some((pair, self.answer(pair)?))).collect();
        if answers.len() < due.len() {
            return question.unseen(format!("{} of {} were tried", answers.len(), due.len()));
        }
        let altered = answers.iter().filter(|(_, answer)| *answer != right);
        let altered = altered.map(|(pair, _)| format!("{} {wrong} {}:{}", pair.from, pair.to, pair.port));
        question.answer(format!("{} tried", answers.len()), faults(altered))
    }

    fn answer(&self, pair: &Pair) -> Option<Answer> {
        let same =
            |tried: &&Tried| (tried.from.as_str(), tried.to.as_str(), tried.port) == (pair.from, pair.to, pair.port);
        self.tried.iter().find(same).map(|tried| tried.answer)
    }

    /// Who reaches what.
    pub(super) fn table(&self) -> Option<Table> {
        let queue = self.queue.as_ref()?;
        let note = format!(
            "Each tried to open a TCP connection to each port, from its own network. Packets come to the engine of the \
             policies by {queue}."
        );
        let mut table = Table::new("Who reaches whom", &["from", "reaches", "does not reach"], note);
        for from in PODS.iter().map(|(name, ..)| *name).chain([NODE]) {
            let of = |wanted: bool| {
                let those = self.tried.iter().filter(|tried| tried.from == from);
                let those = those.filter(|tried| (tried.answer != Answer::Silent) == wanted);
                those.map(|tried| format!("{}:{}", tried.to, tried.port)).collect::<Vec<_>>().join(", ")
            };
            if self.tried.iter().any(|tried| tried.from == from) {
                table.rows.push(vec![from.to_owned(), of(true), of(false)]);
            }
        }
        Some(table)
    }
}

/// Where a pod is reached, and where it runs.
#[derive(Debug, Clone)]
struct Found {
    uid: String,
    node: String,
    address: String,
}

/// A pod that is there to stay.
async fn pod(fixture: &Fixture, namespace: &str, selector: &str) -> Result<Found> {
    let pods: Api<Pod> = Api::namespaced(fixture.kube.clone(), namespace);
    let list = pods.list(&ListParams::default().labels(selector)).await;
    let list = list.with_context(|| format!("listing pods of {namespace} with {selector}"))?;
    let found = list.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).find_map(|pod| {
        Some(Found {
            uid: pod.metadata.uid.clone()?,
            node: pod.spec.as_ref()?.node_name.clone()?,
            address: pod.status.as_ref()?.pod_ip.clone()?,
        })
    });
    found.with_context(|| format!("no pod of {namespace} with {selector} has an address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::verdict::Outcome;

    fn good() -> Doors {
        let tried = pairs().into_iter().map(|pair| Tried {
            from: pair.from.to_owned(),
            to: pair.to.to_owned(),
            port: pair.port,
            answer: if pair.allowed { Answer::Open } else { Answer::Silent },
        });
        Doors { queue: Some("nftables".to_owned()), tried: tried.collect() }
    }

    fn failed(doors: &Doors) -> Vec<(String, Vec<String>)> {
        let checks = doors.judge().into_iter().filter(|check| check.outcome != Outcome::Pass);
        checks.map(|check| (check.id, check.outcome.reasons().to_vec())).collect()
    }

    #[test]
    fn every_name_is_a_pod_and_every_namespace_is_tried_from() {
        let names: Vec<&str> = PODS.iter().map(|(name, ..)| *name).chain([NODE]).collect();
        for (to, _, from) in DOORS {
            assert!(names.contains(&to) && from.iter().all(|from| names.contains(from)), "{to}: {from:?}");
        }
        for namespace in super::super::NAMESPACES {
            let of = PODS.iter().filter(|(_, own, _)| *own == namespace).map(|(name, ..)| *name);
            assert!(
                of.clone().any(|name| pairs().iter().any(|pair| pair.from == name && !pair.allowed)),
                "{namespace}"
            );
            assert!(of.clone().any(|name| pairs().iter().any(|pair| pair.to == name && !pair.allowed)), "{namespace}");
        }
    }

    #[test]
    fn each_pair_that_is_wrong_is_named() {
        assert!(failed(&good()).is_empty());
        for at in 0..good().tried.len() {
            for answer in [Answer::Open, Answer::Refused, Answer::Silent] {
                let mut altered = good();
                let allowed = altered.tried[at].answer == Answer::Open;
                altered.tried[at].answer = answer;
                let fault = match (allowed, answer) {
                    (true, Answer::Open) | (false, Answer::Silent) => None,
                    (true, _) => Some("policies-allow"),
                    (false, _) => Some("policies-refuse"),
                };
                let found = failed(&altered);
                assert_eq!(found.first().map(|(id, _)| id.as_str()), fault);
                assert!(found.iter().all(|(_, why)| why[0].contains(&altered.tried[at].to)));
            }
        }
    }

    #[test]
    fn what_was_not_tried_is_no_pass_and_a_cluster_without_policies_is_not_asked() {
        let mut some = good();
        some.tried.pop();
        assert_eq!(failed(&some).len(), 1);
        assert!(Doors::default().judge().is_empty());
    }
}
