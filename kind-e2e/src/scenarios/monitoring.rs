//! The guide's monitoring commands, word for word, against the cluster: each has to succeed and to
//! show what its reader looks for. What they are and what is expected is in [`crate::guide`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Context;
use crate::bounds::Autoscaling;
use crate::command::Command;
use crate::fixture::{NAMESPACE, SCALED_OBJECT, WORKER_SELECTOR};
use crate::guide::{Expect, MONITORING, Place, Printed, expectation, find};
use crate::observe::kubernetes::{hpa, read_pods};
use crate::progress::say;
use crate::verdict::{Check, Outcome};
use crate::wait::{Probe, eventually};

/// metrics-server scrapes once a minute at the most, and tells a pod's usage from two scrapes.
const USAGE_KNOWN: Duration = Duration::from_secs(150);
/// KEDA says whether a ScaledObject is active when it has asked the triggers: every 30 s, and again where the metric was
/// not there yet.
const ACTIVITY_KNOWN: Duration = Duration::from_secs(120);
/// For a command of the guide, the start of a pod around it included.
const ONE_COMMAND: Duration = Duration::from_secs(60);
/// The folder of the outputs within the run's.
const FOLDER: &str = "monitoring";

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Workers that are expected.
    pub pods: usize,
    /// The commands that were run.
    pub ran: Vec<Ran>,
}

/// One command and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// The guide's text.
    pub text: String,
    /// Where it ran.
    pub place: Place,
    /// What is expected.
    pub expect: Expect,
    /// Its exit code.
    pub code: Option<i32>,
    /// Its output.
    pub stdout: String,
    /// The last of what it complained about.
    pub complaint: String,
}

/// Waits for the fewest workers with usage known, then runs every command once.
pub async fn run(context: &Context, facts: &mut Facts) -> Result<()> {
    context.enter("monitoring", "the guide's commands, word for word");
    let autoscaler = hpa(&context.fixture.kube).await?;
    // Thresholds play no part in how the fleet shrinks.
    let autoscaling = Autoscaling::of(&autoscaler, 0.0, 0.0);
    facts.pods = usize::try_from(autoscaling.min)?;
    let calm = Duration::from_secs_f64(autoscaling.scale_in(autoscaling.max).seconds);
    eventually("the fewest workers, none leaving", calm, async || {
        only(context, facts.pods).await
    })
    .await?;
    eventually("usage of every worker", USAGE_KNOWN, async || {
        usage_known(context).await
    })
    .await?;
    eventually("KEDA has asked the triggers", ACTIVITY_KNOWN, async || {
        activity_known(context).await
    })
    .await?;
    let folder = context.folder.join(FOLDER);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for (number, printed) in MONITORING.iter().enumerate() {
        let command = command(context, printed, number)?;
        let output = command.output().await?;
        say(context.clock, printed.text);
        let told = format!(
            "$ {}\n{}\n--- standard error\n{}\n--- exit code {:?}\n",
            printed.text, output.stdout, output.stderr, output.code
        );
        let path = folder.join(format!("{}.txt", number + 1));
        std::fs::write(&path, told).with_context(|| format!("writing {}", path.display()))?;
        facts.ran.push(Ran {
            text: printed.text.to_owned(),
            place: printed.place,
            expect: printed.expect,
            code: output.code,
            complaint: output.failure(),
            stdout: output.stdout,
        });
    }
    Ok(())
}

/// The command that runs a text of the guide where it belongs.
fn command(context: &Context, printed: &Printed, number: usize) -> Result<Command> {
    let cluster = &context.fixture.cluster;
    let command = match printed.place {
        Place::Host => Command::new("bash")
            .args(["-c", printed.text])
            .env("PATH", path_with(&cluster.kubectl)?),
        // The text comes in on standard input, so that the pod cannot end before kubectl has attached.
        Place::Pod => Command::new(&cluster.kubectl)
            .args([
                "run",
                &format!("{}-toolbox-{number}", context.run),
                "--namespace",
                NAMESPACE,
            ])
            .args(["--rm", "--stdin", "--quiet", "--restart=Never"])
            .args([
                &format!("--image={}", cluster.toolbox_image),
                "--image-pull-policy=IfNotPresent",
            ])
            .args(["--command", "--", "bash", "-s"])
            .input(format!("{}\n", printed.text)),
    };
    Ok(command.env("KUBECONFIG", &cluster.kubeconfig).limit(ONE_COMMAND))
}

/// The search path with the cluster's own kubectl first.
fn path_with(kubectl: &std::path::Path) -> Result<OsString> {
    let kubectl = std::path::absolute(kubectl).context("finding kubectl")?;
    let own = kubectl.parent().context("kubectl lies in no folder")?.to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&others))).context("joining PATH")
}

/// Exactly `count` worker pods exist, ready, none of them leaving: `kubectl get pods` lists them all.
async fn only(context: &Context, count: usize) -> Probe<()> {
    match read_pods(&context.fixture.kube).await {
        Ok(pods) => {
            let staying = pods.iter().filter(|pod| pod.ready && !pod.leaving).count();
            if staying == count && pods.len() == count {
                Probe::Ready(())
            } else {
                Probe::NotYet(format!(
                    "{} pods, {staying} of them ready and staying",
                    pods.len()
                ))
            }
        }
        Err(error) => Probe::NotYet(format!("{error:#}")),
    }
}

/// The metrics API tells the usage of every worker pod: a fact about time, not about the command.
async fn usage_known(context: &Context) -> Probe<()> {
    match (
        usage(&context.fixture.kube).await,
        read_pods(&context.fixture.kube).await,
    ) {
        (Ok(known), Ok(pods)) if pods.iter().all(|pod| known.contains_key(&pod.name)) => Probe::Ready(()),
        (Ok(known), Ok(pods)) => Probe::NotYet(format!("usage of {} of {} pods", known.len(), pods.len())),
        (Err(error), _) | (_, Err(error)) => Probe::NotYet(format!("{error:#}")),
    }
}

/// KEDA has asked the triggers once: a fact about time, too.
async fn activity_known(context: &Context) -> Probe<()> {
    let path = format!("/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects/{SCALED_OBJECT}");
    match get(&context.fixture.kube, path).await {
        Ok(object) if is_activity_known(&object) => Probe::Ready(()),
        Ok(_) => Probe::NotYet("the condition Active is Unknown".to_owned()),
        Err(error) => Probe::NotYet(format!("{error:#}")),
    }
}

fn is_activity_known(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let active = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "Active");
    active.is_some_and(|condition| condition["status"] == "True" || condition["status"] == "False")
}

async fn get(client: &kube::Client, path: String) -> Result<Value> {
    let request = http::Request::get(&path).body(Vec::new())?;
    client
        .request(request)
        .await
        .with_context(|| format!("asking for {path}"))
}

/// Bytes of memory of each worker pod that the metrics API tells of.
pub(super) async fn usage(client: &kube::Client) -> Result<BTreeMap<String, u64>> {
    let selector: String = url::form_urlencoded::byte_serialize(WORKER_SELECTOR.as_bytes()).collect();
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods?labelSelector={selector}");
    memory_of(&get(client, path).await?)
}

fn memory_of(answer: &Value) -> Result<BTreeMap<String, u64>> {
    let items = answer["items"]
        .as_array()
        .context("the metrics API told no list")?;
    let told = items.iter().filter_map(|item| {
        let containers = item["containers"].as_array()?;
        let bytes = containers
            .iter()
            .map(|container| bytes_of(container["usage"]["memory"].as_str()?))
            .sum::<Option<u64>>()?;
        Some((item["metadata"]["name"].as_str()?.to_owned(), bytes))
    });
    Ok(told.collect())
}

/// A quantity of memory as metrics-server writes it: bytes, or with Ki, Mi or Gi.
fn bytes_of(quantity: &str) -> Option<u64> {
    let units = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("", 1)];
    let (number, unit) = units
        .iter()
        .find_map(|(suffix, unit)| Some((quantity.strip_suffix(suffix)?, *unit)))?;
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Each command succeeded and showed what is expected of it.
pub fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks: Vec<Check> = facts.ran.iter().map(|ran| check(ran, facts.pods)).collect();
    for printed in MONITORING.iter().skip(facts.ran.len()) {
        checks.push(Check::new(
            printed.text,
            expectation(printed.expect, facts.pods),
            "not run",
            WHY,
            Outcome::inconclusive("was not run"),
        ));
    }
    checks
}

const WHY: &str = "the guide prints this command for its readers to run";

fn check(ran: &Ran, pods: usize) -> Check {
    let found = find(ran.expect, &ran.stdout, pods);
    let (measured, outcome) = match (ran.code, found) {
        (Some(0), Ok(found)) => (format!("exit code 0; {found}"), Outcome::Pass),
        (Some(0), Err(missing)) => (format!("exit code 0; {missing}"), Outcome::fail(missing)),
        (_, _) => (ran.complaint.clone(), Outcome::fail(ran.complaint.clone())),
    };
    let place = match ran.place {
        Place::Host => "on the host",
        Place::Pod => "in a pod",
    };
    let bound = format!("exit code 0 {place}; {}", expectation(ran.expect, pods));
    Check::new(&ran.text, bound, measured, WHY, outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(code: Option<i32>, stdout: &str) -> Ran {
        Ran {
            text: MONITORING[1].text.to_owned(),
            place: Place::Host,
            expect: Expect::Logs,
            code,
            stdout: stdout.to_owned(),
            complaint: "exit code 1: error: not found".to_owned(),
        }
    }

    #[test]
    fn a_command_has_to_succeed_and_to_show_what_is_expected() {
        let table = [
            (ran(Some(0), "a line\n"), Outcome::Pass),
            (ran(Some(0), ""), Outcome::fail("no log line")),
            (
                ran(Some(1), "a line\n"),
                Outcome::fail("exit code 1: error: not found"),
            ),
            (ran(None, ""), Outcome::fail("exit code 1: error: not found")),
        ];
        for (ran, outcome) in table {
            assert_eq!(check(&ran, 3).outcome, outcome, "{ran:?}");
        }
    }

    #[test]
    fn memory_is_told_for_each_pod_with_its_unit() {
        let item = |name: &str, memory: &str| serde_json::json!({"metadata": {"name": name}, "containers": [{"usage": {"cpu": "3m", "memory": memory}}]});
        let answer =
            serde_json::json!({"items": [item("a", "18432Ki"), item("b", "20Mi"), item("c", "many")]});
        let known = memory_of(&answer).unwrap();
        assert_eq!(
            known.into_iter().collect::<Vec<_>>(),
            [("a".to_owned(), 18_874_368), ("b".to_owned(), 20_971_520),]
        );
        assert!(memory_of(&Value::Null).is_err());
    }

    #[test]
    fn a_scaled_object_whose_triggers_were_not_asked_is_not_known() {
        let object = |status: &str| serde_json::json!({"status": {"conditions": [{"type": "Active", "status": status}]}});
        assert!(is_activity_known(&object("True")) && is_activity_known(&object("False")));
        assert!(!is_activity_known(&object("Unknown")) && !is_activity_known(&Value::Null));
    }

    #[test]
    fn what_was_not_run_is_inconclusive() {
        let facts = Facts {
            pods: 3,
            ran: vec![ran(Some(0), "a line\n")],
        };
        let checks = judge(&facts);
        assert_eq!(checks.len(), MONITORING.len());
        assert!(
            checks[1..]
                .iter()
                .all(|check| check.outcome == Outcome::inconclusive("was not run"))
        );
    }
}
