//! What the cluster refuses, and what its pods may do: Pod Security `restricted` is enforced in each namespace of the
//! manifests, every pod in them is as small as it can be, and network policies let it reach what it needs. The control
//! plane and the kubelets are set as the CIS benchmark asks. It loads nothing and leaves nothing behind.

mod attempts;
mod benchmark;
mod doors;
mod secrets;

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::doors::Doors;
use super::Scenario;
use crate::cluster::secrets::Search;
use crate::cluster::{Fixture, KEDA, MONITORING, NAMESPACE, STORAGE, TEMPORAL};
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question, faults};
use crate::load::context::Context;
use crate::observe::sample::Sample;

/// The namespaces of the manifests. Those of the node itself are not among them.
const NAMESPACES: [&str; 5] = [NAMESPACE, TEMPORAL, STORAGE, MONITORING, KEDA];

/// Service accounts whose pods use the API server. No other pod has a token.
const USE_THE_API: [&str; 5] =
    ["temporal-scaler", "prometheus", "keda-operator", "keda-metrics-server", "keda-webhooks"];

/// A change that makes a restricted pod one that may do more: its name, a JSON pointer, and the value there.
type More = (&'static str, &'static str, fn() -> Value);

/// Each of them alone has to be refused.
const MORE: [More; 9] = [
    ("runs as root", "/spec/securityContext/runAsNonRoot", || json!(false)),
    // A privileged container can only be one that escalates privileges.
    (
        "is privileged",
        "/spec/containers/0/securityContext",
        || json!({"privileged": true, "capabilities": {"drop": ["ALL"]}}),
    ),
    ("escalates privileges", "/spec/containers/0/securityContext/allowPrivilegeEscalation", || json!(true)),
    ("keeps capabilities", "/spec/containers/0/securityContext/capabilities", || json!({})),
    ("adds a capability", "/spec/containers/0/securityContext/capabilities/add", || json!(["NET_ADMIN"])),
    ("has no seccomp profile", "/spec/securityContext/seccompProfile", || Value::Null),
    ("mounts a folder of the node", "/spec/volumes", || json!([{"name": "node", "hostPath": {"path": "/"}}])),
    ("uses the node's network", "/spec/hostNetwork", || json!(true)),
    ("sees the node's processes", "/spec/hostPID", || json!(true)),
];

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    tried: Vec<Tried>,
    pods: Vec<Seen>,
    #[serde(default)]
    doors: Doors,
    /// The secrets that are in logs and objects.
    #[serde(default)]
    secrets: Search,
    /// How the services were tried.
    #[serde(default)]
    attempts: Vec<attempts::Attempt>,
    /// How the control plane and the kubelets are set.
    #[serde(default)]
    benchmark: benchmark::Found,
}

/// A pod that was offered to the API server, without being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tried {
    namespace: String,
    /// What it does more than a restricted pod; empty for a restricted one.
    more: String,
    /// Why the API server refused it, if it did.
    refused: Option<String>,
}

/// A pod that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// Namespace and name.
    pod: String,
    /// What it may do without need.
    faults: Vec<String>,
}

impl Scenario for Security {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, _samples: &[Sample]) -> Vec<Check> {
        if self.tried.is_empty() && self.pods.is_empty() {
            return Vec::new();
        }
        let own = [self.refused(), self.admitted(), self.hardened(), secrets::judge(&self.secrets)];
        let doors = self.doors.judge().into_iter().chain(attempts::judge(&self.attempts));
        own.into_iter().chain(doors).chain(benchmark::judge(&self.benchmark)).collect()
    }

    fn tables(&self, _samples: &[Sample]) -> Vec<Table> {
        let note = "Offered to the API server as a dry run, each with one change to a pod that is admitted.";
        let mut table = Table::new("Pods that are refused", &["a pod that", "in", "answer"], note.to_owned());
        let bad = self.tried.iter().filter(|tried| !tried.more.is_empty());
        table.rows.extend(bad.map(|tried| {
            let answer = tried.refused.as_deref().unwrap_or("admitted");
            vec![tried.more.clone(), tried.namespace.clone(), answer.to_owned()]
        }));
        let tables = [table, attempts::table(&self.attempts)].into_iter().chain(self.doors.table());
        tables.chain(benchmark::table(&self.benchmark)).collect()
    }
}

impl Security {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        context.enter("security", "offering pods that may do too much, and reading the pods that run");
        let fixture = &context.fixture;
        for namespace in NAMESPACES {
            let good = restricted_pod(&fixture.cluster.toolbox_image);
            self.tried.push(offer(fixture, namespace, "", good.clone()).await?);
            for (more, place, value) in MORE {
                self.tried.push(offer(fixture, namespace, more, changed(good.clone(), place, value())?).await?);
            }
            let pods: Api<Pod> = Api::namespaced(fixture.kube.clone(), namespace);
            let list = pods.list(&ListParams::default()).await;
            let list = list.with_context(|| format!("listing the pods of {namespace}"))?;
            self.pods.extend(list.items.iter().map(|pod| Seen {
                pod: format!("{namespace}/{}", pod.metadata.name.as_deref().unwrap_or("?")),
                faults: faults_of(pod),
            }));
        }
        context.enter("security/doors", "trying who reaches whom");
        self.doors = Doors::try_all(fixture).await?;
        context.enter("security/attempts", "trying every door in wrong ways");
        // Before the search: what a service logs of a refusal is searched, too.
        self.attempts = attempts::try_all(fixture).await?;
        self.secrets = secrets::search(fixture).await?;
        context.enter("security/benchmark", "reading how the control plane and the kubelets are set");
        self.benchmark = benchmark::read(fixture).await?;
        Ok(())
    }

    fn refused(&self) -> Check {
        let bad: Vec<&Tried> = self.tried.iter().filter(|tried| !tried.more.is_empty()).collect();
        let admitted = bad.iter().filter(|tried| tried.refused.is_none());
        let due = NAMESPACES.len() * MORE.len();
        let question = Question::new(
            "pod-security",
            "a pod that may do too much is refused",
            format!("{due} of {due} are refused"),
            "who can make pods in a namespace could otherwise take the node",
        );
        if bad.len() < due {
            return question.unseen(format!("{} pods were offered", bad.len()));
        }
        let wrong = admitted.map(|tried| format!("a pod that {} is admitted in {}", tried.more, tried.namespace));
        question.answer(format!("{} offered", bad.len()), faults(wrong))
    }

    /// Without it, an API server that refuses everything would pass.
    fn admitted(&self) -> Check {
        let good = self.tried.iter().filter(|tried| tried.more.is_empty());
        let refused = good.filter_map(|tried| Some((tried.refused.as_ref()?, &tried.namespace)));
        let question = Question::new(
            "pod-admitted",
            "a restricted pod is admitted",
            "in each namespace",
            "only what is too much may be the reason of a refusal",
        );
        let wrong = refused.map(|(why, namespace)| format!("refused in {namespace}: {why}"));
        question.answer(format!("{} namespaces", NAMESPACES.len()), faults(wrong))
    }

    fn hardened(&self) -> Check {
        let question = Question::new(
            "pods-hardened",
            "the pods of the manifests have what they need, and no more",
            "no root, capability or token without need; a read-only root; seccomp; a memory limit",
            "what a pod cannot do, an attacker in it cannot do",
        );
        if self.pods.is_empty() {
            return question.unseen("no pod was read");
        }
        let wrong =
            self.pods.iter().flat_map(|seen| seen.faults.iter().map(move |fault| format!("{}: {fault}", seen.pod)));
        question.answer(format!("{} pods", self.pods.len()), faults(wrong))
    }
}

/// A pod that Pod Security `restricted` admits.
pub(super) fn restricted_pod(image: &str) -> Value {
    json!({
        "metadata": {"name": "offered"},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "offered",
                "image": image,
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

/// The pod with another value at a place that may be new.
fn changed(mut pod: Value, place: &str, value: Value) -> Result<Value> {
    let (parent, key) = place.rsplit_once('/').context("a JSON pointer")?;
    let parent = pod.pointer_mut(parent).with_context(|| format!("no {parent} in the pod"))?;
    parent[key] = value;
    Ok(pod)
}

async fn offer(fixture: &Fixture, namespace: &str, more: &str, pod: Value) -> Result<Tried> {
    let pods: Api<Pod> = Api::namespaced(fixture.kube.clone(), namespace);
    let pod = serde_json::from_value(pod).context("the pod")?;
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    let refused = match pods.create(&parameters, &pod).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.message.contains("violates PodSecurity") => Some(status.message),
        Err(error) => return Err(error).with_context(|| format!("offering a pod to {namespace}")),
    };
    Ok(Tried { namespace: namespace.to_owned(), more: more.to_owned(), refused })
}

/// What a pod may do without need.
fn faults_of(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return vec!["it has no spec".to_owned()] };
    let mut found = Vec::new();
    let mut require = |holds: bool, fault: &str| {
        if !holds {
            found.push(fault.to_owned());
        }
    };
    let account = spec.service_account_name.as_deref().unwrap_or("default");
    let volumes = spec.volumes.iter().flatten();
    let token = |sources: &k8s_openapi::api::core::v1::ProjectedVolumeSource| {
        sources.sources.iter().flatten().any(|source| source.service_account_token.is_some())
    };
    let mounts_token = volumes.clone().any(|volume| volume.projected.as_ref().is_some_and(token));
    require(!mounts_token || USE_THE_API.contains(&account), &format!("it has a token of {account}"));
    require(volumes.clone().all(|volume| volume.host_path.is_none()), "it mounts a folder of the node");
    let shares_node = [spec.host_network, spec.host_pid, spec.host_ipc];
    require(shares_node.iter().all(|shares| *shares != Some(true)), "it shares a namespace with the node");
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    for container in containers {
        let name = &container.name;
        let own = container.security_context.clone().unwrap_or_default();
        let mut require = |holds: bool, fault: &str| require(holds, &format!("{name} {fault}"));
        require(own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true), "may run as root");
        require(own.read_only_root_filesystem == Some(true), "can write to its root");
        require(own.allow_privilege_escalation == Some(false), "may gain privileges");
        let dropped = own.capabilities.as_ref().and_then(|all| all.drop.as_ref());
        require(dropped.is_some_and(|dropped| dropped.iter().any(|one| one == "ALL")), "keeps capabilities");
        let added = own.capabilities.as_ref().and_then(|all| all.add.as_ref());
        require(added.is_none_or(Vec::is_empty), "has a capability");
        let seccomp = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
        require(seccomp.is_some_and(|profile| profile.type_ == "RuntimeDefault"), "has no seccomp profile");
        let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        require(limits.is_some_and(|limits| limits.contains_key("memory")), "has no memory limit");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::verdict::Outcome;

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    /// A pod without a fault.
    fn small() -> Value {
        let with_root =
            changed(restricted_pod("i"), "/spec/containers/0/securityContext/readOnlyRootFilesystem", true.into());
        changed(with_root.unwrap(), "/spec/containers/0/resources", json!({"limits": {"memory": "1Mi"}})).unwrap()
    }

    #[test]
    fn every_change_of_a_small_pod_is_a_fault() {
        assert_eq!(faults_of(&pod(small())), Vec::<String>::new());
        let token = json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]);
        let others: [(&str, Value); 3] = [
            ("/spec/volumes", token),
            ("/spec/containers/0/securityContext/readOnlyRootFilesystem", false.into()),
            ("/spec/containers/0/resources", json!({})),
        ];
        let more = MORE.iter().filter(|(name, ..)| *name != "is privileged").map(|(_, place, value)| (*place, value()));
        for (place, value) in more.chain(others) {
            let found = faults_of(&pod(changed(small(), place, value.clone()).unwrap()));
            assert_eq!(found.len(), 1, "{place} {value}: {found:?}");
        }
    }

    #[test]
    fn an_admitted_bad_pod_a_refused_good_pod_and_a_fault_fail() {
        let tried = |namespace: &str, more: &str, refused: bool| Tried {
            namespace: namespace.to_owned(),
            more: more.to_owned(),
            refused: refused.then(|| "violates PodSecurity".to_owned()),
        };
        let all = NAMESPACES.iter().flat_map(|namespace| {
            let bad = MORE.iter().map(|(more, ..)| tried(namespace, more, true));
            bad.chain([tried(namespace, "", false)])
        });
        let pods = vec![Seen { pod: "documents/a".to_owned(), faults: Vec::new() }];
        let good = Security {
            tried: all.collect(),
            pods,
            secrets: Search { searched: 1, found: [].into() },
            attempts: attempts::tests::good(),
            doors: Doors::default(),
            benchmark: benchmark::Found::default(),
        };
        let failed = |facts: &Security| -> Vec<String> {
            let checks = facts.judge(&[]);
            checks.into_iter().filter(|check| check.outcome != Outcome::Pass).map(|check| check.id).collect()
        };
        assert!(failed(&good).is_empty());
        let mut altered = good.clone();
        altered.tried[0].refused = None;
        assert_eq!(failed(&altered), ["pod-security"]);
        let mut altered = good.clone();
        altered.tried.iter_mut().filter(|one| one.more.is_empty()).for_each(|one| one.refused = Some("x".to_owned()));
        assert_eq!(failed(&altered), ["pod-admitted"]);
        let mut altered = good.clone();
        altered.secrets.found.insert("log of default/a x: secret-key of storage/s3".to_owned());
        assert_eq!(failed(&altered), ["secrets-unshown"]);
        let mut altered = good;
        altered.pods[0].faults.push("may run as root".to_owned());
        assert_eq!(failed(&altered), ["pods-hardened"]);
    }
}
