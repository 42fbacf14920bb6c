//! The guide's monitoring commands, word for word: each succeeds and shows what its reader looks for.
//!
//! [`guide`] has the commands and what is expected of each.

mod guide;

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::guide::{Expect, MONITORING, Place, Printed, expectation, find};
use super::{Scenario, security};
use crate::cluster::kubernetes::{read_memory, read_pods};
use crate::cluster::{NAMESPACE, scalers};
use crate::judge::bounds;
use crate::judge::verdict::{Check, Question};
use crate::load::context::Context;
use crate::observe::sample::Sample;
use support::command::Cmd;
use support::wait::{Probe, eventually};

/// metrics-server scrapes once a minute at the most, and tells a pod's usage from two scrapes.
const USAGE_KNOWN: Duration = Duration::from_secs(150);
/// KEDA says whether a ScaledObject is active when it has asked the triggers: every 30 s, and again where the metric
/// was not there yet.
const ACTIVITY_KNOWN: Duration = Duration::from_secs(120);
/// For a command of the guide, the start of a pod around it included.
const ONE_COMMAND: Duration = Duration::from_secs(60);
/// The folder of the outputs within the run's.
const FOLDER: &str = "monitoring";

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitoring {
    /// Workers that are expected.
    pods: usize,
    /// The commands that were run.
    ran: Vec<Ran>,
}

/// One command and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ran {
    /// The guide's text.
    text: String,
    /// Where it ran.
    place: Place,
    /// What is expected.
    expect: Expect,
    /// Its exit code.
    code: Option<i32>,
    /// Its output.
    stdout: String,
    /// The last of what it complained about.
    complaint: String,
}

impl Scenario for Monitoring {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, _samples: &[Sample]) -> Vec<Check> {
        let ran = self.ran.iter().map(|ran| check(ran, self.pods));
        let missing = MONITORING.iter().skip(self.ran.len());
        let missing = missing
            .map(|printed| question(printed.text, printed.place, printed.expect, self.pods).unseen("was not run"));
        ran.chain(missing).collect()
    }
}

impl Monitoring {
    /// Waits for the minimum of workers with usage known, then runs every command once.
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        context.enter("monitoring", "the guide's commands, word for word");
        let autoscaling = &context.autoscaling;
        self.pods = usize::try_from(autoscaling.min)?;
        let shrinks = Duration::from_secs_f64(bounds::scale_in(autoscaling, autoscaling.max).seconds);
        eventually("the minimum of workers, none leaving", shrinks, async || only(context, self.pods).await).await?;
        eventually("usage of every worker", USAGE_KNOWN, async || usage_known(context).await).await?;
        eventually("KEDA has asked the triggers", ACTIVITY_KNOWN, async || activity_known(context).await).await?;
        let folder = context.folder.join(FOLDER);
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        for (number, printed) in MONITORING.iter().enumerate() {
            let output = command(context, printed, number)?.run_any_async().await?;
            context.say(printed.text);
            let text = format!(
                "$ {}\n{}\n--- standard error\n{}\n--- exit code {:?}\n",
                printed.text,
                output.stdout,
                output.stderr,
                output.status.code()
            );
            let path = folder.join(format!("{}.txt", number + 1));
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            self.ran.push(Ran {
                text: printed.text.to_owned(),
                place: printed.place,
                expect: printed.expect,
                code: output.status.code(),
                complaint: output.failure(),
                stdout: output.stdout,
            });
        }
        Ok(())
    }
}

/// The command that runs a text of the guide where it belongs.
fn command(context: &Context, printed: &Printed, number: usize) -> Result<Cmd> {
    let cluster = &context.fixture.cluster;
    let name = format!("{}-toolbox-{number}", context.run);
    let command = match printed.place {
        Place::Host => Cmd::new("bash").args(["-c", printed.text]).env("PATH", path_with(&cluster.kubectl)?),
        // The text comes in on standard input, so that the pod cannot end before kubectl has attached.
        Place::Pod => Cmd::new(&cluster.kubectl)
            .args(["run", &name, "--namespace", NAMESPACE])
            .args(["--rm", "--stdin", "--quiet", "--restart=Never"])
            .args([&format!("--image={}", cluster.toolbox_image), "--image-pull-policy=IfNotPresent"])
            .args(["--override-type=strategic", &format!("--overrides={}", restricted(&name))])
            .args(["--command", "--", "bash", "-s"])
            .stdin(format!("{}\n", printed.text)),
    };
    Ok(command.env("KUBECONFIG", &cluster.kubeconfig).limit(ONE_COMMAND).quiet())
}

/// What makes a pod of `kubectl run` one that Pod Security `restricted` admits. Its container has the pod's name.
fn restricted(name: &str) -> Value {
    let mut pod = security::restricted_pod("");
    let container = json!({"name": name, "securityContext": pod["spec"]["containers"][0]["securityContext"].take()});
    pod["spec"]["containers"] = json!([container]);
    json!({"spec": pod["spec"]})
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
                Probe::NotYet(format!("{} pods, {staying} of them ready and staying", pods.len()))
            }
        }
        Err(error) => Probe::NotYet(format!("{error:#}")),
    }
}

/// The metrics API tells the usage of every worker pod: a fact about time, not about the command.
async fn usage_known(context: &Context) -> Probe<()> {
    match (read_memory(&context.fixture.kube).await, read_pods(&context.fixture.kube).await) {
        (Ok(known), Ok(pods)) if pods.iter().all(|pod| known.contains_key(&pod.name)) => Probe::Ready(()),
        (Ok(known), Ok(pods)) => Probe::NotYet(format!("usage of {} of {} pods", known.len(), pods.len())),
        (Err(error), _) | (_, Err(error)) => Probe::NotYet(format!("{error:#}")),
    }
}

/// KEDA has asked the triggers once: a fact about time, too.
async fn activity_known(context: &Context) -> Probe<()> {
    match scalers::scaled_object(&context.fixture).await {
        Ok(object) if is_activity_known(&object.data) => Probe::Ready(()),
        Ok(_) => Probe::NotYet("the condition Active is Unknown".to_owned()),
        Err(error) => Probe::NotYet(format!("{error:#}")),
    }
}

fn is_activity_known(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let active = conditions.into_iter().flatten().find(|condition| condition["type"] == "Active");
    active.is_some_and(|condition| condition["status"] == "True" || condition["status"] == "False")
}

fn question(text: &str, place: Place, expect: Expect, pods: usize) -> Question {
    let place = match place {
        Place::Host => "on the host",
        Place::Pod => "in a pod",
    };
    let bound = format!("exit code 0 {place}; {}", expectation(expect, pods));
    Question::new("monitoring", text, bound, "the guide prints this command for its readers to run")
}

/// The command succeeded and showed what is expected of it.
fn check(ran: &Ran, pods: usize) -> Check {
    let found = find(ran.expect, &ran.stdout, pods);
    let question = question(&ran.text, ran.place, ran.expect, pods);
    match (ran.code, found) {
        (Some(0), Ok(found)) => question.require(true, format!("exit code 0; {found}")),
        (Some(0), Err(missing)) => question.require(false, format!("exit code 0; {missing}")),
        (_, _) => question.require(false, ran.complaint.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::verdict::Outcome;

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
            (ran(Some(0), ""), Outcome::fail("exit code 0; no log line")),
            (ran(Some(1), "a line\n"), Outcome::fail("exit code 1: error: not found")),
            (ran(None, ""), Outcome::fail("exit code 1: error: not found")),
        ];
        for (ran, outcome) in table {
            assert_eq!(check(&ran, 3).outcome, outcome, "{ran:?}");
        }
    }

    #[test]
    fn a_scaled_object_whose_triggers_were_not_asked_is_not_known() {
        let object = |status: &str| json!({"status": {"conditions": [{"type": "Active", "status": status}]}});
        assert!(is_activity_known(&object("True")) && is_activity_known(&object("False")));
        assert!(!is_activity_known(&object("Unknown")) && !is_activity_known(&Value::Null));
    }

    #[test]
    fn what_was_not_run_is_inconclusive() {
        let facts = Monitoring { pods: 3, ran: vec![ran(Some(0), "a line\n")] };
        let checks = facts.judge(&[]);
        assert_eq!(checks.len(), MONITORING.len());
        let unseen = Outcome::inconclusive("was not run");
        assert!(checks[1..].iter().all(|check| check.outcome == unseen));
    }
}
